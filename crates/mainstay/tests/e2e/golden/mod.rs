//! What kubectl prints against a real kube-apiserver, recorded once (`cargo xtask golden`), is what it prints against us.

mod exceptions;
pub(crate) mod mask;
mod runner;

use std::fmt::Write;
use std::process::Command;

use crate::sandbox::Sandbox;
use exceptions::exception;
use runner::Shown;

/// The images of the script that the sandbox has under other names.
const ALIASES: &str = "apiVersion: v1
kind: ConfigMap
metadata: { name: mainstay-image-aliases, namespace: kube-system }
data: { aliases: \"nginx:stable=mainstay/echo\" }
";

#[test]
fn kubectl_prints_what_it_prints_against_a_real_kube_apiserver() {
    let minor = kubectl_minor().expect("kubectl must be installed: sh scripts/test.sh does it");
    let sandbox = Sandbox::start_with(&["--lb-pool", "none", "--publish=off"]);
    sandbox.apply(ALIASES);
    let mut differences = String::new();
    let mut compared = 0;
    for section in runner::script() {
        let recorded = parse(&runner::read(&runner::directory().join("recorded").join(section.name.clone() + ".txt")));
        let (shown, failed) = runner::run(&section, &sandbox.path().join("kubeconfig"));
        if let Some(why) = failed {
            let _ = writeln!(differences, "[{}]\n$ {why}", section.name);
        }
        let steps = section.steps.iter().filter(|step| !step.prepares);
        for (step, (ours, theirs)) in steps.zip(shown.iter().zip(&recorded)) {
            assert_eq!(ours.command, theirs.command, "section {} changed: record it again", section.name);
            if step.minor.is_some_and(|bound| bound != minor) || exception(&section.name, &ours.command).is_some() {
                continue;
            }
            compared += 1;
            report(&section.name, ours, theirs, &mut differences);
        }
        if let Some(recorded) = recorded.get(shown.len()) {
            let _ = writeln!(differences, "[{}] not reached: {}", section.name, recorded.command);
        }
    }
    let count = differences.matches("\n$ ").count();
    assert!(differences.is_empty(), "{count} of {compared} transcripts differ (- recorded, + ours):\n{differences}");
    assert!(compared > 200, "only {compared} transcripts were compared");
}

/// Adds the differing lines of one command.
fn report(section: &str, ours: &Shown, theirs: &Shown, differences: &mut String) {
    let (our_text, their_text) = (exceptions::without_programmed(&ours.text), &theirs.text);
    if our_text == *their_text {
        return;
    }
    let (our_lines, their_lines): (Vec<&str>, Vec<&str>) = (our_text.lines().collect(), their_text.lines().collect());
    let _ = writeln!(differences, "[{section}]\n$ {}", ours.command);
    for line in their_lines.iter().filter(|line| !our_lines.contains(line)) {
        let _ = writeln!(differences, "- {line}");
    }
    for line in our_lines.iter().filter(|line| !their_lines.contains(line)) {
        let _ = writeln!(differences, "+ {line}");
    }
    if our_lines.iter().all(|line| their_lines.contains(line))
        && their_lines.iter().all(|line| our_lines.contains(line))
    {
        let _ = writeln!(differences, "  the same lines in another order or number:\n{our_text}");
    }
}

/// A kept transcript.
fn parse(text: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            shown.push(Shown { command: command.to_owned(), text: String::new() });
        } else if let Some(last) = shown.last_mut() {
            last.text.push_str(line);
            last.text.push('\n');
        }
    }
    for one in &mut shown {
        one.text.truncate(one.text.len().saturating_sub(1));
    }
    shown
}

/// Minor version of the kubectl on PATH.
fn kubectl_minor() -> Option<u32> {
    let output = Command::new("kubectl").args(["version", "--client", "-o", "yaml"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("minor: "))?.to_owned();
    line.trim_matches(['"', '+', '\'']).parse().ok()
}
