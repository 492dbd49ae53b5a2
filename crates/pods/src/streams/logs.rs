//! Log files in, the lines that a client asked for out.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use bytes::Bytes;
use contract::streams::LogOptions;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use tokio::sync::mpsc;

use super::log_reader::Reader;
use crate::builtin::BuiltIn;
use crate::kubelet::Node;

/// How often a followed log is looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(100);
/// Chunks that wait for a slow client.
const CHUNKS: usize = 16;
/// Bytes after which a chunk is sent.
const CHUNK_BYTES: usize = 32 << 10;

type Lines = BoxStream<'static, io::Result<Bytes>>;

/// Picks and formats lines; keeps count of the byte limit.
struct Filter {
    options: LogOptions,
    since: Option<String>,
    left: Option<u64>,
}

impl Filter {
    fn new(options: LogOptions) -> Self {
        let since = options.since_time.clone();
        let since = since.or(options.since_seconds.map(|seconds| {
            let ago = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            let now = jiff::Timestamp::now();
            format!("{:.9}", now.checked_sub(ago).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
        }));
        let left = options.limit_bytes;
        Self { options, since, left }
    }

    /// One stored line (`TIME STREAM PART TEXT`) as the client wants it; none if it is left out.
    fn line(&mut self, stored: &[u8]) -> Option<Vec<u8>> {
        let mut parts = stored.splitn(4, |byte| *byte == b' ');
        let (time, _stream, part) = (parts.next()?, parts.next()?, parts.next()?);
        let text = parts.next().unwrap_or_default();
        if self.since.as_ref().is_some_and(|since| time < since.as_bytes()) || self.left == Some(0) {
            return None;
        }
        let mut out = Vec::with_capacity(stored.len());
        if self.options.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        if part != b"P" {
            out.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        Some(out)
    }

    fn full(&self) -> bool {
        self.left == Some(0)
    }
}

/// The log of a container's current (or previous) run.
pub(super) fn of_container(
    node: Arc<Node>,
    pod: &Pod,
    container: &Container,
    options: LogOptions,
) -> Result<Lines, Status> {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let directory = node.directory.join(&uid).join(&container.name);
    let runs = runs(&directory);
    let run = if options.previous { previous(pod, container, &runs)? } else { newest(pod, container, &runs)? };
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let path = directory.join(format!("{run}.log"));
    let name = container.name.clone();
    let running = move || {
        let known = node.client.containers().unwrap_or_default();
        let mut own = known.iter().filter(|record| record.pod == uid && record.container == name);
        own.any(|record| record.attempt == run && record.ended.is_none())
    };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&path, options, &sender, running) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    Ok(stream(receiver))
}

/// What the API says of a container.
fn status<'a>(pod: &'a Pod, container: &Container) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses];
    all.into_iter().flatten().flatten().find(|known| known.name == container.name)
}

/// The run that ended last, as the Pod's status tells it: a container that waits for its next start has no newer one.
fn previous(pod: &Pod, container: &Container, runs: &[u32]) -> Result<u32, Status> {
    let ended = status(pod, container).and_then(|status| status.last_state.as_ref()?.terminated.as_ref());
    let id = ended.and_then(|ended| ended.container_id.as_deref()).unwrap_or_default();
    let run = id.rsplit('/').next().and_then(|attempt| attempt.parse().ok());
    run.filter(|run| runs.contains(run)).ok_or_else(|| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        Status::bad_request(format!("previous terminated container \"{}\" in pod \"{name}\" not found", container.name))
    })
}

/// The newest run that was started; the reason why there is none.
fn newest(pod: &Pod, container: &Container, runs: &[u32]) -> Result<u32, Status> {
    runs.last().copied().ok_or_else(|| {
        let waiting = status(pod, container).and_then(|status| status.state.as_ref()?.waiting.as_ref());
        let why = match waiting.and_then(|waiting| waiting.reason.as_deref()) {
            Some("ErrImagePull") => "image can't be pulled",
            Some("ImagePullBackOff") => "trying and failing to pull image",
            Some(reason) => reason,
            None => "ContainerCreating",
        };
        let (name, of) = (pod.metadata.name.as_deref().unwrap_or_default(), &container.name);
        Status::bad_request(format!("container \"{of}\" in pod \"{name}\" is waiting to start: {why}"))
    })
}

