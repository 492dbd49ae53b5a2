//! A UDP socket in, a session per client out: datagrams led into the node's network, answers led back.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::counts::{Living, more};
use super::limits;
use super::pump::with_chunk;
use super::tcp::{Shared, Targets};

/// A client's own socket in the node's network, and when something last went through it.
struct Session {
    socket: UdpSocket,
    /// Milliseconds since the port was opened.
    last: AtomicU64,
}

/// Sessions and their tasks, by client.
type Known = HashMap<SocketAddr, (Arc<Session>, AbortHandle)>;

/// The clients of one socket.
#[derive(Clone)]
struct Clients {
    opened: Instant,
    known: Arc<Mutex<Known>>,
}

impl Clients {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, client: SocketAddr) -> Option<Arc<Session>> {
        self.known().get(&client).map(|(session, _)| session.clone())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Forgets the client that was silent longest; whether there was one.
    fn evict(&self) -> bool {
        let mut known = self.known();
        let oldest = known.iter().min_by_key(|(_, (session, _))| session.last.load(Ordering::Relaxed));
        let Some(client) = oldest.map(|(client, _)| *client) else { return false };
        known.remove(&client).inspect(|(_, task)| task.abort()).is_some()
    }
}

/// Serves until it is dropped, and all sessions with it.
pub(super) async fn serve(socket: UdpSocket, targets: Targets, shared: Shared) {
    let socket = Arc::new(socket);
    let clients = Clients { opened: Instant::now(), known: Arc::default() };
    let mut answers = JoinSet::new();
    loop {
        while answers.try_join_next().is_some() {}
        if socket.readable().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..limits::DATAGRAMS_OF_A_TURN {
            match with_chunk(|chunk| take(&socket, &clients, &shared, chunk)) {
                Ok(None) => {}
                Ok(Some((client, datagram))) => {
                    let begun = begin(&socket, client, &targets, &clients, &shared, &mut answers).await;
                    // Whether a new socket can be written to is not known before it was waited for.
                    let sent = match begun {
                        Ok(session) => session.socket.send(&datagram).await,
                        Err(error) => Err(error),
                    };
                    if sent.is_err() {
                        more(&shared.counts.udp_dropped);
                    }
                }
                Err(_) => break,
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Takes a datagram and leads it on; one of a new client is handed back.
fn take(
    socket: &UdpSocket,
    clients: &Clients,
    shared: &Shared,
    chunk: &mut [u8],
) -> io::Result<Option<(SocketAddr, Vec<u8>)>> {
    let (length, client) = socket.try_recv_from(chunk)?;
    let datagram = chunk.get(..length).unwrap_or_default();
    let Some(session) = clients.find(client) else { return Ok(Some((client, datagram.to_vec()))) };
    session.last.store(clients.now(), Ordering::Relaxed);
    if session.socket.try_send(datagram).is_err() {
        more(&shared.counts.udp_dropped);
    }
    Ok(None)
}

/// A session for a new client.
async fn begin(
    socket: &Arc<UdpSocket>,
    client: SocketAddr,
    targets: &Targets,
    clients: &Clients,
    shared: &Shared,
    answers: &mut JoinSet<()>,
) -> io::Result<Arc<Session>> {
    let full = clients.known().len() >= limits::UDP_CLIENTS_OF_A_PORT;
    if (full || shared.udp_clients.available_permits() == 0) && clients.evict() {
        more(&shared.counts.udp_evicted);
        // The place is free when the session's task has ended.
        tokio::task::yield_now().await;
        while answers.try_join_next().is_some() {}
    }
    let place = shared.udp_clients.clone().try_acquire_owned().map_err(io::Error::other)?;
    let target = targets.of(client.is_ipv4()).ok_or(io::ErrorKind::NotConnected)?;
    let session = Arc::new(Session { socket: shared.dialer.udp(target).await?, last: AtomicU64::new(clients.now()) });
    let answering = answer(session.clone(), socket.clone(), client, clients.clone(), shared.clone(), place);
    let task = answers.spawn(answering);
    clients.known().insert(client, (session.clone(), task));
    Ok(session)
}

/// Leads answers back until the client was silent for long.
async fn answer(
    session: Arc<Session>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    clients: Clients,
    shared: Shared,
    place: OwnedSemaphorePermit,
) {
    let _open = Living::new(&shared.counts.udp_open);
    loop {
        let last = Duration::from_millis(session.last.load(Ordering::Relaxed));
        let deadline = clients.opened + last + limits::UDP_SILENCE;
        match tokio::time::timeout_at(deadline, session.socket.readable()).await {
            Ok(Ok(())) => {}
            Err(_) if session.last.load(Ordering::Relaxed) > u64::try_from(last.as_millis()).unwrap_or(u64::MAX) => {
                continue;
            }
            Ok(Err(_)) | Err(_) => break,
        }
        for _ in 0..limits::DATAGRAMS_OF_A_TURN {
            let taken = with_chunk(|chunk| {
                let length = session.socket.try_recv(chunk)?;
                Ok::<_, io::Error>(socket.try_send_to(chunk.get(..length).unwrap_or_default(), client))
            });
            match taken {
                Ok(Ok(_)) => session.last.store(clients.now(), Ordering::Relaxed),
                Ok(Err(_)) => more(&shared.counts.udp_dropped),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Refused in the cluster: UDP has no way to tell the client, and the next datagram may be taken.
                Err(_) => more(&shared.counts.udp_dropped),
            }
        }
        tokio::task::yield_now().await;
    }
    let mut known = clients.known();
    if known.get(&client).is_some_and(|(kept, _)| Arc::ptr_eq(kept, &session)) {
        known.remove(&client);
    }
    drop(place);
}
