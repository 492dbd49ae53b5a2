//! Connections with a client on one end and a pod on the other in; what each of them sees out.

use std::io;

use api::object::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use contract::streams::{Connection, LogOptions};
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::spdy::tests::{Client, pair};
use super::*;

/// What a command has.
struct Program {
    input: DuplexStream,
    output: DuplexStream,
    exit: oneshot::Sender<Result<i32, String>>,
    sizes: mpsc::Receiver<(u16, u16)>,
}

fn program() -> (ExecSession, Program) {
    let (stdin, input) = duplex(4096);
    let (stdout, output) = duplex(4096);
    let (exit, exited) = oneshot::channel();
    let (resize, sizes) = mpsc::channel(4);
    let session = ExecSession {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: None,
        resize: Some(resize),
        exit: exited,
    };
    (session, Program { input, output, exit, sizes })
}

async fn websocket(protocol: &str) -> (WebSocketStream<DuplexStream>, Program) {
    let (near, far) = duplex(4096);
    let (session, program) = program();
    let dialect = websocket::Dialect::of(protocol);
    let socket = upgrade::websocket(far).await;
    tokio::spawn(websocket::run(socket, session, dialect));
    (WebSocketStream::from_raw_socket(near, Role::Client, None).await, program)
}

#[tokio::test]
async fn channels_carry_input_output_sizes_and_the_exit_code() {
    let (mut client, Program { mut input, mut output, exit, mut sizes }) = websocket("v5.channel.k8s.io").await;
    for message in [&b"\x00hello"[..], b"\x04{\"Width\":80,\"Height\":24}", b"\x63unknown channel", b"\xff\x00"] {
        client.send(Message::Binary(Bytes::copy_from_slice(message))).await.unwrap();
    }
    let mut read = String::new();
    input.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "hello", "closing channel 0 ends the input");
    assert_eq!(sizes.recv().await, Some((80, 24)));
    output.write_all(b"world").await.unwrap();
    drop(output);
    exit.send(Ok(7)).unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().into_data(), Bytes::from_static(b"\x01world"));
    let status = client.next().await.unwrap().unwrap().into_data();
    assert_eq!(status[0], 3);
    let status: Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "7");
    match client.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
        other => panic!("expected a close, got {other:?}"),
    }
}

