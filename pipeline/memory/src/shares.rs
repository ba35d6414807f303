//! How the budget of a process is shared out among its parts.
//! Owns: what of the limit is left for parts (the overhead), and each part's ceiling and guarantee.
//! Does not own: what the parts ask for; the binary collects that from the settings of the stages it runs.
//! Guarantee: guarantees never add up to more than the budget.

use vivace_model::ByteSize;

use crate::{Limit, LimitSource, Part};

/// Code, threads' stacks, the runtime, TLS, librdkafka's and the store's own buffers.
const OVERHEAD_FIXED: u64 = 40 << 20;
/// One part in so many of the limit is left to the allocator: size classes, freed pages that it keeps, what nobody counts.
const OVERHEAD_ONE_IN: u64 = 8;
/// An elastic part may take so much of what the others leave, in percent.
const ELASTIC_MAX_PERCENT: usize = 75;
/// So much of its share is always there for an elastic part, in percent.
const ELASTIC_GUARANTEED_PERCENT: usize = 25;

/// What to raise where the process as a whole is short.
pub(crate) const LIMIT_SETTING: &str = "VIVACE_MEMORY_LIMIT";

/// How a part's share is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Always there, whatever others take: for ingest, which must not wait for queries.
    Guaranteed,
    /// A quarter is always there; beyond it, whoever comes first may take what is free: for queries, merges and caches.
    Elastic,
}

/// What a stage would like to have for a part, by its settings.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The part.
    pub part: Part,
    /// The most that the setting allows.
    pub bytes: u64,
    /// The setting.
    pub setting: &'static str,
    /// How it is held.
    pub claim: Claim,
}

/// The share of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What it may take at most, in bytes.
    pub ceiling: usize,
    /// What others always leave to it, in bytes.
    pub guaranteed: usize,
    /// The setting that allows more.
    pub setting: &'static str,
}

/// The shares of all parts of a process.
#[derive(Clone, Debug)]
pub struct Shares {
    limit: Limit,
    budget: usize,
    guaranteed: Pool,
    elastic: Pool,
    parts: [Share; Part::COUNT],
}

/// What all demands of one kind of claim get together, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    demanded: usize,
    /// Less than is demanded where settings are scaled down.
    granted: usize,
}

impl Shares {
    /// Shares the limit out among the demands. What several stages ask of one part adds up.
    #[must_use]
    pub fn new(limit: Limit, demands: &[Demand]) -> Self {
        let overhead = OVERHEAD_FIXED + limit.bytes.0 / OVERHEAD_ONE_IN;
        let budget = ByteSize(limit.bytes.0.saturating_sub(overhead)).as_usize();
        let demanded = |claim: Claim| {
            let bytes = demands.iter().filter(|demand| demand.claim == claim).map(|demand| demand.bytes);
            ByteSize(bytes.fold(0, u64::saturating_add)).as_usize()
        };
        let (first, second) = (demanded(Claim::Guaranteed), demanded(Claim::Elastic));
        // Ingest gets what it asks for, as long as half is left for the others.
        let granted = first.min(budget.saturating_sub(second).max(budget / 2));
        let guaranteed = Pool { demanded: first, granted };
        let elastic = Pool { demanded: second, granted: second.min(budget - granted) };
        let scaled = granted < first || elastic.granted < second;
        let parts = Part::ALL.map(|part| {
            let setting = if scaled { LIMIT_SETTING } else { setting_of(part, demands) };
            Share { ceiling: 0, guaranteed: 0, setting }
        });
        let mut shares = Self { limit, budget, guaranteed, elastic, parts };
        shares.hand_out(demands);
        shares
    }

    /// No limit and no guarantee: everything is only counted. For tests and tools.
    #[must_use]
    pub fn unlimited() -> Self {
        let limit = Limit { bytes: ByteSize(u64::MAX), source: LimitSource::Assumed };
        let share = Share { ceiling: usize::MAX, guaranteed: 0, setting: LIMIT_SETTING };
        let (guaranteed, elastic) = (Pool::default(), Pool::default());
        Self { limit, budget: usize::MAX, guaranteed, elastic, parts: [share; Part::COUNT] }
    }

