//! Discovery documents: the table of kinds in, what clients read to learn which resources there are out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::kinds;

/// Verbs of every kind of object.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn verbs(kind: &Kind) -> &'static [&'static str] {
    match kind.kind {
        "Namespace" => &["create", "delete", "get", "list", "patch", "update", "watch"],
        _ if kinds::is_review(kind) => &["create"],
        _ => &VERBS,
    }
}

/// A subresource as discovery shows it: verbs, and the kind it speaks.
fn subresource(kind: &Kind, name: &str) -> (Vec<&'static str>, &'static str, &'static str, &'static str) {
    match name {
        "scale" => (vec!["get", "patch", "update"], "autoscaling", "v1", "Scale"),
        "log" => (vec!["get"], "", "v1", "Pod"),
        "exec" => (vec!["create", "get"], "", "v1", "PodExecOptions"),
        "attach" => (vec!["create", "get"], "", "v1", "PodAttachOptions"),
        "portforward" => (vec!["create", "get"], "", "v1", "PodPortForwardOptions"),
        "binding" => (vec!["create"], "", "v1", "Binding"),
        "token" => (vec!["create"], "authentication.k8s.io", "v1", "TokenRequest"),
        "eviction" => (vec!["create"], "policy", "v1", "Eviction"),
        "proxy" => (vec!["create", "delete", "get", "patch", "update"], "", "v1", proxy_options(kind)),
        "finalize" => (vec!["update"], kind.group, kind.version, kind.kind),
        _ => (vec!["get", "patch", "update"], kind.group, kind.version, kind.kind),
    }
}

fn proxy_options(kind: &Kind) -> &'static str {
    match kind.kind {
        "Node" => "NodeProxyOptions",
        "Service" => "ServiceProxyOptions",
        _ => "PodProxyOptions",
    }
}

/// `GET /api`. `server` is `host:port`.
pub fn api_versions(server: &str) -> Value {
    let address = json!({ "clientCIDR": "0.0.0.0/0", "serverAddress": server });
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address] })
}

/// `GET /apis`.
pub fn group_list() -> Value {
    let groups: Vec<Value> = groups().into_keys().filter(|group| !group.is_empty()).filter_map(body_of_group).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `GET /apis/<group>`; none if there is no such group.
pub fn group(group: &str) -> Option<Value> {
    let mut body = body_of_group(group).filter(|_| !group.is_empty())?;
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `GET /api/v1` and `GET /apis/<group>/<version>`; none if there is no such version.
pub fn resource_list(group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in kinds::served().filter(|kind| kind.group == group && kind.version == version) {
        resources.push(legacy(kind));
        for name in kind.subresources {
            let (verbs, group, version, speaks) = subresource(kind, name);
            let mut entry = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": speaks, "verbs": verbs,
            });
            if (group, version) != (kind.group, kind.version) {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            resources.push(entry);
        }
    }
    let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list =
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources });
    list["resources"].as_array().is_some_and(|resources| !resources.is_empty()).then_some(list)
}

/// `GET /api` as aggregated discovery: the core group alone.
pub fn aggregated_core() -> Value {
    aggregated(|group| group.is_empty())
}

/// `GET /apis` as aggregated discovery: every other group.
pub fn aggregated_groups() -> Value {
    aggregated(|group| !group.is_empty())
}

fn aggregated(wanted: impl Fn(&str) -> bool) -> Value {
    let mut items = Vec::new();
    for (group, versions) in groups().into_iter().filter(|(group, _)| wanted(group)) {
        let versions: Vec<Value> = versions
            .into_iter()
            .map(|(version, kinds)| {
                let resources: Vec<Value> = kinds.into_iter().map(resource).collect();
                json!({ "version": version, "resources": resources, "freshness": "Current" })
            })
            .collect();
        let name = json!({ "name": group, "creationTimestamp": null });
        items.push(json!({ "metadata": if group.is_empty() { json!({ "creationTimestamp": null }) } else { name }, "versions": versions }));
    }
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn resource(kind: &'static Kind) -> Value {
    let speaks = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let subresources = kind.subresources.iter().map(|name| {
        let (verbs, group, version, kind) = subresource(kind, name);
        json!({ "subresource": name, "responseKind": speaks(group, version, kind), "verbs": verbs })
    });
    let mut entry = json!({
        "resource": kind.plural, "responseKind": speaks(kind.group, kind.version, kind.kind), "verbs": verbs(kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": kind.singular,
    });
    names(kind, &mut entry);
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

fn legacy(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs(kind),
    });
    names(kind, &mut entry);
    entry
}

fn names(kind: &Kind, entry: &mut Value) {
    if !kind.short_names.is_empty() {
        entry["shortNames"] = kind.short_names.into();
    }
    if !kind.categories.is_empty() {
        entry["categories"] = kind.categories.into();
    }
}

fn body_of_group(group: &str) -> Option<Value> {
    let versions: Vec<Value> = groups()
        .remove(group)?
        .into_keys()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    Some(json!({ "name": group, "versions": versions, "preferredVersion": versions.first() }))
}

type Groups = BTreeMap<&'static str, BTreeMap<&'static str, Vec<&'static Kind>>>;

fn groups() -> Groups {
    let mut groups = Groups::new();
    for kind in kinds::served() {
        groups.entry(kind.group).or_default().entry(kind.version).or_default().push(kind);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_list_every_kind() {
        let groups = group_list();
        let names = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
        let mut versions: Vec<_> = names.map(|version| version["groupVersion"].as_str().unwrap().to_owned()).collect();
        versions.push("/v1".to_owned());
        let mut legacy = 0;
        for version in versions {
            let (group, version) = version.split_once('/').unwrap();
            let list = resource_list(group, version).unwrap();
            let resources = list["resources"].as_array().unwrap();
            legacy += resources.iter().filter(|entry| !entry["name"].as_str().unwrap().contains('/')).count();
        }
        let count = |list: Value| {
            let items = list["items"].as_array().unwrap().clone();
            let versions = items.iter().flat_map(|group| group["versions"].as_array().unwrap());
            versions.map(|version| version["resources"].as_array().unwrap().len()).sum::<usize>()
        };
        assert_eq!(legacy, kinds::served().count());
        assert_eq!(count(aggregated_core()) + count(aggregated_groups()), kinds::served().count());
        assert!(resource_list("apps", "v2").is_none() && group("nope").is_none() && group("").is_none());
        assert_eq!(group("apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
    }

    #[test]
    fn scale_speaks_autoscaling() {
        let list = resource_list("apps", "v1").unwrap();
        let scale = list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == "deployments/scale");
        assert_eq!(scale.unwrap()["group"], "autoscaling");
    }
}