#[tokio::test]
async fn the_oldest_channels_tell_failures_as_text_and_know_no_closing() {
    let (mut client, Program { mut input, output, exit, .. }) = websocket("base64.channel.k8s.io").await;
    for message in ["0aGk=", "\u{fff}"] {
        client.send(Message::Text(message.into())).await.unwrap();
    }
    let mut two = [0; 2];
    input.read_exact(&mut two).await.unwrap();
    assert_eq!(&two, b"hi");
    drop(output);
    exit.send(Ok(2)).unwrap();
    let message = client.next().await.unwrap().unwrap();
    assert_eq!(
        channels::Codec::Base64.parts(message).unwrap(),
        (3, "command terminated with non-zero exit code: 2".into())
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_command() {
    let (client, Program { mut input, exit: _exit, output: _output, .. }) = websocket("v4.channel.k8s.io").await;
    drop(client);
    let mut rest = Vec::new();
    // The session is dropped, and with it the command's input.
    input.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_lost_runtime_is_an_error_of_its_own() {
    let (mut client, Program { output, exit, .. }) = websocket("v4.channel.k8s.io").await;
    drop((output, exit));
    let status = client.next().await.unwrap().unwrap().into_data();
    assert!(String::from_utf8_lossy(&status).contains("the command was lost"));
}

fn on_terminal() -> ExecOptions {
    ExecOptions { stdin: true, stdout: true, tty: true, ..ExecOptions::default() }
}

#[tokio::test]
async fn a_command_over_spdy() {
    const V4: &str = "v4.channel.k8s.io";
    let (mut client, mut session) = pair();
    let mut ids = Vec::new();
    for kind in ["error", "stdin", "stdout", "resize"] {
        ids.push(client.open(&[("streamtype", kind)]).await);
    }
    let streams = multiplexed::Client::gather(&mut session, &on_terminal(), V4).await.unwrap();
    let (command, Program { mut input, mut output, exit, mut sizes }) = program();
    tokio::spawn(multiplexed::run(session, streams, command, V4));
    client.data(ids[1], b"hello", false).await;
    client.data(ids[1], b"", true).await;
    client.data(ids[3], b"{\"Width\":80,\"Height\":24}\n{\"Wid", false).await;
    client.data(ids[3], b"th\":81,\"Height\":25}\n", false).await;
    let mut read = String::new();
    input.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "hello", "the end of the stream is the end of the input");
    assert_eq!((sizes.recv().await, sizes.recv().await), (Some((80, 24)), Some((81, 25))));
    output.write_all(b"world").await.unwrap();
    drop(output);
    exit.send(Ok(7)).unwrap();
    let seen = client.rest().await;
    assert_eq!(seen[&ids[2]], (b"world".to_vec(), "ended"));
    let status: Value = serde_json::from_slice(&seen[&ids[0]].0).unwrap();
    assert_eq!((&status["details"]["causes"][0]["message"], seen[&ids[0]].1), (&Value::from("7"), "ended"));
}

#[tokio::test]
async fn a_spdy_client_that_leaves_ends_the_command_and_one_that_opens_a_stream_twice_gets_none() {
    let (mut client, mut session) = pair();
    for kind in ["error", "stdin", "stdout"] {
        client.open(&[("streamtype", kind)]).await;
    }
    // Version 2 has no sizes.
    let streams = multiplexed::Client::gather(&mut session, &on_terminal(), "v2.channel.k8s.io").await.unwrap();
    let (command, Program { mut input, exit: _exit, output: _output, .. }) = program();
    let running = tokio::spawn(multiplexed::run(session, streams, command, "v2.channel.k8s.io"));
    drop(client);
    running.await.unwrap();
    assert_eq!(input.read(&mut [0; 8]).await.unwrap(), 0);

    let (mut client, mut session) = pair();
    for kind in ["error", "nonsense", "error"] {
        client.open(&[("streamtype", kind)]).await;
    }
    assert!(multiplexed::Client::gather(&mut session, &on_terminal(), "v4.channel.k8s.io").await.is_none());
}

/// A pod whose port 80 echoes, whose port 81 says "bye" and ends, whose port 82 neither reads nor ends, and that listens
/// on no other.
struct Ports;

#[async_trait]
impl PodStreams for Ports {
    async fn logs(&self, _: &ObjectKey, _: &LogOptions) -> Result<BoxStream<'static, io::Result<Bytes>>, Status> {
        Err(Status::internal("no logs"))
    }

    async fn exec(&self, _: &ObjectKey, _: &ExecOptions) -> Result<ExecSession, Status> {
        Err(Status::internal("no commands"))
    }

    async fn attach(&self, _: &ObjectKey, _: &ExecOptions) -> Result<ExecSession, Status> {
        Err(Status::internal("no program"))
    }

    async fn port_forward(&self, _: &ObjectKey, port: u16) -> Result<Connection, Status> {
        let (ours, mut theirs) = duplex(1024);
        match port {
            80 => tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(theirs);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            }),
            81 => tokio::spawn(async move {
                let _ = theirs.write_all(b"bye").await;
            }),
            82 => tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(theirs);
            }),
            _ => return Err(Status::internal("connection refused")),
        };
        Ok(Box::new(ours))
    }
}

fn target() -> Target {
    Target { streams: Arc::new(Ports), pod: ObjectKey::new("default", "ham"), uid: "u1".to_owned() }
}

/// Opens both streams of a connection: (error, data).
async fn connect(client: &mut Client, port: &str, request: &str) -> (u32, u32) {
    let error = client.open(&[("streamtype", "error"), ("port", port), ("requestid", request)]).await;
    client.data(error, b"", true).await;
    (error, client.open(&[("streamtype", "data"), ("port", port), ("requestid", request)]).await)
}

