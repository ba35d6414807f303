//! The loads: what happens in each, one step after another, while queries of every kind are asked all the time.

use std::time::Duration;

/// One load, on a cluster of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) partitions: u32,
    /// Settings of all processes that differ from the defaults.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    pub(crate) steps: &'static [Step],
    /// For all steps together.
    pub(crate) limit: Duration,
    /// For one step that waits: until all is stored, or merged.
    pub(crate) patience: Duration,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many spans of the sample shop begin to come in; the next step does not wait for them.
    Load { spans: usize, per_second: usize },
    /// So many seconds pass.
    Pass(u64),
    /// All that was sent is acknowledged.
    Loaded,
    /// The ingester is killed and does not come back by itself.
    KillIngester,
    /// It comes back.
    StartIngester,
    /// A request of 1 MB: 2,600 spans of one trace, of a service that describes itself in 890 KB.
    FatRequest,
    /// So many spans of a service with an attribute of 18 KB.
    FatService(usize),
    /// So many spans, each with another value of one attribute.
    Cardinality(usize),
    /// Queries that group by that attribute, by steps of one second: one, then three at once.
    GroupByAll,
    /// So many queries at once that take much.
    Heavy(usize),
    /// Waits until blocks were merged and none waits for it.
    Merged,
    /// Waits until all that was acknowledged is in blocks, and is counted.
    Settled,
    /// The operator's commands: a deep audit, a replay of everything, and traces that are redacted. Queries end before.
    Operate,
}

use Step::{
    Cardinality, FatRequest, FatService, GroupByAll, Heavy, KillIngester, Load, Loaded, Merged, Operate,
    Pass, Settled, StartIngester,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Queries may take their time: this is about memory, and the machine has two cores for everything.
const TIMEOUT: (&str, &str) = ("VIVACE_QUERY_FRONTEND_QUERY_TIMEOUT", "2m");
const SOON_MISSED: (&str, &str) = ("VIVACE_KAFKA_SESSION_TIMEOUT", "6s");
const SMALL_BLOCKS: (&str, &str) = ("VIVACE_INGESTER_BLOCK_AGE_MAX", "5s");
const SOON_MERGED: (&str, &str) = ("VIVACE_COMPACTOR_LOOK_EVERY", "2s");
const FEW_MERGED: (&str, &str) = ("VIVACE_COMPACTOR_INPUTS_MIN", "4");
/// No merge but of many blocks of the largest size that an ingester makes.
const MANY_MERGED: (&str, &str) = ("VIVACE_COMPACTOR_INPUTS_MIN", "16");

/// What `make test` runs.
pub(crate) const SHORT: &[Row] = &[
    Row {
        name: "short: load",
        partitions: 4,
        settings: &[TIMEOUT, SOON_MISSED, SMALL_BLOCKS, SOON_MERGED],
        steps: &[
            Load { spans: 60_000, per_second: 3_000 },
            Pass(8),
            KillIngester,
            Pass(4),
            StartIngester,
            Loaded,
            Heavy(8),
            Settled,
        ],
        limit: MINUTE.saturating_mul(4),
        patience: MINUTE,
    },
    Row {
        name: "short: fat",
        partitions: 4,
        settings: &[TIMEOUT, SOON_MISSED, SMALL_BLOCKS, SOON_MERGED],
        steps: &[FatRequest, Settled],
        limit: MINUTE.saturating_mul(4),
        patience: MINUTE,
    },
];

/// What `make limits` runs.
pub(crate) const LONG: &[Row] = &[
    row("5000 spans/s", 15, &[Load { spans: 600_000, per_second: 5_000 }, Loaded, Settled]),
    row("10000 spans/s", 15, &[Load { spans: 1_000_000, per_second: 10_000 }, Loaded, Settled]),
    row("20000 spans/s", 15, &[Load { spans: 1_500_000, per_second: 20_000 }, Loaded, Settled]),
    row(
        "ingester missing",
        15,
        &[
            Load { spans: 300_000, per_second: 3_000 },
            Pass(20),
            KillIngester,
            Pass(60),
            StartIngester,
            Loaded,
            Settled,
        ],
    ),
    row(
        "outage of ten minutes",
        40,
        &[
            Load { spans: 3_000_000, per_second: 5_000 },
            Pass(10),
            KillIngester,
            Pass(600),
            StartIngester,
            Loaded,
            Settled,
        ],
    ),
    row(
        "backlog of 5 M spans",
        60,
        &[KillIngester, Load { spans: 5_000_000, per_second: 1_000_000 }, Loaded, StartIngester, Settled],
    ),
    Row {
        settings: &[TIMEOUT, SMALL_BLOCKS],
        ..row("fat attributes", 20, &[FatRequest, Pass(15), FatService(150_000), Pass(15), Settled])
    },
    row("high cardinality", 20, &[Cardinality(300_000), GroupByAll, Settled, GroupByAll]),
    row(
        "200 heavy queries",
        30,
        &[Load { spans: 600_000, per_second: 20_000 }, Loaded, Heavy(200), Settled, Heavy(200)],
    ),
    Row {
        partitions: 1,
        settings: &[TIMEOUT, SOON_MERGED, MANY_MERGED],
        ..row(
            "merges of the largest blocks",
            30,
            &[Load { spans: 2_600_000, per_second: 1_000_000 }, Loaded, Settled, Merged],
        )
    },
    Row {
        settings: &[TIMEOUT, SOON_MERGED, FEW_MERGED],
        ..row(
            "operator",
            30,
            &[Load { spans: 600_000, per_second: 20_000 }, FatRequest, Loaded, Settled, Operate],
        )
    },
];

const fn row(name: &'static str, minutes: u32, steps: &'static [Step]) -> Row {
    Row {
        name,
        partitions: 4,
        settings: &[TIMEOUT],
        steps,
        limit: MINUTE.saturating_mul(minutes),
        patience: MINUTE.saturating_mul(minutes / 2),
    }
}
