//! A netlink socket: requests out, acknowledgements and dumps in.
//!
//! rtnetlink and nfnetlink do their work inside `sendto`, so every answer is queued when the call returns. Reads
//! therefore never wait: an empty queue without an answer means that the answer was lost.

pub mod bulk;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::message::Writer;
use super::{Error, Kind, Result, limits, parse};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Messages below this type belong to netlink itself.
const NLMSG_MIN_TYPE: u16 = 0x10;
const DUMP_INTERRUPTED: u16 = 0x10;
const HAS_EXTENDED: u16 = 0x200;
/// The kernel keeps this much of the send buffer for its own accounting (af_netlink.c, `netlink_sendmsg`).
const SEND_RESERVE: usize = 32;

/// Requests of this process that may have changed something, over all sockets.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// How many requests of this process may have changed something in the kernel.
pub fn writes() -> u64 {
    WRITES.load(Ordering::Relaxed)
}

/// Bytes that this process sent in requests, over all sockets.
static SENT: AtomicU64 = AtomicU64::new(0);

/// How many bytes of requests this process has sent to the kernel.
pub fn sent_bytes() -> u64 {
    SENT.load(Ordering::Relaxed)
}

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
    /// Sockets of this namespace.
    SockDiag,
}

/// A message that the kernel sent in answer to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Message type.
    pub kind: u16,
    /// Everything after the netlink header.
    pub payload: Box<[u8]>,
}

/// An open netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    send_max: usize,
    buffer: Vec<u8>,
    seam: Option<Box<dyn Seam>>,
}

/// What a test makes go wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not sent: the system says this error number.
    Refused(i32),
    /// A signal comes before it is sent.
    Signal,
    /// A dump says that its content changed half way.
    Torn,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// A batch gets one more request at its end, which the kernel refuses.
    Spoiled,
}

/// Decides what goes wrong: a test's way into a socket.
pub trait Seam: Send + std::fmt::Debug {
    /// Called before each request with what it is for.
    fn fault(&mut self, what: &str) -> Option<Fault>;
}

impl Socket {
    /// From now on `seam` decides what goes wrong.
    pub fn set_seam(&mut self, seam: Box<dyn Seam>) {
        self.seam = Some(seam);
    }

    /// What goes wrong with the next request.
    pub(super) fn fault(&mut self, what: &str) -> Option<Fault> {
        self.seam.as_mut().and_then(|seam| seam.fault(what))
    }

    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self> {
        let what = "open a netlink socket";
        let number = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
            Protocol::SockDiag => libc::NETLINK_SOCK_DIAG,
        };
        // SAFETY: socket(2) takes no pointers; the result is checked before use.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, number) };
        if raw < 0 {
            return Err(Error::last_os(what));
        }
        // SAFETY: `raw` is a descriptor that socket(2) just returned and nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        bind(&fd)?;
        // Old kernels lack some of these; the defaults still work, so a refusal is not an error.
        set(&fd, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        set(&fd, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        grow(&fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, limits::SEND_BUFFER_BYTES);
        grow(&fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, limits::RECEIVE_BUFFER_BYTES);
        let send_max = send_buffer(&fd)?.saturating_sub(SEND_RESERVE);
        Ok(Self { fd, sequence: 0, send_max, buffer: vec![0; limits::DATAGRAM_BYTES], seam: None })
    }

    /// How many bytes one send can carry.
    pub fn send_bytes_max(&self) -> usize {
        self.send_max
    }

    /// Makes the send buffer no larger than `bytes`, as a process gets it that may not force it (net.core.wmem_max,
    /// which the kernel doubles).
    pub fn limit_send(&mut self, bytes: usize) -> Result<()> {
        let half = libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX);
        if !set(&self.fd, libc::SOL_SOCKET, libc::SO_SNDBUF, half) {
            return Err(Error::last_os("limit the send buffer of a netlink socket"));
        }
        self.send_max = send_buffer(&self.fd)?.saturating_sub(SEND_RESERVE);
        Ok(())
    }

    /// Joins a multicast group: from now [`Socket::heard`] returns what the kernel tells everybody.
    pub fn join(&self, group: libc::c_int) -> Result<()> {
        if set(&self.fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group) {
            return Ok(());
        }
        Err(Error::last_os("join a netlink group"))
    }

    /// The number by which the kernel knows this socket; its own messages about what this socket did carry it.
    pub fn port(&self) -> Result<u32> {
        // SAFETY: sockaddr_nl is plain integers, for which all-zero bytes are a valid value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: both pointers are to locals that outlive the call and `length` holds the size of `address`.
        let result = unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        if result < 0 { Err(Error::last_os("read the name of a netlink socket")) } else { Ok(address.nl_pid) }
    }

