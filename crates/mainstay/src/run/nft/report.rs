//! What the nftables sink did and what is wrong, for those who only look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::object::Revision;
use dataplane::keeper::Done;

/// What others may look at while the sink works.
#[derive(Clone)]
pub(crate) struct Report {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Default for Report {
    fn default() -> Self {
        Self { began: Instant::now(), inner: Arc::default() }
    }
}

#[derive(Default)]
struct Inner {
    problems: Vec<String>,
    batches: u64,
    bytes: u64,
    keys: u64,
    failures: u64,
    first: Option<(Revision, Duration)>,
    last_error: Option<String>,
    lost: bool,
    neighbours: Option<String>,
}

impl Report {
    /// What is not programmed, and why.
    pub(crate) fn problems(&self) -> Vec<String> {
        let inner = self.lock();
        inner.last_error.iter().chain(&inner.neighbours).chain(&inner.problems).cloned().collect()
    }

    /// Somebody removed the table or its rules: the next apply looks at all of it.
    pub(crate) fn lose(&self) {
        self.lock().lost = true;
    }

    /// Whether somebody did, since the last time this was asked.
    pub(super) fn take_lost(&self) -> bool {
        std::mem::take(&mut self.lock().lost)
    }

    /// What somebody else on this host does to the packets of pods.
    pub(crate) fn set_neighbours(&self, problem: Option<String>) {
        self.lock().neighbours = problem;
    }

    /// Whether the kernel follows.
    pub(crate) fn healthy(&self) -> bool {
        self.lock().last_error.is_none()
    }

    /// Totals since the start.
    pub(crate) fn totals(&self) -> BTreeMap<&'static str, u64> {
        let inner = self.lock();
        BTreeMap::from([
            ("batches", inner.batches),
            ("bytes", inner.bytes),
            ("keysCompiled", inner.keys),
            ("failures", inner.failures),
        ])
    }

    /// The first revision that the kernel acknowledged, and how long after the start of this report.
    pub(crate) fn first(&self) -> Option<(Revision, Duration)> {
        self.lock().first
    }

    /// A revision is in the kernel; `problems` if Services were compiled.
    pub(super) fn programmed(&self, revision: Revision, done: &Done, problems: Option<Vec<String>>) {
        let began = self.began;
        let mut inner = self.lock();
        inner.batches += done.batches as u64;
        inner.bytes += done.bytes as u64;
        inner.keys += done.keys_compiled as u64;
        inner.first.get_or_insert_with(|| (revision, began.elapsed()));
        inner.last_error = None;
        if let Some(problems) = problems {
            inner.problems = problems;
        }
    }

    /// A revision could not be brought to the kernel.
    pub(super) fn failed(&self, why: &str) {
        let mut inner = self.lock();
        inner.failures += 1;
        inner.last_error = Some(format!("the dataplane failed: {why}"));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
