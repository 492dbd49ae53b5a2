//! A listening socket in, its connections led into the node's network out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counts::{Counts, Living, more};
use super::dial::{Dialer, prepare};
use super::{limits, pump, wanted};

/// What all ports share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Opens sockets in the node's network.
    pub(super) dialer: Dialer,
    /// What happened.
    pub(super) counts: Arc<Counts>,
    /// Room for TCP connections.
    pub(super) connections: Arc<Semaphore>,
    /// Room for UDP clients.
    pub(super) udp_clients: Arc<Semaphore>,
}

/// Where the clients of a port are led; changes while it is open.
#[derive(Clone, Default)]
pub(super) struct Targets(Arc<Mutex<Vec<SocketAddr>>>);

impl Targets {
    /// Leads new clients there.
    pub(super) fn set(&self, targets: &[SocketAddr]) {
        targets.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Where a client of this family is led.
    pub(super) fn of(&self, ipv4: bool) -> Option<SocketAddr> {
        wanted::target(&self.0.lock().unwrap_or_else(PoisonError::into_inner), ipv4)
    }
}

/// Takes connections until it is aborted. Those that it took go on after it, as the kernel's own do.
pub(super) async fn serve(listener: TcpListener, targets: Targets, shared: Shared) {
    let own = Arc::new(Semaphore::new(limits::CONNECTIONS_OF_A_PORT));
    loop {
        // The semaphores are never closed.
        let Some(places) = places(&own, &shared).await else { return };
        match listener.accept().await {
            Ok((client, from)) => {
                let target = targets.of(from.is_ipv4());
                tokio::spawn(lead(client, target, shared.clone(), places));
            }
            // Out of descriptors, or gone before it was taken: others wait in the queue.
            Err(error) => {
                tracing::debug!(%error, "a connection to a published port was not taken");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Room for one more connection; waits for it.
async fn places(own: &Arc<Semaphore>, shared: &Shared) -> Option<[OwnedSemaphorePermit; 2]> {
    if own.available_permits() == 0 || shared.connections.available_permits() == 0 {
        more(&shared.counts.waited);
    }
    let own = own.clone().acquire_owned().await.ok()?;
    Some([own, shared.connections.clone().acquire_owned().await.ok()?])
}

async fn lead(client: TcpStream, target: Option<SocketAddr>, shared: Shared, places: [OwnedSemaphorePermit; 2]) {
    let counts = shared.counts.clone();
    more(&counts.taken);
    let _open = Living::new(&counts.open);
    let server = match target {
        Some(target) if prepare(&client).is_ok() => shared.dialer.tcp(target).await,
        _ => Err(std::io::ErrorKind::NotConnected.into()),
    };
    match server {
        Ok(server) => pump::relay(&client, &server, &counts.bytes_in, &counts.bytes_out).await,
        Err(error) => {
            // The kernel has accepted for us; a reset is the nearest to a refusal that is left.
            tracing::debug!(?target, %error, "nobody answered behind a published port");
            more(&counts.unanswered);
            pump::reset(&client);
        }
    }
    drop(places);
}
