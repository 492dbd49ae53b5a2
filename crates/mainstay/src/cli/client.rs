//! A small HTTPS client for our own subcommands: kubeconfig in, JSON requests and answers out, one kept connection.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hint;
use crate::exit::Exit;

/// A client of one API server.
pub(crate) struct Client {
    /// `host:port` to connect to.
    address: String,
    connector: TlsConnector,
    name: ServerName<'static>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// An answer: HTTP status and JSON body (null if the body is not JSON).
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) code: u16,
    /// The JSON body.
    pub(crate) body: Value,
    /// What the server warned of.
    pub(crate) warnings: Vec<String>,
    text: String,
}

impl Answer {
    /// The body of a success; otherwise an error with the server's message.
    pub(crate) fn ok(self) -> Result<Value> {
        if (200..300).contains(&self.code) {
            return Ok(self.body);
        }
        let message = self.body["message"].as_str().unwrap_or("no message");
        Err(anyhow!("the API answered {}: {message}", self.code))
    }
}

impl Client {
    /// Reads server, CA and client certificate from a kubeconfig.
    pub(crate) fn from_kubeconfig(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            if denied(&error) {
                return foreign(error, path);
            }
            let next = match hint::same() {
                same if same.starts_with(" --kubeconfig") => "See what runs: mainstay ls".to_owned(),
                same => format!("Is the instance running? Start it with: mainstay up --sandbox{same}"),
            };
            Exit::Unreachable.because(error, format!("cannot read {}.\n{next}", path.display()))
        })?;
        Self::of(&text).with_context(|| {
            let next = "Name one that Mainstay wrote, DIR/kubeconfig, or the directory: --data-dir DIR. mainstay ls shows them";
            format!("cannot use {} as the kubeconfig of an instance.\n{next}", path.display())
        })
    }

    /// The client that the text of a kubeconfig describes.
    fn of(text: &str) -> Result<Self> {
        let config: Value = serde_saphyr::from_str(text).context("it is not YAML")?;
        let (cluster, user) = crate::kubeconfig::current(&config);
        let server = cluster["server"].as_str().context("its current context has no cluster with a server")?;
        let address = server.strip_prefix("https://").context("its server is not https://")?;
        let address = reachable(address);
        let ca = decode(cluster, "certificate-authority-data")?;
        let certificate = decode(user, "client-certificate-data")?;
        let key = decode(user, "client-key-data")?;

        let mut roots = rustls::RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(&ca) {
            roots.add(one?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>()?;
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?;
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        Ok(Self { address, connector: TlsConnector::from(Arc::new(tls)), name, connection: Mutex::new(None) })
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, "application/json", None).await
    }

    /// GET of something that is no JSON, such as a log.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        let answer = self.get(path).await?;
        if answer.code == 200 { Ok(answer.text) } else { Err(answer.ok().err().unwrap_or_else(|| anyhow!("no text"))) }
    }

    /// POST of a JSON object.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, "application/json", Some(body)).await
    }

    /// PUT of a JSON object.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, "application/json", Some(body)).await
    }

    /// PATCH by JSON merge patch.
    pub(crate) async fn merge(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PATCH, path, "application/merge-patch+json", Some(body)).await
    }

    /// DELETE with options.
    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<Answer> {
        self.send(Method::DELETE, path, "application/json", Some(options)).await
    }

    /// PATCH by server-side apply: fields that others own are taken over, as `kubectl apply` does.
    pub(crate) async fn apply(&self, path: &str, body: &Value) -> Result<Answer> {
        let path = format!("{path}?fieldManager=mainstay&force=true");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", Some(body)).await
    }

    /// GET of a body that may never end, on a connection of its own. A refusal is an error with the server's message.
    pub(crate) async fn stream(&self, path: &str) -> Result<Incoming> {
        let mut connection = self.connect().await?;
        let request = Request::builder().uri(path).header("host", &self.address).body(Full::default())?;
        let response = connection.send_request(request).await.map_err(|error| self.lost(error))?;
        let code = response.status().as_u16();
        if code == 200 {
            return Ok(response.into_body());
        }
        let bytes = response.into_body().collect().await.context("reading the API's answer")?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer { code, body, warnings: Vec::new(), text: String::new() };
        Err(answer.ok().err().unwrap_or_else(|| anyhow!("the API answered {code}")))
    }

    /// `host:port` of the API.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn lost(&self, error: hyper::Error) -> anyhow::Error {
        let next = format!("Does it still run? Try: mainstay status{}", hint::same());
        let text = format!("the API at {} ended the connection.\n{next}", self.address);
        Exit::Unreachable.because(error, text)
    }

    async fn send(&self, method: Method, path: &str, media: &str, body: Option<&Value>) -> Result<Answer> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut kept = self.connection.lock().await;
        // A kept connection may have been closed by the server meanwhile: such a request was not sent, so try once more.
        for fresh in [false, true] {
            if fresh || kept.as_ref().is_none_or(|connection| connection.is_closed()) {
                *kept = Some(self.connect().await?);
            }
            let Some(connection) = kept.as_mut() else { bail!("no connection to {}", self.address) };
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header("host", &self.address)
                .header("accept", "application/json")
                .header("content-type", media)
                .body(Full::new(bytes.clone()))?;
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.send_request(request).await {
                Ok(response) => {
                    let code = response.status().as_u16();
                    let warnings = warnings(response.headers());
                    let bytes = response.into_body().collect().await.context("reading the API's answer")?.to_bytes();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                    return Ok(Answer { code, body, warnings, text });
                }
                Err(error) if fresh || !error.is_canceled() => {
                    *kept = None;
                    return Err(self.lost(error)).with_context(|| format!("{method} {path}"));
                }
                Err(_) => {}
            }
        }
        bail!("the API at {} closed the connection twice", self.address)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.dial().await?)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A new connection to the API on which nothing was said yet.
    pub(crate) async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let unreachable = |error: std::io::Error| {
            let next = format!("Is the instance running? Try: mainstay status{}", hint::same());
            Exit::Unreachable.because(error, format!("cannot reach the API at {}.\n{next}", self.address))
        };
        let stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), stream).await.map_err(unreachable)
    }
}

