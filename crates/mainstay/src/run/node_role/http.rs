//! Addresses in, small HTTP servers with the paths of kube-proxy out; a taken port is tried again until it is free.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use controller::Events;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::standing::{Answer, Standing};
use super::{Settings, tell};

/// Clients answered at once; more wait.
const CLIENTS: usize = 64;
/// How long a client may take to ask, and be silent between two questions.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to have a port.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers a path.
type Paths = fn(&Standing, &str) -> Answer;

/// How many of the servers listen.
pub(crate) struct Bound {
    receiver: watch::Receiver<usize>,
    wanted: usize,
}

impl Bound {
    /// Waits until every server that was asked for listens: until then somebody else, most likely kube-proxy, does.
    pub(crate) async fn all(&mut self) {
        let wanted = self.wanted;
        // The sender lives in the tasks.
        let _ = self.receiver.wait_for(|bound| *bound >= wanted).await;
    }
}

/// Starts the servers.
pub(super) fn start(
    settings: &Settings,
    standing: &Arc<Standing>,
    events: &Events,
    tasks: &mut JoinSet<()>,
) -> Result<Bound> {
    let (sender, receiver) = watch::channel(0);
    let sender = Arc::new(sender);
    let servers: [(Option<SocketAddr>, &str, Paths); 2] = [
        (settings.healthz, "--healthz-bind-address", Standing::health),
        (settings.metrics, "--metrics-bind-address", Standing::metrics),
    ];
    let mut wanted = 0;
    for (address, flag, paths) in servers {
        let Some(address) = address else { continue };
        wanted += 1;
        let first = std::net::TcpListener::bind(address);
        if let (Err(error), true) = (&first, settings.bind_hard) {
            bail!(
                "cannot listen on {address}: {error}.\nStop what does (ss -ltnp 'sport = :{}'), or choose another: {flag} \
                 ADDRESS:PORT",
                address.port()
            );
        }
        let (standing, events, node) = (standing.clone(), events.clone(), settings.node.clone());
        let sender = sender.clone();
        tasks.spawn(async move {
            let listener = match first.and_then(|listener| usable(&listener)) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(
                        %address, %error,
                        "a port is taken, by kube-proxy perhaps: Services are programmed meanwhile, and the port is tried again"
                    );
                    let message = format!("node {node} cannot listen on {address} yet: {error}. Stop what does, or set {flag}");
                    tell(&events, &node, "FailedToStartProxierHealthcheck", message, true);
                    wait_for(address).await
                }
            };
            sender.send_modify(|bound| *bound += 1);
            serve(listener, standing, paths).await;
        });
    }
    Ok(Bound { receiver, wanted })
}

fn usable(listener: &std::net::TcpListener) -> std::io::Result<TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn wait_for(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn serve(listener: TcpListener, standing: Arc<Standing>, paths: Paths) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the connection waits in the queue.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let standing = standing.clone();
        clients.spawn(async move {
            let _place = place;
            let reply = |request: Request<Incoming>| {
                let response = response(paths(&standing, request.uri().path()));
                async move { Ok::<_, Infallible>(response) }
            };
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // A client that goes away mid-way is its own business.
            let _ = builder.serve_connection(TokioIo::new(stream), service_fn(reply)).await;
        });
    }
}

fn response((code, kind, body): Answer) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
