//! When what happened to a Service: requests, snapshots and confirmations of sinks in, the steps of its registration with
//! their milliseconds out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use api::object::{ObjectKey, Revision};
use compile::snapshot::Snapshot;
use contract::applied::Applied;
use serde_json::{Value, json};

use super::{Advisor, milliseconds};

/// Services that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 1_000;
/// Sinks whose confirmations are steps, with what they mean.
const SINKS: [(&str, &str); 2] = [("dns", "name answered by DNS"), ("nft", "address programmed in the kernel")];

/// Remembers.
#[derive(Default)]
pub(super) struct Recorder {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<ObjectKey, Entry>,
    order: VecDeque<ObjectKey>,
    /// Those that still wait for a confirmation.
    open: BTreeSet<ObjectKey>,
    /// The newest confirmation of each sink.
    last: BTreeMap<&'static str, (Revision, Instant)>,
}

struct Entry {
    began: Instant,
    written: (Revision, Instant),
    slices: Option<(Revision, Instant)>,
    /// By sink: when it had the Service, and when it had its first slices.
    confirmed: BTreeMap<&'static str, [Option<Instant>; 2]>,
}

impl Entry {
    /// Takes a confirmation; whether none is missing any more.
    fn confirm(&mut self, sink: &'static str, revision: Revision, at: Instant) -> bool {
        let marks = self.confirmed.entry(sink).or_default();
        let wanted = [Some(self.written.0), self.slices.map(|(revision, _)| revision)];
        for (mark, wanted) in marks.iter_mut().zip(wanted) {
            if mark.is_none() && wanted.is_some_and(|wanted| revision >= wanted) {
                *mark = Some(at);
            }
        }
        SINKS.iter().all(|(sink, _)| self.confirmed.get(sink).is_some_and(|marks| marks.iter().all(Option::is_some)))
    }
}

