//! The command line as data: every subcommand with its flags and their help; each runs in a module of its own name.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub(crate) mod apply;
pub(crate) mod bench;
pub(crate) mod client;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod detach;
pub(crate) mod doctor;
mod doctor_host;
pub(crate) mod down;
pub(crate) mod dump;
pub(crate) mod duration;
mod ends;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod hint;
pub(crate) mod image;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod open;
#[cfg(test)]
mod reference;
pub(crate) mod status;
pub(crate) mod store;
mod target;
mod terminal;
mod throw_away;
pub(crate) mod trace;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod wait;

/// Takes a command line apart; help says what exit codes mean.
pub(crate) fn parse(arguments: Vec<String>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    hint::remember(&matches);
    Cli::from_arg_matches(&matches)
}

/// The command line as clap holds it, for parsing, completions and manual pages.
pub(crate) fn command() -> clap::Command {
    let tell = |command: clap::Command| {
        let told = command.get_after_help().is_some_and(|text| text.to_string().contains("Exit codes"));
        if told { command } else { command.after_help(crate::exit::HELP) }
    };
    tell(Cli::command()).mut_subcommands(tell)
}

/// Everything behind a Kubernetes Service in one binary.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start an instance: API, pods, Services, DNS. Stays in the foreground (Ctrl-C stops everything) unless --detach.
    Up(Box<up::Flags>),
    /// Program this node's Services from any cluster's API, in kube-proxy's place. What is programmed stays when it ends.
    Node(Box<node::Flags>),
    /// Stop an instance and remove its pods and networks, also when its server is gone.
    Down(down::Flags),
    /// Apply manifests, as `kubectl apply --server-side` does.
    Apply(apply::Flags),
    /// Wait until objects are there and work.
    Wait(wait::Flags),
    /// Run a command, or a shell, in the node's network (or, with --pod, in a pod).
    Exec(exec::Flags),
    /// Print what pods, DNS or the server itself say.
    Logs(logs::Flags),
    /// Show what runs, where, and which revision is applied.
    Status(status::Flags),
    /// Print the URL of a Service on this host, once it answers; with a desktop, open it
    Open(open::Flags),
    /// List the instances of this user
    Ls(ls::Flags),
    /// Say why an object has no traffic: the first failing step, evidence, a fix to paste. Also what a code means.
    Explain(explain::Flags),
    /// Follow a packet through the kernel's rules: which element decides, and why.
    Trace(trace::Flags),
    /// Look at every Service and say what is wrong.
    Doctor(doctor::Flags),
    /// Give images other names, so that manifests run as printed.
    Image(image::Flags),
    /// Check, save, restore or compact what an instance holds.
    Store(store::Flags),
    /// Print what a stage holds: the applied rules or maps, the DNS zone.
    Dump(dump::Flags),
    /// Play a Service's life on a throw-away sandbox and prove every step.
    Demo(demo::Flags),
    /// Measure.
    Bench(bench::Flags),
    /// Say what this program is, how it was built and which formats it reads.
    Version(version::Flags),
    /// Print a script that completes this command line in a shell.
    Completions(completions::Flags),
    /// Print the manual, or write a page for each subcommand.
    Man(man::Flags),
    /// Open many short connections and count what happens (used by the demo inside a pod).
    #[command(hide = true)]
    Load(load::Flags),
}

/// How a subcommand finds its instance.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct InstanceFlags {
    /// Directory of the instance [default: $MAINSTAY_DATA_DIR, else the instance that $KUBECONFIG means, else
    /// /var/lib/mainstay as root and ~/.local/state/mainstay for others]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Kubeconfig of the instance, instead of its directory
    #[arg(long, value_name = "PATH", conflicts_with = "data_dir")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// How a subcommand prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object, whose keys stay.
    Json,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
