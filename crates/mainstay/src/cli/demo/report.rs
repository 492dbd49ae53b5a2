//! Steps of the demo on the screen: a mark, a time and one line each; plain lines when nobody watches.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Why a step was not seen to work: what was expected, what was seen, where to look.
#[derive(Debug)]
pub(crate) struct Unseen {
    /// What should have happened.
    pub(crate) expected: String,
    /// What happened.
    pub(crate) seen: String,
    /// A command or file that shows more.
    pub(crate) look: String,
}

impl Unseen {
    /// All three parts.
    pub(crate) fn new(expected: impl Into<String>, seen: impl Into<String>, look: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into(), look: look.into() }
    }
}

impl From<anyhow::Error> for Unseen {
    fn from(error: anyhow::Error) -> Self {
        Self::new("the step to run", format!("{error:#}"), "the server's log, named above")
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "expected: {}\nseen:     {}\nlook at:  {}", self.expected, self.seen, self.look)
    }
}

/// What one step has to say: a line, and lines below it (a table, for example).
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The line.
    pub(crate) line: String,
    /// More lines, indented below it.
    pub(crate) below: Vec<String>,
}

impl From<String> for Said {
    fn from(line: String) -> Self {
        Self { line, below: Vec::new() }
    }
}

/// Prints steps and remembers whether all were seen to work.
pub(crate) struct Report {
    started: Instant,
    fancy: bool,
    failed: usize,
    passed: usize,
}

impl Report {
    /// A report whose clock starts now.
    pub(crate) fn new() -> Self {
        let fancy = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), fancy, failed: 0, passed: 0 }
    }

    /// A headline between steps.
    pub(crate) fn heading(&self, text: &str) {
        if self.fancy { println!("\n\x1b[1m{text}\x1b[0m") } else { println!("\n{text}") }
    }

    /// Records one step; true if it was seen to work.
    pub(crate) fn step(&mut self, name: &str, began: Instant, result: Result<Said, Unseen>) -> bool {
        let took = began.elapsed().as_millis();
        match result {
            Ok(said) => {
                self.passed += 1;
                self.line("\x1b[32m✓\x1b[0m", "ok  ", name, took, &said.line);
                said.below.iter().for_each(|line| println!("                 {line}"));
                true
            }
            Err(unseen) => {
                self.failed += 1;
                self.line("\x1b[31m✗\x1b[0m", "FAIL", name, took, "");
                unseen.to_string().lines().for_each(|line| println!("                 {line}"));
                false
            }
        }
    }

    fn line(&self, mark: &str, word: &str, name: &str, took: u128, text: &str) {
        let mark = if self.fancy { mark } else { word };
        println!("{mark} {:>6} ms  {name:<28} {text}", took);
        let _ = std::io::stdout().flush();
    }

    /// The last line; true if every step was seen to work.
    pub(crate) fn finish(&self) -> bool {
        let seconds = self.started.elapsed().as_secs_f64();
        let all = self.passed + self.failed;
        println!();
        if self.failed == 0 {
            println!("{all} steps, every one seen to work, in {seconds:.1} s");
        } else {
            println!("{} of {all} steps were not seen to work ({seconds:.1} s)", self.failed);
        }
        self.failed == 0
    }
}
