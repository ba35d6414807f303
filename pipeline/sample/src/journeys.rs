//! What people and timers do in the shop. Each journey is one trace; the one that buys something is in `orders.rs`.

use rand::RngExt;
use vivace_proto::otlp::trace::span::SpanKind;

use crate::peers::Sql;
use crate::trace::{Done, Draft, Trace};
use crate::value::{double, flag, int, text, texts};
use crate::words;
use crate::world::Service;

const PRODUCTS: u32 = 5_000;

const SELECT_PRODUCT: Sql = Sql {
    operation: "SELECT",
    table: "products",
    text: "SELECT id, name, description, price, currency, picture FROM products WHERE id = $1",
};
const SEARCH_PRODUCTS: Sql = Sql {
    operation: "SELECT",
    table: "products",
    text: "SELECT id, ts_rank(document, query) AS rank FROM products, plainto_tsquery($1) query WHERE document @@ query ORDER BY rank DESC LIMIT $2",
};
pub(crate) const SELECT_STOCK: Sql = Sql {
    operation: "SELECT",
    table: "stock",
    text: "SELECT quantity, warehouse FROM stock WHERE product_id = $1 FOR UPDATE",
};

impl Trace<'_> {
    /// Plays one journey, as often as people make it.
    pub(crate) fn play(mut self) -> Self {
        let journey = match self.rng.random_range(0..1000) {
            0..220 => Self::home,
            220..520 => Self::product,
            520..640 => Self::search,
            640..800 => Self::add_to_cart,
            800..900 => Self::view_cart,
            900..996 => Self::checkout,
            _ => Self::reindex,
        };
        // A failed journey is a trace like any other; its spans say so.
        journey(&mut self).ok();
        self
    }

    pub(crate) fn product_id(&mut self) -> u32 {
        // The square makes low numbers popular.
        let luck: f64 = self.rng.random();
        (luck * luck * f64::from(PRODUCTS)) as u32
    }

    fn home(&mut self) -> Done {
        self.page("GET", "/", "/".to_owned(), "", |trace| {
            trace.both(
                |trace| trace.recommend(4),
                |trace| trace.rpc(Service::Cart, "GetCart", |trace| trace.read_cart()),
            )?;
            trace.render("home")
        })
    }

    fn product(&mut self) -> Done {
        let id = self.product_id();
        self.page("GET", "/product/{id}", format!("/product/{id}"), "", |trace| {
            trace.both(|trace| trace.show_product(id), |trace| trace.recommend(3))?;
            trace.render("product")
        })
    }

    fn search(&mut self) -> Done {
        let words = self.pick(&words::QUERIES);
        let page = self.rng.random_range(1..4_u8);
        self.page("GET", "/search", "/search".to_owned(), &format!("q={words}&page={page}"), |trace| {
            let hits = trace.rng.random_range(4..16_u8);
            trace.rpc(Service::Inventory, "SearchProducts", |trace| {
                trace.sql(SEARCH_PRODUCTS, i64::from(hits))?;
                for _ in 0..hits {
                    let key = format!("product:{}", trace.product_id());
                    trace.redis("GET", &key)?;
                }
                Ok(())
            })?;
            trace.render("results")
        })
    }

    fn add_to_cart(&mut self) -> Done {
        let id = self.product_id();
        self.page("POST", "/cart", "/cart".to_owned(), "", |trace| {
            trace.rpc(Service::Inventory, "CheckStock", |trace| trace.sql(SELECT_STOCK, 1))?;
            trace.rpc(Service::Cart, "AddItem", |trace| {
                let user = trace.shopper.user.clone();
                let quantity = trace.rng.random_range(1..4_i64);
                let about = [text("shop.product.id", id.to_string()), int("shop.item.quantity", quantity)];
                trace.inside("cart/add.go#validateItem", 90, about, |_| Ok(()))?;
                trace.redis("HSET", &format!("cart:{user}"))?;
                trace.redis("EXPIRE", &format!("cart:{user}"))?;
                Ok(())
            })
        })
    }

    fn view_cart(&mut self) -> Done {
        self.page("GET", "/cart", "/cart".to_owned(), "", |trace| {
            trace.rpc(Service::Cart, "GetCart", |trace| trace.read_cart())?;
            for _ in 0..trace.rng.random_range(1..6) {
                let id = trace.product_id();
                trace.show_product(id)?;
            }
            trace.rpc(Service::Shipping, "GetQuote", |trace| trace.ask_carrier("quote"))?;
            trace.render("cart")
        })
    }

    /// The nightly job: one long trace.
    fn reindex(&mut self) -> Done {
        let pod = self.world.pod_of(Service::Inventory, self.rng);
        let products = self.rng.random_range(30..160_u8);
        let attributes = vec![text("job.name", "reindex-catalogue"), int("job.products", products)];
        let name = "reindex catalogue".to_owned();
        self.span(Draft { pod, kind: SpanKind::Internal, name, attributes }, |trace| {
            for _ in 0..products {
                let id = trace.product_id();
                let about = [text("shop.product.id", id.to_string())];
                // One product that fails does not stop the job.
                trace
                    .inside("index/Reindex.java#indexProduct", 150, about, |trace| {
                        trace.sql(SELECT_PRODUCT, 1)?;
                        trace.redis("SET", &format!("product:{id}")).map(drop)
                    })
                    .ok();
            }
            Ok(())
        })
        .1
    }

    fn show_product(&mut self, id: u32) -> Done {
        self.rpc(Service::Inventory, "GetProduct", |trace| {
            if !trace.redis("GET", &format!("product:{id}"))? {
                trace.sql(SELECT_PRODUCT, 1)?;
                trace.redis("SET", &format!("product:{id}"))?;
            }
            trace.sql(SELECT_STOCK, 1)
        })
    }

    pub(crate) fn read_cart(&mut self) -> Done {
        let key = format!("cart:{}", self.shopper.user);
        self.redis("HGETALL", &key).map(drop)
    }

    /// Recommendations are nice to have: the page goes on without them.
    fn recommend(&mut self, limit: u8) -> Done {
        let flags: Vec<_> = (0..2).map(|_| self.pick(&words::FLAGS).to_owned()).collect();
        let related = self.rpc(Service::Recommendation, "ListRecommendations", |trace| {
            let key = format!("bought-with:{}", trace.product_id());
            trace.redis("ZREVRANGE", &key)?;
            let score = trace.rng.random_range(0..10_000) as f64 / 10_000.0;
            let about = [
                int("shop.candidates", limit * 8),
                double("shop.score.best", score),
                texts("shop.flags", flags),
            ];
            trace.inside("ranker.py#rank", 2_500, about, |trace| {
                trace.fails(0.004, "StoreTimeout", "no answer within 0.25s", 504)
            })
        });
        if related.is_err() {
            self.work(100);
        }
        Ok(())
    }

    pub(crate) fn render(&mut self, page: &'static str) -> Done {
        let about = [
            text("shop.page", page),
            text("shop.locale", format!("en-{}", self.shopper.country)),
            flag("shop.page.cached", self.chance(0.3)),
        ];
        self.inside("render.ts#renderPage", 1_800, about, |_| Ok(()))
    }
}
