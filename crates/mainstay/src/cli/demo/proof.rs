//! Proof that packets took the kernel's path: element counters and conntrack, read by netlink and not from our server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Stage;
use super::report::{Said, Unseen};

/// Packets (first packets of connections) by element, as the kernel counts them.
pub(super) type Counters = BTreeMap<String, u64>;

/// What `mainstay dump kernel` prints: read straight from the kernel, in the node's network.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Kernel {
    /// Counters of frontends and endpoints by their printed key.
    pub(crate) counters: Counters,
    /// Translated flows: `client -> virtual address => endpoint`.
    pub(crate) flows: Vec<String>,
}

async fn kernel(stage: &Stage) -> Result<Kernel, Unseen> {
    let program = std::env::current_exe().map_err(anyhow::Error::from)?;
    let text = stage.cluster.run(None, &[&program.to_string_lossy(), "dump", "kernel"]).await;
    let look = "mainstay exec -- mainstay dump kernel";
    let text = text.map_err(|error| Unseen::new("the kernel's table `mainstay`", format!("{error:#}"), look))?;
    serde_json::from_str(&text).map_err(|_| Unseen::new("JSON", text, look))
}

/// Takes the counters before the steps that must raise them.
pub(super) async fn remember(stage: &mut Stage) -> Result<Said, Unseen> {
    stage.before = kernel(stage).await?.counters;
    Ok(format!("{} elements count", stage.before.len()).into())
}

/// Frontend counters rose by at least the connections that the steps made.
pub(super) async fn counters(stage: &mut Stage) -> Result<Said, Unseen> {
    const AT_LEAST: u64 = 5000;
    let now = kernel(stage).await?.counters;
    let sum = |counters: &Counters| -> u64 {
        counters.iter().filter(|(key, _)| key.starts_with("front")).map(|(_, count)| count).sum()
    };
    let rose = sum(&now).saturating_sub(sum(&stage.before));
    if rose < AT_LEAST {
        let seen = format!("rose by {rose}");
        return Err(Unseen::new(
            format!("frontend counters to rise by at least {AT_LEAST}"),
            seen,
            "mainstay dump nft",
        ));
    }
    Ok(format!("the kernel counted {rose} connections to virtual addresses since").into())
}

/// A fresh connection is in conntrack with both addresses.
pub(super) async fn conntrack(stage: &mut Stage) -> Result<Said, Unseen> {
    let path = "/api/v1/namespaces/default/services/my-clusterip-service";
    let service = stage.cluster.object(path).await?;
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    stage.cluster.requests("default/client", "my-clusterip-service:80", 10).await?;
    let flows = kernel(stage).await?.flows;
    let prefix = format!("-> {address}:80 ");
    let Some(flow) = flows.iter().find(|flow| flow.contains(&prefix)) else {
        let seen = format!("{} flows, none with {prefix}", flows.len());
        return Err(Unseen::new(
            "a conntrack entry with the virtual and the pod's address",
            seen,
            "mainstay dump kernel",
        ));
    };
    Ok(flow.clone().into())
}
