//! The end of a Pod: held until no node sends new connections, then SIGTERM, grace, SIGKILL, and the object removed.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::kinds::POD;
use compile::drain::{self, Decision, Reason};
use contract::access::DeleteOptions;
use k8s_openapi::api::core::v1::Pod;
use kernel::namespace;
use kernel::nl::{Protocol, Socket, sock_diag};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::container::{Ended, State};
use super::lifecycle::hook;
use super::remove_directory;
use super::worker::{Worker, key_of, now_ms};
use crate::network;

/// How long connections that the kernel has accepted for the pod may wait for the process before it gets SIGTERM.
const QUEUES: Duration = Duration::from_millis(100);
/// How often the queues are looked at.
const QUEUES_PERIOD: Duration = Duration::from_millis(2);
/// How often the removal of the object is tried again.
const REMOVAL_RETRY: Duration = Duration::from_secs(1);
/// How long after SIGKILL the holder is asked again.
const KILL_RETRY: Duration = Duration::from_secs(2);

impl Worker {
    /// Ends the Pod and removes its object.
    pub(super) async fn terminate(mut self) {
        self.note_ends().await;
        if self.slots.iter().any(|slot| slot.running()) {
            let begun = Instant::now();
            let mut hooks = self.pre_stop();
            if self.drain(begun).await {
                self.wait_for_hooks(&mut hooks).await;
                self.stop().await;
            }
        }
        self.kill_rest().await;
        for slot in &mut self.slots {
            // One that never ran is shown as it was.
            (slot.ready, slot.started) = (false, false);
        }
        self.finished = true;
        self.publish().await;
        self.remove().await;
    }

    /// How long is left of the grace period; none once the object is gone or is to go at once.
    fn left(&self) -> Option<Duration> {
        let metadata = &self.pod.metadata;
        let end = metadata.deletion_timestamp.as_ref()?.0.as_millisecond();
        if self.grace_seconds() == 0 {
            return None;
        }
        // deletionTimestamp is when grace ends, to the second below.
        let left = u64::try_from(end + 1000 - now_ms()).ok()?;
        Some(Duration::from_millis(left.min(self.grace_seconds().saturating_mul(1000))))
    }

    fn grace_seconds(&self) -> u64 {
        u64::try_from(self.pod.metadata.deletion_grace_period_seconds.unwrap_or(30)).unwrap_or(0)
    }

