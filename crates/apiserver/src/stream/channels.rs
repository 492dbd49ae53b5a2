//! Messages of a WebSocket in, channel numbers and bytes out, and back: `channel.k8s.io` and its base64 sister.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::SinkExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::limits;

/// How a message carries its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// A byte, then the data.
    Binary,
    /// A digit, then the data in base64.
    Base64,
}

impl Codec {
    /// The message for some bytes of a channel.
    pub(super) fn message(self, channel: u8, bytes: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = Vec::with_capacity(bytes.len() + 1);
                message.push(channel);
                message.extend_from_slice(bytes);
                Message::Binary(message.into())
            }
            Self::Base64 => {
                let mut message = String::from(char::from(b'0'.wrapping_add(channel)));
                STANDARD.encode_string(bytes, &mut message);
                Message::Text(message.into())
            }
        }
    }

    /// Channel and bytes of a message; none if it has none.
    pub(super) fn parts(self, message: Message) -> Option<(u8, Bytes)> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => return None,
        };
        let channel = *bytes.first()?;
        let data = bytes.split_off(1);
        match self {
            Self::Binary => Some((channel, data)),
            Self::Base64 => Some((channel.checked_sub(b'0')?, STANDARD.decode(&data).ok()?.into())),
        }
    }

    /// Copies a stream to its channel until it ends.
    pub(super) async fn copy(
        self,
        stream: &mut (impl AsyncRead + Unpin),
        channel: u8,
        messages: &mpsc::Sender<Message>,
    ) {
        let mut buffer = vec![0; limits::STREAM_CHUNK];
        // An error reads like an end: a terminal whose program is gone answers EIO.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let piece = buffer.get(..count).unwrap_or_default();
            if messages.send(self.message(channel, piece)).await.is_err() {
                return;
            }
        }
    }
}

/// Puts messages on the wire until there are no more; false when the client turns out to be gone. While `stuck`, nothing of
/// the client is read, so that its death shows only when something is sent to it.
pub(super) async fn write<W>(sink: &mut W, outbox: &mut mpsc::Receiver<Message>, stuck: &AtomicBool) -> bool
where
    W: futures::Sink<Message> + Unpin,
{
    loop {
        let message = tokio::select! {
            message = outbox.recv() => match message {
                Some(message) => message,
                None => return true,
            },
            () = tokio::time::sleep(limits::STREAM_PING) => {
                if !stuck.load(Ordering::Relaxed) {
                    continue;
                }
                Message::Ping(Bytes::new())
            }
        };
        if sink.send(message).await.is_err() {
            return false;
        }
    }
}

/// Ends a WebSocket in good order.
pub(super) async fn say_goodbye<W>(sink: &mut W)
where
    W: futures::Sink<Message> + Unpin,
{
    // Without the code of a normal end, kubectl takes the close for a broken connection and loses the exit code.
    let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    // A client that left needs no goodbye.
    let _ = sink.send(Message::Close(Some(end))).await;
}

/// Waits for the client's side of the close: leaving before it has read everything would reset the connection.
pub(super) async fn drain<R>(source: &mut R)
where
    R: futures::Stream<Item = Result<Message, Error>> + Unpin,
{
    use futures::StreamExt;
    let rest = async { while let Some(Ok(_)) = source.next().await {} };
    // A client that never answers has had its time.
    let _ = tokio::time::timeout(limits::DRAIN, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codecs_carry_channels() {
        for codec in [Codec::Binary, Codec::Base64] {
            assert_eq!(codec.parts(codec.message(3, b"hi\xff")), Some((3, Bytes::from_static(b"hi\xff"))));
            assert_eq!(codec.parts(codec.message(0, b"")), Some((0, Bytes::new())));
            assert_eq!(codec.parts(Message::Binary(Bytes::new())), None);
        }
        assert_eq!(Codec::Base64.message(1, b"hi"), Message::Text("1aGk=".into()));
        assert_eq!(Codec::Base64.parts(Message::Text("1*".into())), None);
        assert_eq!(Codec::Base64.parts(Message::Text("\u{1}aGk=".into())), None);
    }
}
