//! `mainstay logs`: a pod, something that selects pods, DNS or the server itself in, their log lines out.

mod pods;
mod server;

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::target::Target;
use super::{InstanceFlags, duration};
use crate::exit::Exit;

/// Flags of `mainstay logs`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 fine, 1 error, 2 findings, 3 usage, 4 not reachable, 5 time-out.\n\
    Examples:\n  mainstay logs                            the server's own log (of mainstay up --detach)\n  mainstay logs dns -f\n  \
    mainstay logs deploy/web --tail 20       all pods of the Deployment, each line with its pod\n  mainstay logs shop/web-0 -p")]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// [NAMESPACE/]POD, deploy/NAME, svc/NAME, any workload; dns; server
    #[arg(value_name = "WHAT", default_value = "server", hide_default_value = true)]
    what: String,
    /// Namespace of a name without one
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each log
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only lines younger than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// The run before the current one
    #[arg(short, long)]
    previous: bool,
    /// Only this container [default: the pod's first, or the one that its annotation names]
    #[arg(short, long, value_name = "CONTAINER")]
    container: Option<String>,
    /// Begin each line with its time
    #[arg(long)]
    timestamps: bool,
}

/// Runs the subcommand.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    match flags.what.as_str() {
        "server" => {
            if flags.previous || flags.container.is_some() {
                return Err(Exit::Usage
                    .error("the server's log has no --container and no --previous.\nType: mainstay logs server"));
            }
            server::run(flags).await
        }
        "dns" => {
            let dns = Target { kind: "Service", namespace: "kube-system".to_owned(), name: "kube-dns".to_owned() };
            pods::run(flags, &dns).await
        }
        what => pods::run(flags, &Target::parse(what, &flags.namespace, &api::kinds::POD)?).await,
    }
}