/// The log of a part of Mainstay that shows as a pod.
pub(super) fn of_built_in(part: Arc<dyn BuiltIn>, options: LogOptions) -> Lines {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        let (follow, tail) = (options.follow, options.tail_lines);
        let mut filter = Filter::new(options);
        let mut last = None;
        let mut first = true;
        loop {
            let lines = part.logs();
            let new = match last.as_ref().and_then(|last| lines.iter().rposition(|line| line == last)) {
                Some(at) => at + 1,
                None if first => lines.len().saturating_sub(tail.map_or(usize::MAX, |tail| tail as usize)),
                None => 0,
            };
            for line in &lines[new..] {
                let time = jiff::Timestamp::from_millisecond(line.at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
                let stored = format!("{time:.9} stdout F {}", line.text);
                let Some(text) = filter.line(stored.as_bytes()) else { continue };
                if sender.send(Ok(text.into())).await.is_err() {
                    return;
                }
            }
            last = lines.last().cloned().or(last);
            first = false;
            if !follow || filter.full() || sender.is_closed() {
                return;
            }
            tokio::time::sleep(FOLLOW_PERIOD).await;
        }
    });
    stream(receiver)
}

fn stream(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Lines {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}

/// Numbers of the runs that have a log, in order.
fn runs(directory: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut runs: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    runs.sort_unstable();
    runs
}

/// Reads a log (with the parts that were rotated away), then what is added to it while its container runs.
fn read(
    path: &Path,
    options: LogOptions,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    running: impl Fn() -> bool,
) -> io::Result<()> {
    let follow = options.follow;
    let (mut reader, mut skip) = Reader::open(path, options.tail_lines)?;
    let mut filter = Filter::new(options);
    let mut rest = Vec::new();
    loop {
        // Asked before reading: what an ended container has written is then in the file.
        let more = follow && running();
        let mut chunk = Vec::new();
        let wanted = reader.lines(&mut rest, |line| {
            if skip > 0 {
                skip -= 1;
            } else if let Some(line) = filter.line(line) {
                chunk.extend_from_slice(&line);
            }
            chunk.len() < CHUNK_BYTES || sender.blocking_send(Ok(std::mem::take(&mut chunk).into())).is_ok()
        })?;
        let sent = chunk.is_empty() || sender.blocking_send(Ok(chunk.into())).is_ok();
        if !wanted || !sent || filter.full() || !more {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_PERIOD);
        if sender.is_closed() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:01.000000000Z stderr P two \n\
                       2026-01-01T00:00:01.000000001Z stderr F three\n";

    fn lines(options: LogOptions) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (sender, mut receiver) = mpsc::channel(CHUNKS);
        read(&path, options, &sender, || false).unwrap();
        drop(sender);
        let mut out = Vec::new();
        while let Some(chunk) = receiver.blocking_recv() {
            out.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn split_lines_are_joined_and_limits_hold() {
        assert_eq!(lines(LogOptions::default()), "one\ntwo three\n");
        assert_eq!(lines(LogOptions { tail_lines: Some(1), ..LogOptions::default() }), "three\n");
        assert_eq!(lines(LogOptions { limit_bytes: Some(5), ..LogOptions::default() }), "one\nt");
        assert_eq!(lines(LogOptions { since_seconds: Some(1), ..LogOptions::default() }), "");
        let later = Some("2026-01-01T00:00:01.000000000Z".to_owned());
        assert_eq!(lines(LogOptions { since_time: later, ..LogOptions::default() }), "two three\n");
        let timed = lines(LogOptions { timestamps: true, tail_lines: Some(3), ..LogOptions::default() });
        assert!(timed.starts_with("2026-01-01T00:00:00.000000001Z one\n"), "{timed}");
    }

    #[test]
    fn which_run_is_meant() {
        let pod = |state: serde_json::Value, last: serde_json::Value| -> Pod {
            let status = serde_json::json!({ "name": "main", "state": state, "lastState": last, "image": "", "imageID": "",
                "ready": false, "restartCount": 0 });
            let (meta, statuses) = (serde_json::json!({ "name": "ham" }), serde_json::json!([status]));
            serde_json::from_value(serde_json::json!({ "metadata": meta, "status": { "containerStatuses": statuses } }))
                .unwrap()
        };
        let main = Container { name: "main".into(), ..Container::default() };
        let nothing = serde_json::json!({});
        let ended = serde_json::json!({ "terminated": { "exitCode": 1, "containerID": "mainstay://u/main/4" } });
        let crashed = pod(serde_json::json!({ "waiting": { "reason": "CrashLoopBackOff" } }), ended);
        assert_eq!((previous(&crashed, &main, &[3, 4]).unwrap(), newest(&crashed, &main, &[3, 4]).unwrap()), (4, 4));
        let why = "previous terminated container \"main\" in pod \"ham\" not found";
        assert_eq!(previous(&crashed, &main, &[5]).unwrap_err().message, why);
        let unknown = pod(serde_json::json!({ "waiting": { "reason": "ErrImagePull" } }), nothing);
        assert_eq!(previous(&unknown, &main, &[0]).unwrap_err().message, why);
        let why = "container \"main\" in pod \"ham\" is waiting to start: image can't be pulled";
        assert_eq!(newest(&unknown, &main, &[]).unwrap_err().message, why);
    }
}