/// Whether an error says that this user may not.
pub(super) fn denied(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}

/// Something of an instance that this user may not use: whose it is, and the same line with that user's rights.
pub(super) fn foreign(error: std::io::Error, path: &Path) -> anyhow::Error {
    use std::os::unix::fs::MetadataExt;
    // What cannot be looked at lies in something that can.
    let owner = path.ancestors().find_map(|place| std::fs::metadata(place).ok()).map_or(0, |found| found.uid());
    let words: Vec<String> = std::env::args().skip(1).map(|word| hint::word(Path::new(&word))).collect();
    let (whose, next) = match owner {
        0 => ("belongs to root".to_owned(), format!("Use root's rights: sudo mainstay {}", words.join(" "))),
        own if own == rustix::process::geteuid().as_raw() => {
            ("may not be read".to_owned(), format!("Look at its rights: ls -ld {}", hint::word(path)))
        }
        other => (
            format!("belongs to user {other}"),
            format!("Use that user's rights: sudo -u '#{other}' mainstay {}", words.join(" ")),
        ),
    };
    Exit::Error.because(error, format!("cannot use {}: it {whose}.\n{next}", path.display()))
}

/// Where a server that listens everywhere is met: on loopback, for which its certificate stands.
fn reachable(address: &str) -> String {
    match address.parse::<std::net::SocketAddr>() {
        Ok(socket) if socket.ip().is_unspecified() => {
            let host = if socket.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            format!("{host}:{}", socket.port())
        }
        _ => address.to_owned(),
    }
}

/// The texts of `Warning: 299 - "text"` headers.
fn warnings(headers: &hyper::HeaderMap) -> Vec<String> {
    let values = headers.get_all("warning").iter().filter_map(|value| value.to_str().ok());
    let quoted =
        values.filter_map(|value| value.split_once('"')?.1.strip_suffix('"').map(|text| text.replace("\\\"", "\"")));
    quoted.collect()
}

fn decode(section: &Value, field: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let text = section[field].as_str().with_context(|| format!("it has no {field}"))?;
    base64::engine::general_purpose::STANDARD.decode(text).with_context(|| format!("its {field} is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_of_another_cluster_is_refused_with_what_to_name_instead() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config");
        let foreign = "clusters: [{cluster: {server: 'https://10.0.0.1:6443'}}]\nusers: [{user: {token: x}}]\n";
        std::fs::write(&path, foreign).unwrap();
        let said = crate::report(&Client::from_kubeconfig(&path).err().unwrap());
        let (what, next) = said.split_once('\n').unwrap();
        assert!(what.ends_with("as the kubeconfig of an instance: it has no certificate-authority-data"), "{said}");
        assert!(next.contains("mainstay ls"), "{said}");
    }

    #[test]
    fn what_belongs_to_another_user_is_no_instance_that_is_down() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = foreign(denied(), Path::new("/proc/1/none/kubeconfig"));
        assert_eq!(crate::exit::code(&error), Exit::Error);
        let said = crate::report(&error);
        assert!(said.contains("it belongs to root") || said.contains("it may not be read"), "{said}");
        let home = tempfile::tempdir().unwrap();
        let said = crate::report(&foreign(denied(), &home.path().join("kubeconfig")));
        // Tests run as root or as somebody: the directory is theirs.
        assert!(said.contains("sudo mainstay") || said.contains("ls -ld"), "{said}");
    }
}
