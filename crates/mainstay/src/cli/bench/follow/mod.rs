//! `mainstay bench follow`: changes of one endpoint through the API in, when packets follow them out.
//!
//! The Service is `target` of `mainstay bench fill`; its endpoint moves between two addresses of the server's namespace. A
//! client sends a datagram from a new port every fraction of a millisecond, and each answer says which address gave it: the
//! same look from outside at whatever translates addresses there. `cargo xtask peers` compares with kube-proxy by it.
//!
//! * first packet: from before the request that moves the endpoint to the first answer of its new address.
//! * stale: answers of the old address after the first one of the new.

mod probe;

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::fill_command as filled;
use super::numbers::Samples;
use crate::cli::client::Client;
use probe::Probe;

/// How long packets go to the old address at most; only a proxy that does not follow reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `mainstay bench follow`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// The API server
    #[arg(long, value_name = "PATH")]
    kubeconfig: PathBuf,
    /// Network namespace from which the API is reached; this process's own without it
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Network namespace of the client: a name that `ip netns` knows
    #[arg(long, value_name = "NAME")]
    client: String,
    /// Network namespace of the server
    #[arg(long, value_name = "NAME")]
    server: String,
    /// Two addresses of the server
    #[arg(long, value_name = "ADDRESS", num_args = 2)]
    addresses: Vec<IpAddr>,
    /// How many changes are measured
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = super::numbers::count())]
    samples: usize,
    /// Milliseconds between the packets' arrival and the next change: what is put off must not meet the next one
    #[arg(long, default_value_t = 1_500, value_name = "N")]
    rest: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(super) fn run(flags: &Flags) -> Result<()> {
    let [first, second] = flags.addresses[..] else {
        bail!("--addresses takes two.\nFor example: 10.240.1.6 10.240.1.7")
    };
    let probe = Probe::start(&flags.client, &flags.server, [first, second])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = || runtime.block_on(measure(flags, &probe, [first, second]));
    let (packets, answered) = match &flags.from {
        Some(name) => {
            let from = probe::namespace(name)?;
            let measured = kernel::namespace::within_net(from.as_fd(), || Ok(work()));
            measured.context("cannot enter the namespace from which the API is reached")??
        }
        None => work()?,
    };
    let stale = probe.stale();
    if flags.json {
        let figures = json!({
            "samples": flags.samples, "stale": stale,
            "packet_p50_us": packets.percentile_us(50), "packet_p99_us": packets.percentile_us(99),
            "packet_max_us": packets.percentile_us(100), "answered_p50_us": answered.percentile_us(50),
        });
        println!("{figures}");
        return Ok(());
    }
    println!("                              p50        p99");
    for (what, samples) in [("first packet", packets), ("API answers", answered)] {
        let cell = |percent| samples.percentile_us(percent).unwrap_or(f64::NAN);
        println!("{what:<20} {:>10.1} us {:>7.1} us", cell(50), cell(99));
    }
    println!("stale answers        {stale:>10}");
    Ok(())
}

async fn measure(flags: &Flags, probe: &Probe, addresses: [IpAddr; 2]) -> Result<(Samples, Samples)> {
    let client = Client::from_kubeconfig(&flags.kubeconfig)?;
    let (mut packets, mut answered) = (Samples::default(), Samples::default());
    // The first change only brings everything to a known state.
    for sample in 0..=flags.samples {
        let to = sample % 2;
        let slice = moved(&client, addresses[to]).await?;
        let (began, seen) = (Instant::now(), probe.wait_for(to));
        client.put(&filled::slice_path(), &slice).await?.ok()?;
        let answer = began.elapsed();
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        let seen = seen.with_context(|| format!("no packet reached {} in {PATIENCE:?}", addresses[to]))??;
        if sample > 0 {
            packets.add(seen.saturating_duration_since(began));
            answered.add(answer);
        }
        tokio::time::sleep(Duration::from_millis(flags.rest)).await;
    }
    Ok((packets, answered))
}

/// The target's slice with one address as its endpoint.
async fn moved(client: &Client, address: IpAddr) -> Result<Value> {
    let mut slice = client.get(&filled::slice_path()).await?.ok()?;
    slice["endpoints"] = filled::slice(&[address.to_string()])["endpoints"].take();
    Ok(slice)
}