    /// Exactly these bytes as budget, and these ceilings and guarantees; a part that is not named gets nothing. For stages that stand alone,
    /// and for tests.
    ///
    /// # Panics
    /// If guarantees add up to more than the budget.
    #[must_use]
    pub fn exact(budget: usize, parts: &[(Part, usize, usize)]) -> Self {
        let mut shares = Self { budget, ..Self::unlimited() };
        shares.parts.iter_mut().for_each(|share| share.ceiling = 0);
        for (part, ceiling, guaranteed) in parts {
            let share = &mut shares.parts[part.index()];
            (share.ceiling, share.guaranteed) = (*ceiling, *guaranteed);
        }
        let guaranteed: usize = shares.parts.iter().map(|share| share.guaranteed).sum();
        assert!(guaranteed <= budget, "{guaranteed} bytes are guaranteed of {budget}");
        shares
    }

    /// The same, with the setting that allows more for a part.
    #[must_use]
    pub fn with_setting(mut self, part: Part, setting: &'static str) -> Self {
        self.parts[part.index()].setting = setting;
        self
    }

    fn hand_out(&mut self, demands: &[Demand]) {
        let mut elastic = [0; Part::COUNT];
        for demand in demands {
            let bytes = self.scaled(ByteSize(demand.bytes), demand.claim).as_usize();
            let share = &mut self.parts[demand.part.index()];
            share.ceiling = share.ceiling.saturating_add(bytes);
            match demand.claim {
                Claim::Guaranteed => share.guaranteed += bytes,
                Claim::Elastic => {
                    share.guaranteed += bytes / 100 * ELASTIC_GUARANTEED_PERCENT;
                    elastic[demand.part.index()] += bytes;
                }
            }
        }
        // Where settings were scaled down, an elastic part may take more than its share while others leave it, but not
        // more than its settings allow.
        let fixed: usize = self.parts.iter().zip(elastic).map(|(share, bytes)| share.ceiling - bytes).sum();
        let pool = self.budget.saturating_sub(fixed) / 100 * ELASTIC_MAX_PERCENT;
        for part in Part::ALL {
            let settings =
                demands.iter().filter(|demand| demand.part == part && demand.claim == Claim::Elastic);
            let settings = settings.map(|demand| demand.bytes).fold(0, u64::saturating_add);
            let (share, own) = (&mut self.parts[part.index()], elastic[part.index()]);
            share.ceiling += ByteSize(settings).as_usize().min(pool).saturating_sub(own);
        }
    }

    /// A setting in bytes, as far as it fits beside the others: itself, or its share of the budget. Stages start with
    /// settings scaled so.
    #[must_use]
    pub fn scaled(&self, setting: ByteSize, claim: Claim) -> ByteSize {
        let Pool { demanded, granted } = self.pool(claim);
        if demanded <= granted {
            return setting;
        }
        let scaled = u128::from(setting.0) * granted as u128 / demanded as u128;
        // Kibibytes, so that it is read easily where it is shown.
        ByteSize((u64::try_from(scaled).unwrap_or(u64::MAX) >> 10) << 10)
    }

    const fn pool(&self, claim: Claim) -> Pool {
        match claim {
            Claim::Guaranteed => self.guaranteed,
            Claim::Elastic => self.elastic,
        }
    }

    /// The limit of the process.
    #[must_use]
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// What is left of the limit for all parts together.
    #[must_use]
    pub const fn budget(&self) -> usize {
        self.budget
    }

    /// Whether settings had to be scaled down.
    #[must_use]
    pub const fn is_scaled(&self) -> bool {
        self.guaranteed.demanded > self.guaranteed.granted || self.elastic.demanded > self.elastic.granted
    }

    /// The share of a part.
    #[must_use]
    pub const fn of(&self, part: Part) -> Share {
        self.parts[part.index()]
    }

