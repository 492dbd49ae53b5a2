//! `mainstay doctor`: every Service of an instance in, what is wrong with any of them out; `mainstay doctor dns`: the four
//! checks of names that do not resolve.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::InstanceFlags;
use super::Output;
use super::explain::{finding_text, steps_text, text_of};
use super::target::namespace_is_there;
use crate::exit::Exit;

/// Flags of `mainstay doctor`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 fine (notes do not count), 1 error, 2 findings, 3 usage, 4 not reachable, 5 time-out."
)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Only this: `dns` checks that DNS runs, its log, a pod's resolv.conf and a real answer; `host` looks for firewalls, VPNs
    /// and other programs of this host that would eat the packets of pods (no instance is needed; as root it sends some)
    #[arg(value_enum, value_name = "TOPIC")]
    topic: Option<Topic>,
    /// For `dns`: the pod that asks, pod/NAME or NAMESPACE/NAME [default: any that is ready]
    #[arg(long, value_name = "POD", requires = "topic")]
    from: Option<String>,
    /// For `host`: ranges of Services, as given to `mainstay up`
    #[arg(long, default_value = super::doctor_host::SERVICE_CIDR, value_name = "CIDR[,CIDR]", hide_default_value = true)]
    service_cidr: String,
    /// For `host`: ranges of pods, as given to `mainstay up`
    #[arg(long, default_value = super::doctor_host::POD_CIDR, value_name = "CIDR[,CIDR]", hide_default_value = true)]
    pod_cidr: String,
    /// Only this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What can be looked at alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// Names.
    Dns,
    /// This host's firewalls, VPNs and container engines.
    Host,
}

/// Runs the subcommand; its exit code says what was found.
pub(crate) async fn run(flags: &Flags) -> Result<ExitCode> {
    if flags.topic == Some(Topic::Host) {
        return super::doctor_host::run(&flags.instance, &flags.service_cidr, &flags.pod_cidr, flags.output);
    }
    let client = flags.instance.client()?;
    if flags.topic == Some(Topic::Dns) {
        let from = flags.from.as_deref().map(|from| from.strip_prefix("pod/").unwrap_or(from));
        let from = from.map(|from| match &flags.namespace {
            Some(namespace) if !from.contains('/') => format!("{namespace}/{from}"),
            _ => from.to_owned(),
        });
        let answer = client.post("/mainstay/doctor/dns", &json!({ "from": from })).await?.ok()?;
        match flags.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
            Output::Text => print!("{}", steps_text(&answer)),
        }
        return Ok(if answer["clean"] == true { Exit::Fine } else { Exit::Findings }.into());
    }
    if let Some(namespace) = &flags.namespace {
        namespace_is_there(&client, namespace).await?;
    }
    let mut answer = client.get("/mainstay/doctor").await?.ok()?;
    if let (Some(namespace), Some(findings)) = (&flags.namespace, answer["findings"].as_array_mut()) {
        findings.retain(|finding| text_of(&finding["object"], "namespace") == namespace);
    }
    for (field, severity) in [("problems", "problem"), ("warnings", "warning"), ("notes", "note")] {
        let findings = answer["findings"].as_array().into_iter().flatten();
        answer[field] = findings.filter(|finding| text_of(finding, "severity") == severity).count().into();
    }
    let wrong = |finding: &&Value| text_of(finding, "severity") != "note";
    let found = answer["findings"].as_array().into_iter().flatten().filter(wrong).count();
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
        Output::Text => print!("{}", page(&answer)),
    }
    Ok(if found == 0 { Exit::Fine } else { Exit::Findings }.into())
}

fn page(answer: &Value) -> String {
    let findings = answer["findings"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |severity: &'static str| findings.iter().filter(move |finding| text_of(finding, "severity") == severity);
    let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut out = String::new();
    of("problem").chain(of("warning")).for_each(|finding| out.push_str(&finding_text(finding)));
    for note in of("note") {
        let object = &note["object"];
        let name = format!("{}/{}", text_of(object, "namespace"), text_of(object, "name"));
        out.push_str(&format!("\nnote {} {name}: {}", text_of(note, "code"), text_of(note, "summary")));
    }
    let services = answer["services"].as_u64().unwrap_or(0);
    let services = counted(usize::try_from(services).unwrap_or(usize::MAX), "Service");
    out.push_str(&format!(
        "\n{services} at revision {}: {}, {}, {}\n",
        answer["revision"],
        counted(of("problem").count(), "problem"),
        counted(of("warning").count(), "warning"),
        counted(of("note").count(), "note")
    ));
    out.trim_start_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_come_first_and_are_counted() {
        let finding = |severity: &str, code: &str| {
            json!({ "code": code, "severity": severity, "object": { "namespace": "default", "name": "web" }, "field": "spec",
                "summary": "s", "evidence": ["e"], "fix": { "command": "kubectl x" } })
        };
        let findings = [finding("note", "MS1401"), finding("warning", "MS1003"), finding("problem", "MS1001")];
        let page = page(&json!({ "services": 1, "revision": 9, "findings": findings }));
        let lines: Vec<_> = page.lines().collect();
        assert_eq!(lines[0], "MS1001 problem default/web spec");
        assert_eq!(lines[1..4], ["  s", "  - e", "  fix: kubectl x"]);
        assert_eq!(lines.last(), Some(&"1 Service at revision 9: 1 problem, 1 warning, 1 note"));
    }
}
