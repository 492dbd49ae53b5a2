//! An instance in host mode and its neighbours: met before it starts, watched while it runs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use compile::diagnose::Severity;
use compile::nft::rules;
use kernel::nl::{Protocol, Socket};

use super::guard::{self, Guard};
use super::{Ours, read, settle};
use crate::host::Host;
use crate::host::ledger::Change;
use crate::run::nft::Report;

/// What the neighbours' rules were when packets passed, in the data directory.
const SEEN: &str = "neighbours";

/// What came of meeting them.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// For the list of phases.
    pub(crate) said: Vec<String>,
    /// What is wrong on this host, although the instance goes on.
    pub(crate) problem: Option<String>,
}

/// Of everybody else's rules now and of what we want of them; none if they cannot be read, or if there are some that the
/// kernel does not list.
fn fingerprint(ours: &Ours, fix: bool) -> Option<String> {
    let mut socket = Socket::open(Protocol::Netfilter).ok()?;
    let others = read::fingerprint(&mut socket).ok()?;
    let routing = read::routing_fingerprint().ok()?;
    let mut wanted = DefaultHasher::new();
    // That the table is ours changes with the first start.
    let Ours { pods, services, dns, node, domain, own_table: _ } = ours;
    format!("{pods:?} {services:?} {dns:?} {node:?} {domain} {fix}").hash(&mut wanted);
    (!guard::legacy_in_use()).then(|| format!("{others:016x} {routing:016x} {:016x}\n", wanted.finish()))
}

impl Host {
    /// Looks for neighbours that would eat packets of pods. They are told to let them pass if that was asked for; else a
    /// first start ends here. An instance whose pods live already goes on and says what is wrong.
    /// A start that adopts an instance among neighbours that are as they were sends nothing and changes nothing.
    pub(crate) fn meet_neighbours(&self, data_dir: &Path, domain: &str) -> Result<Met> {
        let (seen, ours) = (data_dir.join(SEEN), self.ours(domain));
        let adopts = !self.fresh.load(Ordering::Acquire);
        let now = || fingerprint(&ours, self.fix_forward);
        if adopts && now().is_some_and(|now| std::fs::read_to_string(&seen).is_ok_and(|then| then == now)) {
            return Ok(Met { said: vec!["as they were".to_owned()], problem: None });
        }
        let settled = match settle(&ours, &self.ledger, self.fix_forward) {
            Ok(settled) => settled,
            Err(error) if adopts => {
                let text = crate::report(&error);
                tracing::warn!("{text}");
                return Ok(Met { said: Vec::new(), problem: Some(text) });
            }
            Err(error) => return Err(error),
        };
        for finding in settled.findings.iter().filter(|finding| finding.severity == Severity::Warning) {
            tracing::warn!("{}", finding.text());
        }
        if let Some(now) = now() {
            std::fs::write(&seen, now).with_context(|| format!("cannot write {}", seen.display()))?;
        }
        let mut said = settled.made;
        if said.is_empty() {
            said.push("packets of pods pass this host".to_owned());
        }
        Ok(Met { said, problem: None })
    }

    /// Puts back what others remove, from now on. `problem` is what was wrong when they were met.
    pub(crate) fn guard_neighbours(&self, domain: &str, report: &Report, problem: Option<String>) -> Result<()> {
        report.set_neighbours(problem.clone());
        let told = report.clone();
        let guard = Guard {
            ours: self.ours(domain),
            ledger: self.ledger.clone(),
            fix: self.fix_forward,
            problem,
            tell: Box::new(move |problem| told.set_neighbours(problem)),
        };
        guard.start()
    }

    /// Whether what this instance made is being taken back: from then on nothing of it is put back.
    pub(crate) fn leaving(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let ledger = self.ledger.clone();
        Arc::new(move || ledger.is_closed())
    }

    fn ours(&self, domain: &str) -> Ours {
        let table = Change::NftTable { name: rules::TABLE.to_owned() };
        Ours::of(&self.network, domain, self.ledger.holds(&table))
    }
}
