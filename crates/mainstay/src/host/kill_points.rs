//! Moments at which a test kills the process: an environment variable in, a SIGKILL of ourselves out; nothing in releases.

#[cfg(debug_assertions)]
mod debug {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NOTES: AtomicUsize = AtomicUsize::new(0);
    static MAKES: AtomicUsize = AtomicUsize::new(0);
    static UNDOES: AtomicUsize = AtomicUsize::new(0);

    /// Dies when `MAINSTAY_KILL_AT` is `WORD:N` and this is the N-th such moment.
    fn pass(word: &str, counter: &AtomicUsize) {
        let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
        let Ok(wanted) = std::env::var("MAINSTAY_KILL_AT") else { return };
        if wanted == format!("{word}:{number}") {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    /// A change is noted and not yet made.
    pub(crate) fn after_note() {
        pass("note", &NOTES);
    }

    /// A change is made.
    pub(crate) fn after_make() {
        pass("make", &MAKES);
    }

    /// A change is taken back.
    pub(crate) fn after_undo() {
        pass("undo", &UNDOES);
    }
}

#[cfg(not(debug_assertions))]
mod debug {
    /// Nothing.
    pub(crate) fn after_note() {}
    /// Nothing.
    pub(crate) fn after_make() {}
    /// Nothing.
    pub(crate) fn after_undo() {}
}

pub(super) use debug::{after_make, after_note, after_undo};
