//! What is read at the moment of a scrape: the link to the API, the sink's totals, what of the snapshot has no endpoints.

use std::fmt;
use std::sync::{Arc, OnceLock};

use compile::service_table::family_of;
use compile::snapshot::{Endpoint, Service, Snapshot};
use contract::applied::Applied;
use controller::remote::Link;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::gauge::Gauge;

use super::super::Latest;
use crate::run::nft::Report;

/// Reads when asked. Cheap to clone.
#[derive(Clone)]
pub(super) struct Scraped {
    link: Link,
    pub(super) report: Report,
    pub(super) applied: Applied,
    seen: Arc<OnceLock<(Latest, String)>>,
}

impl fmt::Debug for Scraped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Scraped")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
struct Policy {
    traffic_policy: &'static str,
}

impl Scraped {
    pub(super) fn new(link: Link, report: Report, applied: Applied) -> Self {
        Self { link, report, applied, seen: Arc::default() }
    }

    /// Whether the API is heard, since when not, and why.
    pub(super) fn link(&self) -> serde_json::Value {
        match self.link.loss() {
            None => serde_json::json!({ "connected": true, "snapshotAgeSeconds": 0 }),
            Some(loss) => {
                let age = loss.age.as_secs();
                serde_json::json!({ "connected": false, "snapshotAgeSeconds": age, "lastError": loss.why })
            }
        }
    }

    pub(super) fn look_at(&self, latest: Latest, node: &str) {
        let _ = self.seen.set((latest, node.to_owned()));
    }
}

fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let loss = self.link.loss();
        let age = loss.as_ref().map_or(0.0, |loss| loss.age.as_secs_f64());
        one(
            out,
            "mainstay_api_connected",
            "Whether every kind is followed at the API",
            &ConstGauge::new(i64::from(loss.is_none())),
        )?;
        one(
            out,
            "mainstay_snapshot_age_seconds",
            "For how long the API was not heard; 0 while it is",
            &ConstGauge::new(age),
        )?;
        let api =
            ["Lists read from the API to their end", "Watches taken up again where they ended", "Objects received"];
        for ((name, total), help) in self.link.totals().into_iter().zip(api) {
            one(out, &format!("mainstay_api_{name}"), help, &ConstCounter::new(total))?;
        }
        let applied = self.applied.node().0;
        one(
            out,
            "mainstay_applied_revision",
            "Revision that the kernel has acknowledged",
            &ConstGauge::new(i64::try_from(applied).unwrap_or(i64::MAX)),
        )?;
        let sink = [
            ("batches", "Transactions committed to nf_tables"),
            ("bytes", "Bytes of elements written to nf_tables"),
            ("keysCompiled", "Services compiled"),
            ("failures", "Calls of the dataplane that failed and were tried again"),
        ];
        for (name, total) in self.report.totals() {
            let help = sink.iter().find(|(known, _)| *known == name).map_or("Of the dataplane", |(_, help)| help);
            let name = if name == "keysCompiled" { "services_compiled" } else { name };
            one(out, &format!("mainstay_dataplane_{name}"), help, &ConstCounter::new(total))?;
        }
        let problems = i64::try_from(self.report.problems().len()).unwrap_or(i64::MAX);
        one(out, "mainstay_problems", "What is not programmed; see /status", &ConstGauge::new(problems))?;
        let Some((latest, node)) = self.seen.get() else { return Ok(()) };
        let snapshot = latest.borrow().clone();
        let size = |number: usize| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        let endpoints = snapshot.slices.values().map(|slice| slice.endpoints.len()).sum();
        one(
            out,
            "mainstay_snapshot_revision",
            "Newest revision seen of the API",
            &ConstGauge::new(i64::try_from(snapshot.revision.0).unwrap_or(i64::MAX)),
        )?;
        one(out, "mainstay_services", "Services in the snapshot", &size(snapshot.services.size()))?;
        one(out, "mainstay_endpoints", "Endpoints in the snapshot", &size(endpoints))?;
        let family: Family<Policy, Gauge> = Family::default();
        for (traffic_policy, number) in without_local(&snapshot, node) {
            family.get_or_create(&Policy { traffic_policy }).set(number);
        }
        one(
            out,
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Services with a Local traffic policy and no endpoint on this node",
            &family,
        )
    }
}

/// Services that have endpoints, and a policy that does not let this node use them.
fn without_local(snapshot: &Snapshot, node: &str) -> [(&'static str, i64); 2] {
    let count = |local: fn(&Service) -> bool| {
        let all = snapshot.services.values().filter(|service| local(service) && !service.headless);
        all.filter(|service| strands(snapshot, service, node)).count()
    };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let internal = number(count(|service| service.internal_local));
    let external = number(count(|service| service.external_local));
    [("internal", internal), ("external", external)]
}

fn strands(snapshot: &Snapshot, service: &Service, node: &str) -> bool {
    let keys = snapshot.slices_of.get(&service.meta.key).into_iter().flat_map(|keys| keys.iter());
    let slices = keys.filter_map(|key| snapshot.slices.get(key));
    let usable = |endpoint: &&Endpoint| {
        let family = service.cluster_ips.iter().any(|ip| family_of(*ip) == family_of(endpoint.address));
        family && (endpoint.ready || endpoint.serving)
    };
    let mut endpoints = slices.flat_map(|slice| &slice.endpoints).filter(usable).peekable();
    endpoints.peek().is_some() && endpoints.all(|endpoint| endpoint.node.as_deref() != Some(node))
}
