//! Slow start: when endpoints became ready and what time it is in, the part of its share that each has now out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::balance::{SHARE_STEPS, tenths};
use crate::service_table::{Backend, PortEntry, PortKey};

/// Endpoints of one Service that do not have their full share yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Young {
    endpoints: BTreeMap<(PortKey, Backend), Age>,
}

#[derive(Clone, Copy, Debug)]
struct Age {
    since: Duration,
    /// Seconds until it has its full share.
    window: u32,
    /// Tenths of its share that it was given last.
    given: u32,
}

impl Young {
    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Keeps those for which this holds.
    pub(super) fn retain(&mut self, keep: impl Fn(&(PortKey, Backend)) -> bool) {
        self.endpoints.retain(|at, _| keep(at));
    }

    /// When each of them is to get more.
    pub(super) fn steps(&self) -> impl Iterator<Item = Duration> + '_ {
        let step = |age: &Age| {
            let after = f64::from(age.window) * f64::from(age.given) / f64::from(SHARE_STEPS - 1);
            // A little later, so that rounding never makes a step come before it is one.
            age.since + Duration::from_secs_f64(after) + Duration::from_millis(1)
        };
        self.endpoints.values().map(step)
    }
}

/// The slow starts of a Service while one of its ports is compiled.
pub(super) struct Starting<'a> {
    pub(super) young: &'a mut Young,
    pub(super) now: Duration,
    /// The port was programmed by us before, so that what is new to us is new.
    pub(super) follows: bool,
}

impl Starting<'_> {
    /// An endpoint became ready.
    pub(super) fn arrived(&mut self, port: PortKey, backend: Backend, entry: &PortEntry) {
        if self.follows && entry.slow_start > 0 {
            let age = Age { since: self.now, window: entry.slow_start, given: 1 };
            self.young.endpoints.insert((port, backend), age);
        }
    }

    /// Sets what each has now, and forgets those that left or have all of it.
    pub(super) fn settle(&mut self, port: PortKey, entry: &PortEntry, stays: impl Fn(&Backend) -> bool) {
        let now = self.now;
        self.young.endpoints.retain(|(own, backend), age| {
            if *own != port {
                return true;
            }
            age.window = entry.slow_start;
            age.given = tenths(now.saturating_sub(age.since).as_secs_f64(), age.window);
            age.given < SHARE_STEPS && stays(backend)
        });
    }

    /// In tenths as long as one of the port's endpoints is young.
    pub(super) fn weight(&self, port: PortKey, backend: Backend, entry: &PortEntry) -> u32 {
        let weight = entry.weights.get(&backend).map_or(1, |weight| u32::from(*weight));
        if self.young.is_empty() {
            return weight;
        }
        weight * self.young.endpoints.get(&(port, backend)).map_or(SHARE_STEPS, |age| age.given)
    }
}
