//! What others change in our table in, a sink that wakes and looks at everything again out.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use controller::Feed;
use kernel::nl::nftables::monitor::{Foreign, Monitor};

/// Until the next try to listen after one that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks because notices were lost.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// What somebody did, and when that was heard first.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) foreign: Foreign,
    pub(super) heard: Instant,
}

/// What was heard and nobody has looked at yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    damage: Arc<Mutex<Option<Damage>>>,
}

impl Watch {
    /// Listens on a thread of its own until the process ends. Each time, every sink of the feed is woken once.
    pub(super) fn start(
        &self,
        mut monitor: Monitor,
        feed: Feed,
        leaving: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<()> {
        let watch = self.clone();
        let listen = move || {
            while !leaving() {
                match monitor.wait() {
                    Ok(_) if leaving() => break,
                    Ok(foreign) => {
                        let flood = foreign.lost;
                        watch.put(Damage { foreign, heard: Instant::now() });
                        feed.again();
                        if flood {
                            // Somebody changes very much, mostly of his own: do not look without pause.
                            std::thread::sleep(BETWEEN_LOOKS);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot hear what others change in table inet mainstay: trying again");
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        };
        std::thread::Builder::new().name("nft-watch".into()).spawn(listen)?;
        Ok(())
    }

    /// What was heard since the last time this was asked.
    pub(super) fn take(&self) -> Option<Damage> {
        self.lock().take()
    }

    /// Adds what was heard, or gives back what could not be repaired yet.
    pub(super) fn put(&self, damage: Damage) {
        match &mut *self.lock() {
            Some(known) => {
                known.heard = known.heard.min(damage.heard);
                known.foreign.merge(damage.foreign);
            }
            none => *none = Some(damage),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Damage>> {
        self.damage.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
