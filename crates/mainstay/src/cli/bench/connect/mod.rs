//! `mainstay bench connect`: a number of Services in, what a connection through one of them costs beside a direct one out.
//!
//! Client and server are threads of this process in network namespaces of their own, connected as pods are, each pinned to
//! a processor. Direct connections and those through the cluster IP take turns, so that whatever else the machine does
//! meets both.
//!
//! * connect: `connect(2)` of a new TCP connection, from the call to its return.
//! * per second: how many one thread opens, asks for one byte and closes, one after the other.
//! * request-response: 32 bytes there and back on a kept connection.

mod client;
mod pair;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::instance;
use super::objects;
use super::sandbox::{self, ThrowAway};
use crate::run::nft;
use client::Measured;
use pair::Pair;

/// Flags of `mainstay bench connect`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How many Services there are
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    services: usize,
    /// How many endpoints each of the others has
    #[arg(long, default_value_t = 4, value_name = "M")]
    endpoints: usize,
    /// How many connections of each kind are timed one by one
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = super::numbers::count())]
    samples: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Addresses below those of the filled objects.
const SERVICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 1, 1));
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 240, 1, 1));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 240, 1, 2));
/// Ports of the Service and of the server, as [`objects::service`] has them.
const PORTS: (u16, u16) = (80, 8080);

/// Runs the subcommand. The process must still have a single thread.
pub(super) fn run(flags: &Flags) -> Result<()> {
    if flags.services == 0 || flags.samples == 0 {
        bail!("--services and --samples must be at least 1.\nFor example: mainstay bench connect --services 10000");
    }
    instance::check_addresses(flags.services, flags.endpoints)?;
    let throw_away = ThrowAway::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = sandbox::until_interrupted(runtime, measure(flags, &throw_away))?;
    drop(throw_away);
    print(flags, &measured);
    Ok(())
}

async fn measure(flags: &Flags, throw_away: &ThrowAway) -> Result<Measured> {
    let number = flags.services - 1;
    let target = vec![("services", target_service(number)), ("endpointslices.discovery.k8s.io", target_slice(number))];
    let running = instance::start(throw_away, number, flags.endpoints, target, nft::Kind::default()).await?;
    running.ready().await;
    let pair = Pair::new(&*throw_away.sandbox()?, SERVER, CLIENT)?;
    let (direct, service) = (SocketAddr::new(SERVER, PORTS.1), SocketAddr::new(SERVICE, PORTS.0));
    let samples = flags.samples;
    let measured = tokio::task::spawn_blocking(move || pair.run(direct, |_| client::measure(direct, service, samples)));
    let measured = measured.await?.context("the pair of pods that connect to each other failed")?;
    running.stop();
    Ok(measured)
}

/// The Service that is measured: the last of them all, with a fixed address.
fn target_service(number: usize) -> Value {
    let mut service = objects::service(number);
    service["spec"]["clusterIP"] = SERVICE.to_string().into();
    service["spec"]["clusterIPs"] = json!([SERVICE.to_string()]);
    service
}

fn target_slice(number: usize) -> Value {
    let mut slice = objects::slice(number, std::iter::once(0));
    slice["endpoints"][0]["addresses"] = json!([SERVER.to_string()]);
    slice
}

fn print(flags: &Flags, measured: &Measured) {
    let Measured { direct, service } = measured;
    if flags.json {
        let figures = json!({
            "services": flags.services,
            "direct_p50_us": direct.connect.percentile_us(50), "service_p50_us": service.connect.percentile_us(50),
            "direct_p99_us": direct.connect.percentile_us(99), "service_p99_us": service.connect.percentile_us(99),
            "direct_per_s": direct.per_second(), "service_per_s": service.per_second(),
            "direct_rr_us": direct.turn.percentile_us(50), "service_rr_us": service.turn.percentile_us(50),
        });
        println!("{figures}");
        return;
    }
    println!("{} Services, {} connections of each kind timed", flags.services, flags.samples);
    println!("{:<18} {:>10} {:>10} {:>7}", "", "direct", "service", "ratio");
    let rows = [
        ("connect p50 us", direct.connect.percentile_us(50), service.connect.percentile_us(50)),
        ("connect p99 us", direct.connect.percentile_us(99), service.connect.percentile_us(99)),
        ("connections/s", direct.per_second(), service.per_second()),
        ("request-answer us", direct.turn.percentile_us(50), service.turn.percentile_us(50)),
    ];
    for (what, direct, service) in rows {
        let (direct, service) = (direct.unwrap_or(f64::NAN), service.unwrap_or(f64::NAN));
        println!("{what:<18} {direct:>10.1} {service:>10.1} {:>7.2}", service / direct);
    }
}
