//! Turns the limits of a rolling update of a DaemonSet into the old pods that go now and the nodes that get a second pod.

use super::Step;
use crate::workloads::Pod;

/// The oldest new and the oldest old pod of a node, of those that are not on their way out.
struct Pair<'a> {
    new: Option<&'a Pod>,
    old: Option<&'a Pod>,
    /// There are more than these.
    more: bool,
}

fn pair<'a>(step: &Step<'_>, pods: &[&'a Pod]) -> Pair<'a> {
    let mut pair = Pair { new: None, old: None, more: false };
    for pod in pods.iter().copied().filter(|pod| !pod.meta.deleting()) {
        let place = if step.is_updated(pod) { &mut pair.new } else { &mut pair.old };
        if place.is_some() {
            pair.more = true;
        } else {
            *place = Some(pod);
        }
    }
    pair
}

/// With a surge a node may have two pods: the old one goes once the new one is available or the old one fails.
pub(super) fn replace<'a>(step: &mut Step<'a>, running: &[&'a Pod]) {
    let pair = pair(step, running);
    let kept = [pair.new, pair.old].map(|pod| pod.map(|pod| &pod.meta.name));
    let extra = running.iter().copied().filter(|pod| !kept.contains(&Some(&pod.meta.name)));
    step.doomed.extend(extra.map(|pod| (&*pod.meta.name, pod)));
    if let (Some(new), Some(old)) = (pair.new, pair.old)
        && (!old.ready || step.available(new))
    {
        step.doomed.insert(&old.meta.name, old);
    }
}

/// Adds what this update does next.
pub(super) fn roll(step: &mut Step<'_>) {
    if step.set.max_surge(step.desired()) > 0 { surge(step) } else { delete_first(step) }
}

/// Old pods that serve nobody go at once; others as long as few enough nodes are without.
fn delete_first(step: &mut Step<'_>) {
    let most = step.set.max_unavailable(step.desired());
    let mut unavailable = 0;
    let mut candidates = Vec::new();
    for node in step.eligible.clone() {
        let Pair { new, old, more } = pair(step, step.pods_on(node));
        match (new, old) {
            _ if more => unavailable += 1,
            (Some(_), Some(_)) | (None, None) => unavailable += 1,
            (Some(new), None) => unavailable += i64::from(!step.available(new)),
            (None, Some(old)) if !step.available(old) => {
                step.doomed.insert(&old.meta.name, old);
                unavailable += 1;
            }
            (None, Some(old)) => candidates.push(old),
        }
    }
    let room = usize::try_from(most - unavailable).unwrap_or(0);
    step.doomed.extend(candidates.into_iter().take(room).map(|pod| (&*pod.meta.name, pod)));
}

fn surge(step: &mut Step<'_>) {
    let most = step.set.max_surge(step.desired());
    let mut surging = 0;
    let mut candidates = Vec::new();
    for node in step.eligible.clone() {
        let Pair { new, old, more } = pair(step, step.pods_on(node));
        match (new, old) {
            _ if more => surging += 1,
            (Some(new), Some(_)) => surging += i64::from(!step.available(new)),
            (None, Some(old)) if !step.available(old) => step.wanted.push(node),
            (None, Some(_)) => candidates.push(node),
            _ => {}
        }
    }
    let room = usize::try_from(most - surging).unwrap_or(0);
    step.wanted.extend(candidates.into_iter().take(room));
}
