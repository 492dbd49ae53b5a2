//! One neighbour that matters: who it is, what it does to our packets, how that is known, the lines that fix it.

use compile::diagnose::{Code, Severity};
use serde_json::{Value, json};

/// One line that fixes something, as a command, with the way to see that it holds and the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fix {
    /// For people, and for the ledger: `rule of iptables in DOCKER-USER: accept from 10.244.0.0/16`.
    pub(crate) what: String,
    /// The command.
    pub(crate) make: Vec<String>,
    /// Succeeds as long as it is in place.
    pub(crate) holds: Vec<String>,
    /// Takes it back.
    pub(crate) undo: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    /// Its code.
    pub(crate) code: &'static Code,
    /// Problem: an essential packet does not arrive. Warning: another one does not. Note: nothing is harmed.
    pub(crate) severity: Severity,
    /// One line.
    pub(crate) summary: String,
    /// How it is known.
    pub(crate) evidence: Vec<String>,
    /// Lines that we can make ourselves.
    pub(crate) fixes: Vec<Fix>,
    /// What to do where there is no such line.
    pub(crate) advice: Option<String>,
}

impl Finding {
    /// The lines to paste.
    pub(crate) fn lines(&self) -> Vec<String> {
        let made = self.fixes.iter().map(|fix| shell(&fix.make));
        made.chain(self.advice.clone()).collect()
    }

    /// As printed by `doctor host` and by `up --host`.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{} {} {}\n  {}\n", self.code.id, self.severity.text(), self.code.word, self.summary);
        for line in &self.evidence {
            out.push_str(&format!("  - {line}\n"));
        }
        for line in self.lines() {
            out.push_str(&format!("  fix: {line}\n"));
        }
        if !self.fixes.is_empty() {
            let undo: Vec<String> = self.fixes.iter().rev().map(|fix| shell(&fix.undo)).collect();
            out.push_str(&format!("  undo: {}\n", undo.join("; ")));
        }
        out
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "code": self.code.id, "severity": self.severity.text(), "word": self.code.word, "summary": self.summary,
            "evidence": self.evidence, "fix": self.lines(),
            "undo": self.fixes.iter().rev().map(|fix| shell(&fix.undo)).collect::<Vec<_>>(),
        })
    }
}

/// A command as it is typed: what `sh -c` would run is shown bare.
fn shell(argv: &[String]) -> String {
    if let [sh, c, line] = argv
        && (sh.as_str(), c.as_str()) == ("sh", "-c")
    {
        return line.clone();
    }
    let plain = |word: &&String| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./:=+,@%".contains(letter))
    };
    let quoted =
        argv.iter().map(|word| if plain(&word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_printed_as_they_are_typed() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shell(&words(&["iptables", "-I", "DOCKER-USER", "-s", "10.0.0.0/8"])),
            "iptables -I DOCKER-USER -s 10.0.0.0/8"
        );
        assert_eq!(shell(&words(&["nft", "it's", ""])), r"nft 'it'\''s' ''");
        assert_eq!(shell(&words(&["sh", "-c", "a | b"])), "a | b");
    }
}
