//! A server whose clock ticks with every look at it, and an administrator who sends it one request at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use api::kinds;
use apiserver::clock::Clock;
use apiserver::{Api, Config, Credentials, Server};
use base64::Engine;
use compile::allocate::Ranges;
use contract::access::Access;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// No two looks see the same second.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

/// An answer.
pub(crate) struct Answer {
    /// HTTP status code.
    pub(crate) code: u16,
    /// `Warning:` headers.
    pub(crate) warnings: Vec<String>,
    /// The body.
    pub(crate) body: Value,
}

/// A running server and who asks it.
pub(crate) struct Client {
    address: String,
    agent: String,
    connector: TlsConnector,
    _dir: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

impl Client {
    /// Starts a server with the namespace `default`.
    pub(crate) async fn start(agent: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ranges = Ranges { service: vec!["10.96.0.0/16".parse().unwrap()], node_ports: 30000..=32767 };
        let config = Config { clock: Arc::new(Ticking(AtomicI64::new(1_795_248_000))), ..Config::new(ranges) };
        let api = Api::new(Store::open_dir(dir.path()).unwrap(), config).unwrap();
        api.create(&kinds::NAMESPACE, json!({ "metadata": { "name": "default" } })).await.unwrap();
        let addresses = ["127.0.0.1".parse().unwrap()];
        let pki: PathBuf = dir.path().join("pki");
        let credentials = Credentials::load_or_create(&pki, &["localhost".into()], &addresses).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connector = connector(&credentials);
        let server = Server::new(api, &credentials).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move { server.serve(listener, stopped).await });
        Self { address, agent: agent.to_owned(), connector, _dir: dir, _stop: stop }
    }

    /// Sends a recorded request.
    pub(crate) async fn send(&self, request: &Value) -> Answer {
        let text = |name: &str| request[name].as_str().unwrap_or("");
        let kind = request.get("type").and_then(Value::as_str).unwrap_or("application/json");
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/json\r\nUser-Agent: \
             {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            text("method"),
            text("path"),
            self.agent,
            text("body").len()
        );
        let stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = self.connector.connect(name, stream).await.unwrap();
        stream.write_all((head + text("body")).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let warning = |line: &str| line.to_lowercase().starts_with("warning: ").then(|| line[9..].to_owned());
        let warnings = head.lines().filter_map(warning).collect();
        Answer { code, warnings, body: serde_json::from_str(body).unwrap() }
    }
}

/// TLS with the administrator's certificate, taken from the kubeconfig.
fn connector(credentials: &Credentials) -> TlsConnector {
    let kubeconfig = credentials.kubeconfig("https://localhost");
    let pem = |name: &str| {
        let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        base64::engine::general_purpose::STANDARD.decode(line.trim()).unwrap()
    };
    let certificate = CertificateDer::from_pem_slice(&pem("client-certificate-data:")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&pem("client-key-data:")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(credentials.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    TlsConnector::from(Arc::new(config))
}
