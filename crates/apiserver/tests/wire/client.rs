//! A server in this process and a client that says exactly what a test wants said.

use std::sync::Arc;

use api::kind::Kind;
use api::kinds;
use apiserver::{Api, Config, Credentials, Server};
use bytes::Bytes;
use compile::allocate::Ranges;
use contract::access::Access;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use store::Store;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A running server.
pub(crate) struct Wire {
    /// The API, for what controllers would do.
    pub(crate) api: Api,
    /// `host:port` of the server.
    pub(crate) address: String,
    credentials: Credentials,
    _dir: tempfile::TempDir,
    _stop: tokio::sync::watch::Sender<bool>,
}

fn config() -> Config {
    Config::new(Ranges { service: vec!["10.96.0.0/16".parse().unwrap()], node_ports: 30000..=32767 })
}

/// The same bits again and again.
struct Equal;

impl apiserver::clock::Ids for Equal {
    fn bits(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// Starts a watch.
    pub(crate) async fn open(wire: &Wire, path: &str, accept: &str) -> Self {
        let accept = if accept.is_empty() { "application/json" } else { accept };
        let response = wire.open(true, "GET", path, &[("accept", accept)], "").await;
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), read: Vec::new() }
    }

    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.read.extend_from_slice(frame.data_ref().unwrap());
        }
    }
}

/// What came back.
pub(crate) struct Answer {
    /// Status code.
    pub(crate) code: u16,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// The whole body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Code, reason and message of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let status = self.json();
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["code"], self.code, "{status}");
        let text = |field: &str| status[field].as_str().unwrap_or("").to_owned();
        (self.code, text("reason"), text("message"))
    }
}

impl Wire {
    /// Starts a server with the namespace `default`.
    pub(crate) async fn start() -> Self {
        Self::over(store::Limits::default(), config()).await
    }

    /// A server that remembers so many changes only.
    pub(crate) async fn with_history(events: usize) -> Self {
        Self::over(store::Limits { history_events: events, ..Default::default() }, config()).await
    }

    /// A server whose random numbers are all the same.
    pub(crate) async fn with_equal_ids() -> Self {
        Self::over(store::Limits::default(), Config { ids: Arc::new(Equal), ..config() }).await
    }

    async fn over(limits: store::Limits, config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Box::new(store::log::memory::MemoryLog::default()), limits).unwrap();
        let api = Api::new(store, config).unwrap();
        let pki = dir.path().join("pki");
        let credentials =
            Credentials::load_or_create(&pki, &["localhost".into()], &["127.0.0.1".parse().unwrap()]).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::new(api.clone(), &credentials).unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(async move { server.serve(listener, stopped).await });
        api.create(&kinds::NAMESPACE, json!({ "metadata": { "name": "default" } })).await.unwrap();
        Self { api, address, credentials, _dir: dir, _stop: stop }
    }

    /// A connection, with or without the administrator's certificate.
    pub(crate) async fn connect(&self, admin: bool) -> TlsStream<TcpStream> {
        let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(self.credentials.ca_pem()) {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = if admin {
            let (certificate, key) = self.credentials.admin_pem();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(certificates(certificate), key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn open(
        &self,
        admin: bool,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect(admin).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        sender.send_request(request.body(body).unwrap()).await.unwrap()
    }

    /// Sends a request as the administrator.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (head, body) = self.open(true, method, path, headers, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Creates an object as a controller would.
    pub(crate) async fn create(&self, kind: &'static Kind, object: Value) {
        self.api.create(kind, object).await.unwrap();
    }
}
