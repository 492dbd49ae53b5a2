//! `mainstay bench`: measurements of a running whole, printed for people or as JSON.

mod connect;
mod fill;
mod floors;
mod footprint;
mod instance;
mod numbers;
mod objects;
mod programming;
mod sandbox;

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
    Programming(programming::Flags),
    /// What a connection through a Service costs beside a direct one
    Connect(connect::Flags),
    /// How fast an instance is there, and what it weighs at rest
    Footprint(footprint::Flags),
    /// What no program can beat here: one element through netlink, one fsync'ed append
    Floors(floors::Flags),
}

/// Runs the subcommand. The process must still have a single thread.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    match &flags.what {
        What::Programming(flags) => programming::run(flags),
        What::Connect(flags) => connect::run(flags),
        What::Footprint(flags) => footprint::run(flags),
        What::Floors(flags) => floors::run(flags),
    }
}
