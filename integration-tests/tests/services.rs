//! The services that the other tests stand on do what is taken for granted there.

use std::time::Duration;

use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error, PutMode, PutPayload};
use vivace_integration_tests::{KafkaBroker, S3Server, bounded};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs S3"]
async fn s3_creates_an_object_once() {
    bounded(Duration::from_secs(90), async {
        let server = S3Server::start().await.expect("the server starts");
        let store = server.store("prefix").expect("a store");
        for round in 0..5 {
            let path = Path::from(format!("object-{round}"));
            let puts = (0..8).map(|writer: u8| {
                store.put_opts(&path, PutPayload::from(vec![writer]), PutMode::Create.into())
            });
            let results = join_all(puts).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "one writer wins");
            for lost in results.into_iter().filter_map(Result::err) {
                assert!(matches!(lost, Error::AlreadyExists { .. }), "{lost}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn the_broker_comes_back_on_the_same_port() {
    bounded(Duration::from_secs(180), async {
        let mut kafka = KafkaBroker::start().await.expect("the broker starts");
        let address = kafka.brokers();
        kafka.kill().expect("it ran");
        assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "it is gone");
        kafka.restart().await.expect("it comes back");
        assert_eq!(kafka.brokers(), address);
        tokio::net::TcpStream::connect(&address).await.expect("it answers");
    })
    .await;
}
