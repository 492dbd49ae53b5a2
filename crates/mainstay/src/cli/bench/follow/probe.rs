//! Two namespaces in, which address answers a datagram from one to the Service out, many times a second.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::super::fill_command::ADDRESS;

/// Ports of the Service and of the server.
const PORTS: (u16, u16) = (81, 8081);
/// Where datagrams come from.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 10_000..=60_000;
/// Pause between two datagrams.
const PAUSE: Duration = Duration::from_micros(100);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_millis(2);

/// A running probe; its threads end with the process.
pub(super) struct Probe {
    /// Which address answers, and since when.
    seen: watch::Receiver<(usize, Instant)>,
    /// The address that should answer.
    wanted: Arc<AtomicUsize>,
    stale: Arc<AtomicU64>,
}

impl Probe {
    /// Starts the answering and the asking threads.
    pub(super) fn start(client: &str, server: &str, addresses: [IpAddr; 2]) -> Result<Self> {
        let (client, server) = (namespace(client)?, namespace(server)?);
        for (number, address) in addresses.into_iter().enumerate() {
            let at = SocketAddr::new(address, PORTS.1);
            let socket = kernel::namespace::within_net(server.as_fd(), || UdpSocket::bind(at))
                .with_context(|| format!("cannot listen on {at}"))?;
            std::thread::Builder::new().name("bench-server".into()).spawn(move || answer(&socket, number as u8))?;
        }
        let (sender, seen) = watch::channel((usize::MAX, Instant::now()));
        let (wanted, stale) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicU64::new(0)));
        let (of_thread, counted) = (wanted.clone(), stale.clone());
        std::thread::Builder::new().name("bench-client".into()).spawn(move || {
            let entered = kernel::namespace::within_net(client.as_fd(), || {
                ask(&sender, &of_thread, &counted);
                Ok(())
            });
            if let Err(error) = entered {
                tracing::error!(%error, "the client's network cannot be entered");
            }
        })?;
        Ok(Self { seen, wanted, stale })
    }

    /// Waits until the address with this number answers; when it first did.
    pub(super) fn wait_for(&self, number: usize) -> impl Future<Output = Result<Instant>> + use<> {
        self.wanted.store(number, Ordering::Relaxed);
        let mut seen = self.seen.clone();
        async move {
            let seen = seen.wait_for(|(from, _)| *from == number).await.context("the asking thread ended")?;
            Ok(seen.1)
        }
    }

    /// Answers of an address after another one had taken over.
    pub(super) fn stale(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
    }
}

fn answer(socket: &UdpSocket, number: u8) {
    let mut buffer = [0; 64];
    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
        // Who asked may have gone.
        let _ = socket.send_to(&[number], from);
    }
}

/// Asks for ever, from a new port each time.
fn ask(seen: &watch::Sender<(usize, Instant)>, wanted: &AtomicUsize, stale: &AtomicU64) {
    let mut taken_over = usize::MAX;
    // One port after the other: none comes again before the kernel has forgotten its last flow.
    let mut ports = SOURCE_PORTS.cycle();
    while !seen.is_closed() {
        if let Some(number) = ports.next().and_then(once) {
            let now = Instant::now();
            let wanted = wanted.load(Ordering::Relaxed);
            if number == wanted {
                taken_over = wanted;
            } else if taken_over == wanted {
                stale.fetch_add(1, Ordering::Relaxed);
            }
            seen.send_if_modified(|last| {
                let changed = last.0 != number;
                if changed {
                    *last = (number, now);
                }
                changed
            });
        }
        std::thread::sleep(PAUSE);
    }
}

fn once(port: u16) -> Option<usize> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).ok()?;
    socket.set_read_timeout(Some(ANSWER)).ok()?;
    socket.connect((ADDRESS, PORTS.0)).ok()?;
    socket.send(&[0]).ok()?;
    let mut buffer = [0; 8];
    let length = socket.recv(&mut buffer).ok()?;
    (length == 1).then(|| usize::from(buffer[0]))
}

/// A named network namespace.
pub(super) fn namespace(name: &str) -> Result<File> {
    let path = Path::new("/run/netns").join(name);
    File::open(&path).with_context(|| {
        format!("cannot open the network namespace {}.\nSee which there are: ip netns list", path.display())
    })
}
