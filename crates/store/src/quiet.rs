//! Panics of the storage engine into results: the engine panics on some damage, and that is damage found, not a program
//! to end and nothing to print.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether panics of this thread are expected.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that may panic; none if it did.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if EXPECTED.get() {
                tracing::debug!(%panic, "the storage engine panicked");
            } else {
                before(panic);
            }
        }));
    });
    let outer = EXPECTED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(outer);
    result.ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_panics_is_none_and_the_thread_goes_on() {
        assert_eq!(super::caught(|| -> u32 { panic!("damage") }), None);
        assert_eq!(super::caught(|| super::caught(|| -> u32 { panic!("inner") })), Some(None));
        assert_eq!(super::caught(|| 7), Some(7));
    }
}