    /// Starts every preStop hook.
    fn pre_stop(&mut self) -> JoinSet<(String, Result<(), String>)> {
        let mut hooks = JoinSet::new();
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let handler = slot.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone());
            if let (true, Some(handler)) = (slot.running(), handler) {
                let (name, target) = (slot.spec.name.clone(), self.target(index));
                hooks.spawn(async move { (name, hook(handler, target).await) });
            }
        }
        hooks
    }

    async fn wait_for_hooks(&mut self, hooks: &mut JoinSet<(String, Result<(), String>)>) {
        loop {
            let Some(left) = self.left() else { return };
            tokio::select! {
                done = hooks.join_next() => match done {
                    None => return,
                    Some(Ok((name, Err(why)))) => {
                        self.event("Warning", Some(&name), "FailedPreStopHook", &format!("PreStopHook failed: {why}")).await;
                    }
                    Some(_) => {}
                },
                changed = self.pods.changed() => if changed.is_err() || !self.current() { return },
                () = tokio::time::sleep(left) => return,
            }
        }
    }

    /// Holds until the decision is to release; false when the Pod is to go without further ado.
    async fn drain(&mut self, begun: Instant) -> bool {
        if !self.node.config.drain.load(Ordering::Relaxed) || self.host_network() {
            return self.left().is_some();
        }
        let mut snapshots = self.node.snapshot.clone();
        let mut applied = self.node.applied.subscribe();
        let mut awaited = None;
        loop {
            let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let snapshot = snapshots.borrow_and_update().clone();
            let decision = drain::decide(&drain::Input {
                pod: &self.key,
                uid: &self.uid,
                snapshot: &snapshot,
                applied: *applied.borrow_and_update(),
                awaited,
                elapsed_ms: elapsed,
                grace_seconds: self.grace_seconds(),
            });
            match decision {
                Decision::Release(reason) => return self.released(reason, begun).await,
                Decision::Hold { awaited: revision } => awaited = revision,
            }
            let budget = Duration::from_millis(drain::budget_ms(self.grace_seconds()));
            tokio::select! {
                _ = snapshots.changed() => {}
                _ = applied.changed() => {}
                changed = self.pods.changed() => if changed.is_err() || !self.current() { return false },
                () = tokio::time::sleep(budget.saturating_sub(begun.elapsed()) + Duration::from_millis(1)) => {}
            }
        }
    }

    /// Says what was waited for and lets the last accepted connections reach the process.
    async fn released(&mut self, reason: Reason, begun: Instant) -> bool {
        let waited = begun.elapsed().as_millis();
        match reason {
            Reason::NoGrace => return false,
            Reason::NoService => return true,
            Reason::Proven(revision) => {
                self.wait_for_queues().await;
                let message = format!("No node sends new connections since revision {revision}: waited {waited} ms");
                self.event("Normal", None, "Drained", &message).await;
            }
            Reason::LastEndpoint(services) => {
                for slot in &mut self.slots {
                    slot.ready = false;
                }
                self.publish().await;
                let services: Vec<_> = services.iter().map(ToString::to_string).collect();
                let message = format!(
                    "Not held: it is the last endpoint of Service {}, which sends connections to its end; waited {waited} ms",
                    services.join(", ")
                );
                self.event("Normal", None, "Drained", &message).await;
            }
            Reason::TimedOut { awaited } => {
                let sinks = self.node.applied.sinks();
                let late = |sink: &&(&str, api::object::Revision)| awaited.is_none_or(|awaited| sink.1 < awaited);
                let late: Vec<_> = sinks.iter().filter(late).map(|(name, at)| format!("{name} at {at}")).collect();
                let what = match awaited {
                    Some(revision) => format!("revision {revision} was not applied by {}", late.join(", ")),
                    None => "its endpoints were not seen as terminating".to_owned(),
                };
                let message = format!("Released without proof after {waited} ms: {what}");
                self.event("Warning", None, "Drained", &message).await;
            }
        }
        true
    }

    /// Waits, briefly, until nothing waits to be accepted and no handshake is half done.
    async fn wait_for_queues(&self) {
        let (client, uid) = (self.node.client.clone(), self.uid.clone());
        let waited = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let netns = client.pod_netns(&uid)?;
            namespace::within_net(netns.as_fd(), || {
                let mut socket = Socket::open(Protocol::SockDiag).map_err(std::io::Error::other)?;
                let begun = Instant::now();
                while begun.elapsed() < QUEUES {
                    let sockets = sock_diag::listeners_and_half_open(&mut socket).map_err(std::io::Error::other)?;
                    if sockets.iter().all(|socket| socket.listening && socket.waiting == 0) {
                        break;
                    }
                    std::thread::sleep(QUEUES_PERIOD);
                }
                Ok(())
            })
        });
        if let Ok(Err(error)) = waited.await {
            tracing::debug!(pod = %self.key, %error, "accept queues not looked at");
        }
    }

    /// SIGTERM to every container, then their ends or the end of grace.
    async fn stop(&mut self) {
        for index in 0..self.slots.len() {
            if !self.slots[index].running() {
                continue;
            }
            let name = self.slots[index].spec.name.clone();
            self.event("Normal", Some(&name), "Killing", &format!("Stopping container {name}")).await;
            match self.slots[index].built_in.take() {
                Some(image) => self.stop_built_in(index, &image).await,
                None => self.signal(index, Signal::TERM).await,
            }
        }
        let mut records = self.node.records.clone();
        loop {
            records.borrow_and_update();
            self.note_ends().await;
            if !self.slots.iter().any(|slot| slot.running()) {
                return;
            }
            let Some(left) = self.left() else { return };
            tokio::select! {
                _ = records.changed() => {}
                changed = self.pods.changed() => if changed.is_err() || !self.current() { return },
                () = tokio::time::sleep(left) => return,
            }
        }
    }

    async fn stop_built_in(&mut self, index: usize, image: &str) {
        if let Some(part) = self.node.built_ins.iter().find(|known| known.image() == image).cloned() {
            part.stop().await;
        }
        let slot = &mut self.slots[index];
        let started_ms = if let State::Running { since_ms } = slot.state { since_ms } else { 0 };
        let (reason, message) = ("Completed".to_owned(), String::new());
        let ended = Ended { code: 0, reason, message, started_ms, ended_ms: now_ms(), attempt: slot.attempt };
        slot.end(ended, "Never");
    }

    /// SIGKILL to what still runs, and its end.
    async fn kill_rest(&mut self) {
        self.probes.clear();
        let mut records = self.node.records.clone();
        loop {
            records.borrow_and_update();
            self.note_ends().await;
            if !self.slots.iter().any(|slot| slot.running()) {
                return;
            }
            for index in 0..self.slots.len() {
                match self.slots[index].built_in.take() {
                    Some(image) => self.stop_built_in(index, &image).await,
                    None if self.slots[index].running() => self.signal(index, Signal::KILL).await,
                    None => {}
                }
            }
            let known = records.borrow().keys().any(|(uid, _)| *uid == self.uid);
            let again = tokio::time::timeout(KILL_RETRY, records.changed()).await;
            if again.is_err() && !known {
                return;
            }
        }
    }

    /// Frees what the Pod used, then its object, then its addresses: they are no one else's while the object has them.
    async fn remove(mut self) {
        self.release_network().await;
        let options = DeleteOptions { grace_seconds: Some(0), uid: Some(self.uid.clone()), ..DeleteOptions::default() };
        while self.current() {
            match self.node.access.delete(&POD, &self.key, &options).await {
                Ok(_) => break,
                Err(status) if status.code == 404 || status.code == 409 => break,
                Err(status) => tracing::warn!(pod = %self.key, %status, "pod object not removed, trying again"),
            }
            let _ = tokio::time::timeout(REMOVAL_RETRY, self.pods.changed()).await;
        }
        self.forget();
    }

    /// Ends a Pod whose object is already gone.
    pub(super) async fn clean_up(mut self) {
        self.kill_rest().await;
        self.release_network().await;
        self.forget();
    }

    async fn release_network(&mut self) {
        let (node, uid) = (self.node.clone(), self.uid.clone());
        let directory = self.directory();
        let released = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            node.client.remove_pod(&uid)?;
            network::disconnect(node.netns.as_fd(), &uid)?;
            remove_directory(&directory);
            Ok(())
        });
        if let Ok(Err(error)) = released.await {
            tracing::warn!(pod = %self.key, %error, "pod's network not released");
        }
    }

    fn forget(&self) {
        self.node.lock_addresses().release(&self.uid);
        let mut running = self.node.running.lock().unwrap_or_else(|poison| poison.into_inner());
        let same = |pod: &Pod| pod.metadata.uid.as_deref() == Some(&*self.uid);
        if running.get(&key_of(&self.pod)).is_some_and(|pod| same(pod)) {
            running.remove(&key_of(&self.pod));
        }
    }
}
