//! A UDP sender that never stops, with numbered datagrams, and receivers that note the numbers.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::topology::*;

/// Not a number of any sender: asks the receiver whether it has read all before.
const LAST: u64 = u64::MAX;
/// Between datagrams; shorter keeps a core busy for nothing.
const PAUSE: Duration = Duration::from_micros(100);

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 6 * PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One socket, one flow: a datagram after another to the same place.
pub(crate) struct Sender {
    next: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    pub(crate) fn start(netns: &Netns, target: SocketAddr) -> Self {
        let any = if target.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
        let socket = netns.run(|| UdpSocket::bind((any, 0)).unwrap());
        socket.connect(target).unwrap();
        let (next, refused, stop) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (own_next, own_refused, own_stop) = (next.clone(), refused.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !own_stop.load(Ordering::Relaxed) {
                let number = own_next.fetch_add(1, Ordering::SeqCst);
                if socket.send(&number.to_be_bytes()).is_err() {
                    own_refused.store(number, Ordering::SeqCst);
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { next, refused, stop, thread: Some(thread) }
    }

    /// Every datagram that is sent from now on has this number or a higher one.
    pub(crate) fn mark(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Waits until some more datagrams were sent.
    pub(crate) fn go_on(&self) {
        let mark = self.mark();
        until("the sender goes on", || self.mark() > mark + 200);
    }

    /// The number of the last datagram that was refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| _ = thread.join());
    }
}

/// What one endpoint received.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    highest: Arc<AtomicU64>,
    settled: Arc<AtomicU64>,
}

impl Receiver {
    /// Answers and notes datagrams on port 8080 of both families, until the test process ends.
    pub(crate) fn start(netns: &Netns) -> Self {
        let socket = netns.run(|| UdpSocket::bind((ip("::"), 8080)).unwrap());
        let receiver = Self::default();
        let own = receiver.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let Ok(bytes) = <[u8; 8]>::try_from(&buffer[..length]) else { continue };
                match u64::from_be_bytes(bytes) {
                    LAST => _ = own.settled.fetch_add(1, Ordering::SeqCst),
                    number => _ = own.highest.fetch_max(number, Ordering::SeqCst),
                }
                // The peer may be gone; an answered flow lives longer, which is what is wanted here.
                let _ = socket.send_to(&bytes, peer);
            }
        });
        receiver
    }

    /// The highest number so far.
    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::SeqCst)
    }

    /// The highest number once everything that is on its way has been read.
    pub(crate) fn settle(&self, from: &Netns, own: SocketAddr) -> u64 {
        let before = self.settled.load(Ordering::SeqCst);
        let any = if own.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
        from.run(|| UdpSocket::bind((any, 0)).unwrap().send_to(&LAST.to_be_bytes(), own).unwrap());
        until("the receiver has read everything", || self.settled.load(Ordering::SeqCst) > before);
        self.highest()
    }
}
