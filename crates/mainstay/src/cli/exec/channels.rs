//! A WebSocket of `v5.channel.k8s.io` in, the streams and the end of the command behind it out.

use anyhow::{Context, Result, anyhow};
use contract::streams::ExecSession;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message};

use crate::cli::client::Client;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// The protocol's name.
const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// The channel in the next byte has ended.
const CLOSE: u8 = 255;
/// Bytes of a stream that wait for the other side.
const BUFFER: usize = 64 << 10;
/// Sizes that wait to be sent.
const RESIZES: usize = 8;

/// Asks for the command of a URL path.
pub(super) async fn start(client: &Client, path: &str, tty: bool) -> Result<ExecSession> {
    let url = format!("wss://{}{path}", client.address());
    let request = ClientRequestBuilder::new(url.parse().context("the API's address is no URL")?);
    let request = request.with_sub_protocol(PROTOCOL);
    let socket = match tokio_tungstenite::client_async(request, client.dial().await?).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(response)) => {
            let body: Value =
                serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
            let message = body["message"].as_str().map_or_else(|| "no message".to_owned(), str::to_owned);
            return Err(anyhow!("the API answered {}: {message}", response.status().as_u16()));
        }
        Err(error) => return Err(error).context("the API does not speak WebSocket"),
    };
    let (sink, source) = socket.split();
    let (stdin, from_user) = tokio::io::duplex(BUFFER);
    let (to_out, stdout) = tokio::io::duplex(BUFFER);
    let (to_err, stderr) = tokio::io::duplex(BUFFER);
    let (resize, sizes) = mpsc::channel(RESIZES);
    let (ended, exit) = oneshot::channel();
    tokio::spawn(send(sink, from_user, sizes));
    tokio::spawn(async move {
        let how = receive(source, [to_out, to_err]).await;
        // Nobody asks any more when this program ends.
        let _ = ended.send(how);
    });
    Ok(ExecSession {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        resize: tty.then_some(resize),
        exit,
    })
}

/// What the user types, and the sizes of the terminal, until both have ended.
async fn send(mut sink: SplitSink<Socket, Message>, mut input: DuplexStream, mut sizes: mpsc::Receiver<(u16, u16)>) {
    let mut buffer = vec![0; BUFFER];
    let (mut reads, mut resizes) = (true, true);
    while reads || resizes {
        let message = tokio::select! {
            read = input.read(&mut buffer), if reads => match read {
                Ok(count @ 1..) => channel(STDIN, buffer.get(..count).unwrap_or_default()),
                _ => {
                    reads = false;
                    Message::Binary(vec![CLOSE, STDIN].into())
                }
            },
            size = sizes.recv(), if resizes => match size {
                Some((columns, rows)) => channel(RESIZE, json!({ "Width": columns, "Height": rows }).to_string().as_bytes()),
                None => {
                    resizes = false;
                    continue;
                }
            },
        };
        if sink.send(message).await.is_err() {
            // The receiving side notices, too, and says so.
            return;
        }
    }
}

fn channel(number: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(number);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// What the command says, to its end; how it ended.
async fn receive(mut source: SplitStream<Socket>, [mut out, mut err]: [DuplexStream; 2]) -> Result<i32, String> {
    while let Some(Ok(message)) = source.next().await {
        let Message::Binary(bytes) = message else { continue };
        let Some((number, data)) = bytes.split_first() else { continue };
        // An output that nobody reads any more ends nothing: the command may have more to do.
        let _ = match *number {
            STDOUT => out.write_all(data).await,
            STDERR => err.write_all(data).await,
            ERROR => return end(data),
            _ => Ok(()),
        };
    }
    Err("the server ended the connection".to_owned())
}

/// The exit code in a Status.
fn end(status: &[u8]) -> Result<i32, String> {
    let status: Value = serde_json::from_slice(status).map_err(|error| format!("its end is told wrongly: {error}"))?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes.into_iter().flatten().find(|cause| cause["reason"] == "ExitCode");
    let code = code.and_then(|cause| cause["message"].as_str()?.parse().ok());
    code.ok_or_else(|| status["message"].as_str().unwrap_or("no reason is given").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_codes_or_reasons() {
        assert_eq!(end(br#"{"status":"Success"}"#), Ok(0));
        let failed =
            json!({ "status": "Failure", "details": { "causes": [{ "reason": "ExitCode", "message": "7" }] } });
        assert_eq!(end(failed.to_string().as_bytes()), Ok(7));
        assert_eq!(end(br#"{"status":"Failure","message":"no sh"}"#), Err("no sh".to_owned()));
        assert!(end(b"nonsense").unwrap_err().contains("told wrongly"));
    }
}
