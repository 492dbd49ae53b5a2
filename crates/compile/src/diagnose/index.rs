//! Changes of pods, Services and workloads in, quick answers out: which label sets exist in a namespace, who owns an
//! address, whose templates would make matching pods. The cost of an answer does not grow with the number of pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::object::ObjectKey;
use serde_json::Value;

use crate::endpoints;
use crate::snapshot::{Changes, Labels, Pod, Service, Snapshot};

/// Labels that differ from pod to pod or from rollout to rollout, and so say nothing about what a pod is.
const PASSING: [&str; 9] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    "job-name",
];

/// Something that makes pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// As kubectl abbreviates its kind: `deploy`, `sts`, `ds`, `rs`.
    pub short: &'static str,
    /// Name.
    pub name: Box<str>,
    /// Its own labels.
    pub labels: Labels,
    /// Labels of its pod template.
    pub template: Labels,
    /// How many pods it wants.
    pub replicas: i64,
}

impl Workload {
    /// From JSON as the API shows it; none for kinds that make no pods, and for ReplicaSets that something manages.
    pub fn decode(plural: &str, key: &ObjectKey, object: &Value) -> Option<Self> {
        let short = match plural {
            "deployments" => "deploy",
            "statefulsets" => "sts",
            "daemonsets" => "ds",
            "replicasets" => "rs",
            _ => return None,
        };
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        if owners.into_iter().flatten().any(|owner| owner["controller"] == true) {
            return None;
        }
        let labels = |pointer: &str| -> Labels {
            let pairs = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
            pairs.filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect()
        };
        Some(Self {
            short,
            name: key.name.clone(),
            labels: labels("/metadata/labels"),
            template: labels("/spec/template/metadata/labels"),
            replicas: object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
        })
    }

    /// `deploy/web`.
    pub fn text(&self) -> String {
        format!("{}/{}", self.short, self.name)
    }
}

/// Pods with the same labels, apart from passing ones.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pods: BTreeSet<Box<str>>,
}

impl Group {
    /// How many.
    pub fn count(&self) -> usize {
        self.pods.len()
    }

    /// One of them.
    pub fn sample(&self, namespace: &str) -> Option<ObjectKey> {
        self.pods.first().map(|name| ObjectKey::new(namespace, name.clone()))
    }
}

/// Workloads of one namespace, by kind and name.
type Workloads = BTreeMap<(&'static str, Box<str>), Workload>;

/// Quick answers about all objects.
#[derive(Debug, Default)]
pub struct Index {
    selectors: endpoints::Index,
    groups: BTreeMap<Box<str>, BTreeMap<Labels, Group>>,
    addresses: BTreeMap<IpAddr, ObjectKey>,
    workloads: BTreeMap<Box<str>, Workloads>,
}

impl Index {
    /// Takes in what changed from `before` to `after`; returns the Services to look at again.
    pub fn update(&mut self, before: &Snapshot, after: &Snapshot, changes: &Changes) -> BTreeSet<ObjectKey> {
        for key in &changes.services {
            let addresses =
                |snapshot: &Snapshot| snapshot.services.get(key).map_or_else(Vec::new, |service| addresses_of(service));
            for address in addresses(before) {
                if self.addresses.get(&address) == Some(key) {
                    self.addresses.remove(&address);
                }
            }
            for address in addresses(after) {
                self.addresses.insert(address, key.clone());
            }
        }
        for key in &changes.pods {
            if let Some(pod) = before.pods.get(key) {
                self.group(pod, false);
            }
            if let Some(pod) = after.pods.get(key).filter(|pod| !pod.finished) {
                self.group(pod, true);
            }
        }
        self.selectors.update(before, after, changes)
    }

    /// A workload is there, new or changed.
    pub fn put_workload(&mut self, namespace: &str, workload: Workload) {
        let place = (workload.short, workload.name.clone());
        self.workloads.entry(namespace.into()).or_default().insert(place, workload);
    }

    /// A workload is gone.
    pub fn remove_workload(&mut self, short: &'static str, key: &ObjectKey) {
        if let Some(all) = self.workloads.get_mut(&key.namespace) {
            all.remove(&(short, key.name.clone()));
        }
    }

    /// Workloads of a kind.
    pub fn workload_keys(&self, short: &str) -> Vec<ObjectKey> {
        let named = |namespace: &str, all: &Workloads| -> Vec<ObjectKey> {
            let kept = all.keys().filter(|(kind, _)| *kind == short);
            kept.map(|(_, name)| ObjectKey::new(namespace, name.clone())).collect()
        };
        self.workloads.iter().flat_map(|(namespace, all)| named(namespace, all)).collect()
    }

    /// Workloads of a namespace.
    pub fn workloads(&self, namespace: &str) -> impl Iterator<Item = &Workload> {
        self.workloads.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    /// Label sets of the pods of a namespace, without passing labels.
    pub fn groups(&self, namespace: &str) -> impl Iterator<Item = (&Labels, &Group)> {
        self.groups.get(namespace).into_iter().flatten()
    }

    /// Namespaces that have pods.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|namespace| &**namespace)
    }

    /// The Service that has an address of its own.
    pub fn owner_of(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
    }

    /// Pods that may match; check all pairs yourself.
    pub(super) fn pods_of(&self, service: &Service) -> Vec<ObjectKey> {
        let mut keys = self.selectors.pods_of(service);
        keys.sort();
        keys
    }

    fn group(&mut self, pod: &Pod, present: bool) {
        let Pod { meta, .. } = pod;
        let kept = meta.labels.iter().filter(|(name, _)| !PASSING.contains(&&***name));
        let labels: Labels = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let groups = self.groups.entry(meta.key.namespace.clone()).or_default();
        if present {
            groups.entry(labels).or_default().pods.insert(meta.key.name.clone());
        } else if let Some(group) = groups.get_mut(&labels) {
            group.pods.remove(&meta.key.name);
            if group.pods.is_empty() {
                groups.remove(&labels);
            }
        }
        if groups.is_empty() {
            self.groups.remove(&meta.key.namespace);
        }
    }
}

fn addresses_of(service: &Service) -> Vec<IpAddr> {
    service.cluster_ips.iter().chain(&service.load_balancer_ips).copied().collect()
}

/// What a pod is shown to belong to: `deploy/web`, `rs/web`, `pod/x` when nothing manages it.
pub fn workload_of(pod: &Pod) -> String {
    let Some(owner) = &pod.owner else { return format!("pod/{}", pod.meta.key.name) };
    let hash = pod.meta.labels.get("pod-template-hash");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(&**hash)?.strip_suffix('-'));
    match (&*owner.kind, deployment) {
        ("ReplicaSet", Some(name)) => format!("deploy/{name}"),
        ("ReplicaSet", None) => format!("rs/{}", owner.name),
        ("StatefulSet", _) => format!("sts/{}", owner.name),
        ("DaemonSet", _) => format!("ds/{}", owner.name),
        (kind, _) => format!("{}/{}", kind.to_lowercase(), owner.name),
    }
}
