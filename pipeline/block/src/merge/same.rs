//! Which rows say the same as an earlier one.
//! Guarantee: rows are equal only if all is: ids, times, attributes, events, links, resource and scope; in whichever
//! columns it stands.

use std::ops::Range;
use std::sync::Arc;

use super::pending::gather_rows;
use super::source::Source;
use super::target::Target;
use super::window::Place;
use crate::BlockError;
use crate::groups::Groups;
use crate::otlp::to_spans;

/// Rows that become messages at once. Messages take some kilobytes each.
const COMPARED_ROWS_MAX: usize = 4096;

/// Whether each of the rows is to be dropped. `suspects` are ranges of rows of which some may be equal.
pub(super) fn drop_repeated(
    sources: &[Arc<Source>],
    rows: &[Place],
    suspects: &[Range<usize>],
    target: &Target,
) -> Result<Vec<bool>, BlockError> {
    let mut repeated = vec![false; rows.len()];
    let mut rest = suspects;
    while !rest.is_empty() {
        let mut count = 0;
        let fits = rest.iter().take_while(|range| {
            count += range.len();
            count <= COMPARED_ROWS_MAX
        });
        let (some, more) = rest.split_at(fits.count().max(1));
        rest = more;
        let numbers: Vec<usize> = some.iter().cloned().flatten().collect();
        let places: Vec<Place> = numbers.iter().map(|number| rows[*number]).collect();
        let batch = gather_rows(sources, &places, target)?;
        let mut groups = Groups::default();
        let spans = to_spans(&batch, &mut groups)?;
        let mut first = 0;
        for range in some {
            let spans = &spans[first..first + range.len()];
            let mut kept: Vec<usize> = Vec::new();
            for (index, (place, span)) in spans.iter().enumerate() {
                let same = |&other: &usize| {
                    spans[other].0 == *place && groups.equality.same_span(&spans[other].1, span)
                };
                if kept.iter().any(same) {
                    repeated[numbers[first + index]] = true;
                } else {
                    kept.push(index);
                }
            }
            first += range.len();
        }
    }
    Ok(repeated)
}
