//! Hooks and ends of single containers: postStart and preStop run, a failed container killed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use rustix::process::Signal;

use super::probe::{self, Target};
use super::worker::Worker;

/// Runs one hook.
pub(super) async fn hook(handler: LifecycleHandler, target: Target) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        probe::run_command(exec, &target).await
    } else if let Some(get) = &handler.http_get {
        probe::http_get(get, &target).await.map_err(|failure| failure.why)
    } else {
        if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        }
        Ok(())
    }
}

impl Worker {
    pub(super) fn target(&self, index: usize) -> Target {
        let slot = &self.slots[index];
        Target {
            node: self.node.clone(),
            uid: self.uid.clone(),
            address: self.addresses.first().copied(),
            container: Arc::new(slot.spec.clone()),
            attempt: slot.attempt,
        }
    }

    /// Runs postStart; its failure ends the container.
    pub(super) async fn post_start(&mut self, index: usize, container: &Container) {
        let handler = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        let Some(handler) = handler else { return };
        if let Err(why) = hook(handler, self.target(index)).await {
            let message = format!("PostStartHook failed: {why}");
            self.event("Warning", Some(&container.name), "FailedPostStartHook", &message).await;
            self.kill(index).await;
        }
    }

    /// Ends one container that a probe or hook condemned: SIGTERM, after its grace SIGKILL. The end itself is noted when
    /// the holder reports it.
    pub(super) async fn kill(&mut self, index: usize) {
        let slot = &self.slots[index];
        self.signal(index, Signal::TERM).await;
        let liveness = slot.spec.liveness_probe.as_ref();
        let own = liveness.and_then(|probe| probe.termination_grace_period_seconds);
        let grace = own.or(self.spec().termination_grace_period_seconds).unwrap_or(30);
        let (node, uid) = (self.node.clone(), self.uid.clone());
        let key = (uid.clone(), self.slots[index].spec.name.clone());
        let attempt = self.slots[index].attempt;
        let mut records = node.records.clone();
        tokio::spawn(async move {
            let ended = records.wait_for(|records| {
                let known = records.get(&key);
                known.is_some_and(|record| {
                    record.attempt > attempt || (record.attempt == attempt && record.ended.is_some())
                })
            });
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            if tokio::time::timeout(grace, ended).await.is_err() {
                let client = node.client.clone();
                let killed = tokio::task::spawn_blocking(move || client.signal(&key.0, &key.1, Signal::KILL.as_raw()));
                if let Ok(Err(error)) = killed.await {
                    tracing::warn!(%error, "container not killed");
                }
            }
        });
    }

    /// Sends a signal to one container.
    pub(super) async fn signal(&self, index: usize, signal: Signal) {
        let (client, uid) = (self.node.client.clone(), self.uid.clone());
        let name = self.slots[index].spec.name.clone();
        let sent = tokio::task::spawn_blocking(move || client.signal(&uid, &name, signal.as_raw())).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(pod = %self.key, %error, "signal not sent");
        }
    }
}
