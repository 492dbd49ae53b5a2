//! Repository chores: a name in, the chore done out.

mod bench;
mod dist;
mod golden;
mod stranger;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "cargo xtask bench [--markdown] [--binary FILE] [--idle-seconds N] | golden KUBECONFIG [SECTION...] | \
     dist [--target x86_64|aarch64]... [--binary FILE] [--out DIR] | \
     stranger [--suite NAME] [--mirror URL] [--dist DIR] [--only STEP] [--keep]";

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
        Some((chore, rest)) if chore == "dist" => dist::run(&dist::Options::parse(rest)?),
        Some((chore, rest)) if chore == "stranger" => stranger::run(&stranger::Options::parse(rest)?),
        Some((chore, rest)) if chore == "golden" => golden::run(rest),
        Some((chore, _)) => bail!("there is no chore {chore:?}.\nType: {USAGE}"),
        None => bail!("which chore?\nType: {USAGE}"),
    }
}
