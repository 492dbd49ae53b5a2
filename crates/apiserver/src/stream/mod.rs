//! Requests that become connections in, streams to and from pods out: `exec`, `attach` and `portforward`.
//!
//! [`upgrade`] agrees with the client on SPDY/3.1 or a WebSocket. A command speaks [`websocket`] channels or
//! [`multiplexed`] SPDY streams; a port-forward speaks SPDY ([`forward`]), plain or inside a WebSocket ([`tunnel`]), or
//! channels ([`forward_channels`]).

mod channels;
mod command;
mod forward;
mod forward_channels;
mod idle;
mod multiplexed;
mod spdy;
#[cfg(test)]
mod tests;
mod tunnel;
mod upgrade;
mod websocket;

use std::sync::Arc;

use api::object::ObjectKey;
use api::status::Status;
use contract::streams::{ExecOptions, ExecSession, PodStreams};
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::ask::Ask;
use crate::limits;
use crate::object::parsed;
use crate::pipeline::Api;
use crate::reply::Body;
use forward::Target;
use upgrade::{Agreed, Socket, Transport};

/// Places for connections; a listener counts its own no longer once they are upgraded.
pub(crate) static PLACES: Semaphore = Semaphore::const_new(limits::STREAM_CONNECTIONS);

/// Serves `pods/<name>/exec`, `pods/<name>/attach` and `pods/<name>/portforward`.
pub(crate) async fn serve(api: &Api, ask: &Ask, request: Request<Incoming>) -> Result<Response<Body>, Status> {
    let key = ask.key();
    let pod = parsed(&api.read(ask.kind, &key)?.json)?;
    if ask.subresource == "portforward" {
        command::bound(&pod)?;
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        return ports(ask, request, Target { streams: api.streams()?, pod: key, uid });
    }
    let options = command::options(ask, &pod)?;
    let asked = Command { streams: api.streams()?, pod: key, options, attach: ask.subresource == "attach" };
    let agreed = upgrade::negotiate(&ask.headers, websocket::PROTOCOLS, multiplexed::PROTOCOLS, true);
    begin(agreed, request, |agreed, socket| run(agreed, socket, asked))
}

/// Answers a request and runs `work` on the connection that it becomes.
fn begin<F>(
    agreed: Result<Agreed, upgrade::Refusal>,
    mut request: Request<Incoming>,
    work: impl FnOnce(Agreed, Socket) -> F + Send + 'static,
) -> Result<Response<Body>, Status>
where
    F: Future<Output = ()> + Send,
{
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => return refusal.response(),
    };
    let Ok(place) = PLACES.try_acquire() else {
        let why =
            format!("{} connections to pods are open already: close some, or try again", limits::STREAM_CONNECTIONS);
        return Err(Status { details: json!({ "retryAfterSeconds": 1 }), ..Status::new(429, "TooManyRequests", why) });
    };
    let response = agreed.response();
    let upgrade = upgrade::on(&mut request);
    tokio::spawn(async move {
        let _place = place;
        if let Some(socket) = upgrade::socket(upgrade).await {
            work(agreed, socket).await;
        }
    });
    Ok(response)
}

/// A command to run, or to join.
struct Command {
    streams: Arc<dyn PodStreams>,
    pod: ObjectKey,
    options: ExecOptions,
    attach: bool,
}

impl Command {
    async fn start(&self) -> Result<ExecSession, Status> {
        if self.attach {
            self.streams.attach(&self.pod, &self.options).await
        } else {
            self.streams.exec(&self.pod, &self.options).await
        }
    }
}

async fn run(agreed: Agreed, socket: Socket, command: Command) {
    let protocol = agreed.protocol;
    // Failures from here on travel on the error stream: after a refused upgrade clients would try another protocol.
    if agreed.transport == Transport::WebSocket {
        let socket = upgrade::websocket(socket).await;
        let dialect = websocket::Dialect::of(protocol);
        match command.start().await {
            Ok(session) => websocket::run(socket, session, dialect).await,
            Err(status) => websocket::refuse(socket, &status.to_json(), dialect).await,
        }
        return;
    }
    let mut session = spdy::Session::start(socket);
    let Some(client) = multiplexed::Client::gather(&mut session, &command.options, protocol).await else {
        return session.close().await;
    };
    match command.start().await {
        Ok(started) => multiplexed::run(session, client, started, protocol).await,
        Err(status) => multiplexed::refuse(session, client, &status.to_json(), protocol).await,
    }
}

fn ports(ask: &Ask, request: Request<Incoming>, target: Target) -> Result<Response<Body>, Status> {
    const WEBSOCKET: &[&str] = &[forward::TUNNEL, forward_channels::PROTOCOLS[0], forward_channels::PROTOCOLS[1]];
    let agreed = upgrade::negotiate(&ask.headers, WEBSOCKET, &[forward::PROTOCOL], true);
    let channels = |agreed: &Agreed| agreed.transport == Transport::WebSocket && agreed.protocol != forward::TUNNEL;
    let named = match &agreed {
        Ok(agreed) if channels(agreed) => forward_channels::ports(&ask.query)?,
        _ => Vec::new(),
    };
    begin(agreed, request, |agreed, socket| async move {
        match agreed.transport {
            Transport::Spdy => forward::run(spdy::Session::start(socket), target).await,
            Transport::WebSocket => {
                let socket = upgrade::websocket(socket).await;
                if agreed.protocol == forward::TUNNEL {
                    forward::run(spdy::Session::start(tunnel::open(socket)), target).await;
                } else {
                    forward_channels::run(socket, target, named, agreed.protocol).await;
                }
            }
        }
    })
}
