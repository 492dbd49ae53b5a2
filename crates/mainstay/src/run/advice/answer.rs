//! Requests of `mainstay explain` and `mainstay doctor` in, reports as JSON out.

use std::sync::Arc;

use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use compile::diagnose::{self, Case, Facts, Finding, Report};
use compile::snapshot::{Service, Snapshot};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::Advisor;
use super::gather::Depth;

impl Advisor {
    /// Answers a request under `/mainstay/`; none if it is not about diagnosis.
    pub(crate) fn work(
        advisor: &Arc<Self>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<BoxFuture<'static, Result<Value, Status>>> {
        let (advisor, body) = (advisor.clone(), body.clone());
        if let ("GET", Some(rest)) = (method, path.strip_prefix("/mainstay/explain/")) {
            let mut parts = rest.splitn(3, '/').map(str::to_owned);
            let question = json!({ "kind": parts.next(), "namespace": parts.next(), "name": parts.next() });
            return Some(async move { advisor.explain(&question).await }.boxed());
        }
        match (method, path) {
            ("POST", "/mainstay/explain") => Some(async move { advisor.explain(&body).await }.boxed()),
            ("GET", "/mainstay/doctor") => Some(async move { advisor.doctor().await }.boxed()),
            _ => None,
        }
    }

    /// One object.
    async fn explain(&self, question: &Value) -> Result<Value, Status> {
        let text = |field: &str| question[field].as_str().unwrap_or_default();
        let key = ObjectKey::new(text("namespace"), text("name"));
        self.reach(self.api.store().revision()).await;
        let snapshot = self.state().snapshot.clone();
        match text("kind") {
            "services" => self.explain_service(&snapshot, &key, question).await,
            "pods" => self.explain_pod(&snapshot, &key).await,
            other => Err(Status::bad_request(format!("kind: {other:?} cannot be explained; use services or pods"))),
        }
    }

    async fn explain_service(
        &self,
        snapshot: &Arc<Snapshot>,
        key: &ObjectKey,
        question: &Value,
    ) -> Result<Value, Status> {
        let service = snapshot.services.get(key).ok_or_else(|| Status::not_found(&kinds::SERVICE, &key.name))?;
        // A change that was made a moment ago is no lag yet.
        let reached = self.applied.reached(service.meta.revision);
        let _ = tokio::time::timeout(super::PATIENCE, reached).await;
        let mut facts = self.gather(snapshot, service, Depth::Explain);
        self.probe_errors(&key.namespace, &mut facts).await;
        if let Some(from) = question["from"].as_str() {
            let (namespace, name) = from.split_once('/').unwrap_or((&key.namespace, from));
            facts.tried = self.try_from(&ObjectKey::new(namespace, name), snapshot, service).await?;
        }
        let report = {
            let state = self.state();
            diagnose::explain(&Case { config: &self.config, snapshot, index: &state.index, facts: &facts, service })
        };
        let simulated =
            report.first.and_then(|first| self.simulate(snapshot, service, &facts, report.findings.get(first)?));
        let mut answer = self.answer("services", key, snapshot, &report);
        answer["simulated"] = simulated.into();
        if question["timeline"] == true {
            let address = service.cluster_ips.first().map_or_else(|| "none".to_owned(), ToString::to_string);
            answer["timeline"] = self.recorder.timeline(key, &address).unwrap_or(Value::Null);
        }
        Ok(answer)
    }

    fn answer(&self, kind: &str, key: &ObjectKey, snapshot: &Snapshot, report: &Report) -> Value {
        let mut answer = report.to_json();
        answer["object"] = json!({ "kind": kind, "namespace": key.namespace, "name": key.name });
        answer["revision"] = snapshot.revision.0.into();
        answer["applied"] = self.applied.node().0.into();
        answer["clean"] = report.clean().into();
        answer
    }

    /// What a fix would lead to: the same questions asked of the patched objects.
    fn simulate(&self, snapshot: &Snapshot, service: &Service, facts: &Facts, finding: &Finding) -> Option<String> {
        let fix = finding.fix.as_ref()?;
        let (subject, _) = fix.change.as_ref()?;
        let kind = if subject.kind == "Service" { &kinds::SERVICE } else { &kinds::ENDPOINT_SLICE };
        let object = self.object(kind, &subject.key)?;
        let patched = diagnose::patched(snapshot, fix, &object)?;
        let service = patched.services.get(&service.meta.key)?;
        let seen = self.gather(&patched, service, Depth::Explain);
        let facts = Facts { applied: None, tried: Vec::new(), answers: facts.answers.clone(), ..seen };
        let state = self.state();
        let case = Case { config: &self.config, snapshot: &patched, index: &state.index, facts: &facts, service };
        Some(diagnose::outcome(&case))
    }

    async fn explain_pod(&self, snapshot: &Arc<Snapshot>, key: &ObjectKey) -> Result<Value, Status> {
        let pod = snapshot.pods.get(key).ok_or_else(|| Status::not_found(&kinds::POD, &key.name))?;
        let mut facts = Facts::default();
        let object = self.object(&kinds::POD, key).unwrap_or_default();
        let mut seen = diagnose::facts::pod(&object, None);
        seen.listening = self.streams.listening(Some(key)).map(super::gather::sockets);
        facts.pods.insert(key.clone(), seen);
        self.probe_errors(&key.namespace, &mut facts).await;
        let seen = facts.pods.remove(key).unwrap_or_default();
        let mut findings = Vec::new();
        for service in diagnose::services_of(snapshot, pod).iter().filter_map(|key| snapshot.services.get(key)) {
            let facts = self.gather(snapshot, service, Depth::Explain);
            findings.extend(self.diagnose(snapshot, service, &facts));
        }
        let steps = diagnose::pod_steps(snapshot, pod, &seen);
        let first = findings.iter().position(|finding| finding.severity == diagnose::Severity::Problem);
        Ok(self.answer("pods", key, snapshot, &Report { steps, findings, first }))
    }

    /// Every Service, one after the other.
    async fn doctor(&self) -> Result<Value, Status> {
        self.reach(self.api.store().revision()).await;
        let snapshot = self.state().snapshot.clone();
        let mut findings = Vec::new();
        for (key, service) in &snapshot.services {
            let mut facts = self.gather(&snapshot, service, Depth::Explain);
            // What is written while the sweep goes on is not behind.
            facts.applied = facts.applied.map(|applied| applied.max(snapshot.revision));
            self.probe_errors(&key.namespace, &mut facts).await;
            findings.extend(self.diagnose(&snapshot, service, &facts));
            tokio::task::yield_now().await;
        }
        let count = |severity| findings.iter().filter(|finding: &&Finding| finding.severity == severity).count();
        Ok(json!({
            "revision": snapshot.revision.0,
            "applied": self.applied.node().0,
            "services": snapshot.services.size(),
            "problems": count(diagnose::Severity::Problem),
            "warnings": count(diagnose::Severity::Warning),
            "notes": count(diagnose::Severity::Note),
            "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        }))
    }
}
