//! `mainstay bench footprint`: this program in, how fast an instance of it is there and what it weighs at rest out.
//!
//! * ready: from starting the process to its line that says ready.
//! * first answer: to the first answered request through a cluster IP, by a new process, of three echo pods.
//! * memory: proportional set size of the server, the holder and everything they started, after a rest; once with those
//!   three pods, once with 10,000 Services of ten endpoints each.
//! * idle: processor time of all of them during the rest, in percent of one processor.

pub(super) mod started;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use kernel::usage::Usage;
use serde_json::json;

use super::fill;
use super::objects::{self, Shape};
use started::Started;

/// Flags of `mainstay bench footprint`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How long the instance rests before its memory is read
    #[arg(long, default_value_t = 60, value_name = "N")]
    idle_seconds: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Services of the large instance, and endpoints of each.
const LARGE: (usize, usize) = (10_000, 10);
const MANIFEST: &str = include_str!("rest.yaml");

/// What was measured.
#[derive(Debug)]
struct Measured {
    ready: Duration,
    first_answer: Duration,
    idle_percent: f64,
    small: Vec<Usage>,
    large: Vec<Usage>,
    binary_bytes: u64,
}

/// Runs the subcommand.
pub(super) fn run(flags: &Flags) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program. Is /proc mounted?")?;
    let binary_bytes = std::fs::metadata(&program)?.len();
    let rest = Duration::from_secs(flags.idle_seconds);
    let mut small = Started::new(&program, &[], |directory| {
        let path = directory.join("rest.yaml");
        std::fs::write(&path, MANIFEST)?;
        Ok(vec!["-f".to_owned(), path.display().to_string()])
    })?;
    let ready = small.ready()?;
    let first_answer = small.first_answer()?;
    let (idle_percent, small) = small.rest(rest)?;
    let ranges = ["--service-cidr", objects::SERVICE_CIDR, "--pod-cidr", objects::POD_CIDR];
    let mut large = Started::new(&program, &ranges, |directory| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fill::fill(&directory.join("store"), Shape::of(LARGE.0, LARGE.1), Vec::new()))?;
        Ok(Vec::new())
    })?;
    large.ready()?;
    let (_, large) = large.rest(rest)?;
    print(flags, &Measured { ready, first_answer, idle_percent, small, large, binary_bytes });
    Ok(())
}

fn total_mib(usages: &[Usage]) -> f64 {
    mib(usages.iter().map(|usage| usage.pss_kib).sum())
}

fn mib(kib: u64) -> f64 {
    (kib as f64 / 102.4).round() / 10.0
}

fn print(flags: &Flags, measured: &Measured) {
    let Measured { ready, first_answer, idle_percent, small, large, binary_bytes } = measured;
    let (ready, first_answer) = (ready.as_millis(), first_answer.as_millis());
    let (pss, pss_large, binary) = (total_mib(small), total_mib(large), mib(binary_bytes / 1024));
    if flags.json {
        let processes = |usages: &[Usage]| -> Vec<_> {
            usages.iter().map(|usage| json!({ "name": usage.name, "pss_mib": mib(usage.pss_kib) })).collect()
        };
        let figures = json!({
            "ready_ms": ready, "first_answer_ms": first_answer, "pss_mib": pss, "pss_mib_10k": pss_large,
            "idle_cpu_percent": idle_percent, "binary_mib": binary, "idle_seconds": flags.idle_seconds,
            "processes": processes(small), "processes_10k": processes(large),
        });
        println!("{figures}");
        return;
    }
    println!("ready                       {ready:>8} ms");
    println!("first answer                {first_answer:>8} ms");
    println!("memory with three pods      {pss:>8.1} MiB");
    small.iter().for_each(|usage| println!("  {:<26}{:>8.1} MiB", usage.name, mib(usage.pss_kib)));
    println!("memory with {} x {}     {pss_large:>8.1} MiB", LARGE.0, LARGE.1);
    large.iter().for_each(|usage| println!("  {:<26}{:>8.1} MiB", usage.name, mib(usage.pss_kib)));
    println!("processor at rest           {idle_percent:>8.2} %");
    println!("binary                      {binary:>8.1} MiB");
}
