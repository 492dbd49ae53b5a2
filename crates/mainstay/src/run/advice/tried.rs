//! A pod and a Service in, what a name lookup and connections from that pod really gave out.

use std::time::Duration;

use api::object::ObjectKey;
use api::status::Status;
use compile::diagnose::Tried;
use compile::snapshot::{Protocol, Service, Snapshot};
use contract::streams::ExecOptions;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Advisor;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(8);
/// Most output that is read.
const OUTPUT_BYTES: u64 = 16 << 10;
/// Ports that are tried.
const PORTS: usize = 4;

impl Advisor {
    /// Looks the Service up and connects to it, from inside a pod.
    pub(super) async fn try_from(
        &self,
        from: &ObjectKey,
        snapshot: &Snapshot,
        service: &Service,
    ) -> Result<Vec<Tried>, Status> {
        if !snapshot.pods.contains_key(from) {
            return Err(Status::not_found(&api::kinds::POD, &from.name));
        }
        let key = &service.meta.key;
        let name = if key.namespace == from.namespace {
            key.name.to_string()
        } else {
            format!("{}.{}", key.name, key.namespace)
        };
        let mut all = vec![self.run("DNS", from, &["dig", "+short", "+search", &name]).await?];
        let alias = service.service_type == compile::snapshot::ServiceType::ExternalName;
        let ports = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp && !alias).take(PORTS);
        for port in ports {
            let host = service.cluster_ips.first().map_or_else(|| name.clone(), ToString::to_string);
            let number = match (&port.target, service.headless) {
                (compile::snapshot::TargetPort::Number(number), true) => *number,
                _ => port.port,
            };
            all.push(self.run("CONNECT", from, &["nc", "-z", "-v", "-w", "2", &host, &number.to_string()]).await?);
        }
        Ok(all)
    }

    async fn run(&self, step: &'static str, from: &ObjectKey, command: &[&str]) -> Result<Tried, Status> {
        let options = ExecOptions {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            stdout: true,
            stderr: true,
            ..ExecOptions::default()
        };
        let shown = format!("pod/{}: {}", from.name, command.join(" "));
        let mut session = self.streams.exec(from, &options).await?;
        let (stdout, stderr) = (session.stdout.take(), session.stderr.take());
        let work = async { tokio::join!(read(stdout), read(stderr), &mut session.exit) };
        let (ok, said) = match tokio::time::timeout(LIMIT, work).await {
            Err(_) => (false, format!("no end within {} s", LIMIT.as_secs())),
            Ok((out, err, exit)) => {
                let code = exit.map_err(|error| error.to_string()).and_then(|code| code);
                let lines: Vec<_> =
                    out.lines().chain(err.lines()).map(str::trim).filter(|line| !line.is_empty()).collect();
                let text = lines.join("; ");
                match code {
                    Ok(0) => (
                        step != "DNS" || !out.trim().is_empty(),
                        if text.is_empty() { "nothing".to_owned() } else { text },
                    ),
                    Ok(code) => (false, if text.is_empty() { format!("exit code {code}") } else { text }),
                    Err(why) => (false, why),
                }
            }
        };
        Ok(Tried { step, command: shown, ok, said })
    }
}

async fn read(stream: Option<Box<dyn AsyncRead + Send + Unpin>>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read before a failure is still worth showing.
        let _ = stream.take(OUTPUT_BYTES).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
