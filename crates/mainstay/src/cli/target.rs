//! What the user names (`deploy/web`, `shop/web-0`, `svc/web`) in, the object and its pods out.

use anyhow::{Result, anyhow, bail};
use api::kind::Kind;
use serde_json::Value;

use super::client::Client;
use crate::exit::Exit;
use crate::manifest::collection_of;

/// A named object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Target {
    /// Reads `NAME`, `KIND/NAME`, `NAMESPACE/NAME` or `NAMESPACE/KIND/NAME`; a bare name is one of `default`'s kind.
    pub(super) fn parse(text: &str, namespace: &str, default: &Kind) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let target = |kind: &'static Kind, namespace: &str, name: &str| Self {
            kind: kind.kind,
            namespace: if kind.namespaced { namespace.to_owned() } else { String::new() },
            name: name.to_owned(),
        };
        let default = api::kinds::ALL.iter().find(|kind| kind.kind == default.kind).copied();
        let found = match parts.as_slice() {
            _ if parts.iter().any(|part| part.is_empty()) => None,
            [name] => default.map(|kind| target(kind, namespace, name)),
            [first, name] => match kind(first) {
                Some(kind) => Some(target(kind, namespace, name)),
                None => default.map(|kind| target(kind, first, name)),
            },
            [namespace, middle, name] => kind(middle).map(|kind| target(kind, namespace, name)),
            _ => None,
        };
        found.ok_or_else(|| {
            Exit::Usage.error(format!(
                "{text:?} names no object: it is not [NAMESPACE/][KIND/]NAME of a kind that is served.\nFor example: pod/web-0, deploy/web, \
                 svc/web"
            ))
        })
    }

    /// The row of its kind.
    pub(super) fn row(&self) -> Result<&'static Kind> {
        let row = api::kinds::ALL.iter().find(|kind| kind.kind == self.kind).copied();
        row.ok_or_else(|| anyhow!("{} is not a kind that is served.\nSee: kubectl api-resources", self.kind))
    }

    /// URL path of the object.
    pub(super) fn path(&self) -> Result<String> {
        Ok(format!("{}/{}", collection_of(self.row()?, &self.namespace), self.name))
    }

    /// `deployment shop/web`, for sentences.
    pub(super) fn text(&self) -> String {
        let kind = self.kind.to_ascii_lowercase();
        if self.namespace.is_empty() {
            format!("{kind} {}", self.name)
        } else {
            format!("{kind} {}/{}", self.namespace, self.name)
        }
    }

    /// The object; an error that says where to look when there is none.
    pub(super) async fn get(&self, client: &Client) -> Result<Value> {
        let answer = client.get(&self.path()?).await?;
        if answer.code == 404 {
            let plural = self.row()?.plural;
            let place = if self.namespace.is_empty() { String::new() } else { format!(" -n {}", self.namespace) };
            return Err(anyhow!(
                "there is no {}: not found.\nSee what there is: kubectl get {plural}{place}",
                self.text()
            ));
        }
        answer.ok()
    }

    /// The pods that it stands for, oldest first: itself, or those that its selector matches.
    pub(super) async fn pods(&self, client: &Client) -> Result<Vec<Value>> {
        let object = self.get(client).await?;
        if self.kind == "Pod" {
            return Ok(vec![object]);
        }
        let Some(selector) = selector(self.kind, &object["spec"]["selector"]) else {
            return Err(anyhow!(
                "{} selects no pods: it has no selector.\nName a pod, or something that selects some: pod/NAME, deploy/NAME, svc/NAME",
                self.text()
            ));
        };
        let path = format!("/api/v1/namespaces/{}/pods?labelSelector={}", self.namespace, escaped(&selector));
        let list = client.get(&path).await?.ok()?;
        let mut pods: Vec<Value> = list["items"].as_array().cloned().unwrap_or_default();
        let age = |pod: &Value| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
        pods.sort_by_key(age);
        Ok(pods)
    }
}

/// An error if a namespace is not there.
pub(super) async fn namespace_is_there(client: &Client, namespace: &str) -> Result<()> {
    let answer = client.get(&format!("/api/v1/namespaces/{}", escaped(namespace))).await?;
    if answer.code == 404 {
        bail!(
            "there is no namespace {namespace:?}: not found.\nSee what there is: kubectl get namespaces (and, for KIND/NAME: \
             kubectl api-resources)"
        );
    }
    answer.ok().map(drop)
}

/// A kind by any of its names.
pub(super) fn kind(word: &str) -> Option<&'static Kind> {
    let word = word.to_ascii_lowercase();
    let word = word.split('.').next().unwrap_or_default();
    let named = |kind: &&&Kind| kind.plural == word || kind.singular == word || kind.short_names.contains(&word);
    api::kinds::ALL.iter().find(named).copied()
}

/// A selector in its text form; none if it is empty or absent.
fn selector(kind: &str, selector: &Value) -> Option<String> {
    let plain = matches!(kind, "Service" | "ReplicationController");
    let labels = if plain { selector } else { &selector["matchLabels"] };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut terms: Vec<String> =
        labels.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten().filter(|_| !plain) {
        let key = text(&expression["key"]);
        let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
        terms.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key,
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!terms.is_empty()).then(|| terms.join(","))
}

/// Text for the part of a URL after `?`.
pub(super) fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Whether a pod is ready.
pub(super) fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|found| found["status"] == "True")
        && pod["metadata"]["deletionTimestamp"].is_null()
}

/// A condition of an object.
pub(super) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// Name of the container that is meant when none is named: that of the annotation, else the first.
pub(super) fn default_container(pod: &Value) -> Option<&str> {
    let named = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    named.or_else(|| pod["spec"]["containers"][0]["name"].as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        for (text, expected) in [
            ("web-0", Some(("Pod", "here", "web-0"))),
            ("shop/web-0", Some(("Pod", "shop", "web-0"))),
            ("po/web-0", Some(("Pod", "here", "web-0"))),
            ("deploy/web", Some(("Deployment", "here", "web"))),
            ("deployment.apps/web", Some(("Deployment", "here", "web"))),
            ("shop/svc/web", Some(("Service", "shop", "web"))),
            ("node/n", Some(("Node", "", "n"))),
            ("", None),
            ("svc/", None),
            ("a/b/c", None),
            ("a/b/c/d", None),
        ] {
            let found = Target::parse(text, "here", &api::kinds::POD).ok();
            let found = found.as_ref().map(|found| (found.kind, found.namespace.as_str(), found.name.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn selectors_become_text() {
        let labels = json!({ "app": "web", "tier": "front" });
        assert_eq!(selector("Service", &labels).as_deref(), Some("app=web,tier=front"));
        let full = json!({ "matchLabels": { "a": "b" }, "matchExpressions": [
            { "key": "k", "operator": "In", "values": ["x", "y"] }, { "key": "n", "operator": "NotIn", "values": ["z"] },
            { "key": "e", "operator": "Exists" }, { "key": "d", "operator": "DoesNotExist" },
        ] });
        assert_eq!(selector("Deployment", &full).as_deref(), Some("a=b,k in (x,y),n notin (z),e,!d"));
        assert_eq!(selector("Service", &Value::Null), None);
        assert_eq!(escaped("a in (x,y)"), "a%20in%20%28x%2Cy%29");
    }
}
