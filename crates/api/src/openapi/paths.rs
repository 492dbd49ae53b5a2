//! Operations of a document: for each kind, what its collection, its items and their status accept.

use serde_json::{Map, Value, json};

use super::components::{Flavor, group_version_kind, reference};
use crate::kind::Kind;
use crate::schema::definition_name;

const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// Operations in version 3.
pub(super) fn v3(kinds: &[&Kind]) -> Map<String, Value> {
    paths(kinds, Flavor::V3)
}

/// Operations in version 2.
pub(super) fn v2(kinds: &[&Kind]) -> Map<String, Value> {
    paths(kinds, Flavor::V2)
}

fn paths(kinds: &[&Kind], flavor: Flavor) -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in kinds {
        let root = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
        let collection = match kind.namespaced {
            true => format!("{root}/namespaces/{{namespace}}/{}", kind.plural),
            false => format!("{root}/{}", kind.plural),
        };
        let operation = |verb: &str, action: &str| self::operation(kind, verb, action, flavor);
        if crate::kinds::is_review(kind) {
            let only = json!({ "post": operation("post", "post"), "parameters": names(kind, false, flavor) });
            paths.insert(collection, only);
            continue;
        }
        if kind.namespaced {
            let all = json!({ "get": operation("get", "list") });
            paths.insert(format!("{root}/{}", kind.plural), all);
        }
        let mut many = json!({
            "get": operation("get", "list"), "post": operation("post", "post"),
            "delete": operation("delete", "deletecollection"), "parameters": names(kind, false, flavor),
        });
        if kind.kind == crate::kinds::NAMESPACE.kind {
            many.as_object_mut().map(|many| many.remove("delete"));
        }
        let mut one = Map::new();
        for (verb, action) in [("get", "get"), ("put", "put"), ("patch", "patch"), ("delete", "delete")] {
            one.insert(verb.to_owned(), operation(verb, action));
        }
        one.insert("parameters".to_owned(), names(kind, true, flavor));
        if kind.subresources.contains(&"status") {
            let mut status = one.clone();
            status.remove("delete");
            paths.insert(format!("{collection}/{{name}}/status"), Value::Object(status));
        }
        paths.insert(format!("{collection}/{{name}}"), Value::Object(one));
        paths.insert(collection, many);
    }
    paths
}

fn operation(kind: &Kind, verb: &str, action: &str, flavor: Flavor) -> Value {
    let definition = definition_name(kind.group, kind.version, kind.kind);
    let answer = match action {
        "list" => reference(&format!("{definition}List"), flavor),
        "delete" | "deletecollection" => reference("io.k8s.apimachinery.pkg.apis.meta.v1.Status", flavor),
        _ => reference(&definition, flavor),
    };
    let ok = match flavor {
        Flavor::V2 => json!({ "description": "OK", "schema": answer }),
        Flavor::V3 => json!({ "description": "OK", "content": { "application/json": { "schema": answer } } }),
    };
    let writes = matches!(verb, "post" | "put" | "patch");
    let mut parameters = Vec::new();
    if writes {
        for (name, description) in [
            ("dryRun", "All: check everything and store nothing."),
            ("fieldManager", "Who changes the object."),
            ("fieldValidation", "Ignore, Warn or Strict: what to do about unknown and duplicate fields."),
        ] {
            parameters.push(query(name, description, flavor));
        }
    }
    let mut operation = json!({
        "operationId": format!("{action}{}{}{}", kind.group.replace('.', ""), kind.version, kind.kind),
        "responses": { "200": ok },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(kind, kind.kind),
    });
    if writes {
        body(verb, &definition, flavor, &mut operation, &mut parameters);
    }
    operation["parameters"] = parameters.into();
    operation
}

fn body(verb: &str, definition: &str, flavor: Flavor, operation: &mut Value, parameters: &mut Vec<Value>) {
    let schema = if verb == "patch" { json!({ "type": "object" }) } else { reference(definition, flavor) };
    let media: &[&str] = if verb == "patch" { &PATCHES } else { &["application/json"] };
    match flavor {
        Flavor::V2 => {
            operation["consumes"] = media.into();
            parameters.push(json!({ "name": "body", "in": "body", "required": true, "schema": schema }));
        }
        Flavor::V3 => {
            let content: Map<String, Value> =
                media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
    }
}

fn query(name: &str, description: &str, flavor: Flavor) -> Value {
    parameter(name, "query", description, flavor)
}

fn parameter(name: &str, place: &str, description: &str, flavor: Flavor) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "description": description });
    match flavor {
        Flavor::V2 => parameter["type"] = "string".into(),
        Flavor::V3 => parameter["schema"] = json!({ "type": "string" }),
    }
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn names(kind: &Kind, item: bool, flavor: Flavor) -> Value {
    let mut names = Vec::new();
    if item {
        names.push(parameter("name", "path", "Name of the object.", flavor));
    }
    if kind.namespaced {
        names.push(parameter("namespace", "path", "Namespace of the object.", flavor));
    }
    names.into()
}
