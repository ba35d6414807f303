//! Several writers race on one chain over a store that fails in every way it can, for hundreds of seeds.
//! Rerun a failure with `SEED=<seed>`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use vivace_model::{BlockId, Clock, ErrorKind, ManualClock, Partition, UnixNanos};

use crate::faults::{Faults, FaultyStore, Struck, seeds};
use crate::invariants::ChainCheck;
use crate::testing::{TOPIC, WRITTEN, block, paused, range};
use crate::{
    BlockMeta, Chain, Entry, EntryBody, LedgerError, Metrics, PartitionState, Proposal, Rejected, ViewKeeper,
};

const SEEDS: u64 = 200;
const INGESTERS: u64 = 3;
const COMPACTORS: u64 = 2;
/// Proposals of each writer.
const ROUNDS: u32 = 60;

/// What a writer was told about a proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Appended { sequence: u64 },
    Refused,
    Nothing,
}

/// All that a run leaves.
#[derive(Debug, Default)]
struct Run {
    told: HashMap<String, Told>,
    entries: Vec<Entry>,
    seen: Vec<PartitionState>,
    snapshots: BTreeMap<u64, Vec<u8>>,
    loaded: Option<PartitionState>,
    struck: Struck,
    snapshots_failed: u64,
}

/// What the writers of a run share.
#[derive(Clone, Debug)]
struct World {
    store: FaultyStore,
    metrics: Metrics,
    told: Arc<Mutex<HashMap<String, Told>>>,
    /// Every state that anyone was given.
    seen: Arc<Mutex<Vec<PartitionState>>>,
}

/// One writer: an ingester or a compactor, whichever bodies it makes.
struct Writer {
    world: World,
    chain: Chain,
    clock: Arc<ManualClock>,
    random: ChaCha8Rng,
}

impl Writer {
    fn new(world: &World, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Clocks of different machines differ.
        let ahead = random.random_range(0..60_000_000_000);
        let clock = Arc::new(ManualClock::new(UnixNanos(WRITTEN.0 + ahead)));
        let shared: Arc<dyn ObjectStore> = Arc::new(world.store.clone());
        let chain = Chain::new(shared, TOPIC, Partition(0), Arc::clone(&clock) as Arc<dyn Clock>)
            .with_metrics(world.metrics.clone());
        Self { world: world.clone(), chain, clock, random }
    }

    async fn run(mut self, next: fn(&mut Self, &PartitionState) -> Option<EntryBody>) {
        let mut state = self.load().await;
        for _ in 0..ROUNDS {
            let time = Duration::from_millis(self.random.random_range(0..1000));
            tokio::time::sleep(time).await;
            self.clock.advance(time * 300);
            let Some(body) = next(&mut self, &state) else {
                state = self.load().await;
                continue;
            };
            let proposal = Proposal::new(body, self.random.random());
            state = match self.append(state, &proposal).await {
                Some(state) => state,
                None => self.load().await,
            };
        }
    }

