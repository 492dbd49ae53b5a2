//! Manifests in, objects and the URL paths of their collections out.

mod fetch;
mod sources;
mod split;

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub(crate) use sources::STDIN;
use split::Document;

use crate::{exit, messages};

/// An object of a manifest and where it stands.
#[derive(Clone)]
pub(crate) struct Manifest {
    /// `web.yaml, document 2 (line 14)`.
    pub(crate) place: String,
    /// Its kind.
    pub(crate) kind: &'static api::kind::Kind,
    /// The object, with its namespace.
    pub(crate) object: Value,
}

impl Manifest {
    /// Name of the object.
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `service/web`, as kubectl prints it.
    pub(crate) fn resource(&self) -> String {
        let group = if self.kind.group.is_empty() { String::new() } else { format!(".{}", self.kind.group) };
        format!("{}{group}/{}", self.kind.singular, self.name())
    }

    /// URL path of the object.
    pub(crate) fn path(&self) -> Result<String> {
        Ok(format!("{}/{}", collection(&self.object)?, self.name()))
    }
}

/// The objects of files, folders, URLs and standard input, in the order given; those without a namespace get the one given,
/// else `default`. Must not start a thread.
pub(crate) fn read(sources: &[String], recursive: bool, namespace: Option<&str>) -> Result<Vec<Manifest>> {
    let read = || {
        let mut all = Vec::new();
        for source in sources {
            for (name, text) in sources::texts(source, recursive)? {
                all.extend(of_text(&name, &text, namespace)?);
            }
        }
        Ok(all)
    };
    read().map_err(|error| exit::tag(messages::MS0108, error))
}

/// The objects of one text.
fn of_text(name: &str, text: &str, namespace: Option<&str>) -> Result<Vec<Manifest>> {
    let documents = split::documents(name, text)?;
    if documents.iter().all(|document| document.value.is_null()) {
        bail!("{name} holds no object.\nA manifest begins like this: apiVersion: v1, kind: Service");
    }
    let several = documents.len() > 1;
    let mut all = Vec::new();
    for (index, Document { value, line }) in documents.into_iter().enumerate() {
        let place = match several {
            true => format!("{name}, document {} (line {line})", index + 1),
            false => name.to_owned(),
        };
        for (number, object) in members(value).into_iter().enumerate() {
            let place = if number == 0 { place.clone() } else { format!("{place}, item {}", number + 1) };
            all.push(manifest(place, object, namespace)?);
        }
    }
    Ok(all)
}

fn manifest(place: String, mut object: Value, namespace: Option<&str>) -> Result<Manifest> {
    let kind = kind(&object).with_context(|| format!("cannot use {place}"))?;
    if !object["metadata"]["name"].is_string() {
        let generated = object["metadata"]["generateName"].is_string();
        let why = if generated { "metadata.generateName cannot be applied again" } else { "metadata.name is missing" };
        bail!("cannot use {place}: {why}.\nGive the {} a name: metadata: {{name: ...}}", kind.kind);
    }
    if kind.namespaced && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = namespace.unwrap_or("default").into();
    }
    let own = object["metadata"]["namespace"].as_str().filter(|_| kind.namespaced);
    if let (Some(asked), Some(own)) = (namespace, own)
        && asked != own
    {
        bail!(
            "cannot use {place}: metadata.namespace is {own}, not {asked}.\nApply it there: -n {own}, or leave out -n"
        );
    }
    Ok(Manifest { place, kind, object })
}

/// The objects of a text of YAML (or JSON) documents; members of a List are taken apart.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    Ok(split::documents("the manifest", text)?.into_iter().flat_map(|document| members(document.value)).collect())
}

/// The members of a List, or the object itself.
fn members(document: Value) -> Vec<Value> {
    match document["items"].as_array() {
        Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.clone(),
        _ if document.is_null() => Vec::new(),
        _ => vec![document],
    }
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
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    Ok(collection_of(kind, namespace))
}

/// The path of a kind's collection in a namespace; in all of them when that is empty.
pub(crate) fn collection_of(kind: &api::kind::Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    if !kind.namespaced || namespace.is_empty() {
        return format!("{root}/{}", kind.plural);
    }
    format!("{root}/namespaces/{namespace}/{}", kind.plural)
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

    #[test]
    fn objects_know_where_they_stand() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: apps/v1, kind: Deployment, metadata: {name: b, namespace: shop}}\n\
                    - {apiVersion: v1, kind: Node, metadata: {name: c}}\n";
        let all = of_text("w.yaml", text, None).unwrap();
        let told: Vec<_> = all.iter().map(|one| (one.place.as_str(), one.resource(), one.path().unwrap())).collect();
        let row = |place, resource: &str, path: &str| (place, resource.to_owned(), path.to_owned());
        assert_eq!(
            told,
            [
                row("w.yaml, document 1 (line 1)", "service/a", "/api/v1/namespaces/default/services/a"),
                row("w.yaml, document 2 (line 4)", "deployment.apps/b", "/apis/apps/v1/namespaces/shop/deployments/b"),
                row("w.yaml, document 2 (line 4), item 2", "node/c", "/api/v1/nodes/c"),
            ]
        );
    }

    #[test]
    fn a_namespace_is_given_to_what_has_none_and_to_nothing_else() {
        let path = |text: &str, namespace| {
            let all = of_text("w.yaml", text, namespace).map_err(|error| crate::report(&error));
            all.map(|all| all.first().map(|one| one.path().unwrap()).unwrap_or_default())
        };
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}}";
        assert_eq!(path(pod, Some("shop")).unwrap(), "/api/v1/namespaces/shop/pods/a");
        assert_eq!(path(pod, None).unwrap(), "/api/v1/namespaces/default/pods/a");
        assert_eq!(path("{apiVersion: v1, kind: Node, metadata: {name: a}}", Some("shop")).unwrap(), "/api/v1/nodes/a");
        let own = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: own}}";
        assert_eq!(path(own, Some("own")).unwrap(), "/api/v1/namespaces/own/pods/a");
        assert!(path(own, Some("shop")).unwrap_err().contains("metadata.namespace is own, not shop"));
    }

    #[test]
    fn what_cannot_be_applied_says_where_and_why() {
        for (text, expected) in [
            ("", "w.yaml holds no object.\n"),
            ("# nothing\n---\n", "w.yaml holds no object.\n"),
            ("kind: Service", "cannot use w.yaml: a manifest has no apiVersion or no kind.\n"),
            ("kind: Pod\napiVersion: v1", "cannot use w.yaml: metadata.name is missing.\n"),
            ("kind: Pod\napiVersion: v1\nmetadata: {generateName: a-}", "generateName cannot be applied again.\n"),
            ("a: 1\n---\nb: 1", "cannot use w.yaml, document 1 (line 1): "),
            ("apiVersion: v2\nkind: Pod", "v2 Pod is not a kind that Mainstay serves.\n"),
            ("- 1", "cannot use w.yaml: a manifest has no apiVersion"),
        ] {
            let said = crate::report(&of_text("w.yaml", text, None).err().unwrap());
            assert!(said.contains(expected), "{text:?}: {said}");
        }
    }
}
