//! A finding: code, severity, object, field, one line, evidence and a fix, as data and as JSON.

use api::object::ObjectKey;
use serde_json::{Value, json};

use super::codes::Code;
use super::limits;

/// How bad it is. Problems come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Traffic does not get there.
    Problem,
    /// Some traffic does not get there, or soon will not.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// In JSON and in text.
    pub fn text(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Kind.
    pub kind: &'static str,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl Subject {
    /// A Service.
    pub fn service(key: &ObjectKey) -> Self {
        Self { kind: "Service", key: key.clone() }
    }

    /// An EndpointSlice.
    pub fn slice(key: &ObjectKey) -> Self {
        Self { kind: "EndpointSlice", key: key.clone() }
    }
}

/// A change of an object that mends it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
}

/// What to do about a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// A command to paste.
    pub command: String,
    /// The same for a simulation: which object would change, and how.
    pub change: Option<(Subject, Change)>,
}

impl Fix {
    /// A command without simulation.
    pub fn command(command: impl Into<String>) -> Self {
        Self { command: command.into(), change: None }
    }

    /// A merge patch of an object.
    pub fn merge(subject: Subject, patch: Value) -> Self {
        let command = format!("kubectl patch {} --type=merge -p '{patch}'", target(&subject));
        Self { command, change: Some((subject, Change::Merge(patch))) }
    }

    /// A JSON patch of an object.
    pub fn json(subject: Subject, patch: Value) -> Self {
        let command = format!("kubectl patch {} --type=json -p '{patch}'", target(&subject));
        Self { command, change: Some((subject, Change::Json(patch))) }
    }
}

/// An object as kubectl names it: `svc web`, with `-n` unless it is in the default namespace.
pub(super) fn target(subject: &Subject) -> String {
    let short = match subject.kind {
        "Service" => "svc".to_owned(),
        other => other.to_lowercase(),
    };
    format!("{short} {}{}", subject.key.name, in_namespace(&subject.key.namespace))
}

/// ` -n NAMESPACE`, nothing for the default one.
pub(super) fn in_namespace(namespace: &str) -> String {
    if namespace == "default" { String::new() } else { format!(" -n {namespace}") }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its code.
    pub code: &'static Code,
    /// How bad it is.
    pub severity: Severity,
    /// Which object.
    pub subject: Subject,
    /// Which field of it.
    pub field: String,
    /// One ASCII line without the code.
    pub summary: String,
    /// How it is known.
    pub evidence: Vec<String>,
    /// What to do.
    pub fix: Option<Fix>,
}

impl Finding {
    /// Without evidence and fix.
    pub fn new(code: &'static Code, severity: Severity, subject: Subject, field: &str, summary: String) -> Self {
        let room = limits::SUMMARY - code.id.len() - 1;
        let (evidence, fix) = (Vec::new(), None);
        Self { code, severity, subject, field: field.to_owned(), summary: one_line(&summary, room), evidence, fix }
    }

    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Adds evidence; what is beyond the limit is counted, not shown.
    pub(super) fn evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        let mut more = 0;
        for line in lines {
            if self.evidence.len() < limits::EVIDENCE {
                self.evidence.push(line);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            self.evidence.push(format!("and {more} more"));
        }
        self
    }

    /// Code and summary, as a Warning shows them.
    pub fn line(&self) -> String {
        format!("{} {}", self.code.id, self.summary)
    }

    /// For `-o json`.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code.id,
            "severity": self.severity.text(),
            "step": self.code.step.name(),
            "word": self.code.word,
            "object": { "kind": self.subject.kind, "namespace": self.subject.key.namespace, "name": self.subject.key.name },
            "field": self.field,
            "summary": self.summary,
            "evidence": self.evidence,
            "fix": self.fix.as_ref().map(|fix| json!({ "command": fix.command })),
        })
    }
}

/// Printable ASCII of at most `room` bytes.
fn one_line(text: &str, room: usize) -> String {
    let ascii: String = text.chars().map(|letter| if (' '..='~').contains(&letter) { letter } else { '?' }).collect();
    if ascii.len() <= room {
        return ascii;
    }
    let kept: String = ascii.chars().take(room.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}
