//! What the nftables sink did and what is wrong, for those who only look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use api::object::Revision;
use dataplane::keeper::Done;

/// What others may look at while the sink works.
#[derive(Clone)]
pub(crate) struct Report {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
    told: Arc<OnceLock<Told>>,
}

/// A snapshot that the kernel has acknowledged, or refused.
pub(crate) struct Synced<'a> {
    /// Its [`compile::snapshot::Snapshot::number`].
    pub(crate) number: u64,
    /// How long the call took.
    pub(crate) took: Duration,
    /// What was done; why not, after a failure.
    pub(crate) outcome: Result<&'a Done, &'a str>,
}

/// Who hears of every call, on the dataplane's thread.
pub(crate) type Told = Box<dyn Fn(&Synced<'_>) + Send + Sync>;

impl Default for Report {
    fn default() -> Self {
        Self { began: Instant::now(), inner: Arc::default(), told: Arc::default() }
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
    repairs: u64,
    neighbours: Option<String>,
}

impl Report {
    /// From now on `told` hears of every call; only the first to ask does.
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    /// A call of the sink has ended.
    pub(super) fn synced(&self, synced: &Synced<'_>) {
        if let Some(told) = self.told.get() {
            told(synced);
        }
    }

    /// What is not programmed, and why.
    pub(crate) fn problems(&self) -> Vec<String> {
        let inner = self.lock();
        inner.last_error.iter().chain(&inner.neighbours).chain(&inner.problems).cloned().collect()
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
            ("repairs", inner.repairs),
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

    /// What somebody else changed in our table was put back.
    pub(super) fn repaired(&self) {
        self.lock().repairs += 1;
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
