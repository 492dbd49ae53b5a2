//! Connections to ports of a pod: pairs of SPDY streams in, bytes to and from the pod's own network out.
//!
//! A client opens an error stream and a data stream for every connection it has accepted; they share a request number.
//! What goes wrong with one connection is said on its error stream and touches no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::object::ObjectKey;
use contract::streams::PodStreams;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::multiplexed::send_all;
use super::spdy::{Code, Input, Session, Stream};
use crate::limits;

/// Protocol of a SPDY connection.
pub(super) const PROTOCOL: &str = "portforward.k8s.io";
/// Protocol of a WebSocket that carries such a SPDY connection.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Where connections go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) streams: Arc<dyn PodStreams>,
    pub(super) pod: ObjectKey,
    pub(super) uid: String,
}

impl Target {
    /// What a client is told of a connection that was not made.
    pub(super) fn failure(&self, port: u16, why: &str) -> String {
        format!("error forwarding port {port} to pod {}, uid {}: {why}", self.pod.name, self.uid)
    }
}

/// Half or all of a connection's streams.
struct Pair {
    since: Instant,
    error: Option<Stream>,
    data: Option<Stream>,
}

/// Serves a client until it leaves.
pub(super) async fn run(mut session: Session, target: Target) {
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(limits::STREAM_CREATION, session.accept()) => accepted,
            Some(_) = running.join_next() => continue,
        };
        match accepted {
            Ok(Some(stream)) => {
                if let Some((port, error, data)) = join(&mut pairs, stream).await {
                    running.spawn(connect(target.clone(), port, error, data));
                }
            }
            Ok(None) => break,
            Err(_) => {}
        }
        give_up_halves(&mut pairs).await;
    }
    // A client that opens no more may still use what it has. One that is gone has reset them all; only a pod that reads
    // nothing keeps a connection then, and not for long.
    let rest = async { while running.join_next().await.is_some() {} };
    let left = async {
        session.gone().await;
        tokio::time::sleep(limits::DRAIN).await;
    };
    tokio::select! {
        () = rest => {}
        () = left => return,
    }
    session.close().await;
}

/// Ends the connections of which only half was opened in time.
async fn give_up_halves(pairs: &mut BTreeMap<String, Pair>) {
    let late: Vec<_> = pairs
        .iter()
        .filter(|(_, pair)| pair.since.elapsed() >= limits::STREAM_CREATION)
        .map(|(id, _)| id.clone())
        .collect();
    for id in late {
        let Some(pair) = pairs.remove(&id) else { continue };
        if let Some(error) = pair.error {
            say(&error, &format!("portforward: request {id}: timed out waiting for streams")).await;
        }
    }
}

/// Finds the other half of a connection; the connection if that is there.
async fn join(pairs: &mut BTreeMap<String, Pair>, stream: Stream) -> Option<(u16, Stream, Stream)> {
    let (kind, port) = match meaning(&stream) {
        Ok(meaning) => meaning,
        Err(why) => {
            tracing::debug!(why, "a stream of a port-forward is refused");
            // A client that left needs no refusal.
            let _ = stream.writer.reset(Code::Refused).await;
            return None;
        }
    };
    let id = match (stream.headers.get("requestid"), kind) {
        (Some(id), _) => id.to_owned(),
        // Clients of old named no request: the error stream came first, the data stream next.
        (None, Kind::Error) => stream.id.to_string(),
        (None, Kind::Data) => stream.id.wrapping_sub(2).to_string(),
    };
    let pair = pairs.entry(id.clone()).or_insert_with(|| Pair { since: Instant::now(), error: None, data: None });
    let place = match kind {
        Kind::Error => &mut pair.error,
        Kind::Data => &mut pair.data,
    };
    if place.is_some() {
        let _ = stream.writer.reset(Code::Protocol).await;
        return None;
    }
    *place = Some(stream);
    if pair.error.is_none() || pair.data.is_none() {
        return None;
    }
    let pair = pairs.remove(&id)?;
    Some((port, pair.error?, pair.data?))
}

#[derive(Clone, Copy)]
enum Kind {
    Error,
    Data,
}

/// What a stream is for.
fn meaning(stream: &Stream) -> Result<(Kind, u16), String> {
    let kind = match stream.headers.get("streamtype").unwrap_or_default() {
        "error" => Kind::Error,
        "data" => Kind::Data,
        "" => return Err("\"streamType\" header is required".to_owned()),
        other => return Err(format!("invalid stream type {other:?}")),
    };
    port(stream.headers.get("port").unwrap_or_default()).map(|port| (kind, port))
}

/// A port's number.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        _ if text.is_empty() => Err("\"port\" header is required".to_owned()),
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("unable to parse {text:?} as a port")),
    }
}

/// Joins a client's connection to the pod's port until both are done or the client gives up.
async fn connect(target: Target, port: u16, error: Stream, mut data: Stream) {
    let connection = match target.streams.port_forward(&target.pod, port).await {
        Ok(connection) => connection,
        Err(status) => {
            say(&error, &target.failure(port, &status.message)).await;
            let _ = data.writer.finish().await;
            return;
        }
    };
    let (mut from, mut to) = tokio::io::split(connection);
    let upload = async {
        loop {
            match data.reader.next().await {
                Input::Data(bytes) => {
                    if to.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Input::End => {
                    // A pod that has closed the connection needs no end of it.
                    let _ = to.shutdown().await;
                    return Ok(());
                }
                Input::Reset => return Err(()),
            }
        }
        // The pod reads no more, but may have something left to say.
        loop {
            match data.reader.next().await {
                Input::Data(_) => {}
                Input::End => return Ok(()),
                Input::Reset => return Err(()),
            }
        }
    };
    let download = async {
        send_all(&mut from, &data.writer).await.map_err(|_| ())?;
        data.writer.finish().await.map_err(|_| ())
    };
    // The end of the error stream without a word is what tells the client that all went well. A client that reset the
    // data stream waits for it, too; one that is gone does not.
    let _ = tokio::try_join!(upload, download);
    let _ = error.writer.finish().await;
}

/// Tells a client what went wrong and ends the stream.
async fn say(error: &Stream, text: &str) {
    // A client that left does not miss it.
    if error.writer.send(text.to_owned().into()).await.is_ok() {
        let _ = error.writer.finish().await;
    }
}
