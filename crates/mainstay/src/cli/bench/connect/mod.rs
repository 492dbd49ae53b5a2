//! `mainstay bench connect`: a number of Services in, what a connection through one of them costs beside a direct one out.
//!
//! Client and server are threads of this process in network namespaces of their own, connected as pods are, each pinned to
//! a processor. Direct connections, those through the cluster IP and those through the node port take turns, so that
//! whatever else the machine does meets all of them.
//!
//! * connect: `connect(2)` of a new TCP connection, from the call to its return.
//! * per second: how many one thread opens, asks for one byte and closes, one after the other.
//! * request-response: 32 bytes there and back on a kept connection.

pub(super) mod between;
mod client;
mod pair;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::instance;
use super::objects::{self, Shape};
use super::sandbox::{self, ThrowAway};
use crate::run::nft;
use client::Way;
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
/// Its node port.
const NODE_PORT: u16 = 30_080;
/// What is measured, in this order; the names of the figures begin with these.
const WAYS: [&str; 3] = ["direct", "service", "node_port"];

/// Runs the subcommand. The process must still have a single thread.
pub(super) fn run(flags: &Flags) -> Result<()> {
    if flags.services == 0 || flags.samples == 0 {
        bail!("--services and --samples must be at least 1.\nFor example: mainstay bench connect --services 10000");
    }
    Shape::of(flags.services, flags.endpoints).check()?;
    let throw_away = ThrowAway::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ways = sandbox::until_interrupted(runtime, measure(flags, &throw_away))?;
    drop(throw_away);
    let measured: Vec<_> = WAYS.into_iter().zip(ways).collect();
    if flags.json {
        let mut figures = figures(&measured);
        figures["services"] = flags.services.into();
        println!("{figures}");
        return Ok(());
    }
    println!("{} Services, {} connections of each kind timed", flags.services, flags.samples);
    print(&measured);
    Ok(())
}

async fn measure(flags: &Flags, throw_away: &ThrowAway) -> Result<Vec<Way>> {
    let number = flags.services - 1;
    let target = vec![("services", target_service(number)), ("endpointslices.discovery.k8s.io", target_slice(number))];
    let shape = Shape::of(number, flags.endpoints);
    let running = instance::start(throw_away, shape, target, (nft::Kind::default(), None)).await?;
    running.ready().await;
    let pair = Pair::new(&*throw_away.sandbox()?, SERVER, CLIENT)?;
    let (direct, service) = (SocketAddr::new(SERVER, PORTS.1), SocketAddr::new(SERVICE, PORTS.0));
    let network = crate::config::Network::parse(objects::SERVICE_CIDR, objects::POD_CIDR)?;
    let node = network.node_addresses.first().context("the node has no address")?;
    let addresses = [direct, service, SocketAddr::new(*node, NODE_PORT)];
    let samples = flags.samples;
    let measured = tokio::task::spawn_blocking(move || pair.run(direct, || client::measure(&addresses, samples)));
    let measured = measured.await?.context("the pair of pods that connect to each other failed")?;
    running.stop();
    Ok(measured)
}

/// The Service that is measured: the last of them all, with a fixed address and a node port.
fn target_service(number: usize) -> Value {
    let mut service = objects::service(number);
    let spec = &mut service["spec"];
    spec["clusterIP"] = SERVICE.to_string().into();
    spec["clusterIPs"] = json!([SERVICE.to_string()]);
    spec["type"] = "NodePort".into();
    spec["externalTrafficPolicy"] = "Cluster".into();
    spec["ports"][0]["nodePort"] = NODE_PORT.into();
    service
}

fn target_slice(number: usize) -> Value {
    let mut slice = objects::slice(number, std::iter::once(0));
    slice["endpoints"][0]["addresses"] = json!([SERVER.to_string()]);
    slice
}

/// Every figure under the name of its way.
fn figures(measured: &[(&str, Way)]) -> Value {
    let mut figures = json!({});
    for (name, way) in measured {
        for (key, value) in rows(way) {
            figures[format!("{name}_{key}")] = json!(value);
        }
    }
    figures
}

fn rows(way: &Way) -> [(&'static str, Option<f64>); 4] {
    let connect = |percent| way.connect.percentile_us(percent);
    [
        ("p50_us", connect(50)),
        ("p99_us", connect(99)),
        ("per_s", way.per_second()),
        ("rr_us", way.turn.percentile_us(50)),
    ]
}

/// A table for people; ratios are to the first way.
fn print(measured: &[(&str, Way)]) {
    let names = measured.iter().map(|(name, _)| format!("{name:>18}")).collect::<String>();
    println!("{:<20}{names}", "");
    let Some((_, first)) = measured.first() else { return };
    let titles = ["connect p50 us", "connect p99 us", "connections/s", "request-answer us"];
    for (at, title) in titles.into_iter().enumerate() {
        let value = |way: &Way| rows(way)[at].1.unwrap_or(f64::NAN);
        let cell = |(_, way): &(&str, Way)| format!("{:>10.1} ({:>5.2})", value(way), value(way) / value(first));
        println!("{title:<20}{}", measured.iter().map(cell).collect::<String>());
    }
}