    /// The kernel no longer hands messages to this socket that tell what the socket with this number did.
    pub fn ignore(&self, port: u32) -> Result<()> {
        // Classic BPF on the message: nlmsg_pid is at byte 12, and a word is loaded in network order.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let step = |code: u32, jump: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: jump, k };
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 12),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, port),
            step(libc::BPF_RET | libc::BPF_K, 0, 0),
            step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
        // SAFETY: the pointer and the length describe `filter`, whose own pointer and length describe `program`; both
        // outlive the call, and the kernel copies them.
        let result = unsafe {
            let option = (&raw const filter).cast();
            libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, option, length)
        };
        if result < 0 { Err(Error::last_os("filter a netlink group")) } else { Ok(()) }
    }

    /// A handle by which another thread makes this socket leave a group for a while.
    pub fn membership(&self, group: libc::c_int) -> Result<Membership> {
        let fd = self.fd.try_clone().map_err(|_| Error::last_os("copy the descriptor of a netlink socket"))?;
        Ok(Membership { fd, group })
    }

    /// Waits until something is queued: a message of a joined group, or the news that some were lost.
    pub fn wait(&self) -> Result<()> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        while unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
            let error = Error::last_os("wait for a netlink group");
            if error.errno() != Some(libc::EINTR) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Everything that is queued, up to a limit; [`Kind::Lost`] once where so much came that some of it was lost.
    pub fn queued(&mut self) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        for _ in 0..limits::HEARD_DATAGRAMS {
            let Some(length) = self.receive("listen to a netlink group")? else { break };
            let all = parse::messages(&self.buffer[..length]);
            replies.extend(all.map(|message| Reply { kind: message.kind, payload: message.payload.into() }));
        }
        Ok(replies)
    }

    /// Waits at most `patience` for messages of a joined group; then returns what is queued, up to a limit. Where so much
    /// came that some of it was lost, what is queued behind is returned the next time.
    pub fn heard(&mut self, patience: std::time::Duration) -> Result<Vec<Reply>> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one live pollfd.
        if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } <= 0 {
            return Ok(Vec::new());
        }
        let mut replies = Vec::new();
        for _ in 0..limits::HEARD_DATAGRAMS {
            let length = match self.receive("listen to a netlink group") {
                Ok(Some(length)) => length,
                Err(error) if error.kind != Kind::Lost => return Err(error),
                _ => break,
            };
            let all = parse::messages(&self.buffer[..length]);
            replies.extend(all.map(|message| Reply { kind: message.kind, payload: message.payload.into() }));
        }
        Ok(replies)
    }

    /// Sends a request (or several in one datagram) whose last message asks for an acknowledgement; waits for it.
    pub fn request(&mut self, what: &str, mut messages: Writer) -> Result<()> {
        WRITES.fetch_add(1, Ordering::Relaxed);
        messages.flag_last(super::message::ACK);
        let (last, fault) = (messages.count().saturating_sub(1), self.fault(what));
        self.exchange(what, messages, last, fault).map(|_| ())
    }

    /// Like [`Socket::request`], for requests that are answered by messages before the acknowledgement.
    pub fn query(&mut self, what: &str, mut messages: Writer) -> Result<Vec<Reply>> {
        messages.flag_last(super::message::ACK);
        let (last, fault) = (messages.count().saturating_sub(1), self.fault(what));
        self.exchange(what, messages, last, fault)
    }

    /// Sends an nf_tables batch: the request before BATCH_END asks for the acknowledgement.
    pub(super) fn commit(&mut self, what: &str, batch: Writer, fault: Option<Fault>) -> Result<()> {
        WRITES.fetch_add(1, Ordering::Relaxed);
        let last = batch.count().saturating_sub(2);
        self.exchange(what, batch, last, fault).map(|_| ())
    }

    /// Sends a dump request and collects its messages; repeats it if the content changed half way.
    pub fn dump(&mut self, what: &str, message: Writer) -> Result<Vec<Reply>> {
        for _ in 0..limits::DUMP_ATTEMPTS {
            let fault = self.fault(what);
            match self.exchange(what, message.clone(), 0, fault) {
                Err(error) if error.kind == Kind::Interrupted => (),
                other => return other,
            }
        }
        Err(Error::interrupted(what))
    }

    /// Receives one datagram; None if none is queued.
    fn receive(&mut self, what: &str) -> Result<Option<usize>> {
        loop {
            // SAFETY: the pointer and the length describe `self.buffer`, which outlives the call.
            let got = unsafe {
                libc::recv(self.fd.as_raw_fd(), self.buffer.as_mut_ptr().cast(), self.buffer.len(), libc::MSG_DONTWAIT)
            };
            if got >= 0 {
                return Ok(Some(usize::try_from(got).unwrap_or(0)));
            }
            match std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
                libc::EINTR => (),
                libc::EAGAIN => return Ok(None),
                libc::ENOBUFS => return Err(Error::lost(what)),
                number => return Err(Error::os(what, number, None)),
            }
        }
    }

    fn exchange(
        &mut self,
        what: &str,
        messages: Writer,
        acknowledged: u32,
        fault: Option<Fault>,
    ) -> Result<Vec<Reply>> {
        if messages.len() > self.send_max {
            return Err(Error::too_large(what, messages.len(), self.send_max));
        }
        let first = self.sequence.wrapping_add(1);
        let count = messages.count();
        self.sequence = self.sequence.wrapping_add(count);
        self.drain();
        self.send(what, &messages.into_sequenced(first), fault)?;
        match fault {
            Some(Fault::Torn) => Err(Error::interrupted(what)),
            Some(Fault::AnswerLost) => Err(Error::lost(what)),
            _ => self.collect(what, first, count, acknowledged),
        }
    }

    /// Throws away what an earlier, failed exchange left in the queue.
    fn drain(&mut self) {
        // Bounded: each turn removes a datagram or clears the overrun flag, and nobody else writes to us.
        while !matches!(self.receive("drain"), Ok(None)) {}
    }

    fn send(&self, what: &str, bytes: &[u8], mut fault: Option<Fault>) -> Result<()> {
        loop {
            let sent = match fault.take() {
                Some(Fault::Refused(number)) => Err(number),
                Some(Fault::Signal) => Err(libc::EINTR),
                _ => self.send_once(bytes),
            };
            let Err(number) = sent else {
                SENT.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                return Ok(());
            };
            match number {
                libc::EINTR => (),
                libc::EMSGSIZE => return Err(Error::too_large(what, bytes.len(), self.send_max)),
                number => return Err(Error::os(what, number, None)),
            }
        }
    }

    fn send_once(&self, bytes: &[u8]) -> std::result::Result<(), i32> {
        // SAFETY: the pointer and the length describe `bytes`, which outlives the call; the socket is bound and
        // unconnected netlink sockets send to the kernel.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent >= 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
    }

    fn collect(&mut self, what: &str, first: u32, count: u32, acknowledged: u32) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        let mut failure: Option<Error> = None;
        let mut interrupted = false;
        while let Some(length) = self.receive(what)? {
            for message in parse::messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first);
                if index >= count {
                    continue;
                }
                interrupted |= message.flags & DUMP_INTERRUPTED != 0;
                let end = match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        let refused = refusal(what, &message);
                        let failed = refused.is_some();
                        failure = failure.or(refused);
                        // A failed batch is followed by the errors of its other messages: read on until empty.
                        !failed && index == acknowledged
                    }
                    kind if kind >= NLMSG_MIN_TYPE => {
                        replies.push(Reply { kind, payload: message.payload.into() });
                        false
                    }
                    _ => false,
                };
                if end {
                    return match failure {
                        Some(error) => Err(error),
                        None if interrupted => Err(Error::interrupted(what)),
                        None => Ok(replies),
                    };
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::lost(what)))
    }
}

