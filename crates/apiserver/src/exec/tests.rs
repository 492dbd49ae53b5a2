//! Sockets with a client on one end and a command on the other in; what each of them sees out.

use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[test]
fn the_newest_common_protocol_is_chosen() {
    let offers = |offers| protocol(&headers(&[("sec-websocket-protocol", offers)]));
    assert_eq!(offers("v4.channel.k8s.io, v5.channel.k8s.io").unwrap(), V5);
    assert_eq!(offers("v4.channel.k8s.io").unwrap(), V4);
    assert!(offers("channel.k8s.io").unwrap_err().message.contains("KUBECTL_REMOTE_COMMAND_WEBSOCKETS"));
    assert_eq!(protocol(&HeaderMap::new()).unwrap_err().code, 400);
}

#[test]
fn the_handshake_is_that_of_the_rfc() {
    let mut sent = headers(&[
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]);
    // The example of RFC 6455, 1.3.
    assert_eq!(handshake(&sent).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    sent.remove("upgrade");
    assert_eq!(handshake(&sent).unwrap_err().code, 400);
}

#[test]
fn sizes_of_terminals() {
    assert_eq!(terminal_size(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
    assert_eq!(terminal_size(br#"{"Width":800000,"Height":24}"#), None);
    assert_eq!(terminal_size(b"wide"), None);
}

#[test]
fn exit_codes_are_statuses() {
    assert_eq!(exit_status(0)["status"], "Success");
    let failed = exit_status(3);
    assert_eq!(
        (&failed["reason"], &failed["details"]["causes"][0]["message"]),
        (&json!("NonZeroExitCode"), &json!("3"))
    );
}

/// Both ends of a session: the client's socket, and what the command has.
struct Ends {
    client: WebSocketStream<DuplexStream>,
    input: DuplexStream,
    output: DuplexStream,
    exit: oneshot::Sender<Result<i32, String>>,
    sizes: mpsc::Receiver<(u16, u16)>,
}

async fn session() -> Ends {
    let (near, far) = duplex(4096);
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
    let socket = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    tokio::spawn(run(socket, session));
    let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    Ends { client, input, output, exit, sizes }
}

#[tokio::test]
async fn channels_carry_input_output_sizes_and_the_exit_code() {
    let Ends { mut client, mut input, mut output, exit, mut sizes } = session().await;
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
    assert_eq!(status[0], ERROR);
    let status: Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "7");
    match client.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
        other => panic!("expected a close, got {other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_command() {
    let Ends { client, mut input, exit: _exit, .. } = session().await;
    drop(client);
    let mut rest = Vec::new();
    // The session is dropped, and with it the command's input.
    input.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_lost_runtime_is_an_error_of_its_own() {
    let Ends { mut client, output, exit, .. } = session().await;
    drop((output, exit));
    let status = client.next().await.unwrap().unwrap().into_data();
    assert!(String::from_utf8_lossy(&status).contains("the command was lost"));
}
