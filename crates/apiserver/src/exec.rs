//! A WebSocket in, a command in a pod out: its streams as channels of one connection, its exit as a Status.
//!
//! The protocol is `v5.channel.k8s.io` (or `v4`): the first byte of each binary message is the channel.

use api::status::Status;
use bytes::Bytes;
use contract::streams::{ExecOptions, ExecSession};
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::ask::Ask;
use crate::limits;
use crate::logs::container;
use crate::object::parsed;
use crate::pipeline::Api;
use crate::reply::{self, Body};

#[cfg(test)]
mod tests;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5 only: the channel in the next byte has ended.
const CLOSE: u8 = 255;

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

/// Serves `pods/<name>/exec`.
pub(crate) async fn serve(api: &Api, ask: &Ask, mut request: Request<Incoming>) -> Result<Response<Body>, Status> {
    let key = ask.key();
    let pod = parsed(&api.read(ask.kind, &key)?.json)?;
    let options = options(ask, &pod)?;
    let streams = api.streams()?;
    let protocol = protocol(&ask.headers)?;
    let accept = handshake(&ask.headers)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let socket = match upgrade.await {
            Ok(socket) => TokioIo::new(socket),
            Err(error) => {
                tracing::debug!(%error, "a client left before its command started");
                return;
            }
        };
        let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
        // Failures from here on travel on the error channel: after a refused upgrade clients would try SPDY instead.
        match streams.exec(&key, &options).await {
            Ok(session) => run(socket, session).await,
            Err(status) => {
                finish(&mut socket, &status.to_json()).await;
                drain(&mut socket).await;
            }
        }
    });
    let mut response = reply::text(101, Bytes::new());
    response.headers_mut().clear();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    reply::header(&mut response, SEC_WEBSOCKET_ACCEPT, &accept);
    Ok(response)
}

fn options(ask: &Ask, pod: &Value) -> Result<ExecOptions, Status> {
    let query = &ask.query;
    let command: Vec<_> = query.all("command");
    if command.iter().all(String::is_empty) {
        return Err(Status::bad_request("you must specify at least 1 command for the container"));
    }
    let options = ExecOptions {
        container: container(pod, query.get("container"))?,
        command,
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // A terminal has one output.
        stderr: query.flag("stderr") && !query.flag("tty"),
        tty: query.flag("tty"),
    };
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    match pod["status"]["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Err(Status::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(options),
    }
}

/// The newest protocol that the client offers and we speak.
fn protocol(headers: &HeaderMap) -> Result<&'static str, Status> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offers: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    [V5, V4].into_iter().find(|ours| offers.contains(ours)).ok_or_else(|| {
        Status::bad_request(format!(
            "exec is served over WebSocket with the protocols {V5} and {V4} only; use kubectl 1.31 or newer, or set \
             KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"
        ))
    })
}

/// The answer to the client's key, RFC 6455, 4.2.2.
fn handshake(headers: &HeaderMap) -> Result<String, Status> {
    let says = |name, word: &str| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|_| says(UPGRADE, "websocket") && says(CONNECTION, "upgrade") && says(SEC_WEBSOCKET_VERSION, "13"));
    let key = key.ok_or_else(|| Status::bad_request("exec needs a WebSocket (RFC 6455, version 13) over HTTP/1.1"))?;
    Ok(derive_accept_key(key.as_bytes()))
}

/// Joins a command to its client until the command ends or the client leaves.
async fn run<S>(socket: WebSocketStream<S>, session: ExecSession)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut source) = socket.split();
    let ExecSession { stdin, stdout, stderr, resize, exit } = session;
    // One message of each stream is on its way at most, so a slow client slows the command and fills no memory.
    let (pieces, mut outbox) = mpsc::channel::<Message>(1);
    let outputs = async {
        let stdout = copy(stdout, STDOUT, pieces.clone());
        let stderr = copy(stderr, STDERR, pieces);
        tokio::join!(stdout, stderr);
        // Output ends before the exit code is told: the client stops reading at the code.
        match exit.await {
            Ok(Ok(code)) => exit_status(code),
            Ok(Err(why)) => Status::internal(why).to_json(),
            Err(_) => Status::internal("the command was lost: the pod's runtime went away").to_json(),
        }
    };
    let write = async {
        while let Some(message) = outbox.recv().await {
            if sink.send(message).await.is_err() {
                // The client is gone; `inputs` ends as well and takes the session with it.
                break;
            }
        }
        sink
    };
    let both = async { tokio::join!(outputs, write) };
    tokio::select! {
        (status, mut sink) = both => {
            finish(&mut sink, &status).await;
            drain(&mut source).await;
        }
        () = inputs(&mut source, stdin, resize) => {}
    }
}

/// Waits for the client's side of the close: leaving before it has read everything would reset the connection.
async fn drain<R>(source: &mut R)
where
    R: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let rest = async { while let Some(Ok(_)) = source.next().await {} };
    // A client that never answers has had its time.
    let _ = tokio::time::timeout(limits::DRAIN, rest).await;
}

/// Copies a stream to its channel.
async fn copy(stream: Option<Box<dyn AsyncRead + Send + Unpin>>, channel: u8, pieces: mpsc::Sender<Message>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; limits::EXEC_CHUNK];
    buffer[0] = channel;
    // An error reads like an end: a terminal whose program is gone answers EIO.
    while let Ok(count @ 1..) = stream.read(&mut buffer[1..]).await {
        let piece = Bytes::copy_from_slice(&buffer[..=count]);
        if pieces.send(Message::Binary(piece)).await.is_err() {
            break;
        }
    }
}

/// Takes what the client sends; returns when it has left.
async fn inputs<R>(
    source: &mut R,
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    resize: Option<mpsc::Sender<(u16, u16)>>,
) where
    R: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Close(_) => return,
            _ => continue,
        };
        match (bytes.first().copied(), bytes.get(1..).unwrap_or_default()) {
            (Some(STDIN), data) => {
                // A command that no longer reads its input is no reason to end it.
                if let Some(pipe) = &mut stdin
                    && (pipe.write_all(data).await.is_err() || pipe.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            (Some(CLOSE), [STDIN, ..]) => {
                if let Some(mut pipe) = stdin.take() {
                    // A pipe that cannot be shut down is closed by being dropped.
                    let _ = pipe.shutdown().await;
                }
            }
            (Some(RESIZE), data) => {
                if let Some((resize, size)) = resize.as_ref().zip(terminal_size(data)) {
                    // A full queue already holds a newer wish than the terminal has seen; this one is dropped.
                    let _ = resize.try_send(size);
                }
            }
            _ => {}
        }
    }
}

fn terminal_size(json: &[u8]) -> Option<(u16, u16)> {
    let size: Value = serde_json::from_slice(json).ok()?;
    let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
    side("Width").zip(side("Height"))
}

/// The exit code as the client expects it.
fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

async fn finish<W>(sink: &mut W, status: &Value)
where
    W: futures::Sink<Message> + Unpin,
{
    let mut message = vec![ERROR];
    message.extend_from_slice(status.to_string().as_bytes());
    // A client that left does not miss its exit code.
    let _ = sink.send(Message::Binary(message.into())).await;
    // Without the code of a normal end, kubectl takes the close for a broken connection and loses the exit code.
    let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(end))).await;
}
