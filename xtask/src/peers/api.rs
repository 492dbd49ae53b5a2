//! An API server in a namespace: ours or the real one in, a kubeconfig for it out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ground::{API, Ground, NODE, SERVERS};
use super::process::{Process, output};
use super::sources::Peers;

/// Ranges of `mainstay bench fill`.
const SERVICE_CIDR: &str = "10.96.0.0/12";
const POD_CIDR: &str = "10.240.0.0/12";
/// How long an API server may take to answer, with a hundred thousand objects in its store.
const PATIENCE: Duration = Duration::from_secs(180);
/// Name of the Node object under test.
pub(super) const NODE_NAME: &str = "peer";

/// A running API server that holds Services; it ends when dropped.
pub(super) struct Api {
    _processes: Vec<Process>,
    kubeconfig: PathBuf,
    /// What it is, in the report.
    pub(super) name: &'static str,
}

impl Api {
    /// Ours, with a filled store. It programs no kernel of its own: the proxies under test do.
    pub(super) fn ours(ground: &Ground, binary: &Path, services: usize, endpoints: usize) -> Result<Self> {
        let directory = ground.directory().join(format!("ours-{services}-{endpoints}"));
        std::fs::create_dir_all(&directory)?;
        fill(ground, binary, services, endpoints, &["--data-dir", &directory.display().to_string()])?;
        let mut up = ground.command(binary);
        up.args(["up", "--sandbox", "--dataplane", "memory", "--publish", "off", "--lb-pool", "none"]);
        up.args(["--listen", &format!("{API}:6443"), "--service-cidr", &format!("{SERVICE_CIDR},fd00:10:96::/112")]);
        up.args(["--pod-cidr", &format!("{POD_CIDR},fd00:10:244::/64"), "--data-dir"]).arg(&directory);
        let mut process = Process::start("mainstay up", up, &directory.join("server.log"))?;
        process.until(PATIENCE, |log| log.contains("ready in "))?;
        let api = Self { _processes: vec![process], kubeconfig: directory.join("kubeconfig"), name: "mainstay" };
        api.make_node(ground)?;
        Ok(api)
    }

    /// The real one, over a real etcd; filled through itself.
    pub(super) fn real(
        ground: &Ground,
        peers: &Peers,
        binary: &Path,
        services: usize,
        endpoints: usize,
    ) -> Result<Self> {
        let directory = ground.directory().join("real");
        std::fs::create_dir_all(&directory)?;
        make_keys(&directory)?;
        let file = |name: &str| directory.join(name).display().to_string();
        let mut etcd = ground.command(peers.program("etcd"));
        etcd.args(["--data-dir", &file("etcd"), "--listen-client-urls", "http://127.0.0.1:2379"]);
        etcd.args(["--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380"]);
        let etcd = Process::start("etcd", etcd, &directory.join("etcd.log"))?;
        let mut server = ground.command(peers.program("kube-apiserver"));
        server.args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=RBAC", "--allow-privileged=true"]);
        server.args(["--service-account-issuer=https://peers", "--endpoint-reconciler-type=none"]);
        for (flag, value) in [
            ("bind-address", API.to_owned()),
            ("advertise-address", API.to_owned()),
            ("service-cluster-ip-range", SERVICE_CIDR.to_owned()),
            ("client-ca-file", file("ca.crt")),
            ("tls-cert-file", file("server.crt")),
            ("tls-private-key-file", file("server.key")),
            ("service-account-key-file", file("server.key")),
            ("service-account-signing-key-file", file("server.key")),
        ] {
            server.arg(format!("--{flag}={value}"));
        }
        let server = Process::start("kube-apiserver", server, &directory.join("apiserver.log"))?;
        let kubeconfig = write_kubeconfig(&directory)?;
        let mut api = Self { _processes: vec![server, etcd], kubeconfig, name: "kube-apiserver" };
        api.ready(ground)?;
        fill(ground, binary, services, endpoints, &["--kubeconfig", &api.kubeconfig.display().to_string()])?;
        api.make_node(ground)?;
        Ok(api)
    }

    /// Its kubeconfig.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn ready(&mut self, ground: &Ground) -> Result<()> {
        let began = Instant::now();
        while output(self.kubectl(ground).args(["get", "--raw", "/readyz"])).is_err() {
            if began.elapsed() > PATIENCE {
                bail!("{} is not ready after {PATIENCE:?}: its log is in {}", self.name, ground.directory().display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// The Node that the proxies under test say they are.
    fn make_node(&self, ground: &Ground) -> Result<()> {
        let node = format!("{{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{{\"name\":\"{NODE_NAME}\"}}}}");
        let mut child =
            self.kubectl(ground).args(["create", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("kubectl has an input")?.write_all(node.as_bytes())?;
        if !child.wait()?.success() {
            bail!("kubectl create failed for the Node {NODE_NAME}");
        }
        let status = format!("{{\"status\":{{\"addresses\":[{{\"type\":\"InternalIP\",\"address\":\"{NODE}\"}}]}}}}");
        output(self.kubectl(ground).args(["patch", "node", NODE_NAME, "--subresource=status", "-p", &status]))?;
        Ok(())
    }

    fn kubectl(&self, ground: &Ground) -> Command {
        let mut command = ground.command("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

fn fill(ground: &Ground, binary: &Path, services: usize, endpoints: usize, place: &[&str]) -> Result<()> {
    let (services, endpoints) = (services.to_string(), endpoints.to_string());
    let mut fill = ground.command(binary);
    fill.args(["bench", "fill", "--services", &services, "--endpoints", &endpoints, "--target", SERVERS[0]])
        .args(place);
    output(&mut fill).map(|_| ())
}

/// An authority and what it signed, made for one run.
fn make_keys(directory: &Path) -> Result<()> {
    let openssl = |arguments: &[&str]| output(Command::new("openssl").current_dir(directory).args(arguments));
    let new = ["req", "-newkey", "rsa:2048", "-nodes"];
    openssl(
        &[&new[..], &["-x509", "-days", "2", "-subj", "/CN=peers", "-keyout", "ca.key", "-out", "ca.crt"]].concat(),
    )?;
    for (name, subject) in [("server", "/CN=kube-apiserver"), ("admin", "/O=system:masters/CN=admin")] {
        let (key, request, made) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        openssl(&[&new[..], &["-subj", subject, "-keyout", &key, "-out", &request]].concat())?;
        let extensions = directory.join(format!("{name}.ext"));
        std::fs::write(&extensions, format!("subjectAltName=IP:{API}\nextendedKeyUsage=serverAuth,clientAuth\n"))?;
        let extensions = extensions.display().to_string();
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &made,
        ])?;
    }
    Ok(())
}

fn write_kubeconfig(directory: &Path) -> Result<PathBuf> {
    let data = |name: &str| std::fs::read(directory.join(name)).map(|bytes| STANDARD.encode(bytes));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: peers\n\
         clusters: [{{name: peers, cluster: {{server: \"https://{API}:6443\", certificate-authority-data: {}}}}}]\n\
         users: [{{name: peers, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\n\
         contexts: [{{name: peers, context: {{cluster: peers, user: peers}}}}]\n",
        data("ca.crt")?,
        data("admin.crt")?,
        data("admin.key")?
    );
    let path = directory.join("kubeconfig");
    std::fs::write(&path, text)?;
    Ok(path)
}
