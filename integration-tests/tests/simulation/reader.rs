//! The query path, from HTTP to blocks and ingesters, and clients that ask it for traces all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use prometheus_client::registry::Registry;
use prost::Message;
use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use vivace_block::{BlockReader, ReaderConfig};
use vivace_ledger::ViewKeeper;
use vivace_memory::Governor;
use vivace_model::{ByteSize, Clock, Offset, Overrides, Partition};
use vivace_proto::tempopb::TraceByIdResponse;
use vivace_querier::{Querier, RecentServices};
use vivace_query_frontend::QueryFrontend;
use vivace_runtime::{BuildInfo, Readiness, Watched};

use crate::node::Node;
use crate::plan::dice;
use crate::sabotage::Reads;
use crate::searcher::{Mood, Question};
use crate::sluggish::SluggishLog;
use crate::spans::{TENANT_HEADER, TraceKey, numbers_in};
use crate::world::World;

/// Longest pause between two questions of a client.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// One query-frontend with one querier.
#[derive(Debug)]
pub(crate) struct QueryPath {
    pub(crate) world: Arc<World>,
    pub(crate) router: Router,
    pub(crate) readiness: Readiness,
    _tasks: JoinSet<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) spans: Vec<u64>,
    through: BTreeMap<Partition, Offset>,
}

impl QueryPath {
    pub(crate) fn start(world: &Arc<World>, nodes: &[Node]) -> Arc<Self> {
        let (log, store) = (SluggishLog::prompt(world, Reads::Querier), world.shared_store());
        let recent = nodes.iter().fold(RecentServices::default(), |services, node| {
            services.with_local(node.address(), node.service())
        });
        // Every block is small here; kept whole, none would ever be missing or out of reach. What else is remembered
        // stays: a full cache drops things at times of its own, and the run would not repeat.
        let (none, all) = (ByteSize(0), ByteSize::mib(4096));
        let config = ReaderConfig {
            small_file_cache_bytes: none,
            filter_cache_bytes: all,
            index_cache_bytes: all,
            runs_cache_bytes: all,
            facts_cache_bytes: all,
            ..ReaderConfig::default()
        };
        let blocks = BlockReader::new(Arc::clone(&store), config, vivace_block::Metrics::default());
        let parts = vivace_querier::Parts {
            blocks: Arc::new(blocks),
            log: Arc::clone(&log),
            spans_topic: world.topics.spans.clone(),
            owners_topic: world.topics.owners.clone(),
            recent,
            memory: Governor::unlimited(),
            metrics: vivace_querier::Metrics::new(&mut Registry::default()),
        };
        let querier = Querier::new(vivace_querier::Config::default(), parts);
        let clock: Arc<dyn Clock> = Arc::<crate::world::SimulatedClock>::clone(&world.clock);
        let parts = vivace_query_frontend::Parts {
            views: ViewKeeper::new(store, &world.topics.spans, world.plan.partitions, Arc::clone(&clock)),
            clock,
            log,
            ledger_topic: world.topics.ledger.clone(),
            overrides: Watched::fixed(Overrides::default()),
            querier: Some(querier.service()),
            multitenancy_enabled: true,
            build: BuildInfo::new("0"),
            services: Arc::new(String::new),
            memory: Governor::unlimited(),
            metrics: vivace_query_frontend::Metrics::new(&mut Registry::default()),
        };
        let frontend = QueryFrontend::new(vivace_query_frontend::Config::default(), parts);
        let readiness = Readiness::new(CancellationToken::new());
        let (first, second) = (readiness.check("querier"), readiness.check("query-frontend"));
        let router = frontend.router();
        let mut tasks = JoinSet::new();
        tasks.spawn(
            async move { querier.run(first, CancellationToken::new()).await.expect("it never fails") },
        );
        tasks.spawn(
            async move { frontend.run(second, CancellationToken::new()).await.expect("it never fails") },
        );
        Arc::new(Self { world: Arc::clone(world), router, readiness, _tasks: tasks })
    }

