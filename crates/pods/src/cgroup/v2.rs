//! Limits as the files of version 2.

use std::fs;
use std::io;
use std::path::Path;

use super::{Limits, PERIOD, Setting, needed, optional, quota, shares};
use crate::limits::CONTAINER_PIDS;

/// The controllers that limits need, as they are switched on.
pub(super) const SWITCH: &str = "+cpu +memory +pids";

/// What to write into the group of a container.
pub(super) fn values(limits: &Limits) -> Vec<Setting> {
    let mut all = vec![optional("pids.max", CONTAINER_PIDS)];
    if let Some(bytes) = limits.memory {
        // No swap, as Kubernetes does; a container that reaches its limit ends as a whole.
        let swap = optional("memory.swap.max", 0);
        all.extend([needed("memory.max", bytes), swap, optional("memory.oom.group", 1)]);
    }
    if let Some(milli) = limits.cpu {
        all.push(needed("cpu.max", format!("{} {PERIOD}", quota(milli))));
    }
    all.extend(limits.cpu_request.map(|milli| needed("cpu.weight", weight(shares(milli)))));
    all
}

/// Weight (1 to 10,000) for shares (2 to 262,144).
fn weight(shares: u64) -> u64 {
    1 + shares.saturating_sub(2).saturating_mul(9999) / 262_142
}

/// Switches the controllers on for the groups between `parent` (of the instance, where it was done) and `at`.
pub(super) fn pass_on(parent: &Path, at: &Path) -> io::Result<()> {
    let between = at.ancestors().skip(1).take_while(|above| *above != parent);
    for above in between.collect::<Vec<_>>().into_iter().rev() {
        fs::write(above.join("cgroup.subtree_control"), SWITCH)?;
    }
    // The files of a group appear once its parent has passed the controllers on.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_span_the_whole_range() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
