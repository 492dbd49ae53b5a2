//! When may a deleted pod get SIGTERM: the snapshot's view of its endpoints and the applied revision in, hold or release out.

use std::collections::BTreeSet;

use api::object::{ObjectKey, Revision};

use crate::snapshot::{EndpointSlice, Pod, Snapshot};

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The pod that is being deleted.
    pub pod: &'a ObjectKey,
    /// Its uid; a later pod of the same name is another pod.
    pub uid: &'a str,
    /// The newest snapshot.
    pub snapshot: &'a Snapshot,
    /// What every live node has applied.
    pub applied: Revision,
    /// Revision that an earlier [`Decision::Hold`] asked to wait for.
    pub awaited: Option<Revision>,
    /// Milliseconds since the deletion was noticed.
    pub elapsed_ms: u64,
    /// The pod's grace period.
    pub grace_seconds: u64,
}

/// Whether SIGTERM waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Not yet: until this revision is applied, or (none) until the endpoints are seen as terminating.
    Hold {
        /// Pass it on as [`Input::awaited`].
        awaited: Option<Revision>,
    },
    /// Now.
    Release(Reason),
}

/// Why SIGTERM may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Grace 0: nothing is waited for.
    NoGrace,
    /// No Service ever sent traffic here.
    NoService,
    /// Every node has applied the revision in which the pod left all Services.
    Proven(Revision),
    /// These Services have no other endpoint: they use the pod to its end, so waiting would change nothing.
    LastEndpoint(Vec<ObjectKey>),
    /// The share of the grace period that may be spent on waiting is used up.
    TimedOut {
        /// What was waited for; none if the endpoints were never seen as terminating.
        awaited: Option<Revision>,
    },
}

/// How long SIGTERM may be held: min(grace - 5 s, grace / 2); the rest belongs to the process.
pub fn budget_ms(grace_seconds: u64) -> u64 {
    let grace = grace_seconds.saturating_mul(1000);
    grace.saturating_sub(5000).min(grace / 2)
}

/// Decides whether SIGTERM may go to a pod that is being deleted.
pub fn decide(input: &Input<'_>) -> Decision {
    if input.grace_seconds == 0 {
        return Decision::Release(Reason::NoGrace);
    }
    match wait_for(input) {
        Decision::Hold { awaited } if input.elapsed_ms >= budget_ms(input.grace_seconds) => {
            Decision::Release(Reason::TimedOut { awaited })
        }
        decision => decision,
    }
}

fn wait_for(input: &Input<'_>) -> Decision {
    let snapshot = input.snapshot;
    let found = snapshot.pods.get(input.pod).filter(|pod| &*pod.meta.uid == input.uid);
    if found.is_some_and(|pod| !pod.meta.deleting) {
        // The snapshot is older than the deletion.
        return Decision::Hold { awaited: input.awaited };
    }
    let naming: Vec<_> = slices_in(snapshot, &input.pod.namespace)
        .filter(|slice| slice.endpoints.iter().any(|endpoint| endpoint.pod_uid.as_deref() == Some(input.uid)))
        .collect();
    if naming.is_empty() {
        if input.awaited.is_none() && !found.is_some_and(|pod| selected(snapshot, pod)) {
            return Decision::Release(Reason::NoService);
        }
        return until(input, input.awaited.unwrap_or(snapshot.revision));
    }
    let own = naming.iter().flat_map(|slice| &slice.endpoints);
    if own.filter(|endpoint| endpoint.pod_uid.as_deref() == Some(input.uid)).any(|endpoint| !endpoint.terminating) {
        return Decision::Hold { awaited: input.awaited };
    }
    let services: BTreeSet<_> = naming.iter().filter_map(|slice| service_of(slice)).collect();
    let last: Vec<_> = services.iter().filter(|service| !has_other(snapshot, service, input.uid)).cloned().collect();
    if !last.is_empty() && last.len() == services.len() {
        return Decision::Release(Reason::LastEndpoint(last));
    }
    let newest = naming.iter().map(|slice| slice.meta.revision).max().unwrap_or(snapshot.revision);
    until(input, input.awaited.unwrap_or(newest))
}

fn until(input: &Input<'_>, awaited: Revision) -> Decision {
    if input.applied >= awaited {
        Decision::Release(Reason::Proven(awaited))
    } else {
        Decision::Hold { awaited: Some(awaited) }
    }
}

fn slices_in<'a>(snapshot: &'a Snapshot, namespace: &'a str) -> impl Iterator<Item = &'a EndpointSlice> {
    let first = ObjectKey::new(namespace, "");
    let within = snapshot.slices.range(first..).take_while(move |(key, _)| &*key.namespace == namespace);
    within.map(|(_, slice)| &**slice)
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.meta.labels.get("kubernetes.io/service-name")?;
    Some(ObjectKey::new(slice.meta.key.namespace.clone(), name.clone()))
}

/// Whether some other endpoint of the Service is ready. A terminating one that publishes itself as ready does not count
/// for itself.
fn has_other(snapshot: &Snapshot, service: &ObjectKey, uid: &str) -> bool {
    let slices = snapshot.slices_of.get(service);
    let slices = slices.iter().flat_map(|keys| keys.iter()).filter_map(|key| snapshot.slices.get(key));
    let mut endpoints = slices.flat_map(|slice| &slice.endpoints);
    endpoints.any(|endpoint| endpoint.ready && endpoint.pod_uid.as_deref() != Some(uid))
}

fn selected(snapshot: &Snapshot, pod: &Pod) -> bool {
    let namespace = &pod.meta.key.namespace;
    let first = ObjectKey::new(namespace.clone(), "");
    let mut services = snapshot.services.range(first..).take_while(|(key, _)| key.namespace == *namespace);
    services.any(|(_, service)| {
        service.selector.as_ref().is_some_and(|selector| {
            !selector.is_empty() && selector.iter().all(|(name, value)| pod.meta.labels.get(name) == Some(value))
        })
    })
}

#[cfg(test)]
mod tests;
