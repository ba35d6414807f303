//! Nested-set numbers of one trace's spans: what makes structural questions comparisons of numbers.
//! Owns: the numbering of forests: a trace may miss spans, repeat span ids or even hold a cycle.

/// Numbers traces one after the other, re-using its memory.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    by_id: Vec<([u8; 8], u32)>,
    parent: Vec<u32>,
    first_child: Vec<u32>,
    next_sibling: Vec<u32>,
    stack: Vec<(u32, u32)>,
}

const NONE: u32 = u32::MAX;
/// What [`crate::schema::NESTED_SET_PARENT`] holds for a span that has no parent.
const NO_PARENT: i32 = -1;
/// What it holds for a span whose parent is not here.
const ORPHAN: i32 = 0;

impl Numbering {
    /// Appends the numbers of a trace's spans, given as (span id, parent's span id) in their order of start, and returns
    /// the position of the trace's root: the first span without a parent.
    ///
    /// Spans without a parent, and those whose parent is not among them, are the roots of trees of their own, numbered
    /// one after the other from 1. Of several spans with one id the first is the parent of the children. A cycle is
    /// cut open at its first span.
    pub(crate) fn number(
        &mut self,
        nodes: impl ExactSizeIterator<Item = ([u8; 8], Option<[u8; 8]>)> + Clone,
        left: &mut Vec<i32>,
        right: &mut Vec<i32>,
        parent: &mut Vec<i32>,
    ) -> Option<usize> {
        let count = nodes.len();
        let base = left.len();
        for column in [&mut *left, &mut *right, &mut *parent] {
            column.resize(base + count, 0);
        }
        self.link(nodes.clone());
        let mut counter = 0;
        for (start, (_, parent_id)) in nodes.clone().enumerate() {
            if self.parent[start] == NONE {
                parent[base + start] = if parent_id.is_none() { NO_PARENT } else { ORPHAN };
                self.walk(start as u32, base, &mut counter, left, right, parent);
            }
        }
        // What no root leads to hangs on a cycle.
        for start in 0..count {
            if left[base + start] == 0 {
                parent[base + start] = ORPHAN;
                self.walk(start as u32, base, &mut counter, left, right, parent);
            }
        }
        nodes.clone().position(|(_, parent_id)| parent_id.is_none())
    }

    /// Finds each node's parent, and each parent's children in their order.
    fn link(&mut self, nodes: impl ExactSizeIterator<Item = ([u8; 8], Option<[u8; 8]>)> + Clone) {
        let count = nodes.len();
        self.by_id.clear();
        self.by_id.extend(nodes.clone().zip(0_u32..).map(|((id, _), position)| (id, position)));
        self.by_id.sort_unstable();
        for list in [&mut self.parent, &mut self.first_child, &mut self.next_sibling] {
            list.clear();
            list.resize(count, NONE);
        }
        for (position, (id, parent_id)) in nodes.clone().enumerate() {
            let Some(parent_id) = parent_id.filter(|parent_id| *parent_id != id) else {
                continue;
            };
            let at = self.by_id.partition_point(|(other, _)| *other < parent_id);
            if let Some(&(found, parent)) = self.by_id.get(at)
                && found == parent_id
            {
                self.parent[position] = parent;
            }
        }
        for position in (0..count).rev() {
            let parent = self.parent[position];
            if parent != NONE {
                self.next_sibling[position] = self.first_child[parent as usize];
                self.first_child[parent as usize] = position as u32;
            }
        }
    }

    fn walk(
        &mut self,
        start: u32,
        base: usize,
        counter: &mut i32,
        left: &mut [i32],
        right: &mut [i32],
        parent: &mut [i32],
    ) {
        let mut next = || {
            *counter += 1;
            *counter
        };
        left[base + start as usize] = next();
        self.stack.push((start, self.first_child[start as usize]));
        while let Some((node, child)) = self.stack.last_mut() {
            let here = base + *node as usize;
            if *child == NONE {
                right[here] = next();
                self.stack.pop();
                continue;
            }
            let current = *child;
            *child = self.next_sibling[current as usize];
            if left[base + current as usize] == 0 {
                left[base + current as usize] = next();
                parent[base + current as usize] = left[here];
                self.stack.push((current, self.first_child[current as usize]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> [u8; 8] {
        [0, 0, 0, 0, 0, 0, 0, n]
    }

    /// (left, right, parent) of each, and the root.
    fn number(nodes: &[(u8, u8)]) -> (Vec<(i32, i32, i32)>, Option<usize>) {
        let (mut left, mut right, mut parent) = (vec![], vec![], vec![]);
        let nodes = nodes.iter().map(|&(own, parent)| (id(own), (parent != 0).then(|| id(parent))));
        let nodes: Vec<_> = nodes.collect();
        let root = Numbering::default().number(nodes.iter().copied(), &mut left, &mut right, &mut parent);
        (left.into_iter().zip(right).zip(parent).map(|((l, r), p)| (l, r, p)).collect(), root)
    }

    #[test]
    fn tree_in_any_order() {
        let (numbers, root) = number(&[(2, 1), (1, 0), (3, 1), (4, 2)]);
        assert_eq!(numbers, [(2, 5, 1), (1, 8, -1), (6, 7, 1), (3, 4, 2)]);
        assert_eq!(root, Some(1));
    }

    #[test]
    fn orphans_keep_their_children() {
        let (numbers, root) = number(&[(5, 9), (6, 5), (1, 0)]);
        assert_eq!(numbers, [(1, 4, 0), (2, 3, 1), (5, 6, -1)]);
        assert_eq!(root, Some(2));
    }

    #[test]
    fn cycles_and_repeated_ids_end() {
        let (numbers, root) = number(&[(1, 2), (2, 1), (3, 3), (7, 0), (7, 0), (8, 7)]);
        assert_eq!(root, Some(3));
        assert_eq!(numbers[5].2, numbers[3].0, "the first span of an id is the parent");
        assert!(numbers.iter().all(|&(left, right, _)| 0 < left && left < right));
    }

    proptest! {
        #[test]
        fn intervals_nest_and_never_cross(nodes in prop::collection::vec((1..20_u8, 0..25_u8), 0..40)) {
            let (numbers, _) = number(&nodes);
            let mut seen: Vec<i32> = numbers.iter().flat_map(|&(l, r, _)| [l, r]).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..=2 * nodes.len() as i32).collect::<Vec<_>>());
            for &(l, r, parent) in &numbers {
                prop_assert!(l < r);
                for &(l2, r2, _) in &numbers {
                    prop_assert!(l2 >= r || r2 <= l || (l <= l2 && r2 <= r) || (l2 <= l && r <= r2));
                }
                if parent > 0 {
                    prop_assert!(numbers.iter().any(|&(l2, r2, _)| l2 == parent && l2 < l && r < r2));
                }
            }
        }
    }
}