    /// Appends as the contract says; nothing if the writer gave up without knowing, as after a crash.
    async fn append(&mut self, mut known: PartitionState, proposal: &Proposal) -> Option<PartitionState> {
        loop {
            let told = match self.chain.append(&known, proposal).await {
                Ok(next) => {
                    let sequence = next.sequence();
                    self.world.told.lock().insert(proposal.writer().to_owned(), Told::Appended { sequence });
                    self.world.seen.lock().push(next.clone());
                    return Some(next);
                }
                Err(LedgerError::Conflict { current, .. }) => {
                    self.world.seen.lock().push(current.clone());
                    known = current;
                    Told::Refused
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => Told::Nothing,
                Err(error) if error.kind() == ErrorKind::Invalid => return Some(known),
                Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
            };
            self.world.told.lock().insert(proposal.writer().to_owned(), told);
            match (told, proposal.body()) {
                // An ingester whose offsets are taken drops its work; a compactor tries on top of what won.
                (Told::Refused, EntryBody::Ingested { .. } | EntryBody::Lost { .. }) => return Some(known),
                (Told::Nothing, _) if self.random.random_bool(0.3) => return None,
                _ => self.clock.advance(Duration::from_secs(600)),
            }
        }
    }

    async fn load(&self) -> PartitionState {
        loop {
            match self.chain.load().await {
                Ok(state) => return state,
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
            }
        }
    }

    fn fresh_block(&mut self, offsets: std::ops::Range<u64>) -> BlockMeta {
        let id = BlockId::new(self.clock.now(), self.random.random());
        let tenant = if self.random.random() { "a" } else { "b" }.parse().unwrap();
        let end_max = UnixNanos(self.random.random_range(200..1000));
        BlockMeta { id, tenant, end_max, ..block(0, offsets) }
    }

    fn ingest(&mut self, state: &PartitionState) -> Option<EntryBody> {
        let (start, length) = (state.end().0, self.random.random_range(1..100));
        let offsets = start..start + length;
        if self.random.random_bool(0.05) {
            return Some(EntryBody::Lost { offsets: range(offsets) });
        }
        let blocks = (0..self.random.random_range(0..4)).map(|_| self.fresh_block(offsets.clone())).collect();
        let rejected = match self.random.random_bool(0.1) {
            true => vec![Rejected { offset: state.end(), reason: "truncated".into(), spans: 1 }],
            false => vec![],
        };
        Some(EntryBody::Ingested { offsets: range(offsets), blocks, rejected })
    }

    fn compact(&mut self, state: &PartitionState) -> Option<EntryBody> {
        let first = state.live().choose(&mut self.random)?;
        if self.random.random_bool(0.2) {
            return Some(EntryBody::Expired { blocks: vec![first.id] });
        }
        let same_tenant: Vec<_> = state.live().iter().filter(|block| block.tenant == first.tenant).collect();
        let inputs: Vec<_> = same_tenant.sample(&mut self.random, 3).collect();
        let start = inputs.iter().map(|block| block.offsets.start.0).min()?;
        let end = inputs.iter().map(|block| block.offsets.end.0).max()?;
        let rows = inputs.iter().map(|block| block.rows).sum();
        let output =
            BlockMeta { tenant: first.tenant.clone(), rows, level: 1, ..self.fresh_block(start..end) };
        Some(EntryBody::Compacted {
            inputs: inputs.iter().map(|block| block.id).collect(),
            outputs: vec![output],
            duplicates: 0,
            expired: 0,
        })
    }
}

/// Times in which hardly a call succeeds, so that writers give up without knowing what became of their entry.
async fn storms(store: FaultyStore, mut random: ChaCha8Rng) {
    let storm = Faults { error_before: 0.5, error_after: 0.3, late: 0.5, ..Faults::ROUGH };
    loop {
        for (faults, longest) in [(Faults::ROUGH, 10_000), (storm, 10_000), (Faults::OUTAGE, 3_000)] {
            store.set_faults(faults);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..longest))).await;
        }
    }
}

