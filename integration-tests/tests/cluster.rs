//! A million spans through real Kafka and S3, each stage a process of its own, while an ingester is killed and comes
//! back, another joins, the broker and the distributor are killed and come back, and an ingester leaves: every
//! acknowledged trace is whole, at each step and after, and a count of all spans that never pauses is exact at every moment.

use std::sync::Arc;
use std::time::Duration;

use vivace_integration_tests::{
    Acknowledged, Checker, Cluster, Counter, Load, LoadOptions, SHOP_SECONDS, all_stored_once, bounded,
};

const TEST_LIMIT: Duration = Duration::from_secs(360);
const PARTITIONS: u32 = 4;
const BLOCK_AGE: Duration = Duration::from_secs(5);
const LOAD: LoadOptions = LoadOptions { senders: 4, spans: 1_000_000, spans_per_second: 15_000, seed: 1 };

/// Traces that are asked for at each step, and at the end; all others are looked up in the blocks.
const SAMPLE: usize = 100;
const SAMPLE_AT_THE_END: usize = 5_000;

/// Counts that have to be answered in the meantime: far fewer than are on any machine.
const COUNTS_MIN: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary, Kafka and S3"]
async fn every_acknowledged_trace_stays_whole_while_processes_die() {
    bounded(TEST_LIMIT, async {
        let mut cluster = Cluster::start(PARTITIONS, 2, BLOCK_AGE).await.expect("the cluster starts");
        let noted = Arc::new(Acknowledged::default());
        let mut checker = Checker::new(cluster.frontend.client(), Arc::clone(&noted));
        let counter = Counter::start(&cluster.frontend.api(), SHOP_SECONDS, &noted).expect("an address");
        let mut load = Load::start(&cluster.distributor.otlp_grpc(), &noted, LOAD).expect("the load starts");

        load.reached(0.10).await.expect("spans go in");
        checker.check("all is well", SAMPLE).await.expect("whole");

        cluster.ingesters[0].sigkill().expect("it ran");
        checker.check("an ingester was killed", SAMPLE).await.expect("whole");
        load.reached(0.30).await.expect("spans go in");
        cluster.ingesters[0].spawn().expect("it starts");
        cluster.ingesters[0].wait_ready().await.expect("it is ready again");
        checker.check("the ingester is back", SAMPLE).await.expect("whole");

        load.reached(0.45).await.expect("spans go in");
        cluster.add_ingester().await.expect("one more ingester starts");
        checker.check("one more ingester joined", SAMPLE).await.expect("whole");

        load.reached(0.60).await.expect("spans go in");
        cluster.kafka.kill().expect("the broker ran");
        cluster.kafka.restart().await.expect("the broker is back");
        checker.check("the broker was restarted", SAMPLE).await.expect("whole");

        // Its senders get no answer and send again what may have been taken already.
        load.reached(0.70).await.expect("spans go in");
        cluster.distributor.sigkill().expect("it ran");
        cluster.distributor.spawn().expect("it starts");
        cluster.distributor.wait_ready().await.expect("it is ready again");
        checker.check("the distributor was killed", SAMPLE).await.expect("whole");

        load.reached(0.80).await.expect("spans go in");
        cluster.ingesters[1].sigterm().await.expect("an ingester stops well");
        checker.check("an ingester left", SAMPLE).await.expect("whole");
        cluster.ingesters[1].spawn().expect("it starts");

        load.finished().await.expect("everything is acknowledged");
        checker.check("all is sent", SAMPLE).await.expect("whole");
        let store = cluster.store().expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
        checker.check("all is stored", SAMPLE_AT_THE_END).await.expect("whole");
        let counts = counter.finish().await.expect("every count was exact");
        assert!(counts >= COUNTS_MIN, "only {counts} counts were answered");
        cluster.running().expect("nothing ended by itself");
    })
    .await;
}
