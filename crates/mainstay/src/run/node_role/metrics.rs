//! Snapshots published and calls of the sink in; what Prometheus reads out, under kube-proxy's names where they mean the same.
//!
//! One call programmes both families, so the label `ip_family` of kube-proxy's histograms is left out.

mod ledger;
mod scraped;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use compile::snapshot::{Changes, Snapshot};
use contract::applied::Applied;
use controller::remote::Link;
use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use self::ledger::Ledger;
use self::scraped::Scraped;
use super::Latest;
use crate::run::nft::{Report, Synced};

/// The HTTP status of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    code: u16,
}

/// A gauge of seconds.
type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Everything that is counted and measured.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    ledger: Mutex<Ledger>,
    sync: Histogram,
    network: Histogram,
    seen: Histogram,
    queued_at: Seconds,
    synced_at: Seconds,
    services: Counter,
    endpoints: Counter,
    services_pending: Gauge,
    endpoints_pending: Gauge,
    failures: Counter,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
    scraped: Scraped,
}

/// How far the kernel is behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    /// Since when the oldest change waits.
    pub(super) since: Option<Instant>,
    /// When the kernel last had all of them.
    pub(super) updated: Option<Timestamp>,
}

impl Metrics {
    pub(super) fn new(link: Link, report: Report, applied: Applied) -> Self {
        let doubling = |first: f64, number: u16| Histogram::new(exponential_buckets(first, 2.0, number));
        let metrics = Self {
            registry: Mutex::default(),
            ledger: Mutex::new(Ledger::new(Timestamp::now())),
            sync: doubling(0.000_25, 17),
            network: Histogram::new(network_buckets()),
            seen: doubling(0.000_125, 18),
            queued_at: Seconds::default(),
            synced_at: Seconds::default(),
            services: Counter::default(),
            endpoints: Counter::default(),
            services_pending: Gauge::default(),
            endpoints_pending: Gauge::default(),
            failures: Counter::default(),
            healthz: Family::default(),
            livez: Family::default(),
            scraped: Scraped::new(link, report, applied),
        };
        metrics.register();
        metrics
    }

    #[rustfmt::skip]
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(|poison| poison.into_inner());
        let proxy = registry.sub_registry_with_prefix("kubeproxy");
        proxy.register("sync_proxy_rules_duration_seconds", "How long it took to bring changes to the kernel, until its acknowledgement", self.sync.clone());
        proxy.register("network_programming_duration_seconds", "From the change of a pod or Service, as its EndpointSlice says, to the kernel's acknowledgement", self.network.clone());
        proxy.register("sync_proxy_rules_last_queued_timestamp_seconds", "When a change was last seen", self.queued_at.clone());
        proxy.register("sync_proxy_rules_last_timestamp_seconds", "When the kernel last acknowledged changes", self.synced_at.clone());
        proxy.register("sync_proxy_rules_service_changes", "Changes of Services seen", self.services.clone());
        proxy.register("sync_proxy_rules_endpoint_changes", "Changes of Services' endpoints seen", self.endpoints.clone());
        proxy.register("sync_proxy_rules_service_changes_pending", "Changes of Services that wait for the kernel", self.services_pending.clone());
        proxy.register("sync_proxy_rules_endpoint_changes_pending", "Changes of Services' endpoints that wait for the kernel", self.endpoints_pending.clone());
        proxy.register("sync_proxy_rules_nftables_sync_failures", "Changes that the kernel refused; they are tried again", self.failures.clone());
        proxy.register("proxy_healthz", "Answers of /healthz", self.healthz.clone());
        proxy.register("proxy_livez", "Answers of /livez", self.livez.clone());
        let own = registry.sub_registry_with_prefix("mainstay");
        own.register("programming_duration_seconds", "From the arrival of a change from the API to the kernel's acknowledgement", self.seen.clone());
        registry.register_collector(Box::new(self.scraped.clone()));
    }

    /// Lets answers look at the newest snapshot.
    pub(super) fn look_at(&self, latest: Latest, node: &str) {
        self.scraped.look_at(latest, node);
    }

    /// A snapshot is about to be published.
    pub(super) fn published(&self, snapshot: &Arc<Snapshot>, changes: &Changes) {
        let noted = self.ledger().publish(snapshot, changes, Instant::now());
        if noted.services + noted.endpoints > 0 {
            self.queued_at.set(seconds(Timestamp::now()));
        }
        self.services.inc_by(noted.services);
        self.endpoints.inc_by(noted.endpoints);
        self.count_pending();
    }

    /// A call of the sink has ended.
    pub(super) fn synced(&self, synced: &Synced<'_>) {
        if synced.outcome.is_err() {
            self.failures.inc();
            return;
        }
        let (now, clock) = (Instant::now(), Timestamp::now());
        let settled = self.ledger().settle(synced.number, clock);
        if settled.is_empty() {
            return;
        }
        self.sync.observe(synced.took.as_secs_f64());
        self.synced_at.set(seconds(clock));
        for entry in settled {
            self.seen.observe(now.duration_since(entry.at).as_secs_f64());
            for trigger in entry.triggers {
                self.network.observe((seconds(clock) - seconds(trigger)).max(0.0));
            }
        }
        self.count_pending();
    }

    fn count_pending(&self) {
        let (services, endpoints) = self.ledger().waiting();
        self.services_pending.set(i64::try_from(services).unwrap_or(i64::MAX));
        self.endpoints_pending.set(i64::try_from(endpoints).unwrap_or(i64::MAX));
    }

    /// How far the kernel is behind.
    pub(super) fn behind(&self) -> Behind {
        self.ledger().behind()
    }

    /// Whether the API is heard, as data.
    pub(super) fn link(&self) -> serde_json::Value {
        self.scraped.link()
    }

    /// The revision that the kernel has.
    pub(super) fn applied(&self) -> api::object::Revision {
        self.scraped.applied.node()
    }

    /// Totals of the sink.
    pub(super) fn totals(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.scraped.report.totals()
    }

    /// What is not programmed.
    pub(super) fn problems(&self) -> Vec<String> {
        self.scraped.report.problems()
    }

    /// An answer of `/healthz`, or of `/livez`.
    pub(super) fn answered(&self, livez: bool, code: u16) {
        let family = if livez { &self.livez } else { &self.healthz };
        family.get_or_create(&Code { code }).inc();
    }

    /// What a scrape gets: OpenMetrics 1.0.0.
    pub(super) fn text(&self) -> String {
        let mut encoded = String::new();
        let registry = self.registry.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Err(error) = text::encode(&mut encoded, &registry) {
            tracing::warn!(%error, "the metrics cannot be written");
        }
        encoded
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// kube-proxy's, so that the same alerts hold, and finer ones below: ours are measured in milliseconds.
fn network_buckets() -> impl Iterator<Item = f64> {
    let fine = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];
    let coarse =
        linear_buckets(1.0, 1.0, 59).chain(linear_buckets(60.0, 5.0, 12)).chain(linear_buckets(120.0, 30.0, 7));
    fine.into_iter().chain([0.25, 0.5]).chain(coarse)
}

