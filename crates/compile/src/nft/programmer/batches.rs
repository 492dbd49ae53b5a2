//! Differences packed into transactions: a Service stays whole as long as it fits, and order is never given up.

use std::collections::BTreeMap;

use super::EncodedLen;
use super::ops::{Op, diff};
use crate::nft::flows::Flush;
use crate::nft::held::Place;
use crate::nft::state::{Batch, Value};

/// What one Service (or several that exchange elements) held and will hold, and the flows to end once that is done.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) before: BTreeMap<Place, Value>,
    pub(super) after: BTreeMap<Place, Value>,
    pub(super) flush: Vec<Flush>,
}

impl Group {
    fn absorb(&mut self, other: Self) {
        self.before.extend(other.before);
        self.after.extend(other.after);
        self.flush.extend(other.flush);
    }
}

/// Makes one group of those between which an element moves, such as an address that goes from one Service to another:
/// it must be deleted and added in one transaction, and everything else must keep its order around that.
pub(super) fn join(groups: Vec<Group>) -> Vec<Group> {
    let mut leaving = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        leaving.extend(group.before.keys().filter(|place| !group.after.contains_key(*place)).map(|at| (at, index)));
    }
    // Each index leads to a lower one or to itself.
    let mut leader: Vec<usize> = (0..groups.len()).collect();
    for (index, group) in groups.iter().enumerate().filter(|_| !leaving.is_empty()) {
        let arriving = group.after.keys().filter(|place| !group.before.contains_key(*place));
        for giver in arriving.filter_map(|place| leaving.get(place)) {
            let (one, other) = (first(&leader, index), first(&leader, *giver));
            leader[one.max(other)] = one.min(other);
        }
    }
    let mut joined: BTreeMap<usize, Group> = BTreeMap::new();
    for (index, group) in groups.into_iter().enumerate() {
        joined.entry(first(&leader, index)).or_default().absorb(group);
    }
    joined.into_values().collect()
}

fn first(leader: &[usize], mut index: usize) -> usize {
    while leader[index] != index {
        index = leader[index];
    }
    index
}

/// Packs groups in order; also the sum of all sizes. A group larger than `bytes_max` is cut between operations, which
/// is safe because of their order.
pub(super) fn pack(groups: Vec<Group>, bytes_max: usize, encoded_len: EncodedLen<'_>) -> (Vec<Batch>, usize) {
    let mut batches = Vec::new();
    let mut batch = Batch::default();
    let mut filled = 0;
    let mut total = 0;
    for group in groups {
        let ops = diff(&group.before, &group.after);
        let sizes: Vec<usize> = ops.iter().map(|op| size(op, encoded_len)).collect();
        let whole: usize = sizes.iter().sum();
        total += whole;
        if filled + whole > bytes_max {
            close(&mut batch, &mut filled, &mut batches);
        }
        let mut sizes = sizes.into_iter();
        for run in runs(ops) {
            let size: usize = sizes.by_ref().take(run.len()).sum();
            if filled > 0 && filled + size > bytes_max {
                close(&mut batch, &mut filled, &mut batches);
            }
            for op in run {
                batch.delete.extend(op.delete);
                batch.add.extend(op.add);
            }
            filled += size;
        }
        batch.flush.extend(group.flush);
    }
    close(&mut batch, &mut filled, &mut batches);
    (batches, total)
}

/// Operations that belong into one transaction, together.
fn runs(ops: Vec<Op>) -> impl Iterator<Item = Vec<Op>> {
    let mut ops = ops.into_iter();
    std::iter::from_fn(move || {
        let mut run = vec![ops.next()?];
        while run.last().is_some_and(|op| op.with_next) {
            run.extend(Some(ops.next()?));
        }
        Some(run)
    })
}

fn close(batch: &mut Batch, filled: &mut usize, batches: &mut Vec<Batch>) {
    *filled = 0;
    let done = std::mem::take(batch);
    if done != Batch::default() {
        batches.push(done);
    }
}

fn size(op: &Op, encoded_len: EncodedLen<'_>) -> usize {
    op.delete.iter().chain(&op.add).map(encoded_len).sum()
}
