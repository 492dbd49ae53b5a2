//! `mainstay bench`: measurements of a running whole, printed for people or as JSON.

use anyhow::Result;
use clap::{Args, Subcommand};

/// Flags of `mainstay bench`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How fast Services reach the kernel: cold, one change, one addition
    Programming,
}

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    match flags.what {
        What::Programming => Ok(()),
    }
}
