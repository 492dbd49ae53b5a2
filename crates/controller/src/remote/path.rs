//! A kind, an object and selectors in, the path and query that Kubernetes' API knows them by out.

use std::fmt::Write;

use api::kind::Kind;
use api::object::ObjectKey;
use contract::access::Scope;

/// All objects of a kind, or those of one namespace.
pub(super) fn of_kind(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let within = match namespace {
        "" => String::new(),
        namespace => format!("/namespaces/{}", encode(namespace)),
    };
    format!("{root}/{}{within}/{}", kind.version, kind.plural)
}

/// One object, or a subresource of it.
pub(super) fn of_object(kind: &Kind, key: &ObjectKey, subresource: &str) -> String {
    let namespace = if kind.namespaced { &*key.namespace } else { "" };
    let mut path = format!("{}/{}", of_kind(kind, namespace), encode(&key.name));
    if !subresource.is_empty() {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

/// The objects of a scope, with more of a query.
pub(super) fn of_scope(kind: &Kind, scope: &Scope, query: &[(&str, &str)]) -> String {
    let selectors = [("labelSelector", &*scope.labels), ("fieldSelector", &*scope.fields)];
    let all = selectors.iter().chain(query).filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = all.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    format!("{}{mark}{}", of_kind(kind, &scope.namespace), pairs.join("&"))
}

/// RFC 3986 section 2.3: everything but unreserved characters is escaped.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use api::kinds::{ENDPOINT_SLICE, NODE, POD, SERVICE};

    use super::*;

    #[test]
    fn paths_are_those_of_kubernetes() {
        assert_eq!(of_kind(&SERVICE, ""), "/api/v1/services");
        assert_eq!(of_kind(&ENDPOINT_SLICE, "a"), "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices");
        let pod = ObjectKey::new("ns", "web");
        assert_eq!(of_object(&POD, &pod, "binding"), "/api/v1/namespaces/ns/pods/web/binding");
        assert_eq!(of_object(&NODE, &ObjectKey::new("", "n 1"), ""), "/api/v1/nodes/n%201");
        let scope = Scope { labels: "!a/b,c=d".into(), fields: "metadata.name=n".into(), ..Scope::default() };
        assert_eq!(
            of_scope(&NODE, &scope, &[("watch", "1"), ("continue", "")]),
            "/api/v1/nodes?labelSelector=%21a%2Fb%2Cc%3Dd&fieldSelector=metadata.name%3Dn&watch=1"
        );
        assert_eq!(of_scope(&NODE, &Scope::default(), &[]), "/api/v1/nodes");
    }
}
