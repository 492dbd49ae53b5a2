//! A path in, what it names out; with the method, which verb it asks for.

use api::kind::Kind;
use api::kinds;
use api::status::Status;
use http::Method;
use serde_json::json;

/// What a path names.
pub(crate) enum Route {
    /// `/healthz`, `/livez`, `/readyz`: which one.
    Health(&'static str),
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1` or `/apis/<group>/<version>`.
    Resources {
        /// API group, empty for core.
        group: String,
        /// Version.
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiV3,
    /// `/openapi/v3/<path>`.
    OpenApiDocument {
        /// `api/v1` or `apis/<group>/<version>`.
        path: String,
    },
    /// Objects of a kind.
    Object {
        /// Which kind.
        kind: &'static Kind,
        /// Namespace in the path.
        namespace: Option<String>,
        /// Name in the path.
        name: Option<String>,
        /// Subresource, empty for the object itself.
        subresource: String,
    },
}

/// What is asked of objects of a kind, in the words of Kubernetes' authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Read one.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// Make one.
    Create,
    /// Replace one.
    Update,
    /// Change one.
    Patch,
    /// Delete one.
    Delete,
    /// Delete many.
    DeleteCollection,
}

impl Verb {
    /// The verb's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// The verb of a method on a path with or without a name; none if the method is not served.
    pub(crate) fn of(method: &Method, named: bool, watch: bool) -> Option<Self> {
        match (method.as_str(), named) {
            ("GET", _) if watch => Some(Self::Watch),
            ("GET", true) => Some(Self::Get),
            ("GET", false) => Some(Self::List),
            ("POST", _) => Some(Self::Create),
            ("PUT", true) => Some(Self::Update),
            ("PATCH", true) => Some(Self::Patch),
            ("DELETE", true) => Some(Self::Delete),
            ("DELETE", false) => Some(Self::DeleteCollection),
            _ => None,
        }
    }
}

/// The 404 for a path of the API that names no resource.
pub(crate) fn missing() -> Status {
    let message = "the server could not find the requested resource";
    Status { details: json!({}), ..Status::new(404, "NotFound", message) }
}

/// What `path` names; none if nothing is served there.
pub(crate) fn parse(path: &str) -> Option<Route> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = Vec::new();
    for segment in path.strip_prefix('/')?.split('/') {
        segments.push(percent_decode(segment)?);
    }
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["healthz", ..] => Some(Route::Health("healthz")),
        ["livez", ..] => Some(Route::Health("livez")),
        ["readyz", ..] => Some(Route::Health("readyz")),
        ["version"] => Some(Route::Version),
        ["openapi", "v2"] => Some(Route::OpenApiV2),
        ["openapi", "v3"] => Some(Route::OpenApiV3),
        ["openapi", "v3", path @ ..] => Some(Route::OpenApiDocument { path: path.join("/") }),
        ["api"] => Some(Route::CoreVersions),
        ["apis"] => Some(Route::Groups),
        ["apis", group] => Some(Route::Group((*group).to_owned())),
        ["api", version] => Some(resources("", version)),
        ["apis", group, version] => Some(resources(group, version)),
        ["api", version, rest @ ..] => object("", version, rest),
        ["apis", group, version, rest @ ..] => object(group, version, rest),
        _ => None,
    }
}

fn resources(group: &str, version: &str) -> Route {
    Route::Resources { group: group.to_owned(), version: version.to_owned() }
}

fn object(group: &str, version: &str, rest: &[&str]) -> Option<Route> {
    let (namespace, rest) = match rest {
        // `/namespaces/<ns>/<resource>...`, but not `/namespaces/<name>/{status,finalize}`, which is the Namespace.
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status"] | ["finalize"]) => {
            (Some((*namespace).to_owned()), rest)
        }
        rest => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, ""),
        [plural, name] => (*plural, Some((*name).to_owned()), ""),
        [plural, name, subresource] => (*plural, Some((*name).to_owned()), *subresource),
        // What follows is a path of the pod's.
        [plural, name, "proxy", ..] => (*plural, Some((*name).to_owned()), "proxy"),
        _ => return None,
    };
    let kind = kind_of(group, version, plural)?;
    if kinds::is_review(kind) && name.is_some() {
        return None;
    }
    // An empty segment names no namespace: it must never mean all of them.
    let placed = namespace.as_deref() != Some("")
        && if kind.namespaced { namespace.is_some() || name.is_none() } else { namespace.is_none() };
    let known = subresource.is_empty() || kind.subresources.contains(&subresource);
    let named = name.as_ref().is_none_or(|name| !name.is_empty());
    (placed && known && named).then(|| Route::Object { kind, namespace, name, subresource: subresource.to_owned() })
}

fn kind_of(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    kinds::served().find(|kind| (kind.group, kind.version, kind.plural) == (group, version, plural))
}

/// Undoes percent encoding; none if it is malformed or not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(path: &str) -> String {
        match parse(path) {
            None => "none".into(),
            Some(Route::Object { kind, namespace, name, subresource }) => format!(
                "{} {} {} {subresource}",
                kind.kind,
                namespace.unwrap_or("-".into()),
                name.unwrap_or("-".into())
            ),
            Some(Route::Resources { group, version }) => format!("resources {group}/{version}"),
            Some(Route::OpenApiDocument { path }) => format!("document {path}"),
            Some(Route::Group(group)) => format!("group {group}"),
            Some(Route::Health(which)) => which.into(),
            Some(_) => "other".into(),
        }
    }

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/api/v1/pods", "Pod - - "),
            ("/api/v1/namespaces/perf/pods/ham", "Pod perf ham "),
            ("/api/v1/namespaces/perf/pods/ham/status", "Pod perf ham status"),
            ("/api/v1/namespaces/perf/pods/ham/nonsense", "none"),
            ("/api/v1/pods/ham", "none"),
            ("/api/v1/namespaces//pods", "none"),
            ("/api/v1/namespaces//pods/ham", "none"),
            ("/api/v1/namespaces/perf/pods/http:ham:80/proxy/a//b/", "Pod perf http:ham:80 proxy"),
            ("/api/v1/namespaces/perf/secrets/ham/proxy/a", "none"),
            ("/api/v1/namespaces", "Namespace - - "),
            ("/api/v1/namespaces/perf", "Namespace - perf "),
            ("/api/v1/namespaces/perf/finalize", "Namespace - perf finalize"),
            ("/api/v1/namespaces/perf/status", "Namespace - perf status"),
            ("/api/v1/namespaces/perf/nodes", "none"),
            ("/apis/apps/v1/namespaces/perf/deployments/ham/scale", "Deployment perf ham scale"),
            ("/apis/apps/v1", "resources apps/v1"),
            ("/apis/apps", "group apps"),
            ("/openapi/v3/apis/apps/v1", "document apis/apps/v1"),
            ("/readyz/ping", "readyz"),
            ("/api/v1/namespaces/a%2Fb/pods", "Pod a/b - "),
            ("/api/v1/namespaces/%zz/pods", "none"),
            ("/", "none"),
        ] {
            assert_eq!(show(path), expected, "{path}");
        }
    }

    #[test]
    fn verbs() {
        assert_eq!(Verb::of(&Method::GET, false, true), Some(Verb::Watch));
        assert_eq!(Verb::of(&Method::PUT, false, false), None);
        assert_eq!(Verb::of(&Method::DELETE, false, false), Some(Verb::DeleteCollection));
        assert_eq!(Verb::of(&Method::HEAD, true, false), None);
    }
}
