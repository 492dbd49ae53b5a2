//! The life of the name server: start, publish a zone, replace the sockets, stop.

use std::fmt;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use compile::zone::Zone;
use tokio::runtime;
use tokio::sync::{Mutex, Semaphore, broadcast, watch};

use crate::forward::{Counts, Forwarder, Resolvers};
use crate::limits;
use crate::logs::{Line, Logs};
use crate::{tcp, udp};

/// Makes the UDP sockets, one per address, with SO_REUSEPORT: called at the start and at every restart.
pub type BindUdp = Box<dyn Fn() -> io::Result<Vec<UdpSocket>> + Send + Sync>;
/// Makes the TCP listeners: called once.
pub type BindTcp = Box<dyn Fn() -> io::Result<Vec<TcpListener>> + Send + Sync>;

/// What the name server works with.
pub struct Options {
    /// Makes the UDP sockets; runs on a thread of `serve`, so in that thread's network namespace.
    pub bind_udp: BindUdp,
    /// Makes the TCP listeners; the same.
    pub bind_tcp: BindTcp,
    /// The runtime whose threads are where the clients are.
    pub serve: runtime::Handle,
    /// The runtime whose threads are where the resolvers can be reached.
    pub forward: runtime::Handle,
    /// The resolvers for names that are not ours.
    pub resolvers: Resolvers,
}

/// Why the name server did not start or restart.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No sockets.
    #[error(
        "cluster DNS cannot open its sockets: {0}; check that its address is on an interface and that no other \
         program has port 53 there (ss -lnup)"
    )]
    Bind(#[from] io::Error),
    /// The runtime is shutting down.
    #[error("cluster DNS cannot run: its runtime is shutting down; start Mainstay again")]
    Runtime,
}

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) zone: ArcSwapOption<Zone>,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) waiting: Arc<Semaphore>,
}

struct Server {
    shared: Arc<Shared>,
    bind_udp: BindUdp,
    serve: runtime::Handle,
    /// Stops the present UDP sockets; dropped or set.
    udp: Mutex<watch::Sender<bool>>,
    tcp: watch::Sender<bool>,
}

/// Returns once `stop` is set or its sender is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Both ends of the wait mean the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A running name server. Clones are the same one; it runs until [`Handle::stop`] or until the last clone is gone.
#[derive(Clone)]
pub struct Handle {
    server: Arc<Server>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Starts the name server. Until a zone is published it answers SERVFAIL.
pub async fn start(options: Options) -> Result<Handle, StartError> {
    let logs = Arc::new(Logs::new());
    let shared = Arc::new(Shared {
        zone: ArcSwapOption::empty(),
        forwarder: Forwarder::new(options.forward, options.resolvers, logs.clone()),
        logs,
        waiting: Arc::new(Semaphore::new(limits::WAITING)),
    });
    let (tcp, stop_tcp) = watch::channel(false);
    let server = Arc::new(Server {
        shared: shared.clone(),
        bind_udp: options.bind_udp,
        serve: options.serve.clone(),
        udp: Mutex::new(watch::Sender::new(false)),
        tcp,
    });
    let bind_tcp = options.bind_tcp;
    let listen = async move {
        for listener in bind_tcp()? {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(tcp::serve(shared.clone(), listener, stop_tcp.clone()));
        }
        Ok::<_, io::Error>(())
    };
    options.serve.spawn(listen).await.map_err(|_| StartError::Runtime)??;
    let handle = Handle { server };
    let sockets = handle.replace().await?;
    handle.server.shared.logs.write(format!("[INFO] mainstay dns {} on {sockets}", env!("CARGO_PKG_VERSION")));
    Ok(handle)
}

impl Handle {
    /// Answers from `zone` from now on. The answer to any packet comes from one zone as a whole.
    pub fn publish(&self, zone: Arc<Zone>) {
        if self.server.shared.zone.swap(Some(zone)).is_none() {
            self.server.shared.logs.write("[INFO] the first zone is here: answering".to_owned());
        }
    }

    /// The zone that is answered from.
    pub fn zone(&self) -> Option<Arc<Zone>> {
        self.server.shared.zone.load_full()
    }

    /// Starts over, as a restarted pod would: new UDP sockets, an empty cache, a log line. The old sockets answer what
    /// they hold. TCP listeners and connections stay: a listener cannot hand over its half-open connections.
    pub async fn restart(&self) -> Result<(), StartError> {
        let sockets = self.replace().await?;
        self.server.shared.forwarder.forget();
        self.server.shared.logs.write(format!("[INFO] restarted: new sockets on {sockets}, empty cache"));
        Ok(())
    }

    /// Stops serving; a clone of the handle can still read the log.
    pub async fn stop(&self) {
        self.server.tcp.send_replace(true);
        self.server.udp.lock().await.send_replace(true);
        self.server.shared.logs.write("[INFO] stopped".to_owned());
    }

    /// The newest log lines.
    pub fn logs(&self) -> Vec<Line> {
        self.server.shared.logs.lines()
    }

    /// Log lines from now on. Subscribe first, then read [`Handle::logs`], to miss none.
    pub fn subscribe(&self) -> broadcast::Receiver<Line> {
        self.server.shared.logs.follow()
    }

    /// Adds a log line, for events of the pod that this server shows as.
    pub fn log(&self, text: impl Into<String>) {
        self.server.shared.logs.write(text.into());
    }

    /// What the forwarder did so far.
    pub fn counts(&self) -> Counts {
        self.server.shared.forwarder.counts()
    }

    /// Opens new UDP sockets, serves them, then tells the old ones to finish; gives their addresses as text.
    async fn replace(&self) -> Result<String, StartError> {
        let mut current = self.server.udp.lock().await;
        let (next, stop) = watch::channel(false);
        let server = self.server.clone();
        let open = async move {
            let mut names = Vec::new();
            let mut sockets = Vec::new();
            for socket in (server.bind_udp)()? {
                socket.set_nonblocking(true)?;
                names.push(socket.local_addr()?.to_string());
                sockets.push(tokio::net::UdpSocket::from_std(socket)?);
            }
            for socket in sockets {
                tokio::spawn(udp::serve(server.shared.clone(), socket, stop.clone()));
            }
            Ok::<_, io::Error>(names.join(", "))
        };
        let names = self.server.serve.spawn(open).await.map_err(|_| StartError::Runtime)??;
        std::mem::replace(&mut *current, next).send_replace(true);
        Ok(names)
    }
}
