//! The crash harness and the store's growth: a number of rounds or writes in, counts out, an error when something is wrong.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use api::object::ObjectKey;
use bytes::Bytes;
use mainstay_tests::crash::{Flaw, run};
use store::Store;

/// Writes under way at once.
const WRITERS: u64 = 64;
/// Objects that are written over and over.
const OBJECTS: u64 = 1000;

/// `crash [--rounds N] [--seed N]`.
pub(crate) fn crash(arguments: &[String]) -> Result<()> {
    let rounds = number(arguments, "--rounds")?.unwrap_or(2000);
    let seed = number(arguments, "--seed")?.unwrap_or(1);
    let began = Instant::now();
    println!("seed {seed}");
    let report = run(usize::try_from(rounds)?, seed, Flaw::None).map_err(|why| anyhow::anyhow!("{why}"))?;
    print!("{report}");
    println!("{:>8.1}  seconds", began.elapsed().as_secs_f64());
    println!("every acknowledged write was there, and no other");
    Ok(())
}

/// `growth [--writes N]`: status writes on a fixed number of objects; what the store's file and memory do.
pub(crate) fn growth(arguments: &[String]) -> Result<()> {
    let writes = number(arguments, "--writes")?.unwrap_or(1_000_000);
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let store = Store::open_dir(directory.path())?;
    println!("{:>9}  {:>9}  {:>9}  {:>9}", "writes", "file KiB", "RSS KiB", "seconds");
    let began = Instant::now();
    let steps = 10;
    for step in 1..=steps {
        runtime.block_on(write(&store, writes / steps * (step - 1), writes / steps))?;
        let file = std::fs::metadata(directory.path().join(store::log::redb::FILE))?.len() >> 10;
        let seconds = began.elapsed().as_secs_f64();
        println!("{:>9}  {file:>9}  {:>9}  {seconds:>9.1}", writes / steps * step, resident()?);
    }
    Ok(())
}

async fn write(store: &Store, first: u64, count: u64) -> Result<()> {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in (first + writer..first + count).step_by(WRITERS as usize) {
                    let written = store.write(|txn| {
                        let name = format!("pod-{}", number % OBJECTS);
                        let revision = txn.next_revision();
                        txn.put("pods", ObjectKey::new("perf", name.as_str()), body(&name, revision.0));
                        Ok::<(), std::convert::Infallible>(())
                    });
                    written.await.map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await?.map_err(|why| anyhow::anyhow!("{why}"))?;
    }
    Ok(())
}

/// About a kilobyte that looks like a Pod.
fn body(name: &str, revision: u64) -> Bytes {
    let condition = |kind: &str| serde_json::json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-11-21T08:00:00Z", "seen": revision });
    let conditions: Vec<_> = ["Ready", "Initialized", "PodScheduled", "ContainersReady"].map(condition).into();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "perf", "resourceVersion": revision.to_string(), "uid": name },
        "spec": { "containers": [{ "name": "main", "image": "echo", "ports": [{ "containerPort": 8080 }] }] },
        "status": { "phase": "Running", "podIP": "10.244.0.9", "conditions": conditions },
    })
    .to_string()
    .into()
}

fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

fn number(arguments: &[String], flag: &str) -> Result<Option<u64>> {
    let Some(at) = arguments.iter().position(|argument| argument == flag) else { return Ok(None) };
    match arguments.get(at + 1).map(|text| text.parse()) {
        Some(Ok(number)) => Ok(Some(number)),
        _ => bail!("{flag} needs a number.\nType: cargo xtask crash {flag} 2000"),
    }
}
