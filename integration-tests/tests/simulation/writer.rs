//! Clients that send spans, as a distributor would put them on the log, and note what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};
use vivace_log::{Log, NewRecord};
use vivace_model::{TenantId, TraceId};

use crate::plan::dice;
use crate::spans::{TENANT_HEADER, value};
use crate::world::World;

/// A record is sent that often before it is given up.
const ATTEMPTS_MAX: usize = 3;
/// Longest pause between two records.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// Sends records until the time is over.
pub(crate) async fn write(world: Arc<World>, index: usize, until: Instant) {
    let mut dice = dice(world.plan.seed, &format!("writer {index}"));
    while Instant::now() < until {
        let burst = if dice.random_bool(0.1) { dice.random_range(2..=6) } else { 1 };
        let mut records = Vec::new();
        for _ in 0..burst {
            records.push(if dice.random_bool(world.plan.garbage) {
                garbage(&world, &mut dice)
            } else {
                record(&world, &mut dice)
            });
        }
        send(&world, index, &mut dice, records).await;
        sleep(PAUSE_MAX.mul_f64(dice.random_range(0.0..=1.0))).await;
    }
}

/// Sends some records in the calm.
pub(crate) async fn write_once(world: &World) {
    let mut dice = dice(world.plan.seed, "morning");
    let records: Vec<_> = world.model.traces.iter().map(|_| record(world, &mut dice)).collect();
    send(world, usize::MAX, &mut dice, records).await;
}

/// A record to send, and what is acknowledged with it.
struct Outgoing {
    record: NewRecord,
    tenant: TenantId,
    spans: Vec<(TraceId, u64)>,
}

/// Sends records in one append, and again if it fails.
async fn send(world: &World, index: usize, dice: &mut ChaCha8Rng, records: Vec<Outgoing>) {
    for _ in 0..ATTEMPTS_MAX {
        let batch: Vec<_> = records.iter().map(|outgoing| outgoing.record.clone()).collect();
        match world.log.append(&world.topics.spans, batch).await {
            Ok(offsets) => {
                for outgoing in &records {
                    world.model.ack(&outgoing.tenant, &outgoing.spans);
                }
                let spans: usize = records.iter().map(|outgoing| outgoing.spans.len()).sum();
                world
                    .journal
                    .note(format_args!("writer {index} has {spans} spans acknowledged at {offsets:?}"));
                return;
            }
            Err(error) => world.journal.note(format_args!("writer {index}: {error}")),
        }
        if dice.random_bool(0.3) {
            return;
        }
        sleep(PAUSE_MAX.mul_f64(dice.random_range(0.0..=1.0))).await;
    }
}

fn record(world: &World, dice: &mut ChaCha8Rng) -> Outgoing {
    let partitions = world.plan.partitions;
    let first = world.model.traces.choose(dice).expect("there are traces").clone();
    let partition = first.partition(partitions);
    let beside = |trace: &&crate::spans::TraceKey| {
        trace.tenant == first.tenant && trace.partition(partitions) == partition
    };
    let traces: Vec<_> = world.model.traces.iter().filter(beside).collect();
    let count = dice.random_range(1..=5);
    let spans: Vec<_> = (0..count)
        .map(|_| (traces.choose(dice).expect("at least the first").id, world.model.fresh_span()))
        .collect();
    let named = first.tenant != TenantId::default() || dice.random_bool(0.5);
    let tenant = named.then(|| (TENANT_HEADER.to_owned(), Bytes::from(first.tenant.to_string())));
    let headers = tenant.into_iter().collect();
    let record = NewRecord { partition, key: None, headers, value: value(&spans) };
    Outgoing { record, tenant: first.tenant, spans }
}

/// A record that no ingester can store.
fn garbage(world: &World, dice: &mut ChaCha8Rng) -> Outgoing {
    let partition =
        world.model.traces.choose(dice).expect("there are traces").partition(world.plan.partitions);
    let mut headers = Vec::new();
    let value: Bytes = if dice.random_bool(0.5) {
        headers.push((TENANT_HEADER.to_owned(), Bytes::from_static(b"no/tenant")));
        value(&[(world.model.traces[0].id, world.model.fresh_span())])
    } else {
        vec![0xff; dice.random_range(1..=50)].into()
    };
    let record = NewRecord { partition, key: None, headers, value };
    Outgoing { record, tenant: TenantId::default(), spans: Vec::new() }
}
