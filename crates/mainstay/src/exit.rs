//! How a subcommand ends: an error (or none) in, one of six exit codes out.

use std::fmt;
use std::process::ExitCode;

use crate::messages::Common;

/// Every way to end, for scripts. `mainstay exec` alone passes the code of its command through instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well.
    Fine = 0,
    /// Something failed.
    Error = 1,
    /// What was looked at has something wrong.
    Findings = 2,
    /// The command line makes no sense.
    Usage = 3,
    /// No instance answers.
    Unreachable = 4,
    /// What was waited for did not come to be in time.
    TimedOut = 5,
}

/// What `--help` of every subcommand says about exit codes.
pub(crate) const HELP: &str = "Exit codes: 0 fine, 1 error, 2 findings, 3 usage, 4 not reachable, 5 time-out.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The text of an error that ends the program with a certain code.
#[derive(Debug)]
struct Coded {
    exit: Exit,
    text: String,
    known: Option<&'static Common>,
}

impl fmt::Display for Coded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

impl Exit {
    /// An error that ends the program with this code.
    pub(crate) fn error(self, text: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Coded { exit: self, text: text.into(), known: None })
    }

    /// Says more about an error, which from now on ends the program with this code.
    pub(crate) fn because(self, cause: impl Into<anyhow::Error>, text: impl Into<String>) -> anyhow::Error {
        cause.into().context(Coded { exit: self, text: text.into(), known: None })
    }

    /// Lets an error end the program with this code; it says what it said.
    pub(crate) fn of(self, error: anyhow::Error) -> anyhow::Error {
        // What to type next stays with the error itself.
        let text = error.to_string().lines().next().unwrap_or_default().to_owned();
        error.context(Coded { exit: self, text, known: None })
    }
}

/// Says which of the common errors this is.
pub(crate) fn tag(common: &'static Common, error: anyhow::Error) -> anyhow::Error {
    let (exit, text) = (code(&error), error.to_string().lines().next().unwrap_or_default().to_owned());
    error.context(Coded { exit, text, known: Some(common) })
}

/// Which of the common errors this was said to be.
pub(crate) fn known(error: &anyhow::Error) -> Option<&'static Common> {
    error.downcast_ref::<Coded>().and_then(|coded| coded.known)
}

/// The code that an error ends the program with.
pub(crate) fn code(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Coded>().map_or(Exit::Error, |coded| coded.exit)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn errors_carry_their_code_through_contexts() {
        assert_eq!(code(&anyhow::anyhow!("x")), Exit::Error);
        let cause = std::io::Error::other("refused");
        let error = Exit::Unreachable.because(cause, "cannot reach it.\nTry: mainstay ls");
        let error = Err::<(), _>(error).context("cannot list").unwrap_err();
        assert_eq!(code(&error), Exit::Unreachable);
        assert_eq!(crate::report(&error), "cannot list: cannot reach it: refused\nTry: mainstay ls");
        let usage = Exit::Usage.of(anyhow::anyhow!("--x 1: too small.\nGive 2"));
        assert_eq!((code(&usage), crate::report(&usage).as_str()), (Exit::Usage, "--x 1: too small.\nGive 2"));
    }

    #[test]
    fn the_help_names_every_code() {
        for (exit, word) in [
            (Exit::Fine, "0 fine"),
            (Exit::Error, "1 error"),
            (Exit::Findings, "2 findings"),
            (Exit::Usage, "3 usage"),
            (Exit::Unreachable, "4 not reachable"),
            (Exit::TimedOut, "5 time-out"),
        ] {
            assert_eq!(word.split(' ').next(), Some((exit as u8).to_string().as_str()));
            assert!(HELP.contains(word), "{word}");
        }
    }
}
