//! An instance in host mode and its neighbours: met before it starts, watched while it runs.

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use compile::diagnose::Severity;
use compile::nft::rules;
use controller::Feed;
use kernel::nl::{Protocol, Socket};

use super::guard::{self, Guard};
use super::{Ours, read, settle};
use crate::host::Host;
use crate::host::ledger::Change;
use crate::run::nft::Report;
use crate::run::phases::Phases;

/// What the neighbours' rules were when packets passed, in the data directory.
const SEEN: &str = "neighbours";

/// Of everybody else's rules now; none if they cannot be read, or if there are some that the kernel does not list.
fn fingerprint() -> Option<String> {
    let mut socket = Socket::open(Protocol::Netfilter).ok()?;
    let firewalls = read::Fingerprint::take(&mut socket, &guard::OWN).ok()?;
    let routing = read::routing_fingerprint().ok()?;
    (!guard::legacy_in_use()).then(|| format!("{:016x} {routing:016x}\n", firewalls.others))
}

impl Host {
    /// Looks for neighbours that would eat packets of pods. They are told to let them pass if that was asked for; else a
    /// first start ends here. An instance whose pods live already goes on and says what is wrong.
    /// A start that adopts an instance among neighbours that are as they were sends nothing and changes nothing.
    pub(crate) fn meet_neighbours(&self, data_dir: &Path, domain: &str, phases: &mut Phases) -> Result<()> {
        let seen = data_dir.join(SEEN);
        let adopts = !self.fresh.load(Ordering::Acquire);
        if adopts && fingerprint().is_some_and(|now| std::fs::read_to_string(&seen).is_ok_and(|then| then == now)) {
            phases.done("neighbours", "as they were");
            return Ok(());
        }
        let settled = match settle(&self.ours(domain), &self.ledger, self.fix_forward) {
            Ok(settled) => settled,
            Err(error) if adopts => {
                tracing::warn!("{}", crate::report(&error));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for made in &settled.made {
            phases.done("neighbours", made);
        }
        for finding in settled.findings.iter().filter(|finding| finding.severity == Severity::Warning) {
            tracing::warn!("{}", finding.text());
        }
        if settled.made.is_empty() {
            phases.done("neighbours", "packets of pods pass this host");
        }
        if let Some(now) = fingerprint() {
            std::fs::write(&seen, now).with_context(|| format!("cannot write {}", seen.display()))?;
        }
        Ok(())
    }

    /// Puts back what others remove, from now on.
    pub(crate) fn guard_neighbours(&self, domain: &str, feed: &Feed, report: &Report) -> Result<()> {
        let (lost, again, told) = (report.clone(), feed.clone(), report.clone());
        let guard = Guard {
            ours: self.ours(domain),
            ledger: self.ledger.clone(),
            fix: self.fix_forward,
            own_rules: rules::ruleset(true).chains.iter().map(|chain| chain.rules.len()).sum(),
            table_lost: Box::new(move || {
                lost.lose();
                again.again();
            }),
            tell: Box::new(move |problem| told.set_neighbours(problem)),
        };
        guard.start()
    }

    fn ours(&self, domain: &str) -> Ours {
        let table = Change::NftTable { name: rules::TABLE.to_owned() };
        Ours::of(&self.network, domain, self.ledger.holds(&table))
    }
}
