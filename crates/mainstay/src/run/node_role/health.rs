//! How far the kernel is behind in, kube-proxy's words about its health out (pkg/proxy/healthcheck, KEP-3836).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::metrics::Behind;

/// What the cluster says of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing: it is not known.
    Unknown,
    /// It stays.
    Stays,
    /// It is being deleted, by somebody or by the autoscaler: load balancers shall send no more to it.
    Leaving,
}

/// Whether changes reach the kernel in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    updated: Option<Timestamp>,
    healthy: bool,
}

impl Health {
    /// Healthy while it starts, while nothing waits, and while what waits is not late.
    pub(super) fn of(behind: &Behind, late: Duration, now: Instant) -> Self {
        let waits = behind.since.map_or(Duration::ZERO, |since| now.duration_since(since));
        Self { updated: behind.updated, healthy: behind.updated.is_none() || waits < late }
    }

    /// Code and body; without `node` the answer is about this process alone (`/livez`).
    pub(super) fn answer(self, node: Option<Node>, now: Timestamp, link: Value) -> (u16, String) {
        let eligible = node.map(|node| node == Node::Stays);
        let fine = self.healthy && eligible != Some(false);
        // A healthy proxy's time is that of the answer, whenever the last change was.
        let updated = if fine { Some(now) } else { self.updated };
        let text = |at: Option<Timestamp>| at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
        let mut body = json!({ "lastUpdated": text(updated), "currentTime": now.to_string() });
        if let Some(eligible) = eligible {
            body["nodeEligible"] = json!(eligible);
        }
        body["healthy"] = json!(self.healthy);
        if let Some(at) = self.updated {
            // One transaction is for both families.
            let family = json!({ "lastUpdated": at.to_string(), "healthy": self.healthy });
            body["status"] = json!({ "IPv4": family, "IPv6": family });
        }
        body["api"] = link;
        (if fine { 200 } else { 503 }, body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_changes_and_leaving_nodes_are_unhealthy_and_only_the_first_is_dead() {
        let (start, late) = (Instant::now(), Duration::from_secs(60));
        let updated = Some(Timestamp::UNIX_EPOCH);
        let at = |seconds| start + Duration::from_secs(seconds);
        let answer = |behind: &Behind, seconds, node| {
            let (code, body) = Health::of(behind, late, at(seconds)).answer(node, Timestamp::UNIX_EPOCH, Value::Null);
            (code, serde_json::from_str::<Value>(&body).unwrap())
        };
        let fresh = Behind { since: None, updated };
        let waits = Behind { since: Some(start), updated };
        let starting = Behind { since: Some(start), updated: None };
        assert_eq!(answer(&fresh, 1000, Some(Node::Stays)).0, 200);
        assert_eq!(answer(&waits, 59, Some(Node::Stays)).0, 200);
        assert_eq!(answer(&waits, 61, Some(Node::Stays)).0, 503);
        assert_eq!(answer(&waits, 61, None).0, 503);
        assert_eq!(answer(&starting, 1000, None).0, 200, "it may take its time to start");
        assert_eq!(answer(&starting, 1, Some(Node::Unknown)).0, 503);
        let (code, body) = answer(&fresh, 1, Some(Node::Leaving));
        assert_eq!((code, &body["nodeEligible"], &body["healthy"]), (503, &json!(false), &json!(true)));
        let (code, body) = answer(&fresh, 1, None);
        assert_eq!((code, body.get("nodeEligible")), (200, None));
        assert_eq!(body["status"]["IPv6"]["healthy"], json!(true));
    }
}
