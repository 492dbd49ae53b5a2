//! A target's pods in, the lines of all their logs out, each with its pod in front when there are several.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, anyhow};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;

use super::Flags;
use crate::cli::target::{Target, default_container};
use crate::out;

/// How often new pods are looked for while following.
const LOOK: Duration = Duration::from_secs(1);
/// Logs that are read at once.
const STREAMS_MAX: usize = 100;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    pod: String,
    container: String,
    uid: String,
    restarts: u64,
}

/// Prints the logs of a target's pods.
pub(super) async fn run(flags: &Flags, target: &Target) -> Result<()> {
    let client = flags.instance.client()?;
    let pods = target.pods(&client).await?;
    let single = target.kind == "Pod";
    if pods.is_empty() && !flags.follow {
        return Err(anyhow!(
            "{} has no pods, so there is no log.\nSee why: kubectl describe {} -n {} {}",
            target.text(),
            target.kind.to_ascii_lowercase(),
            target.namespace,
            target.name
        ));
    }
    let mut seen = BTreeSet::new();
    let mut streams = JoinSet::new();
    let mut pods = pods;
    let mut later = false;
    loop {
        let runs = runs(&pods, flags.container.as_deref())?;
        let several = !single && (runs.len() > 1 || flags.follow);
        for run in runs {
            if seen.contains(&run) {
                continue;
            }
            if streams.len() >= STREAMS_MAX {
                return Err(anyhow!(
                    "{} has more than {STREAMS_MAX} logs.\nName one pod: mainstay logs NAMESPACE/POD",
                    target.text()
                ));
            }
            match client.stream(&path(flags, &target.namespace, &run, later)).await {
                Ok(body) => {
                    let prefix = if several { format!("[{} {}] ", run.pod, run.container) } else { String::new() };
                    streams.spawn(lines(body, prefix));
                    seen.insert(run);
                }
                Err(error) if flags.follow && !single && crate::exit::code(&error) == crate::exit::Exit::Error => {
                    tracing::debug!(%error, "no log yet");
                }
                Err(error) => {
                    let next = format!("Look at it: kubectl describe pod -n {} {}", target.namespace, run.pod);
                    return Err(error.context(format!("no log of {}.\n{next}", run.pod)));
                }
            }
        }
        if !flags.follow || single {
            while let Some(ended) = streams.join_next().await {
                if !ended?? {
                    break;
                }
            }
            return Ok(());
        }
        tokio::select! {
            Some(ended) = streams.join_next() => {
                if !ended?? {
                    return Ok(());
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        later = true;
        pods = target.pods(&client).await?;
    }
}

/// The runs of the containers that are meant.
fn runs(pods: &[Value], container: Option<&str>) -> Result<Vec<Run>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let run = |pod: &Value| {
        let name = text(&pod["metadata"]["name"]);
        let container = container.or_else(|| default_container(pod));
        let container =
            container.ok_or_else(|| anyhow!("pod {name} has no container.\nLook: kubectl get pod {name} -o yaml"))?;
        let statuses = pod["status"]["containerStatuses"].as_array();
        let status = statuses.into_iter().flatten().find(|status| status["name"] == container);
        let restarts = status.and_then(|status| status["restartCount"].as_u64()).unwrap_or(0);
        Ok(Run { pod: name, container: container.to_owned(), uid: text(&pod["metadata"]["uid"]), restarts })
    };
    pods.iter().map(run).collect()
}

/// URL path of a log. A pod that came later is read from its beginning.
fn path(flags: &Flags, namespace: &str, run: &Run, later: bool) -> String {
    let mut path = format!("/api/v1/namespaces/{namespace}/pods/{}/log?container={}", run.pod, run.container);
    let mut add = |text: String| path.push_str(&text);
    if flags.follow {
        add("&follow=true".to_owned());
    }
    if flags.previous {
        add("&previous=true".to_owned());
    }
    if flags.timestamps {
        add("&timestamps=true".to_owned());
    }
    if let Some(tail) = flags.tail.filter(|_| !later) {
        add(format!("&tailLines={tail}"));
    }
    if let Some(since) = flags.since.filter(|_| !later) {
        add(format!("&sinceSeconds={}", since.as_secs().max(1)));
    }
    path
}

/// Prints whole lines of a log as they come; false when nobody reads them any more.
async fn lines(mut body: Incoming, prefix: String) -> Result<bool> {
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let same = crate::cli::hint::same();
            let text = format!("the log ended early.\nDoes the instance still run? Try: mainstay status{same}");
            crate::exit::Exit::Unreachable.because(error, text)
        })?;
        let Some(data) = frame.data_ref() else { continue };
        rest.extend_from_slice(data);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
        let after = rest.split_off(end + 1);
        if !out::write(&prefixed(&rest, &prefix)) {
            return Ok(false);
        }
        rest = after;
    }
    Ok(rest.is_empty() || out::write(&prefixed(&rest, &prefix)))
}

fn prefixed(lines: &[u8], prefix: &str) -> Vec<u8> {
    if prefix.is_empty() {
        return lines.to_vec();
    }
    let mut out = Vec::with_capacity(lines.len() * 2);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_line_gets_its_pod_and_every_run_its_own_log() {
        assert_eq!(prefixed(b"a\nb\n", "[p c] "), b"[p c] a\n[p c] b\n");
        assert_eq!(prefixed(b"a\nb", ""), b"a\nb");
        let pod = |restarts: u64| {
            json!({ "metadata": { "name": "web-0", "uid": "u" }, "spec": { "containers": [{ "name": "app" }] },
                "status": { "containerStatuses": [{ "name": "app", "restartCount": restarts }] } })
        };
        assert_ne!(runs(&[pod(0)], None).unwrap(), runs(&[pod(1)], None).unwrap());
        assert!(
            runs(&[json!({ "metadata": { "name": "x" } })], None).unwrap_err().to_string().contains("no container")
        );
    }
}
