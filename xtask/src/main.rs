//! Repository chores: a name in, the chore done out.

mod bench;
mod chaos;
mod golden;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "cargo xtask bench [--markdown] [--binary FILE] [--idle-seconds N] | golden KUBECONFIG [SECTION...] \
     | chaos [--rounds N] [--rate R] [--kept N] [--seed N] [--binary FILE] [--upgrade-to FILE] [--json]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((chore, rest)) if chore == "bench" => bench::run(&bench::Options::parse(rest)?),
        Some((chore, rest)) if chore == "chaos" => chaos::run(&chaos::Options::parse(rest)?),
        Some((chore, rest)) if chore == "golden" => golden::run(rest),
        Some((chore, _)) => bail!("there is no chore {chore:?}.\nType: {USAGE}"),
        None => bail!("which chore?\nType: {USAGE}"),
    }
}
