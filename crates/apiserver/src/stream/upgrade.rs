//! The headers of a request in, the protocol that it is to become out, with the answer that says so.

use api::status::Status;
use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::idle::Idle;
use crate::limits;
use crate::reply::{self, Body};

/// The connection under an upgraded request.
pub(super) type Socket = Idle<TokioIo<Upgraded>>;

/// In both directions what SPDY clients choose from; theirs may come several to a header or several headers.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

/// What a connection becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// A WebSocket.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// What was agreed on: a transport, and on it a protocol (empty if the client named none).
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) transport: Transport,
    pub(super) protocol: &'static str,
    accept: String,
}

/// Why there is no agreement.
pub(super) enum Refusal {
    /// As a Status.
    Status(Status),
    /// None of the client's SPDY protocols is ours: 403 and the list of ours.
    Protocols { asked: String, ours: &'static [&'static str] },
}

impl Refusal {
    /// The answer.
    pub(super) fn response(self) -> Result<Response<Body>, Status> {
        match self {
            Self::Status(status) => Err(status),
            Self::Protocols { asked, ours } => {
                let listed = ours.join(" ");
                let text = format!(
                    "unable to upgrade: unable to negotiate protocol: client supports [{asked}], server accepts [{listed}]"
                );
                let mut response = reply::text(403, text);
                for protocol in ours {
                    response.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(protocol));
                }
                Ok(response)
            }
        }
    }
}

/// What a client and we both speak: of each list, best first, the first that the client offers. A client may name no
/// protocol where `unnamed` has a meaning.
pub(super) fn negotiate(
    headers: &HeaderMap,
    websocket: &'static [&'static str],
    spdy: &'static [&'static str],
    unnamed: bool,
) -> Result<Agreed, Refusal> {
    let refuse = |why: String| Err(Refusal::Status(Status::bad_request(why)));
    if !says(headers, CONNECTION, "upgrade") {
        return refuse("Upgrade request required".to_owned());
    }
    if says(headers, UPGRADE, SPDY) {
        let offers = list(headers, &STREAM_PROTOCOL);
        let chosen = choose(spdy, &offers).or((unnamed && offers.is_empty()).then_some(""));
        return match chosen {
            Some(protocol) => Ok(Agreed { transport: Transport::Spdy, protocol, accept: String::new() }),
            None => Err(Refusal::Protocols { asked: offers.join(" "), ours: spdy }),
        };
    }
    if !says(headers, UPGRADE, "websocket") {
        return refuse(format!("unable to upgrade: the Upgrade header is neither websocket nor {SPDY}"));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|_| says(headers, SEC_WEBSOCKET_VERSION, "13")) else {
        return refuse(
            "unable to upgrade: a WebSocket needs Sec-WebSocket-Version 13 and Sec-WebSocket-Key".to_owned(),
        );
    };
    let offers = list(headers, &SEC_WEBSOCKET_PROTOCOL);
    match choose(websocket, &offers).or((unnamed && offers.is_empty()).then_some("")) {
        Some(protocol) => {
            Ok(Agreed { transport: Transport::WebSocket, protocol, accept: derive_accept_key(key.as_bytes()) })
        }
        None => refuse(format!(
            "unable to upgrade: requested protocol(s) are not supported: {offers:?}; supports {websocket:?}: offer one of \
             them in Sec-WebSocket-Protocol"
        )),
    }
}

fn choose(ours: &'static [&'static str], offers: &[&str]) -> Option<&'static str> {
    ours.iter().copied().find(|ours| offers.contains(ours))
}

/// Whether a header of comma-separated words has one, in any case.
fn says(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    list(headers, &name).iter().any(|part| part.eq_ignore_ascii_case(word))
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty()).collect()
}

impl Agreed {
    /// The answer that makes the client speak the new protocol.
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = reply::text(101, Bytes::new());
        let headers = response.headers_mut();
        headers.clear();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let (name, transport) = match self.transport {
            Transport::WebSocket => (SEC_WEBSOCKET_PROTOCOL, "websocket"),
            Transport::Spdy => (STREAM_PROTOCOL, SPDY),
        };
        headers.insert(UPGRADE, HeaderValue::from_static(transport));
        if !self.protocol.is_empty() {
            headers.insert(name, HeaderValue::from_static(self.protocol));
        }
        if self.transport == Transport::WebSocket {
            reply::header(&mut response, SEC_WEBSOCKET_ACCEPT, &self.accept);
        }
        response
    }
}

/// The connection of a request, once its answer is sent; none if the client left before.
pub(super) async fn socket(upgrade: hyper::upgrade::OnUpgrade) -> Option<Socket> {
    match upgrade.await {
        Ok(socket) => Some(Idle::new(TokioIo::new(socket), limits::STREAM_IDLE)),
        Err(error) => {
            tracing::debug!(%error, "a client left before its streams began");
            None
        }
    }
}

/// Asks for the connection of a request.
pub(super) fn on(request: &mut Request<Incoming>) -> hyper::upgrade::OnUpgrade {
    hyper::upgrade::on(request)
}

/// Our end of a WebSocket over a connection.
pub(super) async fn websocket<S>(socket: S) -> WebSocketStream<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::WEBSOCKET_MESSAGE_BYTES))
        .max_frame_size(Some(limits::WEBSOCKET_MESSAGE_BYTES));
    WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

    fn ask(pairs: &[(&'static str, &'static str)]) -> Result<(Transport, &'static str, Response<Body>), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        match negotiate(&headers, OURS, &OURS[1..], false) {
            Ok(agreed) => Ok((agreed.transport, agreed.protocol, agreed.response())),
            Err(Refusal::Status(status)) => Err(format!("{} {}", status.code, status.message)),
            Err(Refusal::Protocols { asked, .. }) => Err(format!("403 {asked}")),
        }
    }

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        let head = [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v4.channel.k8s.io, v5.channel.k8s.io"),
        ];
        let (transport, protocol, response) = ask(&head).unwrap();
        assert_eq!((transport, protocol), (Transport::WebSocket, "v5.channel.k8s.io"));
        // The example of RFC 6455, 1.3.
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(ask(&head[..4]).unwrap_err().contains("not supported: []; supports [\"v5.channel.k8s.io\""));
        assert!(ask(&head[..3]).unwrap_err().starts_with("400 unable to upgrade: a WebSocket needs"));
        assert_eq!(ask(&head[..1]).unwrap_err(), "400 Upgrade request required");
        assert!(ask(&head[1..]).unwrap_err().contains("neither websocket nor SPDY/3.1"));
    }

    #[test]
    fn spdy_clients_list_their_protocols_in_several_headers() {
        let head = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v9.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ];
        let (transport, protocol, response) = ask(&head).unwrap();
        assert_eq!((transport, protocol), (Transport::Spdy, "v4.channel.k8s.io"));
        assert_eq!((response.status().as_u16(), &response.headers()[UPGRADE]), (101, &HeaderValue::from_static(SPDY)));
        assert_eq!(response.headers()[STREAM_PROTOCOL], "v4.channel.k8s.io");
        assert_eq!(ask(&head[..3]).unwrap_err(), "403 v9.channel.k8s.io");
        let refused = Refusal::Protocols { asked: "x".into(), ours: OURS }.response().unwrap();
        assert_eq!((refused.status().as_u16(), refused.headers().get_all(ACCEPTED_PROTOCOLS).iter().count()), (403, 2));
    }
}
