//! While the instance runs: somebody's changed rules in, our fixes put back, what is newly closed told. Our own table is
//! watched by its sink (`crate::run::nft`).
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

/// How often the generation is asked, at most and at least; where reading all rules is slow, it is a small share of the time.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_LEAST: Duration = Duration::from_secs(10);
const SHARE: u32 = 10;
/// After a change of others, they get this long to finish a reload before ways are tried.
const CALM: Duration = Duration::from_millis(500);
/// So often a reload is waited for.
const RELOAD_LOOKS: usize = 60;
/// Between two trials where iptables-legacy is in use.
const LEGACY: Duration = Duration::from_secs(20);
/// Until a trial that ended with a problem is repeated: twice as long each time.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// So many looks in a row may fail before somebody is told.
const FAILURES: u32 = 3;

/// Whether a table is one of our own.
pub(super) fn is_own(table: &str) -> bool {
    table == TABLE || probe::is_table(table)
}

/// What to do when something was lost.
pub(crate) struct Guard {
    /// Our ranges.
    pub(crate) ours: Ours,
    /// Where fixes are noted.
    pub(crate) ledger: Arc<Ledger>,
    /// Whether to make fixes (`--fix-forward`).
    pub(crate) fix: bool,
    /// What is wrong already.
    pub(crate) problem: Option<String>,
    /// Called with what is closed now, or with nothing when all is open.
    pub(crate) tell: Box<dyn Fn(Option<String>) + Send>,
}

/// What the last look saw.
struct Seen {
    generation: u32,
    routing: u64,
    others: u64,
    tried: Instant,
    retry: Option<Retry>,
}

/// A problem that may pass.
#[derive(Clone)]
struct Retry {
    text: String,
    at: Instant,
    pause: Duration,
}

impl Retry {
    /// After a trial that ended with this; `last` is what the one before ended with.
    fn after(text: String, last: Option<&Self>) -> Self {
        let pause = last.map_or(RETRY, |last| (last.pause * 2).min(RETRY_MOST));
        Self { text, at: Instant::now() + pause, pause }
    }
}

impl Guard {
    /// Watches on a thread of its own until the process ends, in the network namespace of the process.
    pub(crate) fn start(self) -> Result<()> {
        std::thread::Builder::new().name("neighbours".into()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(&self) {
        // What was seen last stays true until something else is: a look that fails must not make a loss look normal.
        let mut seen: Option<Seen> = None;
        let mut failures = 0_u32;
        while !self.ledger.is_closed() {
            let mut cost = Duration::ZERO;
            match self.look(seen.as_ref(), &mut cost) {
                Ok(now) => (seen, failures) = (Some(now), 0),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == FAILURES || (failures > FAILURES && failures.is_power_of_two()) {
                        tracing::warn!(%error, failures, "the neighbours' rules could not be read: looking again");
                    }
                }
            }
            std::thread::sleep(pause(cost));
        }
    }

    fn look(&self, seen: Option<&Seen>, cost: &mut Duration) -> kernel::nl::Result<Seen> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let generation = rulesets::generation(&mut socket)?;
        let routing = read::routing_fingerprint()?;
        let moved = seen.is_none_or(|seen| generation != seen.generation);
        let Some(seen) = seen else {
            let others = others(&mut socket, cost)?;
            let retry = self.problem.clone().map(|text| Retry::after(text, None));
            return Ok(Seen { generation, routing, others, tried: Instant::now(), retry });
        };
        let again = seen.tried.elapsed() > LEGACY && legacy_in_use();
        let due = seen.retry.as_ref().is_some_and(|retry| retry.at <= Instant::now());
        let (mut tried, mut retry) = (seen.tried, seen.retry.clone());
        let mut now = if moved { others(&mut socket, cost)? } else { seen.others };
        if now != seen.others || routing != seen.routing || again || due {
            self.calm(&mut socket)?;
            now = others(&mut socket, cost)?;
            retry = self.mend(retry.as_ref());
            tried = Instant::now();
        }
        // What is seen is what was there before fixes were made: whether somebody else changed something meanwhile, the
        // next look finds out.
        Ok(Seen { generation, routing, others: now, tried, retry })
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

    /// Tries all ways and makes the fixes; when to do so again if that did not help.
    fn mend(&self, last: Option<&Retry>) -> Option<Retry> {
        match settle::settle(&self.ours, &self.ledger, self.fix) {
            Ok(settled) => {
                for made in settled.made {
                    tracing::warn!("somebody changed his rules; made again or anew: {made}");
                }
                (self.tell)(None);
                None
            }
            Err(error) => {
                let text = crate::report(&error);
                if !self.ledger.is_closed() && last.is_none_or(|last| last.text != text) {
                    tracing::warn!("{text}");
                }
                (self.tell)(Some(text.clone()));
                Some(Retry::after(text, last))
            }
        }
    }
}

/// Until the next look, by how long reading everybody's rules took.
fn pause(cost: Duration) -> Duration {
    cost.saturating_mul(SHARE).clamp(LOOK, LOOK_LEAST)
}

/// A number of everybody else's rules; `cost` grows by the time that it takes.
fn others(socket: &mut Socket, cost: &mut Duration) -> kernel::nl::Result<u64> {
    let began = Instant::now();
    let taken = read::fingerprint(socket);
    *cost += began.elapsed();
    taken
}

/// Whether rules are loaded of which the kernel keeps no generation.
pub(super) fn legacy_in_use() -> bool {
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .any(|path| std::fs::read_to_string(path).is_ok_and(|names| !names.trim().is_empty()))
}

#[cfg(test)]
mod tests;
