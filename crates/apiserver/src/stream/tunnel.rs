//! A WebSocket in, the plain connection that its binary messages carry out.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::channels;
use crate::limits;

/// The connection inside; it ends with the WebSocket, and the WebSocket with it.
pub(super) fn open<S>(socket: WebSocketStream<S>) -> DuplexStream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (inside, ours) = tokio::io::duplex(2 * limits::STREAM_CHUNK);
    tokio::spawn(carry(socket, ours));
    inside
}

async fn carry<S>(socket: WebSocketStream<S>, inside: DuplexStream)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut source) = socket.split();
    let (mut from, mut to) = tokio::io::split(inside);
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            let done = match message {
                Message::Binary(bytes) => to.write_all(&bytes).await,
                // Text is not what was agreed on; control messages are not ours to answer.
                Message::Text(_) | Message::Close(_) => break,
                _ => Ok(()),
            };
            if done.is_err() {
                break;
            }
        }
        // The reader inside sees the end; if it is gone there is nobody to tell.
        let _ = to.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; limits::STREAM_CHUNK + limits::SPDY_HEADER_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let piece = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
            if sink.send(Message::Binary(piece)).await.is_err() {
                return;
            }
        }
        channels::say_goodbye(&mut sink).await;
    };
    tokio::join!(inward, outward);
}