fn seconds(moment: Timestamp) -> f64 {
    moment.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::object::{ObjectKey, Revision};
    use compile::snapshot::Builder;
    use controller::remote::Link;
    use dataplane::keeper::Done;
    use serde_json::json;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    }

    fn synced<'a>(number: u64, outcome: Result<&'a Done, &'a str>) -> Synced<'a> {
        Synced { number, took: std::time::Duration::default(), outcome }
    }

    #[test]
    fn a_change_is_measured_from_its_cause_and_from_its_arrival() {
        let metrics = Metrics::new(Link::default(), Report::default(), Applied::default());
        let mut builder = Builder::for_node("here");
        let key = ObjectKey::new("ns", "web-1");
        let mut put = |revision, trigger: Timestamp| {
            let labels = json!({ "kubernetes.io/service-name": "web" });
            let annotations = json!({ "endpoints.kubernetes.io/last-change-trigger-time": trigger.to_string() });
            let slice = json!({ "metadata": { "labels": labels, "annotations": annotations }, "addressType": "IPv4" });
            builder.put("endpointslices", &key, Revision(revision), slice.to_string().as_bytes()).unwrap();
            let (snapshot, changes) = builder.publish(Revision(revision));
            metrics.published(&snapshot, &changes);
            snapshot
        };
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(1);
        let first = put(1, soon);
        let second = put(2, soon + jiff::SignedDuration::from_millis(1));
        assert_eq!(value(&metrics.text(), "kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 2.0);
        assert!(metrics.behind().since.is_some() && metrics.behind().updated.is_none());
        metrics.synced(&synced(first.number, Err("no")));
        metrics.synced(&synced(first.number, Ok(&Done::default())));
        assert!(metrics.behind().since.is_some(), "the second still waits");
        metrics.synced(&synced(second.number, Ok(&Done::default())));
        metrics.answered(false, 200);
        let text = metrics.text();
        assert_eq!(value(&text, "kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 0.0);
        assert_eq!(value(&text, "kubeproxy_sync_proxy_rules_endpoint_changes_total"), 2.0);
        assert_eq!(value(&text, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"), 1.0);
        assert_eq!(value(&text, "kubeproxy_sync_proxy_rules_duration_seconds_count"), 2.0);
        assert_eq!(value(&text, "kubeproxy_network_programming_duration_seconds_count"), 2.0);
        assert_eq!(value(&text, "mainstay_programming_duration_seconds_count"), 2.0);
        assert_eq!(value(&text, "kubeproxy_proxy_healthz_total{code=\"200\"}"), 1.0);
        assert!(metrics.behind().since.is_none() && metrics.behind().updated.is_some());
        assert!(text.ends_with("# EOF\n"));
    }
}
