//! What is known of a trace by its pieces.

use vivace_proto::internal::{FoundRoot, ServiceStats, TraceSummary};

/// Adds what another piece of the trace says. Services are in the order of their names.
pub fn merge_summary(known: &mut TraceSummary, more: TraceSummary) {
    if *known == TraceSummary::default() {
        *known = more;
        return;
    }
    if more == TraceSummary::default() {
        return;
    }
    known.start = known.start.min(more.start);
    known.end = known.end.max(more.end);
    known.root = match (known.root.take(), more.root) {
        (Some(known), Some(more)) => Some(if precedes(&more, &known) { more } else { known }),
        (known, more) => known.or(more),
    };
    known.services = merge_services(std::mem::take(&mut known.services), more.services);
}

/// Whether the root is rather this one: the earliest, then the one of the least span id.
fn precedes(this: &FoundRoot, other: &FoundRoot) -> bool {
    let key = |root: &FoundRoot| (root.start, root.span_id.clone(), root.name.clone(), root.service.clone());
    key(this) < key(other)
}

fn merge_services(mut known: Vec<ServiceStats>, more: Vec<ServiceStats>) -> Vec<ServiceStats> {
    known.extend(more);
    known.sort_by(|a, b| a.service.cmp(&b.service));
    known.dedup_by(|later, first| {
        let same = later.service == first.service;
        if same {
            first.spans = first.spans.saturating_add(later.spans);
            first.errors = first.errors.saturating_add(later.errors);
        }
        same
    });
    known
}
