//! Snapshots in, HTTP answers on health-check node ports out: load balancers learn which nodes have endpoints.
//!
//! Runs on the runtime inside the node's network, so that its sockets are the node's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::kinds::SERVICE;
use api::object::ObjectKey;
use compile::health_check;
use compile::service_table::family_of;
use compile::snapshot::{Changes, Snapshot};
use compile::write::{Note, Target};
use controller::{Events, Subscription};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::nft::Report;

/// Probes answered at once on one address; more wait.
const PROBES_AT_ONCE: usize = 64;
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an answer is made of.
#[derive(Clone)]
pub(crate) struct Source {
    /// Name of this node.
    pub(crate) node: String,
    /// Its addresses: the ports are open on all of them, also when they change.
    pub(crate) addresses: watch::Receiver<Vec<IpAddr>>,
    /// The newest snapshot.
    pub(crate) latest: watch::Receiver<Arc<Snapshot>>,
    /// Whether the dataplane follows it.
    pub(crate) report: Report,
}

/// An open port.
struct Open {
    port: u16,
    listeners: JoinSet<()>,
}

/// Opens and closes ports as Services change, until the feed ends.
pub(crate) async fn run(mut subscription: Subscription, mut source: Source, events: Events) {
    let mut open: BTreeMap<ObjectKey, Open> = BTreeMap::new();
    loop {
        let (snapshot, changes, moved) = tokio::select! {
            next = subscription.next() => match next {
                Some((snapshot, changes)) => (snapshot, changes, false),
                None => return,
            },
            Ok(()) = source.addresses.changed() => {
                let services = open.keys().cloned().collect();
                (source.latest.borrow().clone(), Changes { services, ..Changes::default() }, true)
            }
        };
        let wanted = |key: &ObjectKey| health_check::port(&snapshot, key);
        // Close first, and wait until it is: a port may go from one Service to another.
        let ends =
            |key: &ObjectKey, held: &Open| changes.services.contains(key) && (moved || wanted(key) != Some(held.port));
        let closed = open.extract_if(.., |key, held| ends(key, held));
        for (_, mut held) in closed.collect::<Vec<_>>() {
            held.listeners.shutdown().await;
        }
        for key in &changes.services {
            let Some(port) = wanted(key).filter(|_| !open.contains_key(key)) else { continue };
            let (listeners, errors) = listen(key, port, &source).await;
            if !listeners.is_empty() {
                open.insert(key.clone(), Open { port, listeners });
            }
            for error in errors {
                tell(&snapshot, key, port, &source.node, &error, &events);
            }
        }
    }
}

/// Opens a port on every address of the node; what could not be opened as errors.
async fn listen(key: &ObjectKey, port: u16, source: &Source) -> (JoinSet<()>, Vec<std::io::Error>) {
    let (mut listeners, mut errors) = (JoinSet::new(), Vec::new());
    let addresses = source.addresses.borrow().clone();
    for address in addresses {
        match TcpListener::bind(SocketAddr::new(address, port)).await {
            Ok(listener) => _ = listeners.spawn(accept(listener, key.clone(), source.clone(), address)),
            Err(error) => errors.push(error),
        }
    }
    (listeners, errors)
}

fn tell(snapshot: &Snapshot, key: &ObjectKey, port: u16, node: &str, error: &std::io::Error, events: &Events) {
    let Some(service) = snapshot.services.get(key) else { return };
    let message = format!(
        "node {node} failed to start healthcheck {:?} on port {port}: {error}. Stop what listens there, or set \
         spec.healthCheckNodePort of a new Service to a free port",
        key.to_string()
    );
    let about = Target { kind: &SERVICE, key: key.clone(), uid: service.meta.uid.clone(), revision: None };
    events.tell(Note { about, reason: "FailedToStartServiceHealthcheck", message, warning: true });
}

async fn accept(listener: TcpListener, key: ObjectKey, source: Source, address: IpAddr) {
    let places = Arc::new(Semaphore::new(PROBES_AT_ONCE));
    let mut probes = JoinSet::new();
    loop {
        while probes.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the connection waits in the queue.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (key, source) = (key.clone(), source.clone());
        probes.spawn(async move {
            let _place = place;
            let reply = |_: Request<Incoming>| {
                let response = answer(&key, &source, address);
                async move { Ok::<_, Infallible>(response) }
            };
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            // A client that goes away mid-way is its own business.
            let _ =
                tokio::time::timeout(PATIENCE, builder.serve_connection(TokioIo::new(stream), service_fn(reply))).await;
        });
    }
}

/// Any path and method is answered alike.
fn answer(key: &ObjectKey, source: &Source, address: IpAddr) -> Response<String> {
    let snapshot = source.latest.borrow().clone();
    let endpoints = health_check::local_endpoints(&snapshot, key, &source.node, family_of(address));
    let (code, body) = health_check::answer(key, endpoints, source.report.healthy());
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(endpoints));
    response
}
