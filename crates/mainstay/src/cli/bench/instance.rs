//! A number of Services in, an instance on a throw-away sandbox that has programmed all of them out.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::fill;
use super::objects::{self, Shape};
use super::sandbox::ThrowAway;
use crate::config::{DataDir, Network};
use crate::run::faults::Faults;
use crate::run::phases::Phases;
use crate::run::{self, Running, Settings, nft};

/// Longest wait for the first complete state; only a hang reaches it.
const COLD_PATIENCE: Duration = Duration::from_secs(300);

/// Fills the store, starts an instance on it and waits until the kernel holds everything.
pub(super) async fn start(
    throw_away: &ThrowAway,
    shape: Shape,
    more: Vec<(&'static str, Value)>,
    (backend, send_bytes): (nft::Kind, Option<usize>),
) -> Result<Running> {
    let data_dir = DataDir::choose(Some(throw_away.directory()))?;
    let filled = fill::fill(&data_dir.store(), shape, more).await?;
    let settings = Settings {
        data_dir,
        network: Network::parse(objects::SERVICE_CIDR, objects::POD_CIDR)?,
        listener: TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?,
        node: Some("bench".to_owned()),
        domain: "cluster.local".to_owned(),
        kubeconfig: None,
        dataplane: backend,
        send_bytes,
        allow_external_ips: false,
        faults: Faults::new(false, true),
        host: None,
        publish: Vec::new(),
    };
    let running = run::start(settings, throw_away.sandbox()?, &mut Phases::new()).await?;
    let mut nft = running.applied.subscribe_sink("nft").context("the instance has no sink named nft")?;
    let complete = tokio::time::timeout(COLD_PATIENCE, nft.wait_for(|revision| *revision >= filled)).await;
    complete.with_context(|| format!("not programmed after {COLD_PATIENCE:?}: {:?}", running.report.problems()))??;
    let (first, _) = running.report.first().context("the sink confirmed but reports nothing")?;
    if first < filled {
        bail!("the first state the kernel held was revision {first}, before the last object at {filled}");
    }
    if let Some(problem) = running.report.problems().first() {
        bail!("not everything is programmed: {problem}");
    }
    Ok(running)
}
