//! Limits as the files of version 1, one controller at a time.

use super::{Limits, PERIOD, Setting, needed, optional, quota, shares};
use crate::limits::CONTAINER_PIDS;

/// The controllers that limits need.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// What to write into the group of a container.
pub(super) fn values(controller: &str, limits: &Limits) -> Vec<Setting> {
    match controller {
        "memory" => {
            let memory = limits.memory.iter();
            // Memory and swap together; without swap accounting the file is not there.
            memory
                .flat_map(|bytes| {
                    [needed("memory.limit_in_bytes", bytes), optional("memory.memsw.limit_in_bytes", bytes)]
                })
                .collect()
        }
        "cpu" => {
            let mut all: Vec<_> = limits.cpu_request.iter().map(|milli| needed("cpu.shares", shares(*milli))).collect();
            if let Some(milli) = limits.cpu {
                all.extend([needed("cpu.cfs_period_us", PERIOD), needed("cpu.cfs_quota_us", quota(milli))]);
            }
            all
        }
        _ => vec![optional("pids.max", CONTAINER_PIDS)],
    }
}
