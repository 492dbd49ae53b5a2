//! A rate in, durable transactions that replace so many endpoints a second out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use api::object::{ObjectKey, Revision};
use store::Store;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::super::objects::{self, Shape};

/// How many periods' changes are made at once after a pause of this process.
const CATCH_UP: usize = 10;

/// A transaction that is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Its last revision.
    pub(super) revision: Revision,
    /// When watchers could see it.
    pub(super) committed: Instant,
    /// Endpoints replaced in it.
    pub(super) changes: usize,
}

/// Knows the endpoints of every Service.
pub(super) struct Writer {
    store: Store,
    /// Numbers of the endpoints of each Service.
    endpoints: Vec<Vec<usize>>,
    /// What of each slice never changes: before and after its endpoints, without its version.
    around: Vec<(String, String)>,
    /// The Service whose turn is next, and the place in it.
    next: usize,
    /// The next endpoint that no slice has.
    unused: usize,
}

impl Writer {
    /// A writer for a store that holds `shape`.
    pub(super) fn new(store: Store, shape: Shape) -> Self {
        Self {
            store,
            endpoints: (0..shape.services).map(|number| shape.endpoints_of(number).collect()).collect(),
            around: (0..shape.services).map(around).collect(),
            next: 0,
            unused: shape.services * shape.endpoints,
        }
    }

    /// Replaces `rate` endpoints a second for a while.
    pub(super) async fn run(
        mut self,
        rate: usize,
        period: Duration,
        length: Duration,
        told: &mpsc::UnboundedSender<Written>,
    ) -> Result<()> {
        let most = (rate as f64 * period.as_secs_f64()).ceil() as usize * CATCH_UP;
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (began, mut done) = (Instant::now(), 0);
        while began.elapsed() < length {
            tick.tick().await;
            let due = (began.elapsed().as_secs_f64() * rate as f64) as usize;
            let changes = due.saturating_sub(done).min(most);
            if changes == 0 {
                continue;
            }
            let written = self.replace(changes).await?;
            done += changes;
            if told.send(written).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// One transaction.
    async fn replace(&mut self, changes: usize) -> Result<Written> {
        let mut of_service: BTreeMap<usize, usize> = BTreeMap::new();
        for _ in 0..changes {
            let (services, turn) = (self.endpoints.len(), self.next);
            let number = turn % services;
            let own = &mut self.endpoints[number];
            let at = (turn / services) % own.len();
            self.unused = (self.unused + 1) % objects::ADDRESSES;
            own[at] = self.unused;
            *of_service.entry(number).or_default() += 1;
            self.next += 1;
        }
        let put = |txn: &mut store::Txn<'_>| {
            for number in of_service.keys() {
                let body = slice(&self.around[*number], &self.endpoints[*number], txn.next_revision());
                let key = ObjectKey::new(objects::NAMESPACE, objects::name(*number));
                txn.put("endpointslices.discovery.k8s.io", key, body.into());
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let (_, revision) =
            self.store.write(put).await.map_err(|error| anyhow!("cannot write to the store: {error}"))?;
        let (newest, at) = self.store.published();
        // Another write may have come between; then it is a little later than it was.
        let committed = if newest == revision { at } else { Instant::now() };
        Ok(Written { revision, committed, changes })
    }
}

/// The text of a stored slice up to its version, and from behind its endpoints.
fn around(number: usize) -> (String, String) {
    let mut slice = objects::slice(number, std::iter::empty());
    let mut metadata = slice["metadata"].take();
    let members = metadata.as_object_mut().map(std::mem::take).unwrap_or_default();
    let of = |members: serde_json::Map<String, serde_json::Value>, without: [&str; 2]| {
        let texts = members.iter().filter(|(name, _)| !without.contains(&name.as_str()));
        texts.map(|(name, value)| format!("\"{name}\":{value},")).collect::<String>()
    };
    let rest = slice.as_object_mut().map(std::mem::take).unwrap_or_default();
    let rest = of(rest, ["metadata", "endpoints"]);
    (format!("{{{rest}\"metadata\":{{{}\"resourceVersion\":\"", of(members, ["", ""])), "]}".to_owned())
}

fn slice((head, tail): &(String, String), endpoints: &[usize], revision: Revision) -> String {
    let mut text = format!("{head}{revision}\"}},\"endpoints\":[");
    for (at, endpoint) in endpoints.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let address = objects::endpoint(*endpoint);
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{{\"addresses\":[\"{address}\"],\"conditions\":{{\"ready\":true}}}}");
    }
    text + tail
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn written_slices_are_those_that_the_store_was_filled_with() {
        let shape = Shape::of(3, 4);
        let text = slice(&around(2), &shape.endpoints_of(2).collect::<Vec<_>>(), Revision(17));
        let mut wanted = objects::slice(2, shape.endpoints_of(2));
        wanted["metadata"]["resourceVersion"] = "17".into();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
    }

    #[tokio::test]
    async fn a_transaction_replaces_as_many_endpoints_as_asked_and_all_get_their_turn() {
        let store = Store::open(Box::new(store::log::memory::MemoryLog::default()), store::Limits::default()).unwrap();
        let shape = Shape::of(3, 2);
        let mut writer = Writer::new(store.clone(), shape);
        let before = writer.endpoints.clone();
        let written = writer.replace(4).await.unwrap();
        assert_eq!((written.changes, store.revision()), (4, written.revision));
        let replaced = |writer: &Writer| {
            let pairs = before.iter().flatten().zip(writer.endpoints.iter().flatten());
            pairs.map(|(before, after)| before != after).collect::<Vec<_>>()
        };
        assert_eq!(replaced(&writer), [true, true, true, false, true, false]);
        writer.replace(2).await.unwrap();
        assert!(replaced(&writer).iter().all(|replaced| *replaced));
    }
}
