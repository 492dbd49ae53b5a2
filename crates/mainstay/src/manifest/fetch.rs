//! A URL in, the text behind it out: one GET over HTTP or HTTPS with a limit on everything.
//!
//! It runs before the sandbox starts, when the process must have a single thread: names are looked up by the C library in
//! this thread, and the runtime is one that starts none.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::header::LOCATION;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::sources::{BYTES_MAX, text};

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a server may send us elsewhere.
const REDIRECTS_MAX: usize = 5;

/// The text behind a URL.
pub(super) fn get(url: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let next = "Look at it with: curl -fL";
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, follow(url)).await })
        .unwrap_or_else(|_| Err(anyhow!("no complete answer in {} s", PATIENCE.as_secs())))
        .with_context(|| format!("cannot fetch {url}.\n{next} {url}"))
}

/// Asks, and asks again where it is sent to.
async fn follow(url: &str) -> Result<String> {
    let mut uri: Uri = url.parse().context("it is not a URL")?;
    for _ in 0..=REDIRECTS_MAX {
        let response = ask(&uri).await?;
        let status = response.status();
        if status == StatusCode::OK {
            let large = || anyhow!("it is larger than {} MiB", BYTES_MAX >> 20);
            if response.body().size_hint().lower() > BYTES_MAX {
                return Err(large());
            }
            let limit = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX);
            let body = Limited::new(response.into_body(), limit).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
                Some(_) => large(),
                None => anyhow!("the answer ended early: {error}"),
            })?;
            return text(body.to_bytes().to_vec());
        }
        if !status.is_redirection() {
            bail!("the server answered {status}");
        }
        uri = elsewhere(&uri, &response)?;
    }
    bail!("the server sent us elsewhere more than {REDIRECTS_MAX} times")
}

/// Where a server sends us. From HTTPS nobody is sent to HTTP, where anybody could answer.
fn elsewhere(from: &Uri, response: &Response<Incoming>) -> Result<Uri> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.with_context(|| format!("the server answered {} without a Location", response.status()))?;
    resolve(from, location)
}

fn resolve(from: &Uri, location: &str) -> Result<Uri> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to: Uri = absolute.parse().with_context(|| format!("the server sent us to {location:?}, which is no URL"))?;
    match to.scheme_str() {
        Some("https") => Ok(to),
        Some("http") if scheme == "http" => Ok(to),
        other => bail!("the server sent us from {scheme} to {}: refused", other.unwrap_or("nowhere")),
    }
}

async fn ask(uri: &Uri) -> Result<Response<Incoming>> {
    let host = uri.host().context("the URL names no host")?.trim_matches(['[', ']']).to_owned();
    let tls = uri.scheme_str() == Some("https");
    let port = port(uri, if tls { 443 } else { 80 })?;
    let stream = connect(&host, port).await?;
    if !tls {
        return send(stream, uri).await;
    }
    let name = ServerName::try_from(host.clone()).with_context(|| format!("{host} is no name for TLS"))?;
    let secure = TlsConnector::from(Arc::new(trust()?)).connect(name, stream).await;
    send(secure.with_context(|| format!("no TLS with {host}"))?, uri).await
}

/// The port that a URL names, or the usual one. (One that is no port reads like none to the URL itself.)
fn port(uri: &Uri, usual: u16) -> Result<u16> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    match place.strip_prefix(uri.host().unwrap_or_default()).and_then(|rest| rest.strip_prefix(':')) {
        None | Some("") => Ok(usual),
        Some(text) => match text.parse() {
            Ok(number @ 1..) => Ok(number),
            _ => bail!("{text} is no port: ports are 1 to 65535"),
        },
    }
}

/// Connects to the first address that answers.
async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("look up {host}"))?;
    let mut last = anyhow!("{host} has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = anyhow!("connect to {address}: {error}"),
        }
    }
    Err(last)
}

/// The authorities that this host trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
fn trust() -> Result<rustls::ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        bail!("this host has no certificate authorities to trust: install ca-certificates or set SSL_CERT_FILE");
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

async fn send(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .uri(path)
        .header("host", uri.authority().map_or("", |authority| authority.as_str()))
        .header("user-agent", concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .header("accept", "application/yaml, application/json, text/plain, */*")
        .body(Empty::<Bytes>::new())?;
    sender.send_request(request).await.context("no answer")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives the prepared answers, one a connection; its address.
    fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                    head.push(byte[0]);
                }
                // A client that has seen enough leaves.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        format!("http://{address}/a/b.yaml")
    }

    fn to(location: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
    }

    #[test]
    fn redirects_are_followed_some_times() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na: 1".to_owned();
        assert_eq!(get(&server(vec![to("/x"), to("y"), ok])).unwrap(), "a: 1");
        let error = crate::report(&get(&server(vec![to("/x"); 6])).unwrap_err());
        assert!(error.contains("elsewhere more than 5 times"), "{error}");
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_the_line_to_look_at_it() {
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nx", BYTES_MAX + 1);
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "the server answered 404 Not Found"),
            (large.as_str(), "larger than 16 MiB"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", "the answer ended early"),
            ("nonsense", "no answer"),
            ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "without a Location"),
            ("HTTP/1.1 302 Found\r\nlocation: ftp://host.example/x\r\ncontent-length: 0\r\n\r\n", "refused"),
        ] {
            let url = server(vec![answer.to_owned()]);
            let said = crate::report(&get(&url).unwrap_err());
            assert!(said.contains(expected) && said.ends_with(&format!("curl -fL {url}")), "{said}");
        }
    }

    #[test]
    fn a_port_is_a_port_or_refused() {
        for (url, expected) in [
            ("http://127.0.0.1/x", Some(80)),
            ("http://127.0.0.1:/x", Some(80)),
            ("http://[::1]:81/x", Some(81)),
            ("http://[::1]/x", Some(80)),
            ("HTTP://user:1@host:82/x", Some(82)),
            ("http://127.0.0.1:99999/x", None),
            ("http://127.0.0.1:0/x", None),
        ] {
            assert_eq!(port(&url.parse().unwrap(), 80).ok(), expected, "{url}");
        }
        let said = crate::report(&get("http://127.0.0.1:99999/x").unwrap_err());
        assert!(said.contains("99999 is no port") && said.contains("curl -fL"), "{said}");
    }

    #[test]
    fn nobody_is_sent_from_https_to_http() {
        let from: Uri = "https://a.example/x/y.yaml?z".parse().unwrap();
        assert!(resolve(&from, "http://a.example/").is_err());
        assert_eq!(resolve(&from, "w.yaml").unwrap(), "https://a.example/x/w.yaml");
        assert_eq!(resolve(&from, "//b.example/w").unwrap(), "https://b.example/w");
    }
}
