//! A scenario per code: objects as people write them in, the finding they should be told out.

mod pods;
mod select;
mod slices;
mod table;
mod ways;

use api::object::{ObjectKey, Revision};
use serde_json::{Value, json};

use super::*;
use crate::snapshot::{Builder, Changes, Family, Protocol};

/// A small world: objects, what was observed, settings.
pub(super) struct World {
    builder: Builder,
    index: Index,
    pub(super) snapshot: Snapshot,
    pub(super) facts: Facts,
    config: Config,
    revision: u64,
}

impl World {
    /// A node and nothing else.
    pub(super) fn new() -> Self {
        let cidr = Cidr { network: "10.96.0.0".parse().unwrap(), prefix: 16 };
        let config = Config { domain: "cluster.local".into(), service_cidrs: vec![cidr] };
        let mut world = Self {
            builder: Builder::default(),
            index: Index::default(),
            snapshot: Snapshot::default(),
            facts: Facts::default(),
            config,
            revision: 0,
        };
        let status = json!({ "addresses": [{ "type": "InternalIP", "address": "192.168.1.7" }] });
        world.put("nodes", "n1", json!({ "status": status }));
        world
    }

    /// Puts an object: `name` or `namespace/name`.
    pub(super) fn put(&mut self, plural: &str, name: &str, mut object: Value) -> &mut Self {
        if object["metadata"].is_null() {
            object["metadata"] = json!({});
        }
        let (namespace, name) = name.split_once('/').unwrap_or((if plural == "nodes" { "" } else { "default" }, name));
        let key = ObjectKey::new(namespace, name);
        if let Some(workload) = Workload::decode(plural, &key, &object) {
            self.index.put_workload(namespace, workload);
            return self;
        }
        self.revision += 1;
        self.builder.put(plural, &key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
        let (snapshot, changes): (_, Changes) = self.builder.publish(Revision(self.revision));
        let before = std::mem::replace(&mut self.snapshot, Snapshot::clone(&snapshot));
        self.index.update(&before, &self.snapshot, &changes);
        self
    }

    /// A Service with port 80 and more of its spec.
    pub(super) fn service(&mut self, name: &str, spec: Value) -> &mut Self {
        let mut all = json!({ "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
            "ports": [{ "port": 80, "targetPort": 8080 }] });
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        self.put("services", name, json!({ "metadata": { "uid": name }, "spec": all }))
    }

    /// A ready pod of a Deployment.
    pub(super) fn pod(&mut self, name: &str, deployment: &str, labels: Value) -> &mut Self {
        self.pod_with(name, deployment, labels, json!([{ "name": "main" }]), true)
    }

    /// A pod of a Deployment.
    pub(super) fn pod_with(
        &mut self,
        name: &str,
        of: &str,
        mut labels: Value,
        containers: Value,
        ready: bool,
    ) -> &mut Self {
        labels["pod-template-hash"] = "abc".into();
        let owner = json!([{ "kind": "ReplicaSet", "name": format!("{of}-abc"), "uid": of, "controller": true }]);
        let number = self.snapshot.pods.size() + 1;
        let status = json!({ "podIP": format!("10.1.{}.{}", number / 200, number % 200), "phase": "Running",
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] });
        self.put(
            "pods",
            name,
            json!({ "metadata": { "uid": name, "labels": labels, "ownerReferences": owner },
            "spec": { "nodeName": "n1", "containers": containers }, "status": status }),
        )
    }

    /// A hand-made slice with one address.
    pub(super) fn slice(&mut self, name: &str, labels: Value, port: Value, address: &str) -> &mut Self {
        self.put(
            "endpointslices",
            name,
            json!({ "metadata": { "labels": labels }, "addressType": "IPv4",
            "ports": [port], "endpoints": [{ "addresses": [address] }] }),
        )
    }

