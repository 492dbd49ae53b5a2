//! A server in this process and a stock kubectl that talks to it, both in one temporary directory.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use apiserver::{Api, Config, Credentials, Server};
use async_trait::async_trait;
use bytes::Bytes;
use compile::allocate::Ranges;
use contract::access::{Access, DeleteOptions};
use contract::streams::{Connection, ExecOptions, ExecSession, LogOptions, PodStreams};
use futures::stream::{self, BoxStream, StreamExt};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};

/// Where kubectl is looked for.
const KUBECTL: &str = "kubectl";

/// A running server and its kubeconfig.
pub(crate) struct Cluster {
    /// The API, for what controllers would do.
    pub(crate) api: Api,
    /// Address of the server.
    pub(crate) url: String,
    ca: String,
    dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
}

impl Cluster {
    /// Starts a server with the namespace `default`.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_dir(dir.path()).unwrap();
        let ranges = Ranges {
            service: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
            node_ports: 30000..=32767,
        };
        let api = Api::new(store, Config::new(ranges)).unwrap();
        api.set_streams(Arc::new(Echo));
        let addresses = ["127.0.0.1".parse().unwrap()];
        let credentials =
            Credentials::load_or_create(&dir.path().join("pki"), &["localhost".into()], &addresses).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::fs::write(dir.path().join("kubeconfig"), credentials.kubeconfig(&url)).unwrap();
        let server = Server::new(api.clone(), &credentials).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move { server.serve(listener, stopped).await });
        let cluster = Self { api, url, ca: credentials.ca_pem().to_owned(), dir, stop };
        cluster.create(&kinds::NAMESPACE, json!({ "metadata": { "name": "default" } })).await;
        cluster.api.bootstrap().await.unwrap();
        cluster
    }

    /// Creates an object as a controller would.
    pub(crate) async fn create(&self, kind: &'static api::kind::Kind, object: Value) {
        self.api.create(kind, object).await.unwrap();
    }

    /// Replaces the status of an object as a controller would.
    pub(crate) async fn set_status(&self, kind: &'static api::kind::Kind, namespace: &str, name: &str, status: Value) {
        let mut object = self.api_object(kind, namespace, name).await;
        object["status"] = status;
        self.api.update_status(kind, object).await.unwrap();
    }

    /// An object as it is now.
    pub(crate) async fn api_object(&self, kind: &'static api::kind::Kind, namespace: &str, name: &str) -> Value {
        let object = self.api.get(kind, &ObjectKey::new(namespace, name)).await.unwrap();
        serde_json::from_slice(&object.json).unwrap()
    }

    /// Assigns a pod to a node as the scheduler would.
    pub(crate) async fn bind(&self, name: &str, node: &str) {
        let mut pod = self.api_object(&kinds::POD, "default", name).await;
        pod["spec"]["nodeName"] = node.into();
        self.api.update_subresource(&kinds::POD, "binding", pod).await.unwrap();
    }

    /// Deletes an object as a controller would.
    pub(crate) async fn delete(
        &self,
        kind: &'static api::kind::Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) {
        self.api.delete(kind, &ObjectKey::new(namespace, name), options).await.unwrap();
    }

    /// A file in the cluster's directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(KUBECTL);
        command
            .args(words(line))
            .env("KUBECONFIG", self.dir.path().join("kubeconfig"))
            .env("HOME", self.dir.path())
            .env("KUBECACHEDIR", self.dir.path().join("cache"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    async fn run(&self, line: &str) -> Output {
        let mut command = self.command(line);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        output.unwrap_or_else(|error| {
            panic!("cannot run {KUBECTL}: {error}; install kubectl 1.30 or newer to run this test")
        })
    }

    /// Runs kubectl, which must succeed; standard output and then standard error (warnings).
    pub(crate) async fn kubectl(&self, line: &str) -> String {
        let output = self.run(line).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line} failed:\n{text}");
        text
    }

    /// Runs kubectl with something on its standard input.
    pub(crate) async fn kubectl_with_input(&self, line: &str, input: &'static str) -> String {
        let mut command = self.command(line);
        let output = tokio::task::spawn_blocking(move || {
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line} failed:\n{text}");
        text
    }

    /// Runs kubectl, which must fail; standard error.
    pub(crate) async fn refused(&self, line: &str) -> String {
        let output = self.run(line).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "kubectl {line} should have failed: {text}");
        text
    }

    /// Runs kubectl, whatever comes of it; its exit code and what it printed.
    #[allow(dead_code, reason = "for kubectl diff, which not every test runs")]
    pub(crate) async fn output(&self, line: &str) -> (i32, String) {
        let output = self.run(line).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    /// Starts a kubectl that keeps running, with its standard output to read.
    pub(crate) fn spawn(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
    }

    /// What a client without a certificate gets, head and body, for some more headers.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> String {
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = self.url.strip_prefix("https://").unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Splits a line at blanks outside single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Pods whose log says who they are and whose commands print themselves, copy their input and exit with a code.
struct Echo;

#[async_trait]
impl PodStreams for Echo {
    async fn logs(
        &self,
        pod: &ObjectKey,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        let line = format!("log of {pod} {} tail {:?}\n", options.container, options.tail_lines);
        Ok(stream::iter([Ok(Bytes::from(line))]).boxed())
    }

    async fn exec(&self, _pod: &ObjectKey, options: &ExecOptions) -> Result<ExecSession, Status> {
        if options.command[0] == "missing" {
            return Err(Status::internal("exec: \"missing\": no such program in the container"));
        }
        let code = options.command.get(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let (ours, theirs) = tokio::io::duplex(1024);
        let (input, mut output) = tokio::io::split(ours);
        let (stdin, stdout) = tokio::io::split(theirs);
        let (stdout, stdin): (
            Box<dyn tokio::io::AsyncRead + Send + Unpin>,
            Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
        ) = (Box::new(stdin), Box::new(stdout));
        let (exit, exited) = oneshot::channel();
        let (command, wants_stdin) = (options.command.join(" "), options.stdin);
        tokio::spawn(async move {
            output.write_all(format!("ran {command}\n").as_bytes()).await.unwrap();
            if wants_stdin {
                let mut input = input;
                tokio::io::copy(&mut input, &mut output).await.unwrap();
            }
            output.shutdown().await.unwrap();
            let _ = exit.send(Ok(code));
        });
        let stdin = options.stdin.then_some(stdin);
        Ok(ExecSession { stdin, stdout: Some(stdout), stderr: None, resize: None, exit: exited })
    }

    async fn attach(&self, pod: &ObjectKey, options: &ExecOptions) -> Result<ExecSession, Status> {
        let command = vec!["attached".to_owned()];
        self.exec(pod, &ExecOptions { command, ..options.clone() }).await
    }

    async fn port_forward(&self, _pod: &ObjectKey, port: u16) -> Result<Connection, Status> {
        if port == 9999 {
            return Err(Status::internal("dial tcp4 127.0.0.1:9999: connect: connection refused"));
        }
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(theirs);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
        Ok(Box::new(ours))
    }
}
