//! Files of blocks that no chain names: those that lay in the store before the run, and those that crashes leave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::RngExt;
use tokio::time::sleep;
use vivace_ledger::{BlockMeta, Chain, EntryBody, PartitionState, Proposal, block_path};
use vivace_model::{BlockId, Clock, Offset, OffsetRange, Partition, Spread, TenantId, UnixNanos};

use crate::dated::DatedStore;
use crate::plan::{Plan, dice};
use crate::sabotage::Sabotage;
use crate::world::{SimulatedClock, World};

/// Another topic whose chain is in the same store.
const OTHER_TOPIC: &str = "elsewhere";
/// How old what lay there before is.
const AGE: Duration = Duration::from_secs(48 * 60 * 60);
/// What is going on ends within that time, if nothing goes wrong.
const SETTLED: Duration = Duration::from_secs(30);
/// Clocks of two compactors differ by less.
const CLOCKS_DIFFER: Duration = Duration::from_secs(4 * 60 * 60);
/// After that time whatever is not named is an orphan for everyone.
const NIGHT: Duration = Duration::from_secs(30 * 60 * 60);

/// What lay in the store before anything began.
#[derive(Debug)]
pub(crate) struct Strays {
    /// Of use to someone else, or not understood.
    stay: BTreeSet<Path>,
}

impl Strays {
    /// Lays orphans into the store, and beside them files that only look like some.
    pub(crate) async fn lay(store: &DatedStore, plan: &Plan, clock: &Arc<SimulatedClock>) -> Self {
        let mut dice = dice(plan.seed, "orphans");
        let made = UnixNanos(clock.now().0 - u64::try_from(AGE.as_nanos()).unwrap_or(u64::MAX));
        let mut name = || {
            let id = BlockId::new(made, dice.random());
            (id, block_path(&TenantId::default(), &made.date(), id))
        };
        let (used, orphans) = (name(), [name(), name(), name()]);
        let foreign = Path::from("blocks/tenant=single-tenant/README.txt");
        if plan.sabotage == Some(Sabotage::TomorrowIsNow) {
            let id = BlockId::new(UnixNanos(clock.now().0 + 24 * 60 * 60 * 1_000_000_000), [0; 10]);
            let path = block_path(&TenantId::default(), "2026-05-29", id);
            store.put(&path, "of tomorrow".into()).await.expect("it is there");
        }
        for path in orphans.iter().map(|(_, path)| path).chain([&used.1, &foreign]) {
            store.put(path, "of yesterday".into()).await.expect("it is there");
            store.date_back(path, made);
        }
        let block = BlockMeta {
            id: used.0,
            tenant: TenantId::default(),
            date: made.date(),
            partition: Partition(0),
            spread: Spread::UNKNOWN,
            incarnation: 0,
            offsets: OffsetRange::new(Offset(0), Offset(1)),
            level: 0,
            rows: 1,
            traces: 1,
            bytes: 12,
            start_min: made,
            end_max: made,
            created: made,
        };
        let body = EntryBody::Ingested {
            offsets: block.offsets,
            blocks: vec![block],
            rejected: Vec::new(),
            last: None,
        };
        let clock = Arc::<SimulatedClock>::clone(clock);
        let chain = Chain::new(Arc::new(store.clone()), OTHER_TOPIC, Partition(0), clock);
        let empty = PartitionState::empty(OTHER_TOPIC, Partition(0));
        chain.append(&empty, &Proposal::new(body, dice.random())).await.expect("it is the first");
        Self { stay: BTreeSet::from([used.1, foreign]) }
    }
}

/// Whether compactors have deleted what nobody names, and nothing else.
///
/// # Errors
/// What still lies there although it is of no use.
pub(crate) async fn check(world: &World) -> Result<(), String> {
    let mut used = world.strays.stay.clone();
    let mut retired = BTreeSet::new();
    for partition in world.partitions() {
        let state = world.true_chain(partition).load().await.expect("the true chain is whole");
        used.extend(state.live().iter().chain(state.kept()).map(|block| block.path()));
        let patience = world.plan.compactor.grace + CLOCKS_DIFFER;
        let fresh = state.retired().iter().filter(|retired| world.clock.now().since(retired.at) < patience);
        retired.extend(fresh.map(|retired| retired.block.path()));
    }
    let found = world.store.inner().list(Some(&Path::from("blocks"))).map_ok(|file| file.location);
    let found: BTreeSet<Path> = found.try_collect().await.expect("the true store answers");
    if let Some(gone) = used.difference(&found).next() {
        world.fail(format_args!("{gone} is gone, although it is of use"));
    }
    // What is newest tells compactors the time. If nothing is written after the night, nothing is old.
    let made =
        |path: &Path| path.filename()?.strip_suffix(".parquet")?.parse().ok().map(|id: BlockId| id.made());
    let newest = found.iter().filter_map(made).max().unwrap_or(UnixNanos(0));
    let age_min = world.plan.compactor.orphan_age_min + CLOCKS_DIFFER;
    let useless = |path: &&Path| {
        let old = made(path).is_none_or(|made| newest.since(made) > age_min);
        old && !used.contains(*path) && !retired.contains(*path)
    };
    let useless: Vec<_> = found.iter().filter(useless).collect();
    match useless.first() {
        Some(first) if world.plan.night() => {
            Err(format!("{first} and {} more are of no use", useless.len() - 1))
        }
        _ => Ok(()),
    }
}

/// Lets a night go by, once everything that was going on has had the time to end.
pub(crate) async fn sleep_well(world: &World) {
    sleep(SETTLED).await;
    world.journal.note(format_args!("a night goes by"));
    world.clock.skip(NIGHT);
}