    /// Asks for a trace.
    ///
    /// # Errors
    /// Status and text of the answer.
    pub(crate) async fn ask(&self, trace: &TraceKey) -> Result<Answer, String> {
        let request = Request::get(format!("/api/v2/traces/{}", trace.id))
            .header("accept", "application/protobuf")
            .header(TENANT_HEADER, trace.tenant.as_str())
            .body(Body::empty())
            .expect("it is a proper request");
        let response = self.router.clone().oneshot(request).await.expect("it never fails");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.map_err(|error| error.to_string())?;
        if head.status != StatusCode::OK {
            return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body)));
        }
        let answer = TraceByIdResponse::decode(body).expect("the answer is protobuf");
        assert_eq!(answer.status, 0, "the answer is partial: {}", answer.message);
        let mut numbers = numbers_in(answer.trace.unwrap_or_default().resource_spans);
        let spans = numbers.remove(&trace.id).unwrap_or_default();
        assert!(numbers.is_empty(), "the answer holds other traces: {numbers:?}");
        let through = head.headers.get("x-vivace-complete-through").expect("it is always said");
        let through = through.to_str().expect("it is text");
        Ok(Answer { spans, through: through.split(',').map(parse_through).collect() })
    }

    /// Asks for a trace and holds the answer against the truth.
    pub(crate) async fn ask_and_check(&self, trace: &TraceKey) -> Result<Answer, String> {
        let world = &self.world;
        let acked = world.model.acked(trace);
        let answer = self.ask(trace).await?;
        world.look().await;
        let partition = trace.partition(world.plan.partitions);
        let spans: BTreeSet<u64> = answer.spans.iter().copied().collect();
        let through = answer.through.get(&partition).copied().unwrap_or_default();
        // What is declared lost need not be told; whoever still has it may.
        let (left, _) = world.model.left_in(trace, Offset(u64::MAX));
        let acked = acked.intersection(&left).copied().collect::<BTreeSet<_>>();
        let (complete, _) = world.model.left_in(trace, through);
        let all = world.model.logged(trace);
        let check = |right: bool, what: &str, wrong: Vec<&u64>| {
            if !right {
                world.fail(format_args!(
                    "{what}: {wrong:?} of {trace:?} in partition {partition}, answer {answer:?}"
                ));
            }
        };
        check(spans.len() == answer.spans.len(), "spans are shown twice", Vec::new());
        check(acked.is_subset(&spans), "acknowledged spans are missing", acked.difference(&spans).collect());
        let missing = complete.difference(&spans).collect();
        check(complete.is_subset(&spans), "spans below the offset of completeness are missing", missing);
        check(
            spans.is_subset(&all),
            "spans that are not in the log are shown",
            spans.difference(&all).collect(),
        );
        Ok(answer)
    }
}

/// `vivace.spans/2@17`
fn parse_through(text: &str) -> (Partition, Offset) {
    let (name, offset) = text.rsplit_once('@').expect("topic/partition@offset");
    let (_, partition) = name.rsplit_once('/').expect("topic/partition");
    (Partition(partition.parse().expect("a number")), Offset(offset.parse().expect("a number")))
}

/// Questions of one client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
}

impl Asked {
    /// Notes how many spans an answer told of, or that there was none.
    fn note(
        &mut self,
        world: &World,
        index: usize,
        what: std::fmt::Arguments<'_>,
        result: Result<u64, String>,
    ) {
        match result {
            Ok(count) => {
                self.answered += 1;
                world.journal.note(format_args!("reader {index} sees {count} spans of {what}"));
            }
            Err(error) => {
                self.failed += 1;
                // Crashes and rebalances may make an answer late, but only the store can make it fail; or a retention, in
                // memory or in the log, shorter than the time that the store takes to show a new entry, as some seeds
                // have it; or files that are deleted as soon as they are replaced, by a wrong clock.
                let late = ["older than what is held", "no longer holds offset", "was not answered within"];
                let hasty = !world.plan.files_stay() && error.contains("its ledger had moved on meanwhile");
                let stale = late.iter().any(|late| error.contains(late)) || hasty;
                if !error.contains("faulty error") && !stale {
                    world.fail(format_args!("reader {index} has no answer about {what}: {error}"));
                }
                world.journal.note(format_args!("reader {index} sees nothing of {what}: {error}"));
            }
        }
    }
}

/// Asks for traces, and searches, until the time is over.
pub(crate) async fn read(path: Arc<QueryPath>, index: usize, until: Instant) -> Asked {
    let world = &path.world;
    let mut dice = dice(world.plan.seed, &format!("reader {index}"));
    let mut asked = Asked::default();
    while Instant::now() < until {
        let trace = world.model.traces.choose(&mut dice).expect("there are traces");
        if dice.random_bool(0.3) {
            let question = *Question::ALL.choose(&mut dice).expect("there are some");
            let result = path.search_and_check(&trace.tenant, question, Mood::Storm).await;
            asked.note(world, index, format_args!("{question:?} of {}", trace.tenant), result);
            sleep(PAUSE_MAX.mul_f64(dice.random_range(0.0..=1.0))).await;
            continue;
        }
        let short = &trace.id.to_string()[..6];
        let result = path.ask_and_check(trace).await.map(|answer| answer.spans.len() as u64);
        asked.note(world, index, format_args!("{short}"), result);
        sleep(PAUSE_MAX.mul_f64(dice.random_range(0.0..=1.0))).await;
    }
    asked
}
