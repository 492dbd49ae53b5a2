//! A client's request in, the same request to a pod out, and the pod's answer back: headers cleaned on both ways, links
//! and redirects led back through the proxy, upgraded connections joined.

use std::io::{Read, Write};

use api::status::Status;
use bytes::{Bytes, BytesMut};
use contract::dial::Connection;
use futures::StreamExt;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    HeaderName, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;

use super::link::Links;
use super::locate::Target;
use super::{Place, html, tls};
use crate::auth::Peer;
use crate::limits;
use crate::pipeline::Api;
use crate::reply::{self, Body};

/// Headers that belong to one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that would let a pod's answer speak for the API server to a browser.
const CROSS_ORIGIN: [HeaderName; 4] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Whether a request asks for another protocol.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Removes what belongs to the one connection.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<String> = tokens(headers).map(str::to_owned).collect();
    for name in named {
        headers.remove(name.as_str());
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Sends a request on and gives back the answer.
pub(super) async fn forwarded(
    api: &Api,
    target: &Target,
    place: &Place,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let (mut head, body) = request.into_parts();
    let peer = head.extensions.get::<Peer>().copied();
    clean(&mut head.headers);
    let outgoing = outgoing(target, place, head, peer, body)?;
    let answer = send(connect(api, target).await?, outgoing).await?;
    incoming(target, place, answer).await
}

/// Sends a request on that asks for another protocol; joins both connections if the pod agrees.
pub(super) async fn upgraded(
    api: &Api,
    target: &Target,
    place: &Place,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let Ok(taken) = crate::stream::PLACES.try_acquire() else {
        let why = "too many connections to pods are open already: close some, or try again";
        return Err(Status::new(429, "TooManyRequests", why));
    };
    let client = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    let peer = head.extensions.get::<Peer>().copied();
    let protocol = head.headers.get_all(UPGRADE).iter().cloned().collect::<Vec<_>>();
    clean(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for value in protocol {
        head.headers.append(UPGRADE, value);
    }
    let outgoing = outgoing(target, place, head, peer, body)?;
    let mut answer = send(connect(api, target).await?, outgoing).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return match answer.status().as_u16() {
            400.. => incoming(target, place, answer).await,
            code => Err(Status::internal(format!("invalid upgrade response: status code {code}"))),
        };
    }
    let pod = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let _taken = taken;
        match tokio::try_join!(client, pod) {
            Ok((client, pod)) => {
                let (mut client, mut pod) = (TokioIo::new(client), TokioIo::new(pod));
                // Either side may leave at any time; that ends the other one and is no failure of ours.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
            }
            Err(error) => tracing::debug!(%error, "a proxied connection was not upgraded"),
        }
    });
    let mut response = reply::text(101, Bytes::new());
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

/// The request as the pod sees it.
fn outgoing(
    target: &Target,
    place: &Place,
    head: http::request::Parts,
    peer: Option<Peer>,
    body: Incoming,
) -> Result<Request<Incoming>, Status> {
    let path = if place.rest.is_empty() { "/" } else { &place.rest };
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = format!("{path}{}", place.query)
        .parse()
        .map_err(|error| Status::bad_request(format!("cannot send the path {path:?} on: {error}")))?;
    *request.version_mut() = Version::HTTP_11;
    let mut headers = head.headers;
    // Who the client is to us is nothing that a pod may learn or use.
    headers.remove(AUTHORIZATION);
    let said: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    let host = if place.host.is_empty() { target.address.to_string() } else { place.host.clone() };
    set(&mut headers, HOST, &host);
    set(&mut headers, HeaderName::from_static("x-forwarded-uri"), &format!("{}{}", place.prefix, place.rest));
    if let Some(Peer(peer)) = peer {
        let name = HeaderName::from_static("x-forwarded-for");
        let before = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
        let chain: Vec<String> = before.map(str::to_owned).chain([peer.ip().to_canonical().to_string()]).collect();
        set(&mut headers, name, &chain.join(", "));
    }
    *request.headers_mut() = headers;
    Ok(request)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn unreachable(why: impl std::fmt::Display) -> Status {
    Status::new(503, "ServiceUnavailable", format!("error trying to reach service: {why}"))
}

/// A connection to the pod, with TLS if that was asked for.
async fn connect(api: &Api, target: &Target) -> Result<Box<dyn Connection>, Status> {
    let address = target.address;
    let failed = |error: std::io::Error| unreachable(format!("dial tcp {address}: {}", words(&error)));
    let dial = api.dial()?;
    let connect = async {
        let plain = dial.dial(address).await.map_err(failed)?;
        if !target.https {
            return Ok(plain);
        }
        let config = tls::config().map_err(|error| Status::internal(format!("cannot speak TLS: {error}")))?;
        let name = ServerName::IpAddress(address.ip().into());
        let secure = tokio_rustls::TlsConnector::from(config).connect(name, plain).await;
        Ok(Box::new(secure.map_err(|error| unreachable(format!("tls: {error}")))?) as Box<dyn Connection>)
    };
    match tokio::time::timeout(limits::PROXY_CONNECT, connect).await {
        Ok(connected) => connected,
        Err(_) => Err(unreachable(format!("dial tcp {address}: i/o timeout"))),
    }
}

/// Failures to connect in the words that clients of Kubernetes know.
fn words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

async fn send(stream: Box<dyn Connection>, request: Request<Incoming>) -> Result<Response<Incoming>, Status> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended early");
        }
    });
    sender.send_request(request).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        unreachable(format!("{error}{cause}"))
    })
}

