//! Manifests in, objects and the URL paths of their collections out.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The objects of a text of YAML (or JSON) documents; members of a List are taken apart.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("the manifest is not YAML")?;
    let mut objects = Vec::new();
    for document in documents {
        match document["items"].as_array() {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                objects.extend(items.iter().cloned());
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

/// The kind of an object.
pub(crate) fn kind(object: &Value) -> Result<&'static api::kind::Kind> {
    let (Some(version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str()) else {
        bail!(
            "a manifest has no apiVersion or no kind.\nEvery document needs both, for example apiVersion: v1, kind: Service"
        );
    };
    let Some(kind) = api::kinds::ALL.iter().find(|known| known.kind == kind && known.api_version() == version) else {
        bail!("{version} {kind} is not a kind that Mainstay serves.\nSee: kubectl api-resources");
    };
    Ok(kind)
}

/// The path of the collection an object belongs to: `/api/v1/namespaces/default/services`.
pub(crate) fn collection(object: &Value) -> Result<String> {
    let kind = kind(object)?;
    let root = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    if !kind.namespaced {
        return Ok(format!("{root}/{}", kind.plural));
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    Ok(format!("{root}/namespaces/{namespace}/{}", kind.plural))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_objects_with_paths() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\n";
        let objects = parse(text).unwrap();
        let paths: Vec<_> = objects.iter().map(|object| collection(object).unwrap()).collect();
        assert_eq!(paths, ["/api/v1/namespaces", "/apis/apps/v1/namespaces/default/deployments"]);
        assert!(collection(&serde_json::json!({"kind": "Pod"})).is_err());
        assert!(collection(&serde_json::json!({"apiVersion": "v9", "kind": "Pod"})).is_err());
    }
}