#[tokio::test]
async fn connections_are_forwarded_and_one_that_fails_touches_no_other() {
    let (mut client, session) = pair();
    let serving = tokio::spawn(forward::run(session, target()));
    let (error, data) = connect(&mut client, "80", "0").await;
    let (refused, nothing) = connect(&mut client, "9999", "1").await;
    let (quiet, greeting) = connect(&mut client, "81", "2").await;
    let wrong = client.open(&[("streamtype", "data"), ("port", "0")]).await;
    let nameless = client.open(&[("port", "80")]).await;
    client.data(data, b"hello", false).await;
    client.data(data, b" world", true).await;
    client.data(greeting, b"", true).await;
    client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "half")]).await;
    client.goodbye().await;
    let seen = client.rest().await;
    assert_eq!(seen[&data], (b"hello world".to_vec(), "ended"));
    assert_eq!(seen[&error], (Vec::new(), "ended"), "no word means that all went well");
    assert_eq!(seen[&greeting], (b"bye".to_vec(), "ended"));
    assert_eq!(seen[&quiet], (Vec::new(), "ended"));
    assert_eq!(seen[&nothing], (Vec::new(), "ended"));
    let why = "error forwarding port 9999 to pod ham, uid u1: Internal error occurred: connection refused";
    assert_eq!(String::from_utf8_lossy(&seen[&refused].0), why);
    assert_eq!((seen[&wrong].1, seen[&nameless].1), ("reset", "reset"));
    drop(client);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_the_client_gives_up_is_over() {
    let (mut client, session) = pair();
    tokio::spawn(forward::run(session, target()));
    let (error, data) = connect(&mut client, "80", "7").await;
    client.data(data, b"x", false).await;
    client.reset(data).await;
    loop {
        if let Some((0, id, body, true)) = client.receive().await
            && id == error
        {
            return assert!(body.is_empty(), "the client waits for this end");
        }
    }
}

#[tokio::test]
async fn a_client_that_dies_while_its_pod_reads_nothing_keeps_no_place() {
    // Once with little that waits, once with more than is kept for a connection: then nothing of the client is read.
    for bytes in [16 << 10, limits::SPDY_BUFFER + (48 << 10)] {
        let (mut client, session) = pair();
        let serving = tokio::spawn(forward::run(session, target()));
        let (_, data) = connect(&mut client, "82", "0").await;
        let piece = vec![0; 16 << 10];
        for _ in 0..bytes / piece.len() {
            client.data(data, &piece, false).await;
        }
        drop(client);
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_tunnel_is_spdy_inside_a_websocket() {
    let (near, far) = duplex(4096);
    let inside = tunnel::open(upgrade::websocket(far).await);
    tokio::spawn(forward::run(spdy::Session::start(inside), target()));
    // The client's half of a tunnel is the same thing the other way round.
    let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let mut client = Client::new(tunnel::open(socket));
    let (_, data) = connect(&mut client, "80", "0").await;
    client.data(data, b"through", true).await;
    client.goodbye().await;
    assert_eq!(client.rest().await[&data], (b"through".to_vec(), "ended"));
}

#[tokio::test]
async fn ports_by_channels() {
    let (near, far) = duplex(4096);
    let socket = upgrade::websocket(far).await;
    tokio::spawn(forward_channels::run(socket, target(), vec![80, 9999], "v4.channel.k8s.io"));
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    client.send(Message::Binary(Bytes::from_static(b"\x00hello"))).await.unwrap();
    client.send(Message::Binary(Bytes::from_static(b"\x09nobody"))).await.unwrap();
    let mut seen = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    while seen.get(&0).is_none_or(|data| data.len() < 7) || seen.get(&3).is_none_or(|error| error.len() < 3) {
        let message = client.next().await.unwrap().unwrap().into_data();
        seen.entry(message[0]).or_default().extend_from_slice(&message[1..]);
    }
    assert_eq!(seen[&0], b"\x50\x00hello", "the port, then the data");
    assert_eq!(seen[&1], b"\x50\x00");
    assert_eq!(seen[&2], 9999u16.to_le_bytes());
    assert!(String::from_utf8_lossy(&seen[&3][2..]).contains("port 9999 to pod ham"));
}
