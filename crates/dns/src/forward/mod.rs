//! Questions about names that are not ours in, answers of the host's resolvers out: single flight, cache, bounds.

mod cache;
mod exchange;
pub(crate) mod resolv;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime;
use tokio::sync::watch;

use self::cache::Cache;
use crate::limits;
use crate::logs::Logs;
use crate::wire::rcode;
use crate::wire::records::Upstream;

pub use self::resolv::Resolvers;

/// A resolver's answer and when it came.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) answer: Upstream,
    pub(crate) at: Instant,
}

/// An answer, or why there is none.
pub(crate) type Outcome = Result<Arc<Kept>, &'static str>;

/// What the forwarder did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Questions that went to resolvers.
    pub asked: u64,
    /// Questions answered from the cache.
    pub cached: u64,
    /// Questions that joined an equal one under way.
    pub joined: u64,
    /// Questions refused since too many were under way.
    pub refused: u64,
    /// Questions that no resolver answered.
    pub failed: u64,
}

#[derive(Default)]
struct State {
    cache: Cache,
    flights: HashMap<Box<[u8]>, watch::Receiver<Option<Outcome>>>,
    counts: Counts,
    /// The resolver that answered last; the next question starts there.
    preferred: usize,
}

/// The forwarder. Its sockets belong to `runtime`'s threads, which are in the host's network namespace.
pub(crate) struct Forwarder {
    runtime: runtime::Handle,
    resolvers: Resolvers,
    logs: Arc<Logs>,
    state: Mutex<State>,
}

impl Forwarder {
    pub(crate) fn new(runtime: runtime::Handle, resolvers: Resolvers, logs: Arc<Logs>) -> Arc<Self> {
        Arc::new(Self { runtime, resolvers, logs, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Forgets all answers.
    pub(crate) fn forget(&self) {
        self.state().cache = Cache::default();
    }

    /// The answer to `key`, a question in lower case.
    pub(crate) async fn resolve(self: &Arc<Self>, key: &[u8]) -> Outcome {
        let mut flight = match self.board(key) {
            Ok(flight) => flight,
            Err(outcome) => return outcome,
        };
        let landed = flight.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        landed.unwrap_or_else(|| {
            self.state().flights.remove(key);
            Err("the forwarder stopped")
        })
    }

    /// Joins the flight for `key`, or starts it; or an outcome at once.
    fn board(self: &Arc<Self>, key: &[u8]) -> Result<watch::Receiver<Option<Outcome>>, Outcome> {
        let mut state = self.state();
        if let Some(kept) = state.cache.get(key, Instant::now()) {
            state.counts.cached += 1;
            return Err(Ok(kept));
        }
        if let Some(flight) = state.flights.get(key).cloned() {
            state.counts.joined += 1;
            return Ok(flight);
        }
        if state.flights.len() >= limits::IN_FLIGHT {
            state.counts.refused += 1;
            return Err(Err("too many questions are under way to the resolvers"));
        }
        let (land, flight) = watch::channel(None);
        state.flights.insert(key.into(), flight.clone());
        state.counts.asked += 1;
        drop(state);
        let (this, key) = (self.clone(), Box::<[u8]>::from(key));
        self.runtime.spawn(async move {
            let asked = tokio::time::timeout(limits::FORWARD_WAIT, this.ask(&key)).await;
            let outcome = asked.unwrap_or(Err("no resolver answered in time"));
            this.land(&key, &outcome);
            // Nobody may be waiting any more.
            let _ = land.send(Some(outcome));
        });
        Ok(flight)
    }

    fn land(&self, key: &[u8], outcome: &Outcome) {
        let mut state = self.state();
        state.flights.remove(key);
        match outcome {
            Ok(kept) => state.cache.put(key, kept),
            Err(why) => {
                state.counts.failed += 1;
                drop(state);
                self.logs.write(format!("[ERROR] {}: {why}", text(key)));
            }
        }
    }

    /// Asks the resolvers in turn, the one that answered last first.
    async fn ask(&self, key: &[u8]) -> Outcome {
        let servers: Vec<SocketAddr> = self.resolvers.current();
        if servers.is_empty() {
            return Err(self.resolvers.why_none());
        }
        let first = self.state().preferred;
        let mut refusal = None;
        for attempt in 0..servers.len() * limits::ROUNDS {
            let chosen = (first + attempt) % servers.len();
            match exchange::ask(servers[chosen], key).await {
                Ok(answer) => {
                    let good = matches!(answer.code(), rcode::NOERROR | rcode::NXDOMAIN);
                    let kept = Arc::new(Kept { answer, at: Instant::now() });
                    if good {
                        self.state().preferred = chosen;
                        return Ok(kept);
                    }
                    refusal = Some(kept);
                }
                Err(error) => tracing::debug!(target: "dns", server = %servers[chosen], %error, "no answer"),
            }
        }
        refusal.ok_or("no resolver answered; see /etc/resolv.conf of the host")
    }
}

/// A question for people.
fn text(key: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = key;
    while let [length, tail @ ..] = rest
        && *length > 0
        && tail.len() >= usize::from(*length)
    {
        let (label, after) = tail.split_at(usize::from(*length));
        out.push_str(&label.escape_ascii().to_string());
        out.push('.');
        rest = after;
    }
    out
}
