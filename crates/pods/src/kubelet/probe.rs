//! Probes: a probe's spec and a running container in, "succeeds" or "fails" (after its thresholds) out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::Node;
use crate::environment;
use crate::holder::message::Exec;
use crate::limits;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Startup,
    Liveness,
    Readiness,
}

/// A verdict that changed, or a single failure worth an Event.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) container: String,
    pub(super) attempt: u32,
    pub(super) which: Which,
    /// The probe's state after its thresholds, if it changed.
    pub(super) changed: Option<bool>,
    /// The output of a failed check.
    pub(super) failure: Option<String>,
}

/// What is probed.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) node: Arc<Node>,
    pub(super) uid: String,
    pub(super) address: Option<IpAddr>,
    pub(super) container: Arc<Container>,
    pub(super) attempt: u32,
}

/// Counts results against thresholds.
#[derive(Debug)]
struct Counter {
    state: Option<bool>,
    run: i32,
    last: bool,
    success: i32,
    failure: i32,
}

impl Counter {
    fn new(probe: &Probe, initial: Option<bool>) -> Self {
        let success = probe.success_threshold.unwrap_or(1).max(1);
        Self { state: initial, run: 0, last: false, success, failure: probe.failure_threshold.unwrap_or(3).max(1) }
    }

    /// Takes one result; the new state if it changed.
    fn take(&mut self, good: bool) -> Option<bool> {
        self.run = if self.run > 0 && self.last == good { self.run.saturating_add(1) } else { 1 };
        self.last = good;
        let enough = self.run >= if good { self.success } else { self.failure };
        if enough && self.state != Some(good) {
            self.state = Some(good);
            return self.state;
        }
        None
    }
}

/// Why a check failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Nobody listens (yet).
    refused: bool,
}

impl<T: Into<String>> From<T> for Failure {
    fn from(why: T) -> Self {
        Self { why: why.into(), refused: false }
    }
}

/// What the kernel says of a connection, with what was tried.
fn failed(tried: &str, error: &std::io::Error) -> Failure {
    Failure { why: format!("{tried}: {error}"), refused: error.kind() == std::io::ErrorKind::ConnectionRefused }
}

/// The time in which a process that was just started need not listen yet. A refused connection then says nothing: it is
/// tried again soon, so that a pod is ready when its process is and not a whole period later. It ends with the first
/// other result, or when the pauses have grown to the period.
#[derive(Debug)]
struct Early {
    pause: Option<Duration>,
    period: Duration,
}

impl Early {
    /// Liveness has no such time: it would only put off the restart of a container that stopped listening.
    fn new(which: Which, period: Duration) -> Self {
        Self { pause: (which != Which::Liveness).then_some(limits::EARLY_PROBE), period }
    }

    /// When to try again without counting this result; none if the result counts.
    fn again(&mut self, result: &Result<(), Failure>) -> Option<Duration> {
        let refused = matches!(result, Err(failure) if failure.refused);
        let pause = self.pause.take().filter(|pause| refused && *pause < self.period)?;
        self.pause = Some(pause.saturating_mul(2));
        Some(pause)
    }
}

/// Probes until aborted. Liveness and readiness wait until `started` is true.
pub(super) async fn run(
    which: Which,
    probe: Probe,
    target: Target,
    mut started: watch::Receiver<bool>,
    verdicts: mpsc::Sender<Verdict>,
) {
    if which != Which::Startup && started.wait_for(|started| *started).await.is_err() {
        return;
    }
    let seconds = |value: Option<i32>, least: i32, default: i32| {
        Duration::from_secs(u64::try_from(value.unwrap_or(default).max(least)).unwrap_or(1))
    };
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0, 0)).await;
    let initial = if which == Which::Liveness { Some(true) } else { None };
    let mut counter = Counter::new(&probe, initial);
    let period = seconds(probe.period_seconds, 1, 10);
    let mut early = Early::new(which, period);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let limit = seconds(probe.timeout_seconds, 1, 1);
        let holders = target.node.client.replaced();
        let result = match tokio::time::timeout(limit, check(&probe, &target)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s (context deadline exceeded)", limit.as_secs()).into()),
        };
        if result.is_err() && probe.exec.is_some() && target.node.client.replaced() != holders {
            // The command ended with the holder that ran it, which says nothing of the container.
            continue;
        }
        if let Some(pause) = early.again(&result) {
            ticks.reset_after(pause);
            continue;
        }
        let changed = counter.take(result.is_ok());
        let failure = result.err().map(|failure| failure.why);
        if changed.is_some() || failure.is_some() {
            let (container, attempt) = (target.container.name.clone(), target.attempt);
            if verdicts.send(Verdict { container, attempt, which, changed, failure }).await.is_err() {
                return;
            }
        }
    }
}

async fn check(probe: &Probe, target: &Target) -> Result<(), Failure> {
    if let Some(http) = &probe.http_get {
        return http_get(http, target).await;
    }
    if let Some(tcp) = &probe.tcp_socket {
        let address = address(tcp.host.as_deref(), &tcp.port, target)?;
        return on_node(target, async move {
            let dialled = TcpStream::connect(address).await;
            dialled.map(drop).map_err(|error| failed(&format!("dial tcp {address}"), &error))
        })
        .await;
    }
    match &probe.exec {
        Some(exec) => Ok(run_command(exec, target).await?),
        None => Err("gRPC probes are not supported by the process runtime".into()),
    }
}

