//! Findings in: fixed (each fix noted in the ledger before it is made), warned of, or the refusal to start.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use compile::diagnose::Severity;

use super::facts::Ours;
use super::finding::{Finding, Fix};
use crate::host::ledger::{Change, Ledger};

/// After a fix the packets may meet the next neighbour: so often it is looked again.
const ROUNDS: usize = 6;

/// What was done about the neighbours.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// What is left to say: warnings and notes.
    pub(crate) findings: Vec<Finding>,
    /// Fixes that were made now.
    pub(crate) made: Vec<String>,
}

/// Looks at the neighbours. With `fix`, makes the lines that open what they close; without, a closed essential way is an
/// error that says the lines.
pub(crate) fn settle(ours: &Ours, ledger: &Ledger, fix: bool) -> Result<Settled> {
    let mut settled = Settled::default();
    let mut tried: BTreeSet<Vec<String>> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let findings = super::look(ours)?;
        let due = |fix: &&Fix| !tried.contains(&fix.make);
        let fixes: Vec<Fix> = findings.iter().flat_map(|finding| &finding.fixes).filter(due).cloned().collect();
        if !fix || fixes.is_empty() {
            refuse(&findings, fix)?;
            settled.findings = findings;
            return Ok(settled);
        }
        for fix in fixes {
            make(ledger, &fix)?;
            settled.made.push(fix.what.clone());
            tried.insert(fix.make);
        }
    }
    bail!(
        "after {ROUNDS} rounds of fixes packets of pods still do not pass.\nSee what is in the way: mainstay doctor host"
    )
}

/// An error if a problem is left.
fn refuse(findings: &[Finding], fixing: bool) -> Result<()> {
    let problems: Vec<&Finding> = findings.iter().filter(|finding| finding.severity == Severity::Problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let what: Vec<&str> = problems.iter().map(|finding| finding.summary.as_str()).collect();
    let mut text = format!("this host would eat the packets of pods: {}.\n", what.join("; and "));
    problems.iter().for_each(|finding| text.push_str(&finding.text()));
    let fixable = problems.iter().all(|finding| !finding.fixes.is_empty());
    text.push_str(match (fixing, fixable) {
        (false, true) => "Type the fix lines, or let them be made and undone by `mainstay down`: mainstay up --host --fix-forward",
        (false, false) => "Do what the fix lines say, then: mainstay up --host",
        (true, _) => "The fixes that were made did not help, or there is none: do what the fix lines say, then: mainstay up --host",
    });
    bail!(text)
}

/// Makes one fix unless it is in place.
fn make(ledger: &Ledger, fix: &Fix) -> Result<()> {
    if succeeds(&fix.holds) {
        return Ok(());
    }
    let change = Change::Foreign { what: fix.what.clone(), holds: fix.holds.clone(), undo: fix.undo.clone() };
    ledger.make(change, || run(&fix.make))
}

fn succeeds(argv: &[String]) -> bool {
    run(argv).is_ok()
}

fn run(argv: &[String]) -> Result<()> {
    let line = argv.join(" ");
    let (program, arguments) = argv.split_first().context("an empty command")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output =
        output.with_context(|| format!("cannot run {line}.\nInstall {program}, or make the change by hand"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    bail!("{line} failed: {said}.\nMake the change by hand, then: mainstay up --host")
}
