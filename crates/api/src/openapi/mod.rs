//! OpenAPI documents: the dependency's schemas with descriptions, our merge keys and the table of kinds in, what
//! kubectl needs for validation, patches and `explain` out.
//!
//! Built when asked for and not kept: clients cache documents by the hash in their address.

mod components;
mod paths;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kinds;

static DOCUMENTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/documents.json.gz"));

/// What every document of this build is known by: it changes whenever one of them may.
pub fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hasher = Sha256::new();
        hasher.update(DOCUMENTS);
        hasher.update(env!("CARGO_PKG_VERSION"));
        for kind in kinds::served() {
            hasher.update(kind.qualified());
            hasher.update(kind.subresources.join(","));
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
    })
}

/// `GET /openapi/v3`: where each document is.
pub fn v3_index() -> Value {
    let mut paths = Map::new();
    for path in versions() {
        let address = json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={}", hash()) });
        paths.insert(path, address);
    }
    json!({ "paths": paths })
}

/// `GET /openapi/v3/<path>`, where `path` is `api/v1` or `apis/<group>/<version>`; none if there is no such version.
pub fn v3_document(path: &str, version: &str) -> Option<Value> {
    let kinds: Vec<_> = kinds::served().filter(|kind| path_of(kind) == path).collect();
    if kinds.is_empty() {
        return None;
    }
    let components = components::of(&kinds, &documents(), components::Flavor::V3);
    let info = json!({ "title": "Kubernetes", "version": version });
    let paths = paths::v3(&kinds);
    Some(json!({ "openapi": "3.0.0", "info": info, "paths": paths, "components": { "schemas": components } }))
}

/// `GET /openapi/v2`: everything in one document.
pub fn v2_document(version: &str) -> Value {
    let kinds: Vec<_> = kinds::served().collect();
    let definitions = components::of(&kinds, &documents(), components::Flavor::V2);
    let info = json!({ "title": "Kubernetes", "version": version });
    json!({ "swagger": "2.0", "info": info, "paths": paths::v2(&kinds), "definitions": definitions })
}

fn versions() -> BTreeSet<String> {
    kinds::served().map(path_of).collect()
}

fn path_of(kind: &crate::kind::Kind) -> String {
    if kind.group.is_empty() { format!("api/{}", kind.version) } else { format!("apis/{}", kind.api_version()) }
}

/// The definitions with their descriptions. The document is our own build's: it cannot fail to unpack.
fn documents() -> Map<String, Value> {
    let mut text = String::new();
    let read = flate2::read::GzDecoder::new(DOCUMENTS).read_to_string(&mut text);
    debug_assert!(read.is_ok(), "the build script packed it");
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_every_document_is_there() {
        for path in versions() {
            let document = v3_document(&path, "v1").unwrap();
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let name = reference.strip_prefix("#/components/schemas/").expect("a reference into the document");
                assert!(document["components"]["schemas"][name].is_object(), "{path}: {name} is missing");
            }
        }
        let v2 = v2_document("v1").to_string();
        assert!(!v2.contains("#/components") && !v2.contains("#/$defs"));
        assert!(v3_document("apis/nope/v1", "v1").is_none());
    }

    #[test]
    fn what_kubectl_looks_for_is_there() {
        let document = v3_document("api/v1", "v1").unwrap();
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Service");
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
        assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
        let schemas = &document["components"]["schemas"];
        let ports = &schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
        assert!(ports["description"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(schemas["io.k8s.api.core.v1.Service"]["x-kubernetes-group-version-kind"][0]["kind"], "Service");
        assert!(schemas["io.k8s.api.core.v1.ServiceList"].is_object());
        assert!(hash().len() == 64 && v3_index()["paths"]["apis/apps/v1"].is_object());
    }
}
