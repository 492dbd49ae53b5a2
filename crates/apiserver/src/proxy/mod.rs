//! A request for `pods/NAME/proxy/...` or `services/NAME/proxy/...` in; the answer of that pod out, its links leading back
//! through the proxy.

mod forward;
mod html;
mod link;
mod locate;
mod tls;

use api::kinds;
use api::status::Status;
use http::header::{CONTENT_LENGTH, HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;

use crate::ask::Ask;
use crate::pipeline::Api;
use crate::reply::{self, Body};
use crate::route::Verb;

/// The verb that a method on a proxy stands for; none if it is not proxied.
pub(crate) fn verb(method: &Method) -> Option<Verb> {
    match method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => Some(Verb::Get),
        "POST" => Some(Verb::Create),
        "PUT" => Some(Verb::Update),
        "PATCH" => Some(Verb::Patch),
        "DELETE" => Some(Verb::Delete),
        _ => None,
    }
}

/// Where a request came in and what it is after, in the client's own spelling.
struct Place {
    /// Path of the proxy itself: up to and with `/proxy`.
    prefix: String,
    /// The rest of the path: empty, or from its slash on.
    rest: String,
    /// The query with its question mark, or nothing.
    query: String,
    /// The host that the client asked for.
    host: String,
}

impl Place {
    /// `depth` is the number of segments up to and with `proxy`.
    fn of(request: &Request<Incoming>, depth: usize) -> Self {
        let (prefix, rest) = split(request.uri(), depth);
        // It is written into pages, where these end an attribute.
        let prefix = prefix.replace('"', "%22").replace('\'', "%27").replace('<', "%3C").replace('>', "%3E");
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or("");
        Self { prefix, rest, query, host: host.to_owned() }
    }
}

fn split(uri: &Uri, depth: usize) -> (String, String) {
    let path = uri.path();
    // The first slash opens the first segment, so the one after `depth` segments is number `depth`, counted from 0.
    match path.match_indices('/').nth(depth) {
        Some((at, _)) => (path[..at].to_owned(), path[at..].to_owned()),
        None => (path.to_owned(), String::new()),
    }
}

/// Serves a proxied request.
pub(crate) async fn serve(api: &Api, ask: &Ask, request: Request<Incoming>) -> Result<Response<Body>, Status> {
    if ask.kind.kind == kinds::NODE.kind {
        api.read(ask.kind, &ask.key())?;
        return Err(no_kubelet(&ask.name));
    }
    let target = locate::target(api, ask)?;
    let place = Place::of(&request, 7);
    if forward::is_upgrade(request.headers()) {
        return forward::upgraded(api, &target, &place, request).await;
    }
    if place.rest.is_empty() && [Method::GET, Method::HEAD].contains(request.method()) {
        return Ok(with_slash(&place));
    }
    forward::forwarded(api, &target, &place, request).await
}

fn no_kubelet(name: &str) -> Status {
    let why = format!(
        "nodes {name:?} cannot be proxied: a node of Mainstay has no kubelet API of its own; use kubectl logs, kubectl \
         exec or kubectl port-forward for its pods, and kubectl get node {name} -o yaml for its state"
    );
    Status::new(501, "NotImplemented", why)
}

/// Without the slash, relative links in the answer would lead out of the proxy.
fn with_slash(place: &Place) -> Response<Body> {
    let mut response = reply::text(301, "");
    response.headers_mut().clear();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    reply::header(&mut response, LOCATION, &format!("{}/{}", place.prefix, place.query));
    response
}
