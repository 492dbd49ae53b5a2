//! A server with nothing to do in; its program text given back to the page cache out.
//!
//! A start and a large change run code that a quiet server never needs, and the kernel keeps it mapped.

use std::time::Duration;

use kernel::{text, usage};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(20);
/// A server that used less processor time between two looks has nothing to do. What it still needs comes back in some 200
/// faults, less than a millisecond.
const QUIET: Duration = Duration::from_millis(100);

/// Looks again and again. Never ends; run it as a task.
pub(super) async fn keep() {
    let mut before = Duration::ZERO;
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(now) = usage::own_cpu() else { return };
        if now - before < QUIET {
            match text::release() {
                Ok(bytes) => tracing::debug!(bytes, "gave the program text back"),
                Err(error) => tracing::debug!(%error, "cannot give the program text back"),
            }
        }
        before = now;
    }
}