/// Runs a future on the runtime whose sockets belong to the node's network.
async fn on_node<F>(target: &Target, work: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let task = AbortOnDrop(target.node.config.node_runtime.spawn(work));
    task.join().await
}

/// A probe that times out takes its connection with it.
struct AbortOnDrop(tokio::task::JoinHandle<Result<(), Failure>>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<(), Failure> {
        (&mut self.0).await.unwrap_or_else(|error| Err(error.to_string().into()))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn address(host: Option<&str>, port: &IntOrString, target: &Target) -> Result<SocketAddr, String> {
    let number = match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let mut ports = target.container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named.and_then(|port| u16::try_from(port.container_port).ok()).or_else(|| name.parse().ok())
        }
    };
    let number = number.ok_or_else(|| format!("the container has no port {port:?}"))?;
    let ip = match host.filter(|host| !host.is_empty()) {
        Some(host) => host.parse().map_err(|_| format!("probe host {host:?} is not an address"))?,
        None => target.address.ok_or("the pod has no address yet")?,
    };
    Ok(SocketAddr::new(ip, number))
}

/// GET as a probe or hook does it: any status from 200 to 399 is good.
pub(super) async fn http_get(action: &HTTPGetAction, target: &Target) -> Result<(), Failure> {
    if action.scheme.as_deref() == Some("HTTPS") {
        return Err("HTTPS probes are not supported by the process runtime; use HTTP or TCP".into());
    }
    let address = address(action.host.as_deref(), &action.port, target)?;
    let path = action.path.as_deref().filter(|path| path.starts_with('/')).unwrap_or("/").to_owned();
    let mut headers = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let own: Vec<_> = action.http_headers.iter().flatten().collect();
    for (name, value) in [("Host", address.to_string()), ("User-Agent", "kube-probe/1.37".to_owned())] {
        if !own.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
            headers += &format!("{name}: {value}\r\n");
        }
    }
    for header in own {
        headers += &format!("{}: {}\r\n", header.name, header.value);
    }
    headers += "\r\n";
    on_node(target, async move {
        let tried = format!("Get \"http://{address}{path}\"");
        let failed = |error: std::io::Error| failed(&tried, &error);
        let mut stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.write_all(headers.as_bytes()).await.map_err(failed)?;
        let mut answer = Vec::new();
        stream.take(10 << 10).read_to_end(&mut answer).await.map_err(failed)?;
        let answer = String::from_utf8_lossy(&answer);
        let code: Option<u16> = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        match code {
            Some(200..=399) => Ok(()),
            Some(code) => Err(format!("HTTP probe failed with statuscode: {code}").into()),
            None => Err(format!("{tried}: malformed HTTP response").into()),
        }
    })
    .await
}

/// Runs a command beside the container; good if it exits with 0.
pub(super) async fn run_command(exec: &ExecAction, target: &Target) -> Result<(), String> {
    let request = Exec {
        container: Some((target.uid.clone(), target.container.name.clone())),
        argv: exec.command.clone().unwrap_or_default(),
        env: environment::default_path(),
        cwd: target.container.working_dir.clone().unwrap_or_default(),
        tty: false,
    };
    let client = target.node.client.clone();
    let started = tokio::task::spawn_blocking(move || {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let null = std::os::fd::AsFd::as_fd(&null);
        client.exec(request, &[null, null, null])
    });
    let session = started.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let _stop = StopOnDrop(Box::new(session.stopper()));
    match tokio::task::spawn_blocking(move || session.wait()).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(format!("command exited with {code}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// A command that outlives its time limit is killed.
struct StopOnDrop(Box<dyn Fn() + Send + Sync>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_runs_of_equal_results() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut counter = Counter::new(&probe, None);
        let results = [true, false, true, true, true, false, false, true, false, false, false, false];
        let changes: Vec<_> = results.iter().map(|good| counter.take(*good)).collect();
        let mut expected = vec![None; results.len()];
        (expected[3], expected[10]) = (Some(true), Some(false));
        assert_eq!(changes, expected);
    }

    fn refused() -> Result<(), Failure> {
        Err(Failure { why: "refused".into(), refused: true })
    }

    #[test]
    fn refused_connections_are_tried_again_soon_at_the_start_only() {
        let second = Duration::from_secs(1);
        let mut early = Early::new(Which::Readiness, second);
        let pauses: Vec<_> = std::iter::from_fn(|| early.again(&refused())).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640], "and from then on it counts, once a period");
        assert_eq!(early.again(&refused()), None);
        for other in [Ok(()), Err(Failure::from("statuscode: 503"))] {
            let mut early = Early::new(Which::Startup, second);
            assert!(early.again(&refused()).is_some());
            assert_eq!(early.again(&other), None, "{other:?}");
            assert_eq!(early.again(&refused()), None, "after {other:?}");
        }
        assert_eq!(Early::new(Which::Liveness, second).again(&refused()), None);
    }

    #[tokio::test]
    async fn a_closed_port_is_a_refused_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = TcpStream::connect(address).await.unwrap_err();
        assert!(failed("dial", &error).refused);
        assert!(!failed("dial", &std::io::ErrorKind::TimedOut.into()).refused);
    }

    #[test]
    fn liveness_starts_alive() {
        let mut counter = Counter::new(&Probe::default(), Some(true));
        assert_eq!([true, false, false, false].map(|good| counter.take(good)), [None, None, None, Some(false)]);
    }
}
