//! Connections to ports of a pod over a plain WebSocket: two channels for every port named in the URL, as client libraries
//! other than client-go use them. One WebSocket is one connection to each port.

use std::sync::atomic::{AtomicBool, Ordering};

use api::status::Status;
use futures::StreamExt;
use futures::stream::SplitStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::channels::{self, Codec};
use super::forward::{self, Target};
use crate::limits;
use crate::query::Query;

/// The protocols spoken, best first; without a name it is the first.
pub(super) const PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// Pieces that wait for a slow pod.
const PIECES: usize = 4;

/// The ports that a URL names.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let named = query.all("ports");
    let texts: Vec<_> = named.iter().flat_map(|text| text.split(',')).collect();
    if texts.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required: add ?ports=PORT to the URL"));
    }
    if texts.len() > limits::FORWARD_PORTS {
        let most = limits::FORWARD_PORTS;
        return Err(Status::bad_request(format!("{} ports are more than {most}: use several requests", texts.len())));
    }
    let port = |text: &&str| forward::port(text).map_err(Status::bad_request);
    texts.iter().map(port).collect()
}

/// Serves a client until all its connections are done or it leaves.
pub(super) async fn run<S>(socket: WebSocketStream<S>, target: Target, ports: Vec<u16>, protocol: &str)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let codec = if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary };
    let (mut sink, mut source) = socket.split();
    let (messages, mut outbox) = mpsc::channel::<Message>(1);
    let mut inputs = Vec::new();
    let mut all = Vec::new();
    for (index, port) in (0u8..).step_by(2).zip(ports) {
        let (sender, pieces) = mpsc::channel(PIECES);
        inputs.push(sender);
        all.push(one(target.clone(), port, index, codec, pieces, messages.clone()));
    }
    drop(messages);
    let (stuck, lost) = (AtomicBool::new(false), Notify::new());
    let write = async {
        if !channels::write(&mut sink, &mut outbox, &stuck).await {
            lost.notify_one();
        }
        sink
    };
    let both = async { tokio::join!(futures::future::join_all(all), write).1 };
    tokio::select! {
        mut sink = both => {
            channels::say_goodbye(&mut sink).await;
            channels::drain(&mut source).await;
        }
        () = take(&mut source, &inputs, codec, &stuck) => {}
        () = lost.notified() => {}
    }
}

/// Gives what the client sends to its connection; returns when the client has left.
async fn take<S>(
    source: &mut SplitStream<WebSocketStream<S>>,
    inputs: &[mpsc::Sender<bytes::Bytes>],
    codec: Codec,
    stuck: &AtomicBool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        if message.is_close() {
            return;
        }
        let Some((channel, data)) = codec.parts(message) else { continue };
        if channel.is_multiple_of(2)
            && let Some(input) = inputs.get(usize::from(channel / 2))
        {
            // A connection that has ended takes nothing more.
            stuck.store(true, Ordering::Relaxed);
            let _ = input.send(data).await;
            stuck.store(false, Ordering::Relaxed);
        }
    }
}

/// One connection: channel `index` is its data, the next one its errors.
async fn one(
    target: Target,
    port: u16,
    index: u8,
    codec: Codec,
    mut pieces: mpsc::Receiver<bytes::Bytes>,
    messages: mpsc::Sender<Message>,
) {
    // Each channel begins with its port, so that a client can tell them apart.
    for channel in [index, index + 1] {
        if messages.send(codec.message(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let connection = match target.streams.port_forward(&target.pod, port).await {
        Ok(connection) => connection,
        Err(status) => {
            let text = target.failure(port, &status.message);
            // A client that left does not miss it.
            let _ = messages.send(codec.message(index + 1, text.as_bytes())).await;
            return;
        }
    };
    let (mut from, mut to) = tokio::io::split(connection);
    let upload = async {
        while let Some(bytes) = pieces.recv().await {
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // What still comes is read, so that it does not hold back the other ports.
        while pieces.recv().await.is_some() {}
        // The protocol has no half close: only the pod ends a connection, or the client all of them.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = upload => {}
        () = codec.copy(&mut from, index, &messages) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_in_the_url() {
        let ports = |text| ports(&Query::parse(text).unwrap()).map_err(|status| status.message);
        assert_eq!(ports("ports=80&ports=8080,443").unwrap(), [80, 8080, 443]);
        for (wrong, why) in [
            ("", "\"ports\" is required"),
            ("ports=0", "port \"0\" must be > 0"),
            ("ports=70000", "unable to parse \"70000\" as a port"),
            ("ports=80,x", "unable to parse \"x\" as a port"),
        ] {
            assert!(ports(wrong).unwrap_err().contains(why), "{wrong}");
        }
        let many = format!("ports={}", vec!["80"; 200].join(","));
        assert!(ports(&many).unwrap_err().contains("use several requests"));
    }
}
