//! Events older than an hour out of the store, a bounded number per transaction.

use api::kinds;
use api::status::Status;
use contract::access::DeleteOptions;
use jiff::Timestamp;
use serde_json::Value;

use crate::limits;
use crate::list::{ListFailure, ListOptions};
use crate::object::parsed;
use crate::pipeline::Api;
use crate::select::Selection;

impl Api {
    /// Deletes Events that were last seen more than an hour before `now`. The caller decides when; returns how many.
    pub async fn sweep_events(&self, now: Timestamp) -> Result<usize, Status> {
        let selection = Selection::parse(&kinds::EVENT, None, "", "")?;
        let listed = match self.list_objects(&kinds::EVENT, &selection, &ListOptions::default()).await {
            Ok(listed) => listed,
            Err(ListFailure::Status(status)) => return Err(status),
            Err(ListFailure::Expired(_)) => return Err(Status::internal("a list without a token cannot expire")),
        };
        let old = |body| parsed(body).is_ok_and(|event| now.as_second() - last_seen(&event) > limits::EVENT_SECONDS);
        let old: Vec<_> = listed.records.iter().filter(|record| old(&record.body)).collect();
        for batch in old.chunks(limits::SWEEP_BATCH) {
            let delete = |draft: &mut crate::write::Draft<'_, '_>| {
                let mut last = None;
                for record in batch {
                    match crate::write::delete::delete(draft, &kinds::EVENT, &record.key, &DeleteOptions::default()) {
                        Ok(outcome) => last = Some(outcome),
                        Err(status) if status.code == 404 => {}
                        Err(status) => return Err(status),
                    }
                }
                last.ok_or_else(|| Status::new(404, "NotFound", "every Event of the batch was gone already"))
            };
            match self.commit(false, delete).await {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(old.len())
    }
}

/// Unix time at which an Event last happened; the newest of its times.
fn last_seen(event: &Value) -> i64 {
    let times = ["/lastTimestamp", "/eventTime", "/series/lastObservedTime", "/metadata/creationTimestamp"];
    let times = times.iter().filter_map(|path| event.pointer(path)?.as_str()?.parse::<Timestamp>().ok());
    times.max().map_or(0, Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_time_counts() {
        let event = json!({
            "metadata": { "creationTimestamp": "2026-11-21T08:00:00Z" }, "lastTimestamp": "2026-11-21T09:00:00Z",
        });
        assert_eq!(last_seen(&event), "2026-11-21T09:00:00Z".parse::<Timestamp>().unwrap().as_second());
        assert_eq!(last_seen(&json!({})), 0);
    }
}
