//! The shop's machines: services, their pods on four nodes, and how each describes itself.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use vivace_proto::otlp::common::InstrumentationScope;
use vivace_proto::otlp::resource::Resource;

use crate::value::{int, text};

/// Nodes, each with one collector that batches what its pods send.
pub(crate) const NODES: usize = 4;
const PODS_PER_NODE: usize = 6;

/// One of the shop's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Frontend,
    Cart,
    Checkout,
    Payment,
    Inventory,
    Shipping,
    Recommendation,
    Email,
}

impl Service {
    pub(crate) const ALL: [Self; 8] = [
        Self::Frontend,
        Self::Cart,
        Self::Checkout,
        Self::Payment,
        Self::Inventory,
        Self::Shipping,
        Self::Recommendation,
        Self::Email,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Cart => "cart",
            Self::Checkout => "checkout",
            Self::Payment => "payment",
            Self::Inventory => "inventory",
            Self::Shipping => "shipping",
            Self::Recommendation => "recommendation",
            Self::Email => "email",
        }
    }

    /// Its gRPC service.
    pub(crate) const fn rpc(self) -> &'static str {
        match self {
            Self::Frontend => "shop.frontend.v1.FrontendService",
            Self::Cart => "shop.cart.v1.CartService",
            Self::Checkout => "shop.checkout.v1.CheckoutService",
            Self::Payment => "shop.payment.v1.PaymentService",
            Self::Inventory => "shop.inventory.v1.InventoryService",
            Self::Shipping => "shop.shipping.v1.ShippingService",
            Self::Recommendation => "shop.recommendation.v1.RecommendationService",
            Self::Email => "shop.email.v1.EmailService",
        }
    }

    /// Language, version of the SDK, version of the service.
    const fn build(self) -> [&'static str; 3] {
        match self {
            Self::Frontend => ["nodejs", "2.1.0", "4.18.2"],
            Self::Cart => ["go", "1.38.0", "1.9.0"],
            Self::Checkout => ["go", "1.38.0", "2.31.4"],
            Self::Payment => ["java", "1.54.0", "3.2.0"],
            Self::Inventory => ["java", "1.54.0", "5.0.11"],
            Self::Shipping => ["rust", "0.31.0", "0.14.3"],
            Self::Recommendation => ["python", "1.37.0", "2025.11.2"],
            Self::Email => ["ruby", "1.10.0", "1.4.7"],
        }
    }

    /// Instrumentation of what comes in and of what goes out, with versions.
    const fn scopes(self) -> [[&'static str; 2]; 2] {
        match self {
            Self::Frontend => [
                ["@opentelemetry/instrumentation-http", "0.206.0"],
                ["@opentelemetry/instrumentation-grpc", "0.206.0"],
            ],
            Self::Cart | Self::Checkout => [
                ["go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc", "0.63.0"],
                ["github.com/redis/go-redis/extra/redisotel", "9.14.0"],
            ],
            Self::Payment | Self::Inventory => {
                [["io.opentelemetry.grpc-1.6", "2.20.1-alpha"], ["io.opentelemetry.jdbc", "2.20.1-alpha"]]
            }
            Self::Shipping => [["tonic-tracing-opentelemetry", "0.30.0"], ["reqwest-tracing", "0.5.8"]],
            Self::Recommendation => [
                ["opentelemetry.instrumentation.grpc", "0.58b0"],
                ["opentelemetry.instrumentation.redis", "0.58b0"],
            ],
            Self::Email => [
                ["OpenTelemetry::Instrumentation::Karafka", "0.1.0"],
                ["OpenTelemetry::Instrumentation::Faraday", "0.28.0"],
            ],
        }
    }
}

/// One running instance of a service.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) service: Service,
    pub(crate) node: usize,
    /// Its address in the cluster.
    pub(crate) address: String,
    pub(crate) resource: Resource,
    /// What comes in and what happens inside; what goes out.
    pub(crate) scopes: [InstrumentationScope; 2],
}

/// Where the pods run: on each node one of the busy services each, and one of the others.
const PLACES: [[Service; PODS_PER_NODE]; NODES] = {
    use Service::{Cart, Checkout, Email, Frontend, Inventory, Payment, Recommendation, Shipping};
    [
        [Frontend, Cart, Checkout, Inventory, Recommendation, Payment],
        [Frontend, Cart, Checkout, Inventory, Recommendation, Shipping],
        [Frontend, Cart, Checkout, Inventory, Recommendation, Email],
        [Frontend, Cart, Checkout, Inventory, Recommendation, Shipping],
    ]
};

/// All pods, and which of them are whose.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) pods: Vec<Pod>,
    of_service: [Vec<usize>; Service::ALL.len()],
}

impl World {
    pub(crate) fn new(rng: &mut ChaCha8Rng) -> Self {
        let places =
            PLACES.iter().enumerate().flat_map(|(node, services)| services.map(|service| (node, service)));
        let pods: Vec<_> =
            places.enumerate().map(|(index, (node, service))| pod(index, node, service, rng)).collect();
        let of_service =
            Service::ALL.map(|service| (0..pods.len()).filter(|&pod| pods[pod].service == service).collect());
        Self { pods, of_service }
    }

    /// Any instance of a service.
    pub(crate) fn pod_of(&self, service: Service, rng: &mut ChaCha8Rng) -> usize {
        let pods = &self.of_service[service as usize];
        pods[rng.random_range(0..pods.len())]
    }
}

fn pod(index: usize, node: usize, service: Service, rng: &mut ChaCha8Rng) -> Pod {
    let name = service.name();
    let [language, sdk, version] = service.build();
    let host = format!("ip-10-0-{}-{}.eu-central-1.compute.internal", node + 16, 20 + node * 7);
    let pod_name = format!("{name}-{:09x}-{:05x}", index * 0x1f3_5a79, rng.random_range(0..0x10_0000));
    let (high, low): (u64, u64) = (rng.random(), rng.random());
    let instance = format!("{:08x}-{:04x}-4{:03x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    let instance = format!("{instance}-8{:03x}-{:012x}", low >> 52, low & 0xffff_ffff_ffff);
    let resource = Resource {
        attributes: vec![
            text("service.name", name),
            text("service.namespace", "shop"),
            text("service.version", version),
            text("service.instance.id", instance),
            text("deployment.environment.name", "production"),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.language", language),
            text("telemetry.sdk.version", sdk),
            text("host.name", host.as_str()),
            text("k8s.namespace.name", "shop"),
            text("k8s.deployment.name", name),
            text("k8s.pod.name", pod_name),
            text("cloud.region", "eu-central-1"),
            int("process.pid", rng.random_range(1..400_i64)),
        ],
        ..Resource::default()
    };
    let scope = |[name, version]: [&str; 2]| InstrumentationScope {
        name: name.to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let address = format!("10.42.{node}.{}", 10 + index);
    Pod { service, node, address, resource, scopes: service.scopes().map(scope) }
}
