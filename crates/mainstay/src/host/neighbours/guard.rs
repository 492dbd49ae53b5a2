//! While the instance runs: somebody's changed rules in, our table and our fixes put back, what is newly closed told.
//!
//! The kernel counts the generations of its rules, so looking costs one small question, whoever changes them and however
//! often: notices would come with a message for every element that we program ourselves. Only iptables-legacy has no such
//! count; where it is in use, ways are tried again from time to time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use compile::nft::rules::TABLE;
use kernel::nl::{Protocol, Socket, rulesets};

use super::facts::Ours;
use super::judge::RELOADING;
use super::{probe, read, settle};
use crate::host::ledger::Ledger;

/// How often the generation is asked.
const LOOK: Duration = Duration::from_millis(250);
/// After a change of others, they get this long to finish a reload before ways are tried.
const CALM: Duration = Duration::from_millis(500);
/// So often a reload is waited for.
const RELOAD_LOOKS: usize = 60;
/// Between two trials where iptables-legacy is in use.
const LEGACY: Duration = Duration::from_secs(20);

/// Our own tables.
pub(super) const OWN: [&str; 2] = [TABLE, probe::TABLE];

/// What to do when something was lost.
pub(crate) struct Guard {
    /// Our ranges.
    pub(crate) ours: Ours,
    /// Where fixes are noted.
    pub(crate) ledger: Arc<Ledger>,
    /// Whether to make fixes (`--fix-forward`).
    pub(crate) fix: bool,
    /// How many rules our own table has.
    pub(crate) own_rules: usize,
    /// Called when our own table is gone, or its rules.
    pub(crate) table_lost: Box<dyn Fn() + Send>,
    /// Called with what is closed now, or with nothing when all is open.
    pub(crate) tell: Box<dyn Fn(Option<String>) + Send>,
}

/// What the last look saw.
struct Seen {
    generation: u32,
    routing: u64,
    firewalls: read::Fingerprint,
    tried: Instant,
}

impl Guard {
    /// Watches on a thread of its own until the process ends, in the network namespace of the process.
    pub(crate) fn start(self) -> Result<()> {
        std::thread::Builder::new().name("neighbours".into()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(&self) {
        let mut seen = None;
        loop {
            match self.look(seen.take()) {
                Ok(now) => seen = Some(now),
                Err(error) => tracing::debug!(%error, "the neighbours' rules could not be read: looking again"),
            }
            std::thread::sleep(LOOK);
        }
    }

    fn look(&self, seen: Option<Seen>) -> kernel::nl::Result<Seen> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let generation = rulesets::generation(&mut socket)?;
        let routing = read::routing_fingerprint()?;
        let Some(mut seen) = seen else {
            let firewalls = read::Fingerprint::take(&mut socket, &OWN)?;
            return Ok(Seen { generation, routing, firewalls, tried: Instant::now() });
        };
        let again = seen.tried.elapsed() > LEGACY && legacy_in_use();
        if generation == seen.generation && routing == seen.routing && !again {
            return Ok(seen);
        }
        let firewalls = read::Fingerprint::take(&mut socket, &OWN)?;
        // Their number is fixed; fewer before were those of a table that is only being made.
        if firewalls.own_rules < self.own_rules && seen.firewalls.own_rules >= self.own_rules {
            tracing::warn!("somebody removed rules of the table inet mainstay: programming it anew");
            (self.table_lost)();
        }
        if firewalls.others != seen.firewalls.others || routing != seen.routing || again {
            self.calm(&mut socket)?;
            let before = read::Fingerprint::take(&mut socket, &OWN)?;
            self.mend();
            seen.tried = Instant::now();
            let (generation, routing) = (rulesets::generation(&mut socket)?, read::routing_fingerprint()?);
            let firewalls = read::Fingerprint::take(&mut socket, &OWN)?;
            if firewalls.others == before.others {
                return Ok(Seen { generation, routing, firewalls, ..seen });
            }
            // Fixes that were made, or somebody's change meanwhile: which of them it was, the next look finds out.
            return Ok(Seen { generation: generation.wrapping_sub(1), routing, firewalls: before, ..seen });
        }
        Ok(Seen { generation, routing, firewalls, ..seen })
    }

    /// Waits until a reload is over, as far as it can be seen.
    fn calm(&self, socket: &mut Socket) -> kernel::nl::Result<()> {
        for _ in 0..RELOAD_LOOKS {
            std::thread::sleep(CALM);
            if !rulesets::tables(socket)?.iter().any(|table| table.name == RELOADING) {
                break;
            }
        }
        Ok(())
    }

    fn mend(&self) {
        match settle::settle(&self.ours, &self.ledger, self.fix) {
            Ok(settled) => {
                for made in settled.made {
                    tracing::warn!("somebody changed his rules; made again or anew: {made}");
                }
                (self.tell)(None);
            }
            Err(error) => {
                let text = crate::report(&error);
                tracing::warn!("{text}");
                (self.tell)(Some(text));
            }
        }
    }
}

/// Whether rules are loaded of which the kernel keeps no generation.
pub(super) fn legacy_in_use() -> bool {
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .any(|path| std::fs::read_to_string(path).is_ok_and(|names| !names.trim().is_empty()))
}
