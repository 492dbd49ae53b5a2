//! A pod's program: an HTTP server that shows what it was asked, and a way to it from any pod address.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use contract::dial::{Connection, Dial};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Every pod of 10.244.0.0/16 is the one program on this host, with TLS on port 443; other addresses refuse.
pub(crate) struct Pods {
    plain: SocketAddr,
    secure: SocketAddr,
}

#[async_trait]
impl Dial for Pods {
    async fn dial(&self, address: SocketAddr) -> std::io::Result<Box<dyn Connection>> {
        let there = address.ip().to_string().starts_with("10.244.") && address.port() != 9;
        if !there {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let program = if address.port() == 443 { self.secure } else { self.plain };
        Ok(Box::new(TcpStream::connect(program).await?))
    }
}

/// Starts the program.
pub(crate) async fn start() -> Arc<Pods> {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pods = Pods { plain: plain.local_addr().unwrap(), secure: secure.local_addr().unwrap() };
    tokio::spawn(async move {
        loop {
            let (stream, _) = plain.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    // A certificate that nobody else trusts, for another name.
    let own = apiserver::Credentials::load_or_create(dir.path(), &["pod".into()], &[]).unwrap();
    let mut config = own.server_config().unwrap();
    config.alpn_protocols.clear();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (stream, _) = secure.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    Arc::new(pods)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(request).await) });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that leaves is the test's business.
    let _ = connection.with_upgrades().await;
}

async fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let plain = |text: &str| Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    let with = |mut response: Response<Full<Bytes>>, name: &'static str, value: &str| {
        response.headers_mut().insert(name, value.parse().unwrap());
        response
    };
    let page = "<a href=\"/rewriteme\">test</a>";
    match request.uri().path() {
        "/page" => with(plain(page), "content-type", "text/html; charset=utf-8"),
        "/packed" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, page.as_bytes()).unwrap();
            let response = Response::new(Full::new(encoder.finish().unwrap().into()));
            with(with(response, "content-type", "text/html"), "content-encoding", "gzip")
        }
        "/moved" => {
            let mut response = with(plain("elsewhere"), "location", "/new?x=1");
            *response.status_mut() = StatusCode::FOUND;
            response
        }
        "/large" => plain(&"x".repeat(400_000)),
        "/browser" => with(plain("ok"), "access-control-allow-origin", "*"),
        "/missing" => {
            let mut response = plain("the pod's own 404");
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        "/upgrade" if request.headers().contains_key("upgrade") => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.await.unwrap());
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
            let mut response = with(with(plain(""), "upgrade", "echo"), "connection", "Upgrade");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
        }
        _ => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers: serde_json::Map<_, _> = head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").into()))
                .collect();
            let seen = json!({
                "method": head.method.as_str(), "uri": head.uri.to_string(), "headers": headers,
                "body": String::from_utf8_lossy(&body),
            });
            with(plain(&seen.to_string()), "content-type", "application/json")
        }
    }
}