/// The answer as the client sees it.
async fn incoming(target: &Target, place: &Place, answer: Response<Incoming>) -> Result<Response<Body>, Status> {
    let (mut head, body) = answer.into_parts();
    clean(&mut head.headers);
    for name in CROSS_ORIGIN {
        head.headers.remove(name);
    }
    let backend = target.address.to_string();
    let links = Links { prefix: &place.prefix, backend: &backend, host: &place.host };
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match location {
        Some(location) => {
            if let Some(new) = links.rewrite(&location) {
                set(&mut head.headers, LOCATION, &new);
            }
            passed(body)
        }
        None if is_html(&head.headers) => page(&mut head.headers, &links, body).await?,
        None => passed(body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// A body as it comes. It tells no size of its own, so that nothing later takes it for one of ours to be compressed.
fn passed(body: Incoming) -> Body {
    BodyExt::boxed_unsync(StreamBody::new(BodyStream::new(body).map(|frame| frame.map_err(std::io::Error::other))))
}

fn is_html(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    media.split(';').next().is_some_and(|name| name.trim() == "text/html")
}

/// How a page is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packed {
    Plain,
    Gzip,
    Deflate,
}

/// A page with its links rewritten; one that is too large, or packed in a way we do not know, passes as it is.
async fn page(headers: &mut HeaderMap, links: &Links<'_>, mut body: Incoming) -> Result<Body, Status> {
    let packed = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"") => Packed::Plain,
        Some(b"gzip") => Packed::Gzip,
        Some(b"deflate") => Packed::Deflate,
        Some(_) => return Ok(passed(body)),
    };
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(unreachable)?;
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if read.len() > limits::PROXY_PAGE_BYTES {
            let first = futures::stream::iter([Ok(Frame::data(read.freeze()))]);
            let rest = BodyStream::new(body).map(|frame| frame.map_err(std::io::Error::other));
            return Ok(BodyExt::boxed_unsync(StreamBody::new(first.chain(rest))));
        }
    }
    let original = read.freeze();
    let rewritten =
        unpack(packed, &original).and_then(|page| pack(packed, html::rewrite(&page, &|link| links.rewrite(link))).ok());
    // The answer to HEAD has no body and keeps the length of the one it stands for.
    if !original.is_empty() {
        headers.remove(CONTENT_LENGTH);
    }
    Ok(reply::stream(futures::stream::iter([Ok(rewritten.map_or(original, Bytes::from))]).boxed()))
}

fn unpack(packed: Packed, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    // A small page may unpack to any size; one byte more than the limit tells that it did.
    let limit = limits::PROXY_PAGE_BYTES as u64 + 1;
    let read = match packed {
        Packed::Plain => return Some(bytes.to_vec()),
        Packed::Gzip => flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut out),
        Packed::Deflate => flate2::read::DeflateDecoder::new(bytes).take(limit).read_to_end(&mut out),
    };
    read.is_ok_and(|size| size <= limits::PROXY_PAGE_BYTES).then_some(out)
}

fn pack(packed: Packed, page: Vec<u8>) -> std::io::Result<Vec<u8>> {
    match packed {
        Packed::Plain => Ok(page),
        Packed::Gzip => reply::gzip(&page),
        Packed::Deflate => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&page)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_sent_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        clean(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn upgrades_need_both_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert!(!is_upgrade(&headers));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(is_upgrade(&headers));
    }

    #[test]
    fn pages_are_unpacked_and_packed_alike_but_bombs_are_not() {
        let page = b"<a href=/x>".to_vec();
        for packed in [Packed::Plain, Packed::Gzip, Packed::Deflate] {
            let bytes = pack(packed, page.clone()).unwrap();
            assert_eq!(unpack(packed, &bytes).unwrap(), page);
        }
        let bomb = pack(Packed::Gzip, vec![b' '; limits::PROXY_PAGE_BYTES + 1]).unwrap();
        assert!(bomb.len() < limits::PROXY_PAGE_BYTES / 100 && unpack(Packed::Gzip, &bomb).is_none());
        assert!(unpack(Packed::Gzip, b"nonsense").is_none());
    }
}
