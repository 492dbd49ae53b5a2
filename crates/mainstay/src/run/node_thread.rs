//! A thread inside the node's network with a runtime of its own: sockets made on it belong to the sandbox.

use std::sync::Arc;

use anyhow::{Context, Result};
use pods::sandbox::Sandbox;
use tokio::runtime::Handle;

use super::network;
use crate::config::Network;
use crate::host::Host;

/// Enters the network, sets it up, and serves its runtime until the process ends. Returns once that is done.
pub(crate) fn start(sandbox: Arc<Sandbox>, network: Network, host: Option<Arc<Host>>) -> Result<Handle> {
    let (ready, wait) = std::sync::mpsc::channel::<Result<Handle>>();
    std::thread::Builder::new().name("node-net".into()).spawn(move || {
        let prepared = sandbox.enter().context("cannot enter the node's network").and_then(|()| {
            match host {
                Some(host) => host.settle()?,
                None => network::set_up(&network)?,
            }
            Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
        });
        match prepared {
            Ok(runtime) => {
                let _ = ready.send(Ok(runtime.handle().clone()));
                runtime.block_on(std::future::pending::<()>());
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    wait.recv().context("the thread in the node's network ended at once")?
}
