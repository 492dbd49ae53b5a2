//! A SPDY connection in, a command in a pod out: a stream for each of its streams, its exit as a Status on one more.

use std::time::Duration;

use bytes::Bytes;
use contract::streams::{ExecOptions, ExecSession};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::command::{end_status, error_text, terminal_size};
use super::spdy::{Code, Gone, Input, Reader, Session, Stream, Writer};
use crate::limits;

/// The protocols spoken, best first.
pub(super) const PROTOCOLS: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// The streams that a client opens for one command.
#[derive(Default)]
pub(super) struct Client {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Client {
    /// Waits for the streams that the options speak of; none if the client opens others or not all in time.
    pub(super) async fn gather(session: &mut Session, options: &ExecOptions, protocol: &str) -> Option<Self> {
        Self::gather_within(limits::STREAM_CREATION, session, options, protocol).await
    }

    async fn gather_within(
        limit: Duration,
        session: &mut Session,
        options: &ExecOptions,
        protocol: &str,
    ) -> Option<Self> {
        let resizes = options.tty && matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
        let mut client = Self::default();
        let all = async {
            while client.error.is_none()
                || client.stdin.is_some() != options.stdin
                || client.stdout.is_some() != options.stdout
                || client.stderr.is_some() != options.stderr
                || (resizes && client.resize.is_none())
            {
                let stream = session.accept().await?;
                let place = match stream.headers.get("streamtype") {
                    Some("error") => &mut client.error,
                    Some("stdin") if options.stdin => &mut client.stdin,
                    Some("stdout") if options.stdout => &mut client.stdout,
                    Some("stderr") if options.stderr => &mut client.stderr,
                    Some("resize") => &mut client.resize,
                    _ => {
                        stream.writer.reset(Code::Refused).await.ok()?;
                        continue;
                    }
                };
                if place.is_some() {
                    return None;
                }
                *place = Some(stream);
            }
            Some(())
        };
        tokio::time::timeout(limit, all).await.ok().flatten().map(|()| client)
    }
}

/// Tells why there is no command.
pub(super) async fn refuse(session: Session, client: Client, status: &Value, protocol: &str) {
    if let Some(error) = client.error {
        tell(&error.writer, status, protocol).await;
    }
    session.close().await;
}

async fn tell(error: &Writer, status: &Value, protocol: &str) {
    let text = error_text(status, protocol.starts_with("v4"));
    // A client that left does not miss its exit code.
    if text.is_empty() || error.send(text.into()).await.is_ok() {
        let _ = error.finish().await;
    }
}

/// Joins a command to its client until the command ends or the client leaves.
pub(super) async fn run(mut session: Session, client: Client, command: ExecSession, protocol: &str) {
    let ExecSession { stdin, stdout, stderr, resize, exit } = command;
    let Client { error, stdin: from, stdout: out, stderr: err, resize: sizes } = client;
    let Some(error) = error else { return };
    let ended = async {
        tokio::join!(copy(stdout, out), copy(stderr, err));
        // Output ends before the exit code is told: the client stops reading at the code.
        end_status(exit.await)
    };
    let inputs = async {
        tokio::join!(feed(from.map(|stream| stream.reader), stdin), measure(sizes.map(|stream| stream.reader), resize));
        std::future::pending::<()>().await;
    };
    // The session ends when the client has left; streams that it opens meanwhile are of no use.
    let left = async { while session.accept().await.is_some() {} };
    let status = tokio::select! {
        status = ended => status,
        () = inputs => return,
        () = left => return,
    };
    tell(&error.writer, &status, protocol).await;
    session.close().await;
}

/// Copies output to its stream until it ends.
async fn copy(output: Option<Box<dyn AsyncRead + Send + Unpin>>, stream: Option<Stream>) {
    let Some((mut output, stream)) = output.zip(stream) else { return };
    let sent = send_all(&mut output, &stream.writer).await;
    if sent.is_ok() {
        // A client that is gone needs no end.
        let _ = stream.writer.finish().await;
    }
}

/// Sends everything that can be read.
pub(super) async fn send_all(from: &mut (impl AsyncRead + Unpin), to: &Writer) -> Result<(), Gone> {
    let mut buffer = vec![0; limits::STREAM_CHUNK];
    // An error reads like an end: a terminal whose program is gone answers EIO.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        to.send(Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())).await?;
    }
    Ok(())
}

/// Gives the client's input to the command.
async fn feed(stream: Option<Reader>, pipe: Option<Box<dyn AsyncWrite + Send + Unpin>>) {
    let Some((mut stream, mut pipe)) = stream.zip(pipe) else { return };
    while let Input::Data(bytes) = stream.next().await {
        // A command that no longer reads its input is no reason to end it.
        if pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err() {
            break;
        }
    }
    // A pipe that cannot be shut down is closed by being dropped.
    let _ = pipe.shutdown().await;
    drop(pipe);
    // What still comes is read, so that it does not hold back the other streams.
    while let Input::Data(_) = stream.next().await {}
}

/// Sets the sizes that the client sends, each an object of JSON.
async fn measure(stream: Option<Reader>, resize: Option<mpsc::Sender<(u16, u16)>>) {
    let Some((mut stream, resize)) = stream.zip(resize) else { return };
    let mut object = Vec::new();
    while let Input::Data(bytes) = stream.next().await {
        for byte in bytes {
            object.push(byte);
            if byte == b'}' || object.len() > limits::RESIZE_BYTES {
                if let Some(size) = terminal_size(&object) {
                    // A full queue already holds a newer wish than the terminal has seen; this one is dropped.
                    let _ = resize.try_send(size);
                }
                object.clear();
            }
        }
    }
}
