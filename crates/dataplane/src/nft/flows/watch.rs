//! The log of new UDP flows in, an [`Index`] that is complete when it is asked out; read on a thread of its own.
//!
//! Why a log and not conntrack's events: a listener to events makes the kernel prepare and send one for every flow of the
//! namespace, TCP included, unless a sysctl of the host is changed. A `log group` in our own rule costs what passes there.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use compile::nft::rules::FLOW_LOG_GROUP;
use kernel::nl::conntrack::Tuple;
use kernel::nl::conntrack::bulk::{self, Select};
use kernel::nl::flow_log::FlowLog;
use kernel::nl::socket::bulk::wait;
use kernel::nl::{Error, Kind, Protocol, Socket, conntrack};

use super::index::{Group, Index};
use super::{UDP, identity};
use crate::limits;

/// Of asm-generic/errno-base.h: for a system error without a number.
const EIO: i32 = 5;

/// What the thread and its owner share.
#[derive(Debug)]
pub(super) struct Watched {
    log: FlowLog,
    /// Packets that were told of, with the time; their flows may not be in the table yet.
    told: HashMap<Tuple, Instant>,
    /// Flows that were told of, and those that a walk found.
    pub(super) index: Index,
    /// Whether it holds every flow that there is.
    complete: bool,
    /// There were more than it may hold: it holds none, and is not worth asking.
    overfull: bool,
    /// How many flows may be looked up to see whether they are still there.
    credit: usize,
    /// How often the table was walked.
    walks: u64,
}

/// See the module. Dropping it ends the thread and frees the log group.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Mutex<Watched>>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to listen in the calling thread's network namespace.
    pub(super) fn start() -> Result<Self, Error> {
        let log = FlowLog::open(FLOW_LOG_GROUP)?;
        let system = |error: std::io::Error| Error {
            what: "follow UDP flows".into(),
            kind: Kind::Errno(error.raw_os_error().unwrap_or(EIO)),
            why: error.to_string(),
            next: "free memory or file descriptors, then start again".into(),
        };
        let waiter = log.waiter().map_err(system)?;
        let lookups = Socket::open(Protocol::Netfilter)?;
        let (stop, stopped) = UnixStream::pair().map_err(system)?;
        let watched = Watched {
            log,
            told: HashMap::new(),
            index: Index::default(),
            complete: false,
            overfull: false,
            credit: 0,
            walks: 0,
        };
        let shared = Arc::new(Mutex::new(watched));
        let own = shared.clone();
        let run = move || follow(&own, &waiter, &stopped, lookups);
        let thread = std::thread::Builder::new().name("udp-flows".into()).spawn(run).map_err(system)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The index, with every flow in it that was in the table or in our rules before this call; none if it cannot be
    /// complete. Walks the table if the index lost something.
    pub(super) fn index<'a>(&'a self, socket: &mut Socket) -> Result<Option<MutexGuard<'a, Watched>>, Error> {
        let mut watched = self.lock();
        watched.catch_up()?;
        watched.resolve(socket)?;
        if watched.overfull {
            return Ok(None);
        }
        if !watched.complete {
            watched.fill(socket)?;
        }
        Ok((!watched.overfull).then_some(watched))
    }

    /// A walk of the whole table found so many flows: if that is few enough, the next one may ask the index again.
    pub(super) fn counted(&self, flows: usize) {
        let mut watched = self.lock();
        if flows <= limits::FLOWS_INDEXED / 2 {
            watched.overfull = false;
        }
    }

    /// Walks so far, and flows followed now.
    pub(super) fn figures(&self) -> (u64, usize) {
        let watched = self.lock();
        (watched.walks, watched.index.len())
    }

    /// Identities in the index mean nothing any more.
    pub(super) fn forget_identities(&self) {
        self.lock().index.forget_identities();
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.shared.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Watched {
    /// Takes what is queued.
    fn catch_up(&mut self) -> Result<(), Error> {
        let Self { log, told, overfull, .. } = self;
        let now = Instant::now();
        let heard = log.read(&mut |tuple| {
            if !*overfull {
                told.entry(tuple).or_insert(now);
            }
        })?;
        self.complete &= !heard.lost;
        self.limit();
        Ok(())
    }

    /// Looks up the flows of the packets that were told of. One that has none is asked for again until it is old: it was
    /// dropped by another rule then.
    fn resolve(&mut self, socket: &mut Socket) -> Result<(), Error> {
        let tuples: Vec<Tuple> = self.told.keys().copied().collect();
        for (tuple, found) in tuples.iter().zip(bulk::look_up(socket, &tuples)?) {
            match found {
                Some(flow) => {
                    self.index.add(&flow);
                    self.credit += 2;
                    self.told.remove(tuple);
                }
                None => {
                    let old = self.told.get(tuple).is_some_and(|since| since.elapsed() > limits::FLOW_CONFIRMED);
                    if old {
                        self.told.remove(tuple);
                    }
                }
            }
        }
        self.limit();
        Ok(())
    }

    /// Adds every translated UDP flow of the table; what was told meanwhile is in the queue.
    fn fill(&mut self, socket: &mut Socket) -> Result<(), Error> {
        for v4 in [true, false] {
            let index = &mut self.index;
            let mut add = |flow: conntrack::Flow| {
                if (flow.destination_translated() || identity(flow.mark) != 0) && index.len() <= limits::FLOWS_INDEXED {
                    index.add(&flow);
                }
            };
            self.walks += 1;
            bulk::each(socket, Select::all(v4, UDP), &mut add)?;
        }
        self.complete = true;
        self.catch_up()?;
        self.resolve(socket)
    }

    fn limit(&mut self) {
        if self.index.len() + self.told.len() > limits::FLOWS_INDEXED {
            self.told = HashMap::new();
            (self.index, self.complete, self.overfull, self.credit) = (Index::default(), false, true, 0);
        }
    }

    /// The next group whose flows may be looked up.
    fn due(&mut self) -> Option<(Group, Vec<super::index::Named>)> {
        if self.credit == 0 {
            return None;
        }
        let flows = self.index.next_group().map(|group| (group, self.index.flows(group)));
        self.credit = self.credit.saturating_sub(flows.as_ref().map_or(usize::MAX, |(_, flows)| flows.len().max(1)));
        flows
    }
}

/// The thread: sleeps until something is told, then takes it, and lets go of as many flows as ended meanwhile.
fn follow(shared: &Mutex<Watched>, waiter: &OwnedFd, stopped: &UnixStream, mut lookups: Socket) {
    let lock = || shared.lock().unwrap_or_else(|poison| poison.into_inner());
    loop {
        match wait(waiter.as_fd(), stopped.as_fd()) {
            Ok((_, true)) | Err(_) => return,
            Ok((false, false)) => continue,
            Ok((true, false)) => (),
        }
        // A failure to read is found again, and told, by who asks for the index.
        if lock().catch_up().is_err() {
            lock().complete = false;
        }
        std::thread::sleep(limits::FLOWS_PAUSE);
        if lock().resolve(&mut lookups).is_err() {
            lock().complete = false;
        }
        loop {
            let Some((group, flows)) = lock().due() else { break };
            let tuples: Vec<_> = flows.iter().map(|(tuple, _)| *tuple).collect();
            let Ok(found) = bulk::look_up(&mut lookups, &tuples) else { break };
            let mut watched = lock();
            for (flow, found) in flows.iter().zip(found) {
                if found.is_none_or(|found| found.id != flow.1) {
                    watched.index.forget_flow(group, flow);
                }
            }
        }
    }
}
