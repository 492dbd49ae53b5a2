//! `mainstay doctor host`: this host in, what would eat the packets of pods on it out, with the lines that fix it.

use std::process::ExitCode;

use anyhow::Result;
use compile::diagnose::Severity;
use serde_json::json;

use super::InstanceFlags;
use super::Output;
use crate::config::Network;
use crate::exit::Exit;
use crate::host::ledger::Ledger;
use crate::host::neighbours::{self, Finding, Ours};

/// Ranges that are looked at when no others are given: those of `mainstay up`.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/16,fd00:10:96::/112";
/// As above.
pub(super) const POD_CIDR: &str = "10.244.0.0/16,fd00:10:244::/64";

/// Looks at the network namespace of this process; needs no instance.
pub(super) fn run(instance: &InstanceFlags, service: &str, pod: &str, output: Output) -> Result<ExitCode> {
    let network = Network::parse(service, pod)?;
    let own_table = Ledger::exists(instance.data_dir()?.path());
    let ours = Ours::of(&network, "cluster.local", own_table);
    let (findings, sent) = match neighbours::look(&ours) {
        Ok(findings) => (findings, None),
        Err(error) => (neighbours::look_only(&ours), Some(format!("{error:#}"))),
    };
    match output {
        Output::Json => {
            let list: Vec<_> = findings.iter().map(Finding::to_json).collect();
            let answer = json!({ "findings": list, "packetsSent": sent.is_none(), "why": sent });
            println!("{}", serde_json::to_string_pretty(&answer)?);
        }
        Output::Text => {
            findings.iter().for_each(|finding| println!("{}", finding.text()));
            let wrong = findings.iter().filter(|finding| finding.severity != Severity::Note).count();
            match &sent {
                None if wrong == 0 => println!("packets of pods pass this host"),
                None => println!("what a code means: mainstay explain CODE"),
                Some(why) => println!("no packet was sent ({why}): this is what can be read only. Run it as root"),
            }
        }
    }
    let fine = findings.iter().all(|finding| finding.severity == Severity::Note);
    Ok(ExitCode::from(if fine { Exit::Fine } else { Exit::Findings }))
}
