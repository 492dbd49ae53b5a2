//! Notices of the kernel in, the host settled again out: addresses come late and change (DHCP, a cable, a VPN).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use kernel::nl::route::Monitor;

use super::Host;

/// Pause after a notice that could not be acted on.
const RETRY: Duration = Duration::from_secs(1);

/// Pause after a notice: they come in bunches, and a host may have many routes and one that flaps.
const CALM: Duration = Duration::from_millis(200);
/// The pause is at least so many times what looking took, and at most so long.
const SHARE: u32 = 10;
const CALM_MOST: Duration = Duration::from_secs(5);

/// Starts the thread. It listens before it looks, so that no change falls between the two.
pub(super) fn start(host: Arc<Host>) -> Result<()> {
    let monitor = Monitor::open()?;
    std::thread::Builder::new().name("host-watch".into()).spawn(move || {
        loop {
            let began = Instant::now();
            if let Err(error) = host.settle() {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the host's addresses could not be followed: trying again"
                );
                std::thread::sleep(RETRY);
                continue;
            }
            let looked = began.elapsed();
            if let Err(error) = monitor.wait() {
                tracing::warn!(%error, "the host's addresses are not followed any more");
                return;
            }
            std::thread::sleep(calm(looked));
        }
    })?;
    Ok(())
}

/// How long to wait after a notice, by how long the last look took.
fn calm(looked: Duration) -> Duration {
    looked.saturating_mul(SHARE).clamp(CALM, CALM_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_look_is_followed_by_a_long_pause() {
        let calm = |ms| calm(Duration::from_millis(ms)).as_millis();
        assert_eq!([calm(0), calm(1), calm(100), calm(60_000)], [200, 200, 1_000, 5_000]);
    }
}
