//! An instance in host mode and its neighbours: met before it starts, watched while it runs.

use std::sync::atomic::Ordering;

use anyhow::Result;
use compile::diagnose::Severity;
use controller::Feed;

use super::guard::Guard;
use super::{Ours, settle};
use crate::host::Host;
use crate::host::ledger::Change;
use crate::run::nft::Report;
use crate::run::phases::Phases;

impl Host {
    /// Looks for neighbours that would eat packets of pods. They are told to let them pass if that was asked for; else a
    /// first start ends here. An instance whose pods live already goes on and says what is wrong.
    pub(crate) fn meet_neighbours(&self, domain: &str, phases: &mut Phases) -> Result<()> {
        let settled = match settle(&self.ours(domain), &self.ledger, self.fix_forward) {
            Ok(settled) => settled,
            Err(error) if !self.fresh.load(Ordering::Acquire) => {
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
        Ok(())
    }

    /// Puts back what others remove, from now on.
    pub(crate) fn guard_neighbours(&self, domain: &str, feed: &Feed, report: &Report) -> Result<()> {
        let (lost, again, told) = (report.clone(), feed.clone(), report.clone());
        let guard = Guard {
            ours: self.ours(domain),
            ledger: self.ledger.clone(),
            fix: self.fix_forward,
            table_lost: Box::new(move || {
                lost.lose();
                again.again();
            }),
            tell: Box::new(move |problem| told.set_neighbours(problem)),
        };
        guard.start()
    }

    fn ours(&self, domain: &str) -> Ours {
        let table = Change::NftTable { name: compile::nft::rules::TABLE.to_owned() };
        Ours::of(&self.network, domain, self.ledger.holds(&table))
    }
}
