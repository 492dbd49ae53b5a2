//! A WebSocket in, a command in a pod out: its streams as channels of one connection, its exit as a Status.
//!
//! The newest protocol is `v5.channel.k8s.io`: the first byte of each binary message is the channel.

use std::sync::atomic::{AtomicBool, Ordering};

use contract::streams::ExecSession;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::channels::{self, Codec};
use super::command::{end_status, error_text, terminal_size};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5 only: the channel in the next byte has ended.
const CLOSE: u8 = 255;

/// The protocols spoken, best first.
pub(super) const PROTOCOLS: &[&str] =
    &["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];

/// What differs between the protocols.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    codec: Codec,
    closes: bool,
    whole_status: bool,
}

impl Dialect {
    /// That of a protocol's name, which is empty for the oldest.
    pub(super) fn of(protocol: &str) -> Self {
        Self {
            codec: if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary },
            closes: protocol.starts_with("v5"),
            whole_status: protocol.starts_with('v'),
        }
    }
}

/// Joins a command to its client until the command ends or the client leaves.
pub(super) async fn run<S>(socket: WebSocketStream<S>, session: ExecSession, dialect: Dialect)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut source) = socket.split();
    let ExecSession { stdin, stdout, stderr, resize, exit } = session;
    // One message of each stream is on its way at most, so a slow client slows the command and fills no memory.
    let (pieces, mut outbox) = mpsc::channel::<Message>(1);
    let outputs = async {
        let copy = async |stream: Option<Box<dyn AsyncRead + Send + Unpin>>, channel, pieces: mpsc::Sender<Message>| {
            if let Some(mut stream) = stream {
                dialect.codec.copy(&mut stream, channel, &pieces).await;
            }
        };
        tokio::join!(copy(stdout, STDOUT, pieces.clone()), copy(stderr, STDERR, pieces));
        // Output ends before the exit code is told: the client stops reading at the code.
        end_status(exit.await)
    };
    let (stuck, lost) = (AtomicBool::new(false), Notify::new());
    let write = async {
        if !channels::write(&mut sink, &mut outbox, &stuck).await {
            lost.notify_one();
        }
        sink
    };
    let both = async { tokio::join!(outputs, write) };
    tokio::select! {
        (status, mut sink) = both => {
            tell(&mut sink, &status, dialect).await;
            channels::drain(&mut source).await;
        }
        () = inputs(&mut source, stdin, resize, dialect, &stuck) => {}
        () = lost.notified() => {}
    }
}

/// Tells why there is no command. A refused upgrade would make clients try another protocol instead of telling.
pub(super) async fn refuse<S>(mut socket: WebSocketStream<S>, status: &Value, dialect: Dialect)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tell(&mut socket, status, dialect).await;
    channels::drain(&mut socket).await;
}

async fn tell<W>(sink: &mut W, status: &Value, dialect: Dialect)
where
    W: futures::Sink<Message> + Unpin,
{
    let text = error_text(status, dialect.whole_status);
    // A client that left does not miss its exit code.
    let _ = sink.send(dialect.codec.message(ERROR, text.as_bytes())).await;
    channels::say_goodbye(sink).await;
}

/// Takes what the client sends; returns when it has left.
async fn inputs<R>(
    source: &mut R,
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    resize: Option<mpsc::Sender<(u16, u16)>>,
    dialect: Dialect,
    stuck: &AtomicBool,
) where
    R: futures::Stream<Item = Result<Message, Error>> + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        if message.is_close() {
            return;
        }
        let Some((channel, data)) = dialect.codec.parts(message) else { continue };
        match channel {
            STDIN => {
                stuck.store(true, Ordering::Relaxed);
                // A command that no longer reads its input is no reason to end it.
                if let Some(pipe) = &mut stdin
                    && (pipe.write_all(&data).await.is_err() || pipe.flush().await.is_err())
                {
                    stdin = None;
                }
                stuck.store(false, Ordering::Relaxed);
            }
            CLOSE if dialect.closes && data.first() == Some(&STDIN) => {
                if let Some(mut pipe) = stdin.take() {
                    // A pipe that cannot be shut down is closed by being dropped.
                    let _ = pipe.shutdown().await;
                }
            }
            RESIZE => {
                if let Some((resize, size)) = resize.as_ref().zip(terminal_size(&data)) {
                    // A full queue already holds a newer wish than the terminal has seen; this one is dropped.
                    let _ = resize.try_send(size);
                }
            }
            _ => {}
        }
    }
}
