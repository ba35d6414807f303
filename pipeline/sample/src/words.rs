//! The words that names and values are made of.

pub(crate) const USER_AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
    "ShopApp/7.4.1 (Android 16; Pixel 10)",
];
pub(crate) const CURRENCIES: [&str; 5] = ["EUR", "USD", "GBP", "CHF", "SEK"];
pub(crate) const COUNTRIES: [&str; 8] = ["DE", "FR", "US", "GB", "SE", "CH", "NL", "JP"];
pub(crate) const FLAGS: [&str; 6] =
    ["new-checkout", "fast-search", "related-v2", "guest-orders", "dark-mode", "one-click"];
pub(crate) const QUERIES: [&str; 10] = [
    "red+shoes",
    "coffee+grinder",
    "usb-c+cable",
    "tent+2+person",
    "desk+lamp",
    "running+jacket",
    "wool+socks",
    "espresso+cups",
    "bike+light",
    "notebook+a5",
];
/// Halves of keys that hardly any span has.
pub(crate) const RARE: [&str; 16] = [
    "shard", "bucket", "variant", "probe", "sampler", "legacy", "tenant", "region", "batch", "window",
    "replica", "backoff", "prefetch", "planner", "mirror", "canary",
];
/// `exception.stacktrace` by service, in the order of `Service::ALL`; what the services' languages would print.
pub(crate) const STACKS: [&str; 8] = [
    "    at ClientRequest.onError (/app/node_modules/@grpc/grpc-js/build/src/client.js:192:43)\n    at Object.onReceiveStatus (/app/node_modules/@grpc/grpc-js/build/src/client-interceptors.js:360:141)\n    at /app/node_modules/@grpc/grpc-js/build/src/resolving-call.js:129:78\n    at process.processTicksAndRejections (node:internal/process/task_queues:85:11)\n    at async handler (/app/dist/pages/api/route.js:41:20)",
    "goroutine 8123 [running]:\nshop/cart/internal/store.(*Redis).do(0xc0004a2000, {0x1a3f2c8, 0xc0007d8000})\n\t/src/internal/store/redis.go:118 +0x1d2\nshop/cart/internal/server.(*Cart).GetCart(0xc0003c4120)\n\t/src/internal/server/cart.go:64 +0x98\ngoogle.golang.org/grpc.(*Server).processUnaryRPC(0xc0001c6000)\n\t/go/pkg/mod/google.golang.org/grpc@v1.76.0/server.go:1431 +0xdf7",
    "goroutine 19044 [running]:\nshop/checkout/internal/order.(*Placer).Place(0xc000518000, {0x1c9e6b0, 0xc000a12450})\n\t/src/internal/order/place.go:203 +0x6a4\nshop/checkout/internal/server.(*Checkout).PlaceOrder(0xc000356180)\n\t/src/internal/server/checkout.go:88 +0x14c\ngoogle.golang.org/grpc.(*Server).handleStream(0xc0001d8000)\n\t/go/pkg/mod/google.golang.org/grpc@v1.76.0/server.go:1802 +0xe8b",
    "\tat shop.payment.gateway.GatewayClient.charge(GatewayClient.java:141)\n\tat shop.payment.ChargeService.chargeOnce(ChargeService.java:77)\n\tat shop.payment.ChargeService.charge(ChargeService.java:52)\n\tat shop.payment.grpc.PaymentGrpcService.charge(PaymentGrpcService.java:38)\n\tat io.grpc.stub.ServerCalls$UnaryServerCallHandler$UnaryServerCallListener.onHalfClose(ServerCalls.java:182)\n\tat java.base/java.lang.Thread.run(Thread.java:1583)",
    "\tat org.postgresql.core.v3.QueryExecutorImpl.receiveErrorResponse(QueryExecutorImpl.java:2734)\n\tat org.postgresql.jdbc.PgPreparedStatement.executeQuery(PgPreparedStatement.java:134)\n\tat com.zaxxer.hikari.pool.ProxyPreparedStatement.executeQuery(ProxyPreparedStatement.java:52)\n\tat shop.inventory.StockRepository.reserve(StockRepository.java:93)\n\tat shop.inventory.grpc.InventoryGrpcService.reserve(InventoryGrpcService.java:61)\n\tat java.base/java.lang.Thread.run(Thread.java:1583)",
    "   0: shop_shipping::carrier::Client::quote\n             at ./src/carrier.rs:87:14\n   1: shop_shipping::service::Shipping::quote::{{closure}}\n             at ./src/service.rs:52:31\n   2: tonic::server::grpc::Grpc<T>::unary::{{closure}}\n   3: tokio::runtime::task::harness::Harness<T,S>::poll",
    "Traceback (most recent call last):\n  File \"/app/recommendation/server.py\", line 71, in ListRecommendations\n    ranked = self.ranker.rank(candidates, limit=request.limit)\n  File \"/app/recommendation/ranker.py\", line 118, in rank\n    features = self.store.features([c.id for c in candidates])\n  File \"/app/recommendation/store.py\", line 46, in features\n    raise StoreTimeout(f\"no answer within {self.timeout}s\")",
    "/app/lib/email/mailer.rb:58:in 'Email::Mailer#deliver'\n/app/lib/email/consumer.rb:31:in 'block in Email::Consumer#run'\n/usr/local/bundle/gems/karafka-2.5.1/lib/karafka/base_consumer.rb:97:in 'Karafka::BaseConsumer#on_consume'\n/usr/local/bundle/gems/karafka-2.5.1/lib/karafka/processing/worker.rb:74:in 'Karafka::Processing::Worker#process'",
];