/// Makes a socket leave a multicast group and join it again, from any thread.
#[derive(Debug)]
pub struct Membership {
    fd: OwnedFd,
    group: libc::c_int,
}

impl Membership {
    /// The socket hears nothing of the group until [`Membership::join`].
    pub fn leave(&self) {
        // It was a member, so this cannot fail; if it did, the socket would only hear more than it has to.
        set(&self.fd, libc::SOL_NETLINK, libc::NETLINK_DROP_MEMBERSHIP, self.group);
    }

    /// The socket hears the group again.
    pub fn join(&self) -> Result<()> {
        if set(&self.fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, self.group) {
            return Ok(());
        }
        Err(Error::last_os("join a netlink group"))
    }
}

/// The error in an NLMSG_ERROR or NLMSG_DONE, with the kernel's own sentence if it sent one.
fn refusal(what: &str, message: &parse::Received<'_>) -> Option<Error> {
    let number = parse::host32(message.payload).unwrap_or(0) as i32;
    if number >= 0 {
        return None;
    }
    // With NETLINK_CAP_ACK only the header of the refused request is echoed; NLMSG_DONE echoes nothing.
    let skip = if message.kind == NLMSG_ERROR { 4 + 16 } else { 4 };
    let extended = if message.flags & HAS_EXTENDED == 0 {
        None
    } else {
        parse::find(message.payload.get(skip..).unwrap_or_default(), 1).map(parse::text)
    };
    Some(Error::os(what, -number, extended.as_deref()))
}

fn bind(fd: &OwnedFd) -> Result<()> {
    // SAFETY: sockaddr_nl is plain integers, for which all-zero bytes are a valid value.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 { Err(Error::last_os("bind a netlink socket")) } else { Ok(()) }
}

fn set(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> bool {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) == 0 }
}

fn grow(fd: &OwnedFd, force: libc::c_int, polite: libc::c_int, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    if !set(fd, libc::SOL_SOCKET, force, bytes) {
        set(fd, libc::SOL_SOCKET, polite, bytes);
    }
}

fn send_buffer(fd: &OwnedFd) -> Result<usize> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals that outlive the call and `length` holds the size of `value`.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw mut value).cast(), &raw mut length)
    };
    if result < 0 {
        return Err(Error::last_os("read the send buffer of a netlink socket"));
    }
    Ok(usize::try_from(value).unwrap_or(0))
}
