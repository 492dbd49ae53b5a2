//! `mainstay bench programming`: a number of Services in, how long they take to reach the kernel out.
//!
//! * cold: the durable store holds the objects, the kernel nothing. From just before the controllers and the dataplane
//!   start to the acknowledgement of the last batch: reading the store, decoding every object, compiling, installing the
//!   rules, loading the data. Opening the store's file and making certificates come before and are not in it.
//! * change: one endpoint of a random Service is replaced by `PUT` of its slice over a kept HTTPS connection. From before
//!   the request is written to the kernel's acknowledgement of that revision: TLS, admission, fsync, watch, compile, commit.
//! * commit to kernel: of the same changes, from the moment the store shows the durable revision to its watchers to the
//!   kernel's last acknowledgement: watch, decoding, compile, netlink transaction.
//! * add: `POST` of a Service (which gets its address there) and of its slice, until the kernel holds both.
//!
//! Nothing is waiting before a sample begins, and every sink has confirmed before the next one does.

mod probe;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use super::instance;
use super::numbers::Samples;
use super::objects::Shape;
use super::sandbox::{self, ThrowAway};
use crate::run::nft;
use probe::Probe;

/// Flags of `mainstay bench programming`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How many Services there are
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    services: usize,
    /// How many endpoints each has
    #[arg(long, default_value_t = 4, value_name = "M")]
    endpoints: usize,
    /// How many changes and how many additions are measured
    #[arg(long, default_value_t = 500, value_name = "COUNT", value_parser = super::numbers::count())]
    samples: usize,
    /// Which dataplane; `memory` shows what is left without the kernel
    #[arg(long, value_enum, default_value_t)]
    backend: nft::Kind,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Default)]
struct Measured {
    cold: Duration,
    change: Samples,
    change_answer: Samples,
    kernel: Samples,
    add: Samples,
}

/// Runs the subcommand. The process must still have a single thread.
pub(super) fn run(flags: &Flags) -> Result<()> {
    check(flags)?;
    let throw_away = ThrowAway::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = sandbox::until_interrupted(runtime, measure(flags, &throw_away))?;
    drop(throw_away);
    print(flags, &measured);
    Ok(())
}

fn check(flags: &Flags) -> Result<()> {
    let Flags { services, endpoints, samples, .. } = *flags;
    if services == 0 || endpoints == 0 || samples == 0 {
        bail!("--services, --endpoints and --samples must be at least 1.\nFor example: --services 1000 --endpoints 4");
    }
    Shape::of(services.saturating_add(samples), endpoints).check()
}

async fn measure(flags: &Flags, throw_away: &ThrowAway) -> Result<Measured> {
    let shape = Shape::of(flags.services, flags.endpoints);
    let running = instance::start(throw_away, shape, Vec::new(), (flags.backend, None)).await?;
    let (_, cold) = running.report.first().context("the sink confirmed but reports nothing")?;
    running.ready().await;
    // The client has a thread and a runtime of its own, as another process would.
    let probe = Probe::new(&running, &throw_away.directory().join("kubeconfig"), flags.services, flags.endpoints)?;
    let samples = flags.samples;
    let client = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(sample(probe, samples))
    });
    let measured = Measured { cold, ..client.await?? };
    running.stop();
    Ok(measured)
}

async fn sample(mut probe: Probe, samples: usize) -> Result<Measured> {
    let mut measured = Measured::default();
    probe.quiet().await?;
    for _ in 0..samples {
        let took = probe.change().await?;
        measured.change.add(took.acknowledged);
        measured.change_answer.add(took.answered);
        measured.kernel.add(took.kernel);
    }
    for _ in 0..samples {
        measured.add.add(probe.add().await?);
    }
    Ok(measured)
}

fn print(flags: &Flags, measured: &Measured) {
    let cold_ms = (measured.cold.as_secs_f64() * 1e4).round() / 10.0;
    let Measured { change, change_answer, kernel, add, .. } = measured;
    let (services, endpoints, backend) = (flags.services, flags.endpoints, flags.backend.name());
    if flags.json {
        let figures = json!({
            "services": services, "endpoints": endpoints, "backend": backend, "cold_ms": cold_ms,
            "change_p50_us": change.percentile_us(50), "change_p99_us": change.percentile_us(99),
            "commit_to_kernel_p50_us": kernel.percentile_us(50), "commit_to_kernel_p99_us": kernel.percentile_us(99),
            "add_p50_us": add.percentile_us(50), "add_p99_us": add.percentile_us(99),
        });
        println!("{figures}");
        return;
    }
    println!("{services} Services x {endpoints} endpoints, {backend}, {} samples", flags.samples);
    println!("cold                    {cold_ms:>9} ms");
    println!("                              p50        p99");
    let rows =
        [("change", change), ("  until the API answers", change_answer), ("  commit to kernel", kernel), ("add", add)];
    for (what, samples) in rows {
        let cell = |percent| samples.percentile_us(percent).unwrap_or(f64::NAN);
        println!("{what:<23} {:>7.1} us {:>7.1} us", cell(50), cell(99));
    }
}
