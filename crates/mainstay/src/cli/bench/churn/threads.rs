//! The threads of this process in, the processor time of each name out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// Name of the thread that writes: what it uses is not the instance's.
pub(super) const WRITER: &str = "bench-writer";

/// Processor time of every thread since its start: by id, with its name.
pub(super) type Usage = BTreeMap<u32, (String, Duration)>;

/// Reads it, to the nanosecond (proc(5), schedstat).
pub(super) fn usage() -> Result<Usage> {
    let mut usage = Usage::new();
    for entry in std::fs::read_dir("/proc/self/task").context("cannot read the threads of this process")? {
        let path = entry?.path();
        // A thread may end while it is looked at.
        let read = |file: &str| std::fs::read_to_string(path.join(file)).ok();
        let (Some(name), Some(times)) = (read("comm"), read("schedstat")) else { continue };
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let nanoseconds = times.split(' ').next().and_then(|first| first.parse().ok());
        if let (Some(id), Some(nanoseconds)) = (id, nanoseconds) {
            usage.insert(id, (name.trim().to_owned(), Duration::from_nanos(nanoseconds)));
        }
    }
    Ok(usage)
}

/// Processors that the threads of each name used between two readings.
pub(super) fn cores(before: &Usage, after: &Usage, took: Duration) -> BTreeMap<String, f64> {
    let mut cores = BTreeMap::new();
    for (id, (name, used)) in after {
        let begun = before.get(id).map_or(Duration::ZERO, |(_, used)| *used);
        let seconds = used.saturating_sub(begun).as_secs_f64();
        *cores.entry(name.clone()).or_default() += seconds / took.as_secs_f64();
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_name_are_added_and_what_was_before_is_not() {
        let at = |used: &[(u32, &str, u64)]| -> Usage {
            used.iter().map(|(id, name, ms)| (*id, ((*name).to_owned(), Duration::from_millis(*ms)))).collect()
        };
        let (before, after) =
            (at(&[(1, "a", 1_000), (2, "b", 500)]), at(&[(1, "a", 1_500), (2, "b", 500), (3, "a", 250)]));
        let cores = cores(&before, &after, Duration::from_secs(1));
        assert_eq!(cores, BTreeMap::from([("a".to_owned(), 0.75), ("b".to_owned(), 0.0)]));
    }

    #[test]
    fn this_thread_is_among_them() {
        let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert!(usage().unwrap().values().any(|(known, used)| known == name.trim() && !used.is_zero()));
    }
}