/// A reader: what it sees never goes back, and is checked against the chain afterwards.
async fn read(keeper: ViewKeeper, mut random: ChaCha8Rng) -> Vec<PartitionState> {
    let mut seen: Vec<PartitionState> = Vec::new();
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2000))).await;
        match keeper.refresh(Partition(0)).await {
            Ok(state) => {
                assert!(seen.last().is_none_or(|last| last.sequence() <= state.sequence()));
                seen.push(state);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    seen
}

fn run(seed: u64) -> Run {
    paused(async {
        let store = FaultyStore::new(seed, Faults::ROUGH);
        let world = World {
            store: store.clone(),
            metrics: Metrics::default(),
            told: Arc::default(),
            seen: Arc::default(),
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut writers = JoinSet::new();
        for _ in 0..INGESTERS {
            writers.spawn(Writer::new(&world, random.next_u64()).run(Writer::ingest));
        }
        for _ in 0..COMPACTORS {
            writers.spawn(Writer::new(&world, random.next_u64()).run(Writer::compact));
        }
        let clock = Arc::new(ManualClock::new(WRITTEN));
        let keeper = ViewKeeper::new(Arc::new(store.clone()), TOPIC, 1, clock);
        let mut weather = JoinSet::new();
        weather.spawn(storms(store.clone(), ChaCha8Rng::seed_from_u64(random.next_u64())));
        let seen = read(keeper.clone(), random).await;
        writers.join_all().await;
        weather.shutdown().await;
        store.heal().await;

        let mut run = Run { struck: store.struck(), ..Run::default() };
        run.told = std::mem::take(&mut *world.told.lock());
        run.seen = std::mem::take(&mut *world.seen.lock());
        run.seen.extend(seen);
        run.snapshots_failed = world.metrics.snapshots_failed.get();
        let objects: Vec<_> = store.inner().list(None).try_collect().await.unwrap();
        for object in objects {
            let json = store.inner().get(&object.location).await.unwrap().bytes().await.unwrap();
            let name = object.location.filename().unwrap().trim_end_matches(".json").to_owned();
            match name.strip_prefix("snapshot-") {
                Some(number) => drop(run.snapshots.insert(number.parse().unwrap(), json.to_vec())),
                None => run.entries.push(Entry::decode(&json).unwrap()),
            }
        }
        run.entries.sort_by_key(|entry| entry.sequence);
        // A reader that starts anew and one that followed all along agree.
        let state = Writer::new(&world, 0).load().await;
        assert_eq!(keeper.refresh(Partition(0)).await.unwrap(), state);
        run.loaded = Some(state);
        run
    })
}

impl Run {
    fn check(&self) {
        // The chain keeps its rules, and folds into what whoever read it saw at any time.
        let mut states = vec![PartitionState::empty(TOPIC, Partition(0))];
        let mut check = ChainCheck::default();
        for entry in &self.entries {
            check.push(entry).unwrap();
            let state = states.last().unwrap().apply(entry).unwrap();
            check.check_state(&state).unwrap();
            states.push(state);
        }
        assert_eq!(self.loaded.as_ref(), states.last());
        for state in &self.seen {
            assert_eq!(*state, states[usize::try_from(state.sequence()).unwrap()]);
        }
        for (sequence, json) in &self.snapshots {
            let json: serde_json::Value = serde_json::from_slice(json).unwrap();
            let state = &states[usize::try_from(*sequence).unwrap()];
            assert_eq!(json["state"], serde_json::to_value(state.folded()).unwrap());
        }
        // What a writer was told is so: appended is there, under that number and no other; refused is not there.
        let mut listed = HashMap::<_, Vec<_>>::new();
        for entry in &self.entries {
            listed.entry(entry.writer.as_str()).or_default().push(entry.sequence);
        }
        for (writer, told) in &self.told {
            let listed = listed.remove(writer.as_str()).unwrap_or_default();
            match told {
                Told::Appended { sequence } => assert_eq!(listed, [*sequence], "{writer}"),
                Told::Refused => assert_eq!(listed, [0_u64; 0], "{writer}"),
                Told::Nothing => assert!(listed.len() <= 1, "{writer} {listed:?}"),
            }
        }
        assert!(listed.is_empty(), "nobody proposed {listed:?}");
    }

    fn count(&self, wanted: fn(&Told) -> bool) -> usize {
        self.told.values().filter(|told| wanted(told)).count()
    }
}

/// Says which seed failed, whatever it was that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("rerun with SEED={}", self.0);
        }
    }
}

#[test]
fn racing_writers_leave_one_whole_chain() {
    let mut runs = Vec::new();
    for seed in seeds(SEEDS) {
        let named = Named(seed);
        let run = run(seed);
        run.check();
        runs.push(run);
        drop(named);
    }
    if runs.len() < 2 {
        return;
    }
    // The test is of use only if all of it happened.
    let sum = |count: fn(&Run) -> usize| runs.iter().map(count).sum::<usize>();
    let least = runs.len();
    assert!(sum(|run| run.count(|told| matches!(told, Told::Appended { .. }))) > 50 * least);
    assert!(sum(|run| run.count(|told| *told == Told::Refused)) > 5 * least);
    assert!(sum(|run| run.count(|told| *told == Told::Nothing)) > least);
    assert!(sum(|run| run.snapshots.len()) > least);
    assert!(runs.iter().any(|run| run.snapshots_failed > 0));
    assert!(runs.iter().all(|run| run.struck.late > 0 && run.struck.repeated > 0 && run.struck.stale > 0));
    assert!(runs.iter().all(|run| run.struck.errors_before > 0 && run.struck.errors_after > 0));
}

#[test]
fn a_race_repeats_by_its_seed() {
    for seed in seeds(5) {
        assert_eq!(run(seed).entries, run(seed).entries, "SEED={seed}");
    }
}
