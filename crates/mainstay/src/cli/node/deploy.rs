//! `deploy/` in, whether its flags exist and its RBAC is what the role asks for out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::flags::Flags;
use crate::run::node_role;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// The documents of a file; of a chart's template, with what the template language would put in left out.
fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(deploy().join(path)).unwrap();
    let plain: String = text.lines().filter(|line| !line.trim_start().starts_with("{{-")).map(stub).collect();
    let documents = plain.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    documents
        .map(|one| one.unwrap_or_else(|error| panic!("{path}: {error}\n{plain}")))
        .filter(|one| !one.is_null())
        .collect()
}

/// A line with every `{{ … }}` replaced by a word.
fn stub(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        out.push_str("word");
        rest = after.split_once("}}").map_or("", |(_, rest)| rest);
    }
    out + rest + "\n"
}

fn of_kind(documents: &[Value], kind: &str) -> Value {
    documents.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}")).clone()
}

/// (group, resource, verb)
type Right = (String, String, String);

fn granted(role: &Value) -> BTreeSet<Right> {
    let list = |value: &Value| Vec::<String>::deserialize(value).unwrap();
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

#[test]
fn rbac_is_exactly_what_the_role_asks_for() {
    let needed: BTreeSet<Right> = node_role::needs()
        .into_iter()
        .map(|(kind, verb)| (kind.group.to_owned(), kind.plural.to_owned(), verb.to_owned()))
        .collect();
    for path in ["node/rbac.yaml", "helm/mainstay-node/templates/rbac.yaml"] {
        assert_eq!(granted(&of_kind(&documents(path), "ClusterRole")), needed, "{path}");
    }
}

#[test]
fn every_flag_in_the_manifests_exists() {
    let command = Flags::augment_args(clap::Command::new("node"));
    let exists = |name: &str| command.get_arguments().any(|flag| flag.get_long() == Some(name));
    for path in ["node/daemon-set.yaml", "helm/mainstay-node/templates/daemon-set.yaml"] {
        let set = of_kind(&documents(path), "DaemonSet");
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], serde_json::json!(["mainstay", "node"]), "{path}");
        assert_eq!(set["spec"]["template"]["spec"]["hostNetwork"], true);
        let text = std::fs::read_to_string(deploy().join(path)).unwrap();
        let flags: Vec<&str> = text.lines().filter_map(|line| line.split_once("--")).map(|(_, flag)| flag).collect();
        let names = flags.iter().filter_map(|flag| flag.split_once('=')).map(|(name, _)| name);
        let names: Vec<&str> = names.collect();
        assert!(names.len() >= 3 && names.iter().all(|name| exists(name)), "{path}: {names:?}");
    }
    let config = of_kind(&documents("node/config.yaml"), "ConfigMap");
    let plain: Value = serde_saphyr::from_str(config["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let values: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(deploy().join("helm/mainstay-node/values.yaml")).unwrap())
            .unwrap();
    for (what, fields) in [("config.yaml", &plain), ("values.yaml", &values["config"])] {
        let names: Vec<&String> = fields.as_object().unwrap().keys().collect();
        assert!(!names.is_empty() && names.iter().all(|name| exists(name)), "{what}: {names:?}");
    }
}

#[test]
fn the_kustomization_names_every_file() {
    let kustomization = of_kind(&documents("node/kustomization.yaml"), "Kustomization");
    let named = BTreeSet::<String>::deserialize(&kustomization["resources"]).unwrap();
    let there = std::fs::read_dir(deploy().join("node")).unwrap().map(|entry| entry.unwrap().file_name());
    let there: BTreeSet<String> = there.map(|name| name.to_string_lossy().into_owned()).collect();
    assert_eq!(named, there.into_iter().filter(|name| name != "kustomization.yaml").collect());
    for name in named {
        for document in documents(&format!("node/{name}")) {
            assert!(document["kind"].is_string() && document["metadata"]["name"] == "mainstay-node", "{name}");
        }
    }
}

#[test]
fn the_chart_uses_every_value_and_no_other() {
    let chart = deploy().join("helm/mainstay-node");
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart.join("values.yaml")).unwrap()).unwrap();
    let mut text = String::new();
    for entry in std::fs::read_dir(chart.join("templates")).unwrap() {
        text.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let used: BTreeSet<String> = text
        .split(".Values.")
        .skip(1)
        .map(|rest| rest.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned())
        .collect();
    let given: BTreeSet<String> = values.as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, given);
}
