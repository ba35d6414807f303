//! The cells of the matrix: who fails, how, and while an ingester does what.

use std::fmt;

/// Who fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Distributor,
    Ingester,
    Compactor,
    Querier,
    Broker,
    ObjectStore,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is gone at once, and started again.
    Sigkill,
    /// It is asked to stop, and started again.
    Sigterm,
    /// It stands still for longer than the session timeout, and goes on then.
    Zombie,
    /// Its connections break, and cannot be made again for a while.
    Cut,
    /// The step fails before it did anything.
    ErrorBefore,
    /// The step is done, and its answer is an error.
    ErrorAfter,
    /// The step takes long to begin.
    SlowBefore,
    /// The step is done, and its answer takes long.
    SlowAfter,
    /// A record makes every ingester panic that seals it.
    Poison,
}

/// Between fetch and commit, and around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A distributor appends.
    TakingIn,
    /// An ingester has fetched records.
    Fetching,
    /// An ingester puts a block.
    Uploading,
    /// An ingester, or compactor, puts a ledger entry.
    Listing,
    /// An ingester commits offsets.
    Committing,
    /// A compactor merges blocks.
    Merging,
    /// A querier runs a job.
    Answering,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) target: Target,
    pub(crate) fault: Fault,
    pub(crate) step: Step,
}

impl Target {
    pub(crate) const ALL: [Self; 6] =
        [Self::Distributor, Self::Ingester, Self::Compactor, Self::Querier, Self::Broker, Self::ObjectStore];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Distributor => "distributor",
            Self::Ingester => "ingester",
            Self::Compactor => "compactor",
            Self::Querier => "querier",
            Self::Broker => "broker",
            Self::ObjectStore => "object-store",
        }
    }
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::Sigkill,
        Self::Sigterm,
        Self::Zombie,
        Self::Cut,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::SlowBefore,
        Self::SlowAfter,
        Self::Poison,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sigkill => "sigkill",
            Self::Sigterm => "sigterm",
            Self::Zombie => "zombie",
            Self::Cut => "cut",
            Self::ErrorBefore => "error-before",
            Self::ErrorAfter => "error-after",
            Self::SlowBefore => "slow-before",
            Self::SlowAfter => "slow-after",
            Self::Poison => "poison",
        }
    }
}

impl Step {
    pub(crate) const ALL: [Self; 7] = [
        Self::TakingIn,
        Self::Fetching,
        Self::Uploading,
        Self::Listing,
        Self::Committing,
        Self::Merging,
        Self::Answering,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TakingIn => "taking-in",
            Self::Fetching => "fetching",
            Self::Uploading => "uploading",
            Self::Listing => "listing",
            Self::Committing => "committing",
            Self::Merging => "merging",
            Self::Answering => "answering",
        }
    }

    /// The fail points before and after it.
    pub(crate) const fn points(self, target: Target) -> [&'static str; 2] {
        match self {
            Self::Listing if matches!(target, Target::Compactor) => ["compactor.merged", "compactor.listed"],
            Self::TakingIn => ["distributor.appending", "distributor.appended"],
            Self::Fetching => ["ingester.fetched", "ingester.decoded"],
            Self::Uploading => ["ingester.uploading", "ingester.uploaded"],
            Self::Listing => ["ingester.listing", "ingester.listed"],
            Self::Committing => ["ingester.committing", "ingester.committed"],
            Self::Merging => ["compactor.merging", "compactor.merged"],
            Self::Answering => ["querier.started", "querier.answered"],
        }
    }

    /// The pass at which the point acts: by then the process has found its place.
    pub(crate) const fn pass(self, target: Target) -> u32 {
        match self {
            Self::Listing if matches!(target, Target::Compactor) => 1,
            Self::Fetching => 10,
            Self::TakingIn | Self::Answering => 20,
            Self::Uploading | Self::Listing | Self::Committing => 3,
            Self::Merging => 1,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.target.name(), self.fault.name(), self.step.name())
    }
}

impl Cell {
    /// Every combination, possible or not.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Target::ALL.into_iter().flat_map(|target| {
            Fault::ALL
                .into_iter()
                .flat_map(move |fault| Step::ALL.into_iter().map(move |step| Self { target, fault, step }))
        })
    }

    /// Whether there is such a thing.
    ///
    /// # Errors
    /// The mark of the table's note that says why not.
    pub(crate) const fn possible(self) -> Result<(), &'static str> {
        use Fault::{ErrorAfter, ErrorBefore, Sigkill, Sigterm, SlowAfter, Zombie};
        use Step::{Answering, Committing, Fetching, Listing, Merging, TakingIn, Uploading};
        if matches!(self.fault, Fault::Poison) {
            return if matches!((self.target, self.step), (Target::Ingester, Uploading)) {
                Ok(())
            } else {
                Err("g")
            };
        }
        match (self.target, self.step) {
            (Target::Distributor, TakingIn)
            | (Target::Ingester, Fetching | Uploading | Listing | Committing)
            | (Target::Compactor, Merging | Listing)
            | (Target::Querier, Answering) => Ok(()),
            // What a reader sees while a block becomes visible.
            (Target::Querier, Listing) => match self.fault {
                Sigkill | Zombie | Fault::Cut => Ok(()),
                _ => Err("a"),
            },
            (Target::Distributor | Target::Ingester | Target::Compactor | Target::Querier, _) => Err("a"),
            (Target::Broker, TakingIn | Merging | Answering) => Err("b"),
            (Target::Broker, _) => match self.fault {
                ErrorBefore | ErrorAfter => Err("c"),
                SlowAfter => Err("d"),
                _ => Ok(()),
            },
            (Target::ObjectStore, Uploading | Listing | Merging | Answering) => match self.fault {
                Sigkill | Sigterm => Err("e"),
                _ => Ok(()),
            },
            (Target::ObjectStore, TakingIn | Fetching | Committing) => Err("f"),
        }
    }

    /// The cells that a quick run looks at: of each target the most telling.
    pub(crate) fn telling(self) -> bool {
        const TELLING: [&str; 11] = [
            "distributor/sigkill/taking-in",
            "ingester/sigkill/uploading",
            "ingester/sigkill/listing",
            "ingester/zombie/listing",
            "ingester/error-after/listing",
            "ingester/poison/uploading",
            "compactor/sigkill/listing",
            "querier/sigkill/answering",
            "broker/cut/committing",
            "object-store/cut/uploading",
            "object-store/error-after/listing",
        ];
        TELLING.contains(&self.to_string().as_str())
    }
}

/// Why cells are left out.
pub(crate) const NOTES: &[(&str, &str)] = &[
    ("a", "the process has no part in this step, or another cell of its row is the same for it"),
    ("b", "the prober writes and reads all the time, so these steps are hit by the cells beside"),
    (
        "c",
        "a proxy cannot put errors into Kafka's protocol; a cut connection is what clients see of a broker's errors",
    ),
    ("d", "a proxy slows both directions: the same as the row above"),
    ("e", "the tests' S3 server keeps its data in memory; a cut connection stands for its absence"),
    ("f", "the step does not use the object store"),
    ("g", "poison is a record, which strikes where blocks are made of it"),
];
