//! Definitions as components of a document: references rewritten, lists marked with how they merge.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::schema::{definition_name, list_kind, retains_keys};

/// Version of the OpenAPI document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    V2,
    V3,
}

const REFERENCE: &str = "#/$defs/";
/// Definitions that belong to requests and answers rather than to a kind.
const COMMON: [&str; 6] = [
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.policy.v1.Eviction",
];

/// Everything that `kinds` reach.
pub(super) fn of(kinds: &[&Kind], documents: &Map<String, Value>, flavor: Flavor) -> Map<String, Value> {
    let mut components = Map::new();
    let mut wanted: Vec<String> =
        kinds.iter().map(|kind| definition_name(kind.group, kind.version, kind.kind)).collect();
    wanted.extend(COMMON.map(str::to_owned));
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let Some(schema) = documents.get(&name).filter(|_| seen.insert(name.clone())) else { continue };
        references(schema, &mut wanted);
        components.insert(name.clone(), component(&name, schema, flavor));
    }
    for kind in kinds {
        let name = definition_name(kind.group, kind.version, kind.kind);
        let this = json!([group_version_kind(kind, kind.kind)]);
        if let Some(component) = components.get_mut(&name) {
            component["x-kubernetes-group-version-kind"] = this;
        }
        if !crate::kinds::is_review(kind) {
            components.insert(format!("{name}List"), list(kind, &name, flavor));
        }
    }
    components
}

/// `{group, version, kind}`.
pub(super) fn group_version_kind(kind: &Kind, name: &str) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": name })
}

/// Reference to a component.
pub(super) fn reference(name: &str, flavor: Flavor) -> Value {
    let place = if flavor == Flavor::V2 { "definitions" } else { "components/schemas" };
    json!({ "$ref": format!("#/{place}/{name}") })
}

fn list(kind: &Kind, name: &str, flavor: Flavor) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "description": format!("{}List is a list of {}.", kind.kind, kind.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("Version of the schema of this list."),
            "kind": text("Kind of this list."),
            "items": { "type": "array", "description": "The objects.", "items": reference(name, flavor) },
            "metadata": reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", flavor),
        },
        "x-kubernetes-group-version-kind": [group_version_kind(kind, &format!("{}List", kind.kind))],
    })
}

fn references(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(name) =
                members.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(REFERENCE))
            {
                into.push(name.to_owned());
            }
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

fn component(name: &str, schema: &Value, flavor: Flavor) -> Value {
    let mut out = convert(schema, flavor);
    let short = name.rsplit('.').next().unwrap_or(name);
    match short {
        "IntOrString" => {
            out = match flavor {
                Flavor::V2 => json!({ "type": "string", "format": "int-or-string" }),
                Flavor::V3 => {
                    json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }], "format": "int-or-string" })
                }
            };
        }
        "Quantity" => {
            out = match flavor {
                Flavor::V2 => json!({ "type": "string" }),
                Flavor::V3 => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
            };
        }
        _ => {}
    }
    if let Some(description) = schema["description"].as_str() {
        out["description"] = description.into();
    }
    if let Some(required) = out["required"].as_array_mut() {
        // Upstream's documents require it nowhere; k8s-openapi does of every kind.
        required.retain(|field| field != "metadata");
    }
    for (field, property) in out["properties"].as_object_mut().into_iter().flatten() {
        mark(short, field, property);
    }
    out
}

/// Marks a list with how its items are told apart.
fn mark(definition: &str, field: &str, property: &mut Value) {
    if retains_keys(definition, field) {
        let both = list_kind(definition, field).merge_key.is_some();
        property["x-kubernetes-patch-strategy"] = if both { "merge,retainKeys" } else { "retainKeys" }.into();
    }
    if property["type"] != "array" {
        return;
    }
    let kind = list_kind(definition, field);
    if let Some(key) = kind.merge_key {
        if property["x-kubernetes-patch-strategy"].is_null() {
            property["x-kubernetes-patch-strategy"] = "merge".into();
        }
        if !key.is_empty() {
            property["x-kubernetes-patch-merge-key"] = key.into();
        }
    }
    property["x-kubernetes-list-type"] = match (kind.set, kind.map_keys) {
        (true, _) => "set",
        (false, []) => "atomic",
        (false, _) => "map",
    }
    .into();
    if !kind.map_keys.is_empty() {
        property["x-kubernetes-list-map-keys"] = kind.map_keys.into();
    }
}

/// References point into the document; one that carries a description is wrapped, because nothing may stand beside
/// `$ref` in OpenAPI 3.0.
fn convert(schema: &Value, flavor: Flavor) -> Value {
    match schema {
        Value::Object(members) => {
            let Some(name) = members.get("$ref").and_then(Value::as_str) else {
                return Value::Object(
                    members.iter().map(|(name, value)| (name.clone(), convert(value, flavor))).collect(),
                );
            };
            let reference = reference(name.strip_prefix(REFERENCE).unwrap_or(name), flavor);
            let Some(description) = members.get("description") else { return reference };
            match flavor {
                Flavor::V3 => json!({ "allOf": [reference], "description": description, "default": {} }),
                Flavor::V2 => {
                    let mut out = reference;
                    out["description"] = description.clone();
                    out
                }
            }
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| convert(item, flavor)).collect()),
        other => other.clone(),
    }
}
