//! `mainstay bench floors`: what the kernel and the disk take for the least that one change needs.
//!
//! * nft: one endpoint slot of a table that holds the rules and one Service is replaced, through our netlink code alone:
//!   from building the batch to its acknowledgement.
//! * append: 4 KiB appended to a file and fdatasync'ed, in the directory where instances of the benchmark keep their
//!   store. A file that grows makes the file system write its own journal as well.
//! * overwrite: the same inside a file that has its blocks already, as the store's file mostly does.

use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use compile::nft::Programmer;
use compile::service_table::Config;
use compile::snapshot::{Builder, Changes};
use dataplane::Dataplane;
use dataplane::nft::{Nft, encoded_len};
use pods::sandbox::Sandbox;
use serde_json::json;

use super::numbers::Samples;
use super::objects;
use super::sandbox::ThrowAway;
use crate::config::Network;
use api::object::{ObjectKey, Revision};

const BLOCK: usize = 4_096;
/// Samples that are not counted.
const WARM_UP: usize = 50;

/// Flags of `mainstay bench floors`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How often each is measured
    #[arg(long, default_value_t = 1_000, value_name = "COUNT", value_parser = super::numbers::count())]
    samples: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. The process must still have a single thread.
pub(super) fn run(flags: &Flags) -> Result<()> {
    let throw_away = ThrowAway::start()?;
    let append = synced(&throw_away, "append", false, flags.samples)?;
    let overwrite = synced(&throw_away, "overwrite", true, flags.samples)?;
    let sandbox = throw_away.sandbox()?;
    let samples = flags.samples;
    // The thread that enters the sandbox's network stays there, so it is not this one.
    let thread = std::thread::spawn(move || replace(&sandbox, samples));
    let nft = thread.join().map_err(|_| anyhow::anyhow!("the measuring thread panicked"))??;
    drop(throw_away);
    let rows = [
        ("nft", "one nft slot replaced", nft),
        ("append", "4 KiB appended, synced", append),
        ("overwrite", "4 KiB overwritten, synced", overwrite),
    ];
    if flags.json {
        let mut figures = json!({});
        for (key, _, samples) in &rows {
            for percent in [50, 99] {
                figures[format!("{key}_p{percent}_us")] = json!(samples.percentile_us(percent));
            }
        }
        println!("{figures}");
        return Ok(());
    }
    println!("                                      p50        p99");
    for (_, what, samples) in rows {
        let cell = |percent| samples.percentile_us(percent).unwrap_or(f64::NAN);
        println!("{what:<28} {:>10.1} us {:>7.1} us", cell(50), cell(99));
    }
    Ok(())
}

/// Blocks written one after the other, each synced; `allocated` writes all of them once before.
fn synced(throw_away: &ThrowAway, name: &str, allocated: bool, samples: usize) -> Result<Samples> {
    let path = throw_away.directory().join(name);
    let mut file = std::fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let block = [0x5a; BLOCK];
    if allocated {
        for _ in 0..WARM_UP + samples {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        file.rewind()?;
    }
    let mut out = Samples::default();
    for sample in 0..WARM_UP + samples {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        if sample >= WARM_UP {
            out.add(began.elapsed());
        }
    }
    Ok(out)
}

fn replace(sandbox: &Arc<Sandbox>, samples: usize) -> Result<Samples> {
    sandbox.enter().context("cannot enter the sandbox's network")?;
    let network = Network::parse(objects::SERVICE_CIDR, objects::POD_CIDR)?;
    let mut plane = Nft::open()?;
    plane.install()?;
    let mut programmer = Programmer::new(Config {
        node: "bench".into(),
        pod_cidrs: network.pod_cidrs.clone(),
        service_cidrs: network.service_cidrs.clone(),
        egress: false,
        node_port_addresses: network.node_addresses.clone(),
        dns_addresses: network.dns_addresses,
        pools: network.pools,
        ..Config::default()
    });
    let mut builder = Builder::default();
    let key = ObjectKey::new(objects::NAMESPACE, objects::name(0));
    let mut out = Samples::default();
    for sample in 0..WARM_UP + samples {
        let revision = Revision(sample as u64 + 1);
        let service = objects::service(0).to_string();
        builder.put("services", &key, revision, service.as_bytes())?;
        let slice = objects::slice(0, [0, 1, 2, 3 + sample].into_iter()).to_string();
        builder.put("endpointslices", &key, revision, slice.as_bytes())?;
        let (snapshot, _) = builder.publish(revision);
        let changes = Changes { services: [key.clone()].into(), ..Changes::default() };
        let plan = programmer.plan(&snapshot, &changes, plane.batch_bytes_max(), &encoded_len);
        let began = Instant::now();
        for batch in &plan.batches {
            plane.apply(batch)?;
        }
        if sample >= WARM_UP {
            anyhow::ensure!(plan.batches.len() == 1, "one replaced endpoint made {} batches", plan.batches.len());
            out.add(began.elapsed());
        }
    }
    Ok(out)
}
