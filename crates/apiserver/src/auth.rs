//! Who asks: a client certificate signed by our authority may do everything, anybody else may ask how the server is.

use std::net::SocketAddr;

use api::status::Status;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::json;

use crate::route::{Route, Verb};

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Showed a certificate signed by our authority: a member of `system:masters`.
    Admin,
    /// Showed nothing: `system:anonymous`.
    Anonymous,
}

/// Lets a request through, or says 401 (credentials we do not know) or 403 (not allowed).
pub(crate) fn authorize(
    identity: Identity,
    headers: &HeaderMap,
    route: &Route,
    verb: Verb,
    path: &str,
) -> Result<(), Status> {
    if identity == Identity::Admin {
        return Ok(());
    }
    if headers.contains_key(AUTHORIZATION) {
        return Err(Status::new(401, "Unauthorized", "Unauthorized"));
    }
    match route {
        Route::Health(_) | Route::Version => Ok(()),
        Route::Object { kind, namespace, name, subresource } => {
            let resource =
                if subresource.is_empty() { kind.plural.to_owned() } else { format!("{}/{subresource}", kind.plural) };
            let place = match namespace {
                Some(namespace) => format!(" in the namespace {namespace:?}"),
                None => " at the cluster scope".to_owned(),
            };
            let object = name.as_deref().map(|name| format!(" {name:?}")).unwrap_or_default();
            let message = format!(
                "{}{object} is forbidden: User \"system:anonymous\" cannot {} resource {resource:?} in API group \
                 {:?}{place}",
                kind.qualified(),
                verb.name(),
                kind.group
            );
            let details = json!({ "name": name.as_deref().unwrap_or(""), "group": kind.group, "kind": kind.plural });
            Err(Status { code: 403, reason: "Forbidden", message, details })
        }
        _ => {
            let message =
                format!("forbidden: User \"system:anonymous\" cannot {} path {path:?}", verb.name().to_lowercase());
            Err(Status { code: 403, reason: "Forbidden", message, details: json!({}) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str) -> Result<(), Status> {
        let route = crate::route::parse(path).unwrap();
        let verb = Verb::List;
        authorize(Identity::Anonymous, &HeaderMap::new(), &route, verb, path)
    }

    #[test]
    fn strangers_see_health_and_version_only() {
        ask("/version").unwrap();
        ask("/readyz").unwrap();
        assert_eq!(ask("/apis").unwrap_err().code, 403);
        let refused = ask("/api/v1/namespaces/default/pods").unwrap_err();
        assert_eq!(
            refused.message,
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the \
             namespace \"default\""
        );
    }

    #[test]
    fn unknown_credentials_are_not_anonymous() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        let route = crate::route::parse("/version").unwrap();
        assert_eq!(authorize(Identity::Anonymous, &headers, &route, Verb::Get, "/version").unwrap_err().code, 401);
        authorize(Identity::Admin, &headers, &route, Verb::Get, "/version").unwrap();
    }
}
