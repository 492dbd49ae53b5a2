//! `mainstay exec`: a command and this terminal in, the command run in the node's network or in a pod.

mod channels;

use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use pods::holder::message::Exec;
use pods::sandbox::Client as Holder;
use serde_json::Value;

use super::client::{denied, foreign};
use super::target::{Target, default_container, escaped, ready};
use super::{InstanceFlags, hint, terminal};
use crate::exit::{self, Exit};
use crate::messages;

/// Flags of `mainstay exec`.
#[derive(Args, Debug)]
#[command(
    after_help = "The exit code is that of the command; when it could not be run: 1 error, 3 usage, 4 not reachable.\n\
    Exit codes of other subcommands: mainstay --help.\n\
    Examples:\n  mainstay exec                            a shell in the node's network\n  mainstay exec -- curl http://web.default\n  \
    mainstay exec --pod deploy/web           a shell in a ready pod of the Deployment\n  mainstay exec --pod shop/web-0 -c app -- env"
)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Run in this pod instead of the node's network: [NAMESPACE/]NAME, or a ready pod of deploy/NAME, svc/NAME, ...
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Container of the pod [default: the one of the annotation kubectl.kubernetes.io/default-container, else the first]
    #[arg(short, long, value_name = "CONTAINER", requires = "pod")]
    container: Option<String>,
    /// Namespace of a pod that is named without one
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Give the command a terminal [default: when standard input and output are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    tty: bool,
    /// Give the command no terminal
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// Pass standard input on: always so, accepted for the habit
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Program and arguments [default: a shell]
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command; its exit code.
pub(crate) async fn run(flags: &Flags) -> Result<i32> {
    let tty = flags.tty || (!flags.no_tty && terminal::is_ours());
    match &flags.pod {
        Some(pod) => {
            let target = Target::parse(pod, &flags.namespace, &api::kinds::POD)?;
            in_pod(flags, &target, tty).await
        }
        None => on_node(flags, tty).await,
    }
}

/// In the node's network, through the holder: that works also while the server is away.
async fn on_node(flags: &Flags, tty: bool) -> Result<i32> {
    let data_dir = flags.instance.data_dir()?;
    let holder = Holder::connect(data_dir.path()).map_err(|error| {
        let path = data_dir.path();
        if denied(&error) {
            return foreign(error, path);
        }
        let next = format!("Start one: mainstay up --sandbox --data-dir {}", hint::word(path));
        Exit::Unreachable.because(error, format!("no sandbox runs in {}.\n{next}", path.display()))
    })?;
    let mut argv = flags.command.clone();
    if argv.is_empty() {
        let shell = std::env::var("SHELL").ok().filter(|shell| std::path::Path::new(shell).is_file());
        argv.push(shell.unwrap_or_else(|| "/bin/sh".to_owned()));
    }
    let failed = format!("cannot run {}.\nIs it installed on this host? Try: command -v {}", argv.join(" "), argv[0]);
    let term = std::env::var("TERM").ok().filter(|_| tty);
    let env = term.into_iter().map(|term| ("TERM".to_owned(), term)).collect();
    let exec = Exec { container: None, argv, env, cwd: String::new(), tty };
    if tty {
        let session = pods::exec_on_terminal(&holder, exec, terminal::size()).context(failed)?;
        return terminal::join(session, true).await;
    }
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let session = holder.exec(exec, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).context(failed)?;
    Ok(tokio::task::spawn_blocking(move || session.wait()).await??)
}

/// In a pod, through the API, as `kubectl exec` does it: with the container's own environment and rights.
async fn in_pod(flags: &Flags, target: &Target, tty: bool) -> Result<i32> {
    let client = flags.instance.client()?;
    let pod = pick(target, target.pods(&client).await?)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let container = container(&pod, flags.container.as_deref())?;
    let command = if flags.command.is_empty() { shell(tty) } else { flags.command.clone() };
    let query = query(&container, &command, tty);
    let path = format!("/api/v1/namespaces/{}/pods/{name}/exec?{query}", target.namespace);
    let session = channels::start(&client, &path, tty).await.with_context(|| {
        let (words, namespace) = (command.join(" "), &target.namespace);
        format!("cannot run {words} in pod {namespace}/{name}.\nLook at it: kubectl describe pod -n {namespace} {name}")
    })?;
    terminal::join(session, tty).await
}

/// The pod to run in: the one named, or the oldest ready one.
fn pick(target: &Target, mut pods: Vec<Value>) -> Result<Value> {
    let found = if target.kind == "Pod" { Some(0) } else { pods.iter().position(ready) };
    found.filter(|index| *index < pods.len()).map(|index| pods.swap_remove(index)).ok_or_else(|| {
        let (count, kind, Target { namespace, name, .. }) = (pods.len(), target.kind.to_ascii_lowercase(), target);
        let next = if kind == "service" {
            format!("mainstay explain {namespace}/{name}{}", hint::same())
        } else {
            format!("kubectl describe {kind} -n {namespace} {name}")
        };
        exit::tag(
            messages::MS0111,
            anyhow!("{} has no ready pod: it has {count} pods, none is ready.\nSee why: {next}", target.text()),
        )
    })
}

fn container(pod: &Value, named: Option<&str>) -> Result<String> {
    let all = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| pod["spec"][field].as_array().into_iter().flatten());
    let names: Vec<&str> = all.filter_map(|container| container["name"].as_str()).collect();
    match named {
        Some(named) if !names.contains(&named) => Err(anyhow!(
            "the pod has no container {named}: it has {}.\nName one of them: -c {}",
            names.join(", "),
            names.first().unwrap_or(&"NAME")
        )),
        Some(named) => Ok(named.to_owned()),
        None => default_container(pod)
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("the pod has no container.\nLook: kubectl get pod -o yaml")),
    }
}

/// A shell that knows this terminal, the best that the container has.
fn shell(tty: bool) -> Vec<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
    let term = std::env::var("TERM").ok().filter(|term| tty && !term.is_empty() && term.chars().all(known));
    let term = term.map(|term| format!("export TERM={term}; ")).unwrap_or_default();
    let script = format!("{term}if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi");
    vec!["sh".to_owned(), "-c".to_owned(), script]
}

fn query(container: &str, command: &[String], tty: bool) -> String {
    let words = command.iter().map(|word| format!("&command={}", escaped(word))).collect::<String>();
    let streams = if tty { "&tty=true" } else { "&stderr=true" };
    format!("container={}&stdin=true&stdout=true{streams}{words}", escaped(container))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ready_pod_is_picked_and_a_container_checked() {
        let pod = |name: &str, ready: &str| {
            json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "app" }, { "name": "side" }] },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        let target = Target::parse("svc/web", "shop", &api::kinds::POD).unwrap();
        let picked = pick(&target, vec![pod("a", "False"), pod("b", "True")]).unwrap();
        assert_eq!(picked["metadata"]["name"], "b");
        let said = crate::report(&pick(&target, vec![pod("a", "False")]).unwrap_err());
        assert!(
            said.starts_with("service shop/web has no ready pod") && said.contains("mainstay explain shop/web"),
            "{said}"
        );
        assert_eq!(container(&picked, None).unwrap(), "app");
        assert_eq!(container(&picked, Some("side")).unwrap(), "side");
        assert!(container(&picked, Some("x")).unwrap_err().to_string().contains("it has app, side"));
        let query = query("app", &["sh".into(), "-c".into(), "a&b".into()], false);
        assert_eq!(query, "container=app&stdin=true&stdout=true&stderr=true&command=sh&command=-c&command=a%26b");
    }
}