/// Starts to follow the sinks.
pub(super) fn start(advisor: &Arc<Advisor>, applied: &Applied) {
    for (name, _) in SINKS {
        let Some(mut receiver) = applied.subscribe_sink(name) else { continue };
        let advisor = advisor.clone();
        tokio::spawn(async move {
            loop {
                let revision = *receiver.borrow_and_update();
                advisor.recorder.confirmed(name, revision);
                if receiver.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Recorder {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// A client wrote a Service; only its first write is remembered.
    pub(super) fn written(&self, key: &ObjectKey, revision: Revision, began: Instant) {
        let mut inner = self.inner();
        if inner.entries.contains_key(key) {
            return;
        }
        let written = (revision, Instant::now());
        inner.entries.insert(key.clone(), Entry { began, written, slices: None, confirmed: BTreeMap::new() });
        inner.order.push_back(key.clone());
        inner.open.insert(key.clone());
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.entries.remove(&oldest);
            inner.open.remove(&oldest);
        }
    }

    /// A snapshot holds slices of these Services, or no longer the Services themselves.
    pub(super) fn slices(&self, snapshot: &Snapshot, touched: &BTreeSet<ObjectKey>) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        for key in touched {
            let Some(entry) = inner.entries.get_mut(key) else { continue };
            if snapshot.revision >= entry.written.0 && !snapshot.services.contains_key(key) {
                inner.entries.remove(key);
                inner.order.retain(|known| known != key);
                inner.open.remove(key);
                continue;
            }
            let slices = snapshot.slices_of.get(key).into_iter().flat_map(|keys| keys.iter());
            let first = slices.filter_map(|key| snapshot.slices.get(key)).map(|slice| slice.meta.revision).min();
            if let (None, Some(revision)) = (entry.slices, first) {
                entry.slices = Some((revision, Instant::now()));
                // A sink may have been faster than the news of the slice.
                for (sink, (confirmed, at)) in &inner.last {
                    entry.confirm(sink, *confirmed, *at);
                }
            }
        }
    }

    fn confirmed(&self, sink: &'static str, revision: Revision) {
        let mut inner = self.inner();
        let (inner, now) = (&mut *inner, Instant::now());
        inner.last.insert(sink, (revision, now));
        let mut done =
            |key: &ObjectKey| inner.entries.get_mut(key).is_none_or(|entry| entry.confirm(sink, revision, now));
        let done: Vec<_> = inner.open.iter().filter(|key| done(key)).cloned().collect();
        for key in done {
            inner.open.remove(&key);
        }
    }

    /// The steps of a Service's registration in order; none if its creation was not seen.
    pub(super) fn timeline(&self, key: &ObjectKey, address: &str) -> Option<Value> {
        let inner = self.inner();
        let entry = inner.entries.get(key)?;
        // The news of a write may reach a sink before it reaches us: what was confirmed had been written by then.
        let earliest = |at: Instant, which: usize| {
            entry.confirmed.values().filter_map(|marks| marks.get(which).copied().flatten()).fold(at, Instant::min)
        };
        let stored = entry.slices.map_or(entry.written.1, |(_, at)| at.min(entry.written.1));
        let mut steps = vec![
            (entry.began, "manifest posted".to_owned(), None),
            (earliest(stored, 0), format!("stored with address {address}"), Some(entry.written.0)),
        ];
        if let Some((revision, at)) = entry.slices {
            steps.push((earliest(at, 1), "endpoint slice written".to_owned(), Some(revision)));
        }
        for (sink, meaning) in SINKS {
            let [service, slices] = entry.confirmed.get(sink).copied().unwrap_or_default();
            if let Some(at) = service {
                steps.push((at, meaning.to_owned(), Some(entry.written.0)));
            }
            if let (Some(at), Some((revision, _)), "nft") = (slices, entry.slices, sink) {
                steps.push((at, "endpoints programmed in the kernel".to_owned(), Some(revision)));
            }
        }
        let all = |which: usize| {
            let marks: Option<Vec<_>> = SINKS.iter().map(|(sink, _)| entry.confirmed.get(sink)?[which]).collect();
            marks.and_then(|marks| marks.into_iter().max())
        };
        let last = entry.slices.map_or((all(0), entry.written.0), |(revision, _)| (all(1), revision));
        if let (Some(at), revision) = last {
            steps.push((at, "applied by every sink: Programmed".to_owned(), Some(revision)));
        }
        steps[1..].sort_by_key(|(at, ..)| *at);
        let step = |(at, what, revision): (Instant, String, Option<Revision>)| json!({ "ms": milliseconds(entry.began, at), "what": what, "revision": revision.map(|revision| revision.0) });
        Some(steps.into_iter().map(step).collect())
    }
}

#[cfg(test)]
mod tests {
    use compile::snapshot::{EndpointSlice, Meta, Service};

    use super::*;

    fn snapshot(revision: u64, slice: Option<u64>) -> Snapshot {
        let key = ObjectKey::new("default", "web");
        let mut snapshot = Snapshot { revision: Revision(revision), ..Snapshot::default() };
        snapshot.services.insert_mut(key.clone(), Arc::new(Service::default()));
        if let Some(slice) = slice {
            let name = ObjectKey::new("default", "web-1");
            let meta = Meta { key: name.clone(), revision: Revision(slice), ..Meta::default() };
            let slice = EndpointSlice {
                meta,
                family: None,
                ports: Vec::new(),
                endpoints: Vec::new(),
                owner_uid: None,
                trigger_time: None,
                weights_unread: None,
            };
            snapshot.slices.insert_mut(name.clone(), Arc::new(slice));
            snapshot.slices_of.insert_mut(key, Arc::new([name]));
        }
        snapshot
    }

    fn steps(recorder: &Recorder, key: &ObjectKey) -> Vec<(String, Option<u64>)> {
        let timeline = recorder.timeline(key, "10.96.0.9").unwrap();
        let step = |step: &Value| (step["what"].as_str().unwrap().to_owned(), step["revision"].as_u64());
        timeline.as_array().unwrap().iter().map(step).collect()
    }

    #[test]
    fn a_registration_is_told_in_order_and_ends_with_the_revision_that_all_have() {
        let (recorder, key) = (Recorder::default(), ObjectKey::new("default", "web"));
        let touched = BTreeSet::from([key.clone()]);
        recorder.written(&key, Revision(5), Instant::now());
        recorder.confirmed("dns", Revision(5));
        recorder.slices(&snapshot(5, None), &touched);
        // The kernel has the slice before the news of it comes here.
        recorder.confirmed("nft", Revision(7));
        recorder.slices(&snapshot(7, Some(6)), &touched);
        recorder.confirmed("dns", Revision(7));
        recorder.written(&key, Revision(9), Instant::now());
        let expected = [
            ("manifest posted", None),
            ("stored with address 10.96.0.9", Some(5)),
            ("name answered by DNS", Some(5)),
            ("endpoint slice written", Some(6)),
            ("address programmed in the kernel", Some(5)),
            ("endpoints programmed in the kernel", Some(6)),
            ("applied by every sink: Programmed", Some(6)),
        ];
        assert_eq!(steps(&recorder, &key), expected.map(|(what, revision)| (what.to_owned(), revision)));
        assert!(recorder.inner().open.is_empty(), "nothing is waited for any more");
        recorder.slices(&Snapshot { revision: Revision(10), ..Snapshot::default() }, &touched);
        assert!(recorder.timeline(&key, "").is_none(), "a Service that is gone is forgotten");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let recorder = Recorder::default();
        let key = |number: usize| ObjectKey::new("default", number.to_string());
        (0..=REMEMBERED).for_each(|number| recorder.written(&key(number), Revision(1), Instant::now()));
        assert!(recorder.timeline(&key(0), "").is_none() && recorder.timeline(&key(1), "").is_some());
        assert_eq!(recorder.inner().open.len(), REMEMBERED);
    }
}
