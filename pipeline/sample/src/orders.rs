//! Buying: from the cart through payment and shipping to the services that listen to orders.

use rand::RngExt;
use vivace_proto::otlp::common::KeyValue;

use crate::journeys::SELECT_STOCK;
use crate::peers::{Request, Sql};
use crate::trace::{Done, Fault, Trace};
use crate::value::{double, flag, int, text, texts};
use crate::world::Service;

const UPDATE_STOCK: Sql = Sql {
    operation: "UPDATE",
    table: "stock",
    text: "UPDATE stock SET quantity = quantity - $2 WHERE product_id = $1",
};
const INSERT_PAYMENT: Sql = Sql {
    operation: "INSERT",
    table: "payments",
    text: "INSERT INTO payments (id, order_id, amount, currency, gateway_reference, created_at) VALUES ($1, $2, $3, $4, $5, now())",
};
const INSERT_ORDER: Sql = Sql {
    operation: "INSERT",
    table: "orders",
    text: "INSERT INTO orders (id, user_id, total, currency, address_id, state) VALUES ($1, $2, $3, $4, $5, 'placed') RETURNING id",
};
const INSERT_SHIPMENT: Sql = Sql {
    operation: "INSERT",
    table: "shipments",
    text: "INSERT INTO shipments (id, order_id, carrier, tracking_code) VALUES ($1, $2, $3, $4)",
};

impl Trace<'_> {
    pub(crate) fn checkout(&mut self) -> Done {
        let order = format!("ord-{:010x}", self.rng.random_range(0..1_u64 << 40));
        let mut message = None;
        let result = self.page("POST", "/checkout", "/checkout".to_owned(), "", |trace| {
            trace.rpc(Service::Checkout, "PlaceOrder", |trace| {
                message = Some(trace.place_order(&order)?);
                Ok(())
            })?;
            trace.render("thanks")
        });
        if let Some(message) = message {
            self.after_order(message, &order);
        }
        result
    }

    fn place_order(&mut self, order: &str) -> Result<(usize, i64), Fault> {
        self.rpc(Service::Cart, "GetCart", |trace| trace.read_cart())?;
        let items = self.rng.random_range(1..7_u8);
        for _ in 0..items {
            self.rpc(Service::Inventory, "Reserve", |trace| {
                trace.sql(SELECT_STOCK, 1)?;
                trace.fails(0.01, "OutOfStock", "requested quantity is not in stock", 409)?;
                trace.sql(UPDATE_STOCK, 0)
            })?;
        }
        let total = f64::from(self.rng.random_range(500..40_000_u32)) / 100.0;
        let about = self.about_order(order, items, total);
        self.inside("order/place.go#priceOrder", 400, about, |_| Ok(()))?;
        self.rpc(Service::Payment, "Charge", |trace| trace.charge(order, total))?;
        self.rpc(Service::Shipping, "ShipOrder", |trace| {
            trace.ask_carrier("shipments")?;
            trace.sql(INSERT_SHIPMENT, 1)
        })?;
        self.sql(INSERT_ORDER, 1)?;
        let message = self.publish("orders", order);
        self.rpc(Service::Cart, "EmptyCart", |trace| {
            let key = format!("cart:{}", trace.shopper.user);
            trace.redis("DEL", &key).map(drop)
        })?;
        Ok(message)
    }

    fn about_order(&mut self, order: &str, items: u8, total: f64) -> Vec<KeyValue> {
        let products: Vec<_> = (0..items).map(|_| format!("p-{}", self.product_id())).collect();
        vec![
            text("shop.order.id", order),
            int("shop.order.items", items),
            double("shop.order.total", total),
            text("shop.order.currency", self.shopper.currency),
            text("shop.order.country", self.shopper.country),
            flag("shop.order.coupon_used", self.chance(0.2)),
            texts("shop.order.products", products),
        ]
    }

    fn charge(&mut self, order: &str, total: f64) -> Done {
        let about = [
            text("shop.payment.method", "card"),
            text("shop.order.id", order),
            double("shop.payment.amount", total),
            flag("shop.payment.three_ds", total > 250.0),
        ];
        self.inside("gateway/charge.java#checkCard", 700, about, |_| Ok(()))?;
        let query = format!("/v1/charges?idempotency_key={order}&currency={}", self.shopper.currency);
        let gateway = "gateway.pay.example";
        self.http(&Request { method: "POST", host: gateway, path_and_query: query, failing: 0.06 })?;
        self.fails(0.01, "CardDeclined", "card declined: insufficient funds", 402)?;
        self.sql(INSERT_PAYMENT, 1)
    }

    /// What the services do that listen to orders.
    fn after_order(&mut self, message: (usize, i64), order: &str) {
        // Nobody waits for these; each failure ends in its own spans.
        self.consume(message, Service::Email, "orders", |trace| {
            let about = [text("shop.template", "order-confirmation"), text("shop.order.id", order)];
            trace.inside("mailer.rb#render", 3_000, about, |_| Ok(()))?;
            let path = format!("/v3/mail/send?campaign=order-confirmation&order={order}");
            trace.http(&Request { method: "POST", host: "mail.example", path_and_query: path, failing: 0.03 })
        })
        .ok();
        self.consume(message, Service::Recommendation, "orders", |trace| {
            for _ in 0..trace.rng.random_range(1..7) {
                let key = format!("bought-with:{}", trace.product_id());
                trace.redis("ZINCRBY", &key)?;
            }
            Ok(())
        })
        .ok();
        self.consume(message, Service::Inventory, "orders", |trace| {
            trace.sql(UPDATE_STOCK, 0)?;
            let about = [text("shop.order.id", order), flag("shop.restock.needed", trace.chance(0.1))];
            trace.inside("stock/Watch.java#checkLevels", 500, about, |_| Ok(()))
        })
        .ok();
    }

    pub(crate) fn ask_carrier(&mut self, what: &str) -> Done {
        let weight = f64::from(self.rng.random_range(10..3000_u16)) / 100.0;
        let country = self.shopper.country;
        let path_and_query =
            format!("/v2/{what}?from=DE&to={country}&weight={weight}&unit=kg&service=standard");
        self.http(&Request { method: "GET", host: "api.carrier.example", path_and_query, failing: 0.02 })
    }
}
