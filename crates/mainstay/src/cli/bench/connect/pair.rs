//! A sandbox in, two threads in it that are connected as pods are, each pinned to a processor, out.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use kernel::namespace;
use pods::sandbox::Sandbox;

/// Network namespaces of a server and of a client.
#[derive(Debug)]
pub(super) struct Pair {
    server: OwnedFd,
    client: OwnedFd,
}

impl Pair {
    /// Makes both and connects them to the node's network.
    pub(super) fn new(sandbox: &Sandbox, server: IpAddr, client: IpAddr) -> Result<Self> {
        let pod = |uid: &str, address: IpAddr| -> Result<OwnedFd> {
            let namespace = new_namespace().context("cannot make a network namespace")?;
            pods::network::connect(sandbox.netns(), namespace.as_fd(), uid, &[address], &[])
                .with_context(|| format!("cannot connect {address}"))?;
            Ok(namespace)
        };
        Ok(Self { server: pod("benchserver", server)?, client: pod("benchclient", client)? })
    }

    /// Two namespaces that are there and connected.
    pub(super) fn of(server: OwnedFd, client: OwnedFd) -> Self {
        Self { server, client }
    }

    /// Serves `address` in the one and runs `work` in the other; the server ends with this process.
    pub(super) fn run<T: Send>(self, address: SocketAddr, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let listener = namespace::within_net(self.server.as_fd(), || TcpListener::bind(address))
            .with_context(|| format!("cannot listen on {address}"))?;
        std::thread::Builder::new().name("bench-server".into()).spawn(move || {
            pin(1);
            serve(&listener);
        })?;
        let done = namespace::within_net(self.client.as_fd(), || {
            pin(0);
            Ok(work())
        });
        done.context("cannot enter the client's network")?
    }
}

/// A network namespace that nobody is in.
fn new_namespace() -> io::Result<OwnedFd> {
    let made = std::thread::spawn(|| {
        namespace::new_net()?;
        namespace::current_net()
    });
    made.join().unwrap_or_else(|_| Err(io::Error::other("the thread in a new network namespace panicked")))
}

/// Keeps the calling thread on one processor, if there are as many; otherwise it runs anywhere.
fn pin(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::debug!(%error, processor, "not pinned");
    }
}

/// Answers every connection with what it sends, one connection after the other.
pub(super) fn serve(listener: &TcpListener) {
    let mut buffer = [0; 4096];
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.set_nodelay(true);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    }
}
