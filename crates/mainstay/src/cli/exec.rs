//! `mainstay exec`: a command and this terminal in, the command run in the node's network or in a pod.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use clap::Args;
use pods::holder::message::Exec;
use pods::sandbox::Client;

use super::InstanceFlags;

/// Flags of `mainstay exec`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Run in this pod instead of the node's network: [NAMESPACE/]NAME
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command; its exit code.
pub(crate) async fn run(flags: &Flags) -> Result<i32> {
    let data_dir = flags.instance.data_dir()?;
    let container = match &flags.pod {
        Some(pod) => Some(container_of(flags, pod).await?),
        None => None,
    };
    let client = Client::connect(data_dir.path()).with_context(|| {
        format!("no sandbox runs in {}.\nStart one: mainstay up --sandbox --data-dir {0}", data_dir.path().display())
    })?;
    let env = match &container {
        Some(_) => pods::environment::default_path(),
        None => Vec::new(),
    };
    let exec = Exec { container, argv: flags.command.clone(), env, cwd: String::new(), tty: false };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let session = client
        .exec(exec, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
        .with_context(|| format!("cannot run {}", flags.command.join(" ")))?;
    Ok(tokio::task::spawn_blocking(move || session.wait()).await??)
}

/// Uid and first container of a pod, as the holder names them.
async fn container_of(flags: &Flags, pod: &str) -> Result<(String, String)> {
    let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
    let client = flags.instance.client()?;
    let object = client.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await?.ok()?;
    match (object["metadata"]["uid"].as_str(), object["spec"]["containers"][0]["name"].as_str()) {
        (Some(uid), Some(container)) => Ok((uid.to_owned(), container.to_owned())),
        _ => bail!(
            "the API shows no container for pod {namespace}/{name}.\nLook: kubectl get pod -n {namespace} {name} -o yaml"
        ),
    }
}
