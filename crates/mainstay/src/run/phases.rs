//! Phases of the start on standard error: how long each took, and the one line that says ready.

use std::time::Instant;

/// Prints each phase as it ends.
pub(crate) struct Phases {
    began: Instant,
    last: Instant,
}

impl Phases {
    /// A clock that starts now.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, last: now }
    }

    /// The phase `name` has just ended; `what` says what there is now.
    pub(crate) fn done(&mut self, name: &str, what: &str) {
        let now = Instant::now();
        eprintln!("{:>7.1} ms  {name:<12} {what}", (now - self.last).as_secs_f64() * 1e3);
        self.last = now;
    }

    /// Milliseconds since the start.
    pub(crate) fn elapsed_ms(&self) -> u128 {
        self.began.elapsed().as_millis()
    }
}
