//! Events out of the store an hour after they were last seen: a watch in, deletions at their time out.
//!
//! When each Event ends is kept in order, read once from each version of it. So nothing is listed while nothing ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::kinds;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use contract::access::DeleteOptions;
use jiff::Timestamp;
use serde::Deserialize;
use store::{Body, Range};

use crate::limits;
use crate::object::table;
use crate::pipeline::{Api, read_failure};

/// When each Event ends, in Unix seconds.
#[derive(Debug, Default)]
struct Ends {
    in_order: BTreeSet<(i64, ObjectKey)>,
    of: BTreeMap<ObjectKey, i64>,
}

impl Ends {
    fn put(&mut self, key: &ObjectKey, body: &Body) {
        self.forget(key);
        let end = last_seen(&body.bytes()) + limits::EVENT_SECONDS;
        self.in_order.insert((end, key.clone()));
        self.of.insert(key.clone(), end);
    }

    fn forget(&mut self, key: &ObjectKey) {
        if let Some(end) = self.of.remove(key) {
            self.in_order.remove(&(end, key.clone()));
        }
    }

    /// Events that have ended at `now`, oldest first, as many as go into one transaction.
    fn ended(&self, now: Timestamp) -> Vec<ObjectKey> {
        let ended = self.in_order.iter().take_while(|(end, _)| *end < now.as_second());
        ended.take(limits::SWEEP_BATCH).map(|(_, key)| key.clone()).collect()
    }

    /// How long nothing ends. The clock may jump, so it is looked at from time to time.
    fn rest(&self, now: Timestamp) -> Duration {
        let until = self.in_order.first().map_or(i64::MAX, |(end, _)| end.saturating_sub(now.as_second()) + 1);
        Duration::from_secs(until.clamp(1, limits::EVENT_LOOK_SECONDS) as u64)
    }
}

impl Api {
    /// Deletes Events when their hour is over. Never ends; run it as a task.
    pub async fn expire_events(self) {
        loop {
            if let Err(status) = self.follow_events().await {
                tracing::warn!(%status, "old Events are not dropped for the moment");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn follow_events(&self) -> Result<(), Status> {
        let (mut ends, revision) = self.read_ends()?;
        let of_events = table(&kinds::EVENT);
        let mut watch = self.inner.store.watch(&[of_events], revision).map_err(read_failure)?;
        loop {
            self.delete_ended(&mut ends, self.inner.config.clock.now()).await?;
            let rest = ends.rest(self.inner.config.clock.now());
            tokio::select! {
                changed = watch.next() => for event in changed.map_err(read_failure)?.0 {
                    if event.deleted {
                        ends.forget(&event.new.key);
                    } else {
                        ends.put(&event.new.key, &event.new.body);
                    }
                },
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// The ends of all Events at one revision, read in chunks.
    fn read_ends(&self) -> Result<(Ends, Revision), Status> {
        let mut ends = Ends::default();
        let revision = self.inner.store.revision();
        let mut range = Range { limit: Some(limits::LIST_CHUNK), ..Range::default() };
        loop {
            let page = self.inner.store.list(table(&kinds::EVENT), &range, Some(revision)).map_err(read_failure)?;
            page.records.iter().for_each(|record| ends.put(&record.key, &record.body));
            match page.records.last() {
                Some(last) if page.remaining > 0 => range.after = Some(last.key.clone()),
                _ => return Ok((ends, revision)),
            }
        }
    }

    async fn delete_ended(&self, ends: &mut Ends, now: Timestamp) -> Result<usize, Status> {
        let mut deleted = 0;
        loop {
            let batch = ends.ended(now);
            if batch.is_empty() {
                return Ok(deleted);
            }
            let delete = |draft: &mut crate::write::Draft<'_, '_>| {
                let mut last = None;
                for key in &batch {
                    // It may have been seen again meanwhile.
                    let record = draft.record(&kinds::EVENT, key);
                    let seen = record.map_or(i64::MIN, |record| last_seen(&record.body.bytes()));
                    if seen + limits::EVENT_SECONDS >= now.as_second() {
                        continue;
                    }
                    match crate::write::delete::delete(draft, &kinds::EVENT, key, &DeleteOptions::default()) {
                        Ok(outcome) => {
                            deleted += 1;
                            last = Some(outcome);
                        }
                        Err(status) if status.code == 404 => {}
                        Err(status) => return Err(status),
                    }
                }
                last.ok_or_else(|| Status::new(404, "NotFound", "every Event of the batch was gone already"))
            };
            match self.commit(false, delete).await {
                Err(status) if status.code != 404 => return Err(status),
                // What was seen again comes back with the watch.
                _ => batch.iter().for_each(|key| ends.forget(key)),
            }
        }
    }

    /// Deletes Events that have ended at `now`, once; returns how many. For tests and for who does not want a task.
    pub async fn sweep_events(&self, now: Timestamp) -> Result<usize, Status> {
        let (mut ends, _) = self.read_ends()?;
        self.delete_ended(&mut ends, now).await
    }
}

/// The times of an Event; the rest of it is skipped over.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    creation_timestamp: Option<String>,
}

/// Unix time at which an Event last happened; the newest of its times.
fn last_seen(event: &[u8]) -> i64 {
    let Times { last_timestamp, event_time, series, metadata } = serde_json::from_slice(event).unwrap_or_default();
    let series = series.and_then(|series| series.last_observed_time);
    let times = [last_timestamp, event_time, series, metadata.creation_timestamp];
    let times = times.iter().flatten().filter_map(|time| time.parse::<Timestamp>().ok());
    times.max().map_or(0, Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_second()
    }

    fn event(last: &str) -> Body {
        let text = format!(
            r#"{{"metadata":{{"creationTimestamp":"2026-11-21T08:00:00Z"}},"lastTimestamp":"{last}","series":null}}"#
        );
        bytes::Bytes::from(text).into()
    }

    #[test]
    fn the_newest_time_counts() {
        assert_eq!(last_seen(&event("2026-11-21T09:00:00Z").bytes()), seconds("2026-11-21T09:00:00Z"));
        assert_eq!(last_seen(&event("").bytes()), seconds("2026-11-21T08:00:00Z"));
        let series = br#"{"eventTime":null,"series":{"lastObservedTime":"2026-11-21T08:10:00.5Z"}}"#;
        assert_eq!(last_seen(series), seconds("2026-11-21T08:10:00Z"));
        assert_eq!((last_seen(b"{}"), last_seen(b"no JSON")), (0, 0));
    }

    #[test]
    fn ends_come_in_order_and_move_when_an_event_is_seen_again() {
        let key = |name: &str| ObjectKey::new("default", name);
        let mut ends = Ends::default();
        for (name, last) in [("b", "08:20:00"), ("a", "08:10:00"), ("c", "08:30:00"), ("a", "08:40:00")] {
            ends.put(&key(name), &event(&format!("2026-11-21T{last}Z")));
        }
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        assert_eq!(ends.ended(at("2026-11-21T09:20:00Z")), []);
        assert_eq!(ends.rest(at("2026-11-21T09:20:00Z")), Duration::from_secs(1));
        assert_eq!(ends.rest(at("2026-11-21T08:00:00Z")), Duration::from_secs(limits::EVENT_LOOK_SECONDS as u64));
        assert_eq!(ends.ended(at("2026-11-21T09:30:01Z")), [key("b"), key("c")]);
        ends.forget(&key("b"));
        assert_eq!(ends.ended(at("2026-11-21T10:30:01Z")), [key("c"), key("a")]);
        assert_eq!((ends.of.len(), ends.in_order.len()), (2, 2));
    }
}
