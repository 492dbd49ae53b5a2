//! One HTTP request in, one response out; whatever goes wrong on the way is one Status.

use std::panic::AssertUnwindSafe;

use api::kinds;
use api::status::Status;
use futures::FutureExt;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use crate::ask::Ask;
use crate::auth::{Identity, authorize};
use crate::negotiate::{Format, accepts_gzip};
use crate::pipeline::Api;
use crate::query::Query;
use crate::reply::{self, Body};
use crate::route::{self, Route, Verb};
use crate::watch::Stop;
use crate::{deletion, documents, events_v1, logs, proxy, resource, review, stream, token, user};

/// Paths under it are answered by the program's own extension.
const EXTENSION: &str = "/mainstay/";

/// Answers a request. Never fails and never unwinds: a bug costs this one request.
pub(crate) async fn handle(api: Api, identity: Identity, stop: Stop, request: Request<Incoming>) -> Response<Body> {
    let gzip = accepts_gzip(request.headers());
    let line = format!("{} {}", request.method(), request.uri());
    let answer = AssertUnwindSafe(answer(&api, identity, stop, request)).catch_unwind().await;
    let response = answer.unwrap_or_else(|_| {
        tracing::error!(request = line, "a request panicked");
        Err(Status::internal("the server failed on this request; its log says where"))
    });
    let response = response.unwrap_or_else(|status| reply::status(&status));
    tracing::debug!(request = line, code = response.status().as_u16(), "answered");
    if gzip { reply::compress(response).await } else { response }
}

async fn answer(
    api: &Api,
    identity: Identity,
    stop: Stop,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let path = request.uri().path().to_owned();
    let user = user::of_request(api, identity, request.extensions(), request.headers())?;
    let identity = user.identity();
    if path.starts_with(EXTENSION) && identity == Identity::Admin {
        return extension(api, &path, request).await;
    }
    let Some(route) = route::parse(&path) else {
        return Ok(if identity == Identity::Admin { nothing_there(&path) } else { reply::status(&stranger(&path)) });
    };
    // The query of a proxied request is the pod's to understand.
    let proxied = matches!(&route, Route::Object { subresource, .. } if subresource == "proxy");
    let query = if proxied { Query::default() } else { Query::parse(request.uri().query().unwrap_or(""))? };
    let verb = verb_of(request.method(), &route, &query)?;
    authorize(identity, request.headers(), &route, verb, &path)?;
    match route {
        Route::Object { kind, namespace, name, subresource } => {
            let (kind, events_v1) = events_v1::stored(kind);
            let ask = Ask {
                kind,
                events_v1,
                namespace: namespace.unwrap_or_default(),
                name: name.unwrap_or_default(),
                subresource,
                verb,
                query,
                headers: request.headers().clone(),
                began: std::time::Instant::now(),
            };
            if kinds::is_review(ask.kind) {
                return review::serve(api, &ask, &user, request.into_body()).await;
            }
            match ask.subresource.as_str() {
                "log" => logs::serve(api, &ask).await,
                "exec" | "attach" | "portforward" => stream::serve(api, &ask, request).await,
                "proxy" => proxy::serve(api, &ask, request).await,
                "token" => token::request::serve(api, &ask, request.into_body()).await,
                "eviction" => deletion::evict(api, &ask, request.into_body()).await,
                _ => resource::serve(api, ask, stop, request.into_body()).await,
            }
        }
        Route::Health(which) => Ok(health(api, which, &query)),
        Route::Version => Ok(version(api)),
        route => documents::serve(&api.inner.config.version.git_version, &route, request.headers(), &query),
    }
}

async fn extension(api: &Api, path: &str, request: Request<Incoming>) -> Result<Response<Body>, Status> {
    let method = request.method().clone();
    let bytes = crate::body::read(request.into_body()).await?;
    let body = if bytes.is_empty() { serde_json::Value::Null } else { api::decode::parse_json(&bytes)?.0 };
    let asked = api.extension();
    if let Some(work) = asked.as_ref().and_then(|extension| extension.work(method.as_str(), path, &body)) {
        return Ok(reply::with_type(200, "application/json", reply::full(work.await?.to_string())));
    }
    match asked.and_then(|extension| extension.serve(method.as_str(), path, &body)) {
        Some(answer) => Ok(reply::with_type(200, "application/json", reply::full(answer?.to_string()))),
        None => Ok(reply::text(404, "404 page not found\n")),
    }
}

fn verb_of(method: &Method, route: &Route, query: &Query) -> Result<Verb, Status> {
    let not_allowed =
        || Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    let Route::Object { kind, namespace, name, subresource } = route else {
        return if method == Method::GET { Ok(Verb::Get) } else { Err(not_allowed()) };
    };
    if subresource == "proxy" {
        return proxy::verb(method).ok_or_else(not_allowed);
    }
    // The older form of a watch on one object, `?watch` on its own path, is a watch as well.
    let watch = query.flag("watch") && subresource.is_empty();
    let verb = Verb::of(method, name.is_some(), watch).ok_or_else(not_allowed)?;
    let served = match subresource.as_str() {
        "" if kinds::is_review(kind) && verb != Verb::Create => false,
        "" if verb == Verb::Create => name.is_none() && (!kind.namespaced || namespace.is_some()),
        "" if verb == Verb::DeleteCollection => {
            kind.kind != kinds::NAMESPACE.kind && (!kind.namespaced || namespace.is_some())
        }
        "" => true,
        "status" | "scale" => matches!(verb, Verb::Get | Verb::Update | Verb::Patch),
        "finalize" => verb == Verb::Update,
        "binding" | "eviction" | "token" => verb == Verb::Create,
        "log" => verb == Verb::Get,
        "exec" | "attach" | "portforward" => matches!(verb, Verb::Get | Verb::Create),
        _ => false,
    };
    if served { Ok(verb) } else { Err(not_allowed()) }
}

/// Paths of the API are answered in its own form, others as a web server would.
fn nothing_there(path: &str) -> Response<Body> {
    if path.starts_with("/api/") || path.starts_with("/apis/") {
        return reply::status(&route::missing());
    }
    reply::text(404, "404 page not found\n")
}

/// Strangers do not learn which paths exist.
fn stranger(path: &str) -> Status {
    let message = format!("forbidden: User \"system:anonymous\" cannot get path {path:?}");
    Status { details: json!({}), ..Status::new(403, "Forbidden", message) }
}

fn health(api: &Api, which: &str, query: &Query) -> Response<Body> {
    match api.store().failure() {
        // A store that cannot write is alive and still answers reads, but no longer ready.
        Some(why) if which != "livez" => reply::text(500, format!("[-]log failed: {why}\n{which} check failed\n")),
        _ if query.flag("verbose") => reply::text(200, format!("[+]ping ok\n[+]log ok\n{which} check passed\n")),
        _ => reply::text(200, "ok"),
    }
}

fn version(api: &Api) -> Response<Body> {
    let version = &api.inner.config.version;
    let platform = format!("{}/{}", std::env::consts::OS, go_architecture(std::env::consts::ARCH));
    let value = json!({
        "major": version.major, "minor": version.minor, "gitVersion": version.git_version,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "none", "compiler": "rustc",
        "platform": platform,
    });
    reply::json(200, Format::Json, &value)
}

/// Clients expect Go's names of processors.
fn go_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