    /// One line for the log: `in_flight=64MiB recent=384MiB ...`, of parts that have a share.
    #[must_use]
    pub fn describe(&self) -> String {
        let parts = Part::ALL.into_iter().filter(|part| self.of(*part).ceiling > 0);
        let parts = parts.map(|part| format!("{part}={}MiB", self.of(part).ceiling >> 20));
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// The setting of a part's largest demand; that of the process where none is named.
fn setting_of(part: Part, demands: &[Demand]) -> &'static str {
    let largest = demands.iter().filter(|demand| demand.part == part).max_by_key(|demand| demand.bytes);
    largest.map_or(LIMIT_SETTING, |demand| demand.setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(mib: u64) -> Limit {
        Limit { bytes: ByteSize::mib(mib), source: LimitSource::Setting }
    }

    fn demand(part: Part, mib: u64, claim: Claim) -> Demand {
        Demand { part, bytes: mib << 20, setting: "VIVACE_TEST", claim }
    }

    #[test]
    fn settings_that_fit_stay_as_they_are() {
        let demands =
            [demand(Part::Recent, 384, Claim::Guaranteed), demand(Part::Caches, 64, Claim::Elastic)];
        let shares = Shares::new(limit(1024), &demands);
        assert!(!shares.is_scaled());
        assert_eq!(shares.scaled(ByteSize::mib(384), Claim::Guaranteed), ByteSize::mib(384));
        assert_eq!(
            (shares.of(Part::Recent).ceiling, shares.of(Part::Recent).guaranteed),
            (384 << 20, 384 << 20)
        );
        assert_eq!(shares.of(Part::Caches).ceiling, 64 << 20);
        assert_eq!(shares.of(Part::Caches).guaranteed, (64 << 20) / 100 * 25);
        assert_eq!(shares.of(Part::Groups).ceiling, 0, "nobody asked for it");
        assert_eq!(shares.describe(), "recent=384MiB caches=64MiB");
    }

    #[test]
    fn settings_that_do_not_fit_are_scaled_to_the_budget() {
        let demands =
            [demand(Part::Recent, 600, Claim::Guaranteed), demand(Part::Encode, 600, Claim::Guaranteed)];
        let shares = Shares::new(limit(640), &demands);
        assert_eq!(shares.budget(), (640 - 40 - 80) << 20);
        assert_eq!(shares.scaled(ByteSize::mib(600), Claim::Guaranteed), ByteSize::mib(260));
        assert_eq!(shares.of(Part::Encode).guaranteed, 260 << 20);
    }

    #[test]
    fn elastic_parts_may_borrow_from_each_other_but_not_from_ingest() {
        let demands = [
            demand(Part::Recent, 400, Claim::Guaranteed),
            demand(Part::Groups, 400, Claim::Elastic),
            demand(Part::Answers, 400, Claim::Elastic),
        ];
        let shares = Shares::new(limit(480), &demands);
        assert_eq!(shares.budget(), 380 << 20);
        assert_eq!(shares.of(Part::Recent).guaranteed, 190 << 20, "ingest has half of it");
        assert_eq!(shares.scaled(ByteSize::mib(400), Claim::Elastic), ByteSize::mib(95));
        let groups = shares.of(Part::Groups);
        assert!(groups.ceiling > 95 << 20 && groups.ceiling <= 190 << 20, "{groups:?}");
        let guaranteed: usize = Part::ALL.iter().map(|part| shares.of(*part).guaranteed).sum();
        assert!(guaranteed <= shares.budget());
    }

    #[test]
    fn ingest_is_scaled_only_below_half() {
        let demands =
            [demand(Part::Recent, 200, Claim::Guaranteed), demand(Part::Groups, 900, Claim::Elastic)];
        let shares = Shares::new(limit(640), &demands);
        assert_eq!(shares.of(Part::Recent).ceiling, 200 << 20);
        assert_eq!(shares.scaled(ByteSize::mib(900), Claim::Elastic), ByteSize::mib(320));
        assert!(shares.is_scaled());
    }

    #[test]
    fn a_part_says_which_of_its_settings_to_raise() {
        let small = Demand { setting: "VIVACE_SMALL", ..demand(Part::Decode, 1, Claim::Elastic) };
        let large = Demand { setting: "VIVACE_LARGE", ..demand(Part::Decode, 2, Claim::Elastic) };
        let shares = Shares::new(limit(1024), &[small, large]);
        assert_eq!(shares.of(Part::Decode).setting, "VIVACE_LARGE");
        let scaled = Shares::new(limit(128), &[demand(Part::Recent, 999, Claim::Guaranteed)]);
        assert_eq!(scaled.of(Part::Recent).setting, LIMIT_SETTING, "the part's own would not help");
    }
}
