//! `mainstay bench restart`: a number of Services in, how soon a killed server's successor is ready out.
//!
//! The kernel holds everything when the server is killed. From the start of the next process until it says that it is
//! ready: the store's file is opened, every object read and decoded, the kernel's data observed and adopted, and the newest
//! revision confirmed by every sink. What it wrote to the kernel meanwhile is counted; nothing has changed, so nothing is due.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::fill;
use super::footprint::started::Started;
use super::numbers::Samples;
use super::objects::{self, Shape};

/// Flags of `mainstay bench restart`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How many Services there are
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    services: usize,
    /// How many endpoints each has, in each family
    #[arg(long, default_value_t = 4, value_name = "M")]
    endpoints: usize,
    /// Both families
    #[arg(long)]
    dual_stack: bool,
    /// How often the server is killed
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = super::numbers::count())]
    samples: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(super) fn run(flags: &Flags) -> Result<()> {
    let shape = Shape { services: flags.services, endpoints: flags.endpoints, dual_stack: flags.dual_stack };
    shape.check()?;
    let program = std::env::current_exe().context("cannot find this program. Is /proc mounted?")?;
    let ranges = ["--service-cidr", objects::SERVICE_CIDR, "--pod-cidr", objects::POD_CIDR];
    let mut started = Started::new(&program, &ranges, |directory| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fill::fill(&directory.join("store"), shape, Vec::new()))?;
        Ok(Vec::new())
    })?;
    let first = started.ready()?;
    let (mut ready, mut batches) = (Samples::default(), 0);
    for _ in 0..flags.samples {
        started.restart()?;
        ready.add(started.ready()?);
        let done = started.programming()?;
        batches += done["batches"].as_u64().context("mainstay status says nothing of transactions")?;
    }
    let millis = |percent| ready.percentile_us(percent).map(|us| (us / 100.0).round() / 10.0);
    let first = (first.as_secs_f64() * 1e4).round() / 10.0;
    if flags.json {
        let figures = json!({
            "services": flags.services, "endpoints": flags.endpoints, "dual_stack": flags.dual_stack,
            "first_ready_ms": first, "ready_p50_ms": millis(50), "ready_max_ms": millis(100), "batches": batches,
        });
        println!("{figures}");
        return Ok(());
    }
    println!("first start         {first:>10.1} ms");
    println!("after a kill, p50   {:>10.1} ms", millis(50).unwrap_or(f64::NAN));
    println!("after a kill, worst {:>10.1} ms", millis(100).unwrap_or(f64::NAN));
    println!("kernel transactions {batches:>10} in {} restarts", flags.samples);
    Ok(())
}
