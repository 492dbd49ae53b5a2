//! `mainstay bench churn`: endpoint changes at a fixed rate in, how far the kernel is behind and what following costs out.
//!
//! A writer replaces endpoints of Services in turn, in one durable transaction of the store every few milliseconds: what
//! requests to the API become once they are decoded, checked and gathered. It has a thread of its own, whose processor time
//! is told apart. Everything else is an ordinary instance.
//!
//! * lag: from the moment a transaction is durable and shown to watchers to the kernel's acknowledgement of its last change.
//! * cores: processor time by thread over the run, in processors; "process" is all of them without the writer.
//! * netlink bytes: what was sent to the kernel, headers and all, by change.

mod threads;
mod writer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::object::Revision;
use clap::Args;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::instance;
use super::numbers::Samples;
use super::objects::Shape;
use super::sandbox::{self, ThrowAway};
use crate::run::{Running, nft};
use writer::{Writer, Written};

/// Longest wait for the kernel after the last change; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `mainstay bench churn`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How many Services there are
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    services: usize,
    /// How many endpoints each has
    #[arg(long, default_value_t = 4, value_name = "M", value_parser = super::numbers::count())]
    endpoints: usize,
    /// Endpoints replaced a second
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = super::numbers::count())]
    rate: usize,
    /// For how long
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
    /// Milliseconds between two transactions of the writer
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    period: u64,
    /// Largest batch that the kernel is sent, as a process gets it that may not force its send buffer: 425984
    #[arg(long, value_name = "N")]
    batch_bytes: Option<usize>,
    /// Which dataplane; `memory` shows what is left without the kernel
    #[arg(long, value_enum, default_value_t)]
    backend: nft::Kind,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was measured.
struct Measured {
    lag: Samples,
    changes: usize,
    took: Duration,
    batches: u64,
    sent_bytes: u64,
    /// Processors by name of thread.
    cores: BTreeMap<String, f64>,
}

/// Runs the subcommand. The process must still have a single thread.
pub(super) fn run(flags: &Flags) -> Result<()> {
    shape(flags).check()?;
    let throw_away = ThrowAway::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = sandbox::until_interrupted(runtime, measure(flags, &throw_away))?;
    drop(throw_away);
    print(flags, &measured);
    Ok(())
}

fn shape(flags: &Flags) -> Shape {
    Shape::of(flags.services.max(1), flags.endpoints)
}

async fn measure(flags: &Flags, throw_away: &ThrowAway) -> Result<Measured> {
    let running = instance::start(throw_away, shape(flags), Vec::new(), (flags.backend, flags.batch_bytes)).await?;
    running.ready().await;
    let kernel = running.applied.subscribe_sink("nft").context("the instance has no sink named nft")?;
    let writer = Writer::new(running.store.clone(), shape(flags));
    let (period, seconds, rate) = (Duration::from_millis(flags.period), flags.seconds, flags.rate);
    let (told, heard) = mpsc::unbounded_channel();
    let before = (Instant::now(), threads::usage()?, running.report.totals(), kernel::nl::sent_bytes());
    let thread = std::thread::Builder::new().name(threads::WRITER.into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(writer.run(rate, period, Duration::from_secs(seconds), &told))
    })?;
    let (lag, changes) = observe(&running, kernel, heard).await?;
    let took = before.0.elapsed();
    let after = (threads::usage()?, running.report.totals(), kernel::nl::sent_bytes());
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| anyhow::anyhow!("the writing thread panicked"))??;
    running.stop();
    let batches = |totals: &BTreeMap<&str, u64>| totals.get("batches").copied().unwrap_or_default();
    Ok(Measured {
        lag,
        changes,
        took,
        batches: batches(&after.1) - batches(&before.2),
        sent_bytes: after.2 - before.3,
        cores: threads::cores(&before.1, &after.0, took),
    })
}

/// Waits for the kernel's acknowledgement of everything that is written. The lag of each transaction, and the number of
/// changes in all of them.
async fn observe(
    running: &Running,
    mut kernel: watch::Receiver<Revision>,
    mut heard: mpsc::UnboundedReceiver<Written>,
) -> Result<(Samples, usize)> {
    let (mut lag, mut changes) = (Samples::default(), 0);
    while let Some(written) = heard.recv().await {
        let reached = kernel.wait_for(|revision| *revision >= written.revision);
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.with_context(|| format!("revision {} is not applied after {PATIENCE:?}", written.revision))??;
        // The acknowledgement of this revision or of a later one: never earlier than its own.
        let (_, last) = running.report.last().context("the sink confirmed but reports nothing")?;
        lag.add(last.saturating_duration_since(written.committed));
        changes += written.changes;
    }
    Ok((lag, changes))
}

fn print(flags: &Flags, measured: &Measured) {
    let Measured { lag, changes, took, batches, sent_bytes, cores } = measured;
    let per_second = (*changes as f64 / took.as_secs_f64()).round();
    let process: f64 = cores.iter().filter(|(name, _)| *name != threads::WRITER).map(|(_, cores)| cores).sum();
    let of = |name: &str| cores.get(name).copied().unwrap_or(0.0);
    let per_change = (*sent_bytes as f64 / (*changes).max(1) as f64).round();
    if flags.json {
        let figures = json!({
            "services": flags.services, "endpoints": flags.endpoints, "backend": flags.backend.name(),
            "rate": flags.rate, "changes": changes, "changes_per_s": per_second, "seconds": took.as_secs_f64().round(),
            "batch_bytes": flags.batch_bytes, "batches": batches, "netlink_bytes_per_change": per_change,
            "lag_p50_us": lag.percentile_us(50), "lag_p99_us": lag.percentile_us(99), "lag_max_us": lag.percentile_us(100),
            "dataplane_cores": rounded(of("dataplane")), "process_cores": rounded(process),
            "threads": cores.iter().map(|(name, cores)| (name.clone(), rounded(*cores))).collect::<BTreeMap<_, _>>(),
        });
        println!("{figures}");
        return;
    }
    println!("{} Services x {} endpoints, {}", flags.services, flags.endpoints, flags.backend.name());
    println!("changes             {changes:>10} in {:.1} s: {per_second}/s asked {}/s", took.as_secs_f64(), flags.rate);
    for percent in [50, 99, 100] {
        let value = lag.percentile_us(percent).unwrap_or(f64::NAN) / 1_000.0;
        println!("lag p{percent:<15} {value:>10.2} ms");
    }
    println!("transactions        {batches:>10}, {per_change} bytes of netlink a change");
    println!("dataplane thread    {:>10.2} cores", of("dataplane"));
    println!("process             {process:>10.2} cores without the writer");
    cores.iter().for_each(|(name, cores)| println!("  {name:<18}{cores:>10.2}"));
}

fn rounded(cores: f64) -> f64 {
    (cores * 1_000.0).round() / 1_000.0
}
