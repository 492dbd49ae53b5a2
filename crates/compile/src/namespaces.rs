//! Turns a namespace into what it must hold while it lives, and into the deletions that empty it before it goes.

use api::kind::Kind;
use api::kinds::{CONFIG_MAP, NAMESPACE, POD, SERVICE_ACCOUNT};
use api::object::ObjectKey;
use serde_json::{Value, json};

use crate::workloads::objects::Meta;
use crate::write::{Edit, Target, Write};

/// Name of the ConfigMap with the certificate authority that pods trust.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// Namespaces that exist from the start.
pub const INITIAL: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// An object found in a namespace.
pub struct Found {
    /// Its kind.
    pub kind: &'static Kind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// Unique id.
    pub uid: Box<str>,
    /// Deletion has begun.
    pub deleting: bool,
}

/// A namespace object.
pub fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// What a living namespace must hold.
pub fn furniture(namespace: &str, ca_pem: &str) -> [(&'static Kind, Value); 2] {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": namespace },
    });
    let roots = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": ROOT_CA, "namespace": namespace,
            "annotations": { "kubernetes.io/description": "Certificates that clients inside the cluster trust the API by." },
        },
        "data": { "ca.crt": ca_pem },
    });
    [(&SERVICE_ACCOUNT, account), (&CONFIG_MAP, roots)]
}

/// The next writes that bring a terminating namespace closer to its end. Pods go first, while the Services that lead to
/// them still exist; the rest follows when no pod is left; then the finalizer. No writes: wait for what is going.
pub fn terminate(namespace: &Meta, contents: &[Found]) -> Vec<Write> {
    if !namespace.deleting() {
        return Vec::new();
    }
    if contents.is_empty() {
        let target = namespace.target(&NAMESPACE);
        return vec![Write::Edit { target, edit: Edit::Finalize, note: None }];
    }
    let is_pod = |found: &&Found| found.kind.plural == POD.plural;
    let pods_left = contents.iter().any(|found| is_pod(&found));
    contents
        .iter()
        .filter(|found| !pods_left || is_pod(found))
        .filter(|found| !found.deleting)
        .map(|found| {
            let target = Target { kind: found.kind, key: found.key.clone(), uid: found.uid.clone(), revision: None };
            Write::Delete { target, propagation: Some("Background"), note: None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use api::kinds::SERVICE;

    use super::*;

    fn found(kind: &'static Kind, deleting: bool) -> Found {
        Found { kind, key: ObjectKey::new("ns", "x"), uid: "u".into(), deleting }
    }

    #[test]
    fn pods_then_the_rest_then_the_finalizer() {
        let mut meta = Meta { name: "ns".into(), uid: "n".into(), ..Meta::default() };
        assert!(terminate(&meta, &[]).is_empty(), "a living namespace is left alone");
        meta.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        let text = |contents: &[Found]| format!("{:?}", terminate(&meta, contents));
        assert_eq!(text(&[found(&SERVICE, false), found(&POD, false)]), "[delete pods ns/x]");
        assert_eq!(text(&[found(&SERVICE, false), found(&POD, true)]), "[]");
        assert_eq!(text(&[found(&SERVICE, false)]), "[delete services ns/x]");
        assert_eq!(text(&[]), "[edit namespaces ns: Finalize]");
    }
}
