//! `mainstay bench`: measurements of a running whole, printed for people or as JSON.

mod churn;
mod connect;
mod fill;
mod fill_command;
mod floors;
mod follow;
mod footprint;
mod instance;
mod numbers;
mod objects;
mod programming;
mod restart;
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
    /// How far the kernel is behind thousands of changes a second, and what following them costs
    Churn(churn::Flags),
    /// What a connection through a Service costs beside a direct one
    Connect(connect::Flags),
    /// What connections between two network namespaces cost, whoever translates addresses there
    #[command(hide = true)]
    Between(connect::between::Flags),
    /// When packets follow a change of one endpoint, whoever translates addresses there
    #[command(hide = true)]
    Follow(follow::Flags),
    /// Fills a data directory or an API server with Services for a measurement
    #[command(hide = true)]
    Fill(fill_command::Flags),
    /// How fast an instance is there, and what it weighs at rest
    Footprint(footprint::Flags),
    /// How soon a killed server's successor is ready, and what it writes to the kernel
    Restart(restart::Flags),
    /// What no program can beat here: one element through netlink, one fsync'ed append
    Floors(floors::Flags),
}

/// Runs the subcommand. The process must still have a single thread.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    match &flags.what {
        What::Programming(flags) => programming::run(flags),
        What::Churn(flags) => churn::run(flags),
        What::Connect(flags) => connect::run(flags),
        What::Between(flags) => connect::between::run(flags),
        What::Follow(flags) => follow::run(flags),
        What::Fill(flags) => fill_command::run(flags),
        What::Footprint(flags) => footprint::run(flags),
        What::Restart(flags) => restart::run(flags),
        What::Floors(flags) => floors::run(flags),
    }
}
