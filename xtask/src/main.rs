//! Repository chores: a name in, the chore done out.

mod bench;
mod crash;
mod golden;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "cargo xtask bench [--markdown] [--binary FILE] [--idle-seconds N] | crash [--rounds N] [--seed N] | growth [--writes N] \
     | golden KUBECONFIG [SECTION...]";

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
        Some((chore, rest)) if chore == "crash" => crash::crash(rest),
        Some((chore, rest)) if chore == "growth" => crash::growth(rest),
        Some((chore, rest)) if chore == "golden" => golden::run(rest),
        Some((chore, _)) => bail!("there is no chore {chore:?}.\nType: {USAGE}"),
        None => bail!("which chore?\nType: {USAGE}"),
    }
}