    /// What a pod listens on.
    pub(super) fn listens(&mut self, pod: &str, sockets: &[(Protocol, &str)]) -> &mut Self {
        let socket = |(protocol, at): &(Protocol, &str)| {
            let at: std::net::SocketAddr = at.parse().unwrap();
            Socket { protocol: *protocol, address: at.ip(), port: at.port() }
        };
        let listening = Some(sockets.iter().map(socket).collect());
        self.facts.pods.entry(ObjectKey::new("default", pod)).or_default().listening = listening;
        self
    }

    fn case(&self, name: &str) -> Case<'_> {
        let service = self.snapshot.services.get(&ObjectKey::new("default", name)).unwrap();
        Case { config: &self.config, snapshot: &self.snapshot, index: &self.index, facts: &self.facts, service }
    }

    pub(super) fn find(&self, name: &str) -> Vec<Finding> {
        diagnose(&self.case(name))
    }

    /// The finding of a code, which must be there once.
    pub(super) fn one(&self, name: &str, id: &str) -> Finding {
        let all = self.find(name);
        let mut found: Vec<_> = all.iter().filter(|finding| finding.code.id == id).cloned().collect();
        assert_eq!(found.len(), 1, "{id} among {all:#?}");
        let finding = found.remove(0);
        assert!(finding.line().len() <= limits::SUMMARY && finding.line().is_ascii(), "{}", finding.line());
        finding
    }

    /// What is found, apart from notes.
    pub(super) fn wrong(&self, name: &str) -> Vec<String> {
        let all = self.find(name).into_iter();
        all.filter(|finding| finding.severity < Severity::Note).map(|finding| finding.line()).collect()
    }

    /// What the fix of a finding would lead to.
    pub(super) fn fixed(&self, name: &str, id: &str, object: &Value) -> String {
        let finding = self.one(name, id);
        let mut object = object.clone();
        object["metadata"]["uid"] = "same".into();
        let object = &object;
        let snapshot = patched(&self.snapshot, finding.fix.as_ref().unwrap(), object).unwrap();
        let service = snapshot.services.get(&ObjectKey::new("default", name)).unwrap();
        outcome(&Case { snapshot: &snapshot, service, ..self.case(name) })
    }
}

pub(super) fn command(finding: &Finding) -> &str {
    &finding.fix.as_ref().unwrap().command
}

#[test]
fn a_service_that_works_has_no_findings_and_every_step_is_ok() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" } }));
    world.pod("web-1", "web", json!({ "app": "web" })).listens("web-1", &[(Protocol::Tcp, "0.0.0.0:8080")]);
    let own = json!({ "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" });
    world.slice("web-x", own, json!({ "port": 8080 }), "10.1.0.1");
    world.facts.applied = Some(Revision(7));
    world.facts.answers = Some(vec!["10.96.0.9".parse().unwrap()]);
    world.facts.pods.get_mut(&ObjectKey::new("default", "web-1")).unwrap().readiness_probe = true;
    assert_eq!(world.find("web"), []);
    let report = explain(&world.case("web"));
    assert!(report.clean(), "{report:#?}");
    let lines: Vec<_> =
        report.steps.iter().map(|step| format!("{} {} {}", step.name, step.verdict.text(), step.text)).collect();
    assert_eq!(
        lines,
        [
            "DNS ok web.default.svc.cluster.local -> 10.96.0.9",
            "VIP ok 10.96.0.9 port 80/TCP programmed, revision 7 applied",
            "POLICY - this version enforces no NetworkPolicy: none is in the way",
            "SELECT ok app=web matches 1 pod of deploy/web",
            "PORTS ok 80/TCP -> 8080, sockets of 1 pod looked at",
            "READY ok 1 of 1 pod ready",
            "ENDPOINTS ok 1 of 1 endpoints ready, in 1 slice",
        ]
    );
    assert_eq!((word(&world.find("web")), warnings(&world.find("web"))), (None, vec![]));
    assert_eq!(world.snapshot.services.values().next().unwrap().families, [Family::V4]);
}
