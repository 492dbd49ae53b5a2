//! Operations packed into transactions: a Service stays whole as long as it fits, and order is never given up.

use super::EncodedLen;
use super::ops::Op;
use crate::nft::state::Batch;

/// The operations of one Service, in safe order, and the flows to end once they are done.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) ops: Vec<Op>,
    flush: Vec<u32>,
}

impl Group {
    /// A group; `ops` are in order.
    pub(super) fn new(ops: Vec<Op>, flush: Vec<u32>) -> Self {
        Self { ops, flush }
    }
}

/// Packs groups in order; also the sum of all sizes. A group larger than `bytes_max` is cut between operations, which
/// is safe because of their order.
pub(super) fn pack(groups: Vec<Group>, bytes_max: usize, encoded_len: EncodedLen<'_>) -> (Vec<Batch>, usize) {
    let mut batches = Vec::new();
    let mut batch = Batch::default();
    let mut filled = 0;
    let mut total = 0;
    for group in groups {
        let sizes: Vec<usize> = group.ops.iter().map(|op| size(op, encoded_len)).collect();
        let whole: usize = sizes.iter().sum();
        total += whole;
        if filled + whole > bytes_max {
            flush(&mut batch, &mut filled, &mut batches);
        }
        for (op, size) in group.ops.into_iter().zip(sizes) {
            if filled > 0 && filled + size > bytes_max {
                flush(&mut batch, &mut filled, &mut batches);
            }
            batch.delete.extend(op.delete);
            batch.add.extend(op.add);
            filled += size;
        }
        batch.flush.extend(group.flush);
    }
    flush(&mut batch, &mut filled, &mut batches);
    (batches, total)
}

fn flush(batch: &mut Batch, filled: &mut usize, batches: &mut Vec<Batch>) {
    *filled = 0;
    let done = std::mem::take(batch);
    if done != Batch::default() {
        batches.push(done);
    }
}

fn size(op: &Op, encoded_len: EncodedLen<'_>) -> usize {
    op.delete.iter().chain(&op.add).map(encoded_len).sum()
}
