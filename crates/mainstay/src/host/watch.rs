//! Notices of the kernel in, the host settled again out: addresses come late and change (DHCP, a cable, a VPN).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kernel::nl::route::Monitor;

use super::Host;

/// Pause after a notice that could not be acted on.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the thread. It listens before it looks, so that no change falls between the two.
pub(super) fn start(host: Arc<Host>) -> Result<()> {
    let monitor = Monitor::open()?;
    std::thread::Builder::new().name("host-watch".into()).spawn(move || {
        loop {
            if let Err(error) = host.settle() {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the host's addresses could not be followed: trying again"
                );
                std::thread::sleep(RETRY);
                continue;
            }
            if let Err(error) = monitor.wait() {
                tracing::warn!(%error, "the host's addresses are not followed any more");
                return;
            }
        }
    })?;
    Ok(())
}
