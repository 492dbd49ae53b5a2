//! Turns an unbound pod and the nodes there are into the node to bind it to, or the sentence that says why there is none.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::snapshot::Labels;
use crate::workloads::Pod;
use crate::workloads::objects::Meta;

/// A node, as far as scheduling cares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Metadata.
    pub meta: Meta,
    /// Condition Ready is True.
    pub ready: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
}

impl Node {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: RawNode = serde_json::from_slice(json)?;
        let ready = raw.status.conditions.iter().any(|one| one.r#type == "Ready" && one.status == "True");
        Ok(Self { meta: raw.metadata, ready, unschedulable: raw.spec.unschedulable })
    }
}

/// Whether `pod` waits for a node here.
pub fn waiting(pod: &Pod) -> bool {
    pod.node.is_none() && pod.active() && matches!(&*pod.scheduler, "" | "default-scheduler")
}

/// The node for `pod`: of those that are ready and match, the one with the fewest pods, the first by name among equals.
pub fn choose<'a>(
    pod: &Pod,
    nodes: impl Iterator<Item = &'a Node>,
    pods_on: &dyn Fn(&str) -> usize,
) -> Result<Box<str>, String> {
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut best: Option<(usize, &Node)> = None;
    let mut total = 0;
    for node in nodes {
        total += 1;
        match objection(pod, node) {
            Some(why) => *refused.entry(why).or_default() += 1,
            None => {
                let load = pods_on(&node.meta.name);
                if best.is_none_or(|(least, _)| load < least) {
                    best = Some((load, node));
                }
            }
        }
    }
    match best {
        Some((_, node)) => Ok(node.meta.name.clone()),
        None if total == 0 => Err("no nodes available to schedule pods".to_owned()),
        None => {
            let reasons: Vec<String> = refused.iter().map(|(why, count)| format!("{count} {why}")).collect();
            Err(format!("0/{total} nodes are available: {}.", reasons.join(", ")))
        }
    }
}

fn objection(pod: &Pod, node: &Node) -> Option<&'static str> {
    let labels: &Labels = &node.meta.labels;
    if !node.ready || node.meta.deleting() {
        Some("node(s) were not ready")
    } else if pod.only_node.as_ref().is_some_and(|only| *only != node.meta.name) {
        Some("node(s) didn't match Pod's node affinity/selector")
    } else if node.unschedulable && !pod.tolerates_unschedulable {
        Some("node(s) were unschedulable")
    } else if !pod.node_selector.iter().all(|(name, value)| labels.get(name) == Some(value)) {
        Some("node(s) didn't match Pod's node affinity/selector")
    } else {
        None
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNode {
    metadata: Meta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpec {
    unschedulable: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    conditions: Vec<RawCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCondition {
    r#type: String,
    status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ready: bool, zone: &str) -> Node {
        let labels = Labels::from([("zone".into(), zone.into())]);
        Node { meta: Meta { name: name.into(), labels, ..Meta::default() }, ready, unschedulable: false }
    }

    #[test]
    fn the_emptiest_node_that_matches_is_chosen_and_otherwise_every_reason_is_told() {
        let nodes = [node("a", true, "x"), node("b", true, "y"), node("c", false, "y"), node("d", true, "y")];
        let load = |name: &str| if name == "b" { 3 } else { 1 };
        let mut pod = Pod { phase: "Pending".into(), ..Pod::default() };
        assert!(waiting(&pod));
        assert_eq!(choose(&pod, nodes.iter(), &load).as_deref(), Ok("a"));
        pod.node_selector = Labels::from([("zone".into(), "y".into())]);
        assert_eq!(choose(&pod, nodes.iter(), &load).as_deref(), Ok("d"));
        pod.node_selector = Labels::from([("zone".into(), "z".into())]);
        let why = choose(&pod, nodes.iter(), &load).unwrap_err();
        assert_eq!(
            why,
            "0/4 nodes are available: 3 node(s) didn't match Pod's node affinity/selector, 1 node(s) were not ready."
        );
        assert_eq!(choose(&pod, [].iter(), &load).unwrap_err(), "no nodes available to schedule pods");
    }
}
