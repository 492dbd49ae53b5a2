//! Facts and tried ways in, findings out: who harms us, how that is known, what fixes it. Pure.

mod beside;
mod blocked;
mod fixes;
mod routes;
#[cfg(test)]
mod tests;

pub(crate) use blocked::RELOADING;

use compile::diagnose::Severity;

use super::facts::{Facts, Ours};
use super::finding::Finding;
use super::probe::Trial;

/// Everything that is to be said, the worst first.
pub(crate) fn judge(facts: &Facts, ours: &Ours, trials: &[Trial]) -> Vec<Finding> {
    let routes = routes::findings(facts, ours);
    let routed_away = routes.iter().any(|finding| finding.severity == Severity::Problem);
    let mut out = blocked::findings(facts, ours, trials, routed_away);
    out.extend(routes);
    out.extend(beside::findings(facts, ours));
    out.sort_by_key(|finding| (finding.severity, finding.code.id));
    out
}
