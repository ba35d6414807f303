/// The one of `known` that `name` was probably meant to be: the fewest letters to change, and at most a quarter of them.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|candidate| (distance(name, candidate), *candidate)).min()?;
    (best.0 <= name.len() / 4).then_some(best.1)
}

/// Letters to insert, delete or replace (Levenshtein), over bytes: variable names are ASCII.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["VIVACE_KAFKA_BROKERS", "VIVACE_STORAGE_URL"];
        assert_eq!(nearest("VIVACE_KAFKA_BROKER", &known), Some("VIVACE_KAFKA_BROKERS"));
        assert_eq!(nearest("VIVACE_STORGE_URI", &known), Some("VIVACE_STORAGE_URL"));
        assert_eq!(nearest("VIVACE_COMPLETELY_ELSEWHERE", &known), None);
        assert_eq!(nearest("VIVACE_X", &[]), None);
    }
}
