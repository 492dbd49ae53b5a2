//! Repository chores: a name in, the chore done out.

mod bench;
mod chaos;
mod crash;
mod dist;
mod golden;
mod peers;
mod soak;
mod stranger;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
  cargo xtask bench [--markdown] [--binary FILE] [--idle-seconds N]
  cargo xtask chaos [--rounds N] [--rate R] [--kept N] [--seed N] [--binary FILE] [--upgrade-to FILE] [--calm] [--json]
  cargo xtask crash [--rounds N] [--seed N]
  cargo xtask dist [--target x86_64|aarch64]... [--binary FILE] [--out DIR]
  cargo xtask golden KUBECONFIG [SECTION...]
  cargo xtask growth [--writes N]
  cargo xtask peers [--rounds N] [--services N,N] [--only PART] [--side NAME] [--peers-dir DIR] [--binary FILE] [--node FILE] [--json FILE]
  cargo xtask soak [--minutes N] [--rate N] [--cycle-seconds N] [--binary FILE] [--json FILE]
  cargo xtask stranger [--suite NAME] [--mirror URL] [--dist DIR] [--only STEP] [--keep]";

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
    let Some((chore, rest)) = arguments.split_first() else { bail!("which chore?\n{USAGE}") };
    match chore.as_str() {
        "bench" => bench::run(&bench::Options::parse(rest)?),
        "chaos" => chaos::run(&chaos::Options::parse(rest)?),
        "crash" => crash::crash(rest),
        "dist" => dist::run(&dist::Options::parse(rest)?),
        "golden" => golden::run(rest),
        "growth" => crash::growth(rest),
        "peers" => peers::run(&peers::Options::parse(rest)?),
        "soak" => soak::run(&soak::Options::parse(rest)?),
        "stranger" => stranger::run(&stranger::Options::parse(rest)?),
        _ => bail!("there is no chore {chore:?}.\n{USAGE}"),
    }
}
