//! The command line as data: every subcommand with its flags and their help; each runs in a module of its own name.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) mod bench;
pub(crate) mod client;
pub(crate) mod demo;
pub(crate) mod doctor;
mod doctor_host;
pub(crate) mod down;
pub(crate) mod dump;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod load;
pub(crate) mod status;
mod throw_away;
pub(crate) mod up;

/// Exit code of a command line that makes no sense.
pub(crate) const USAGE: u8 = 3;

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
    /// Start an instance: API, pods, Services, DNS. Stays in the foreground; Ctrl-C stops everything.
    Up(Box<up::Flags>),
    /// Stop an instance and remove its pods and networks, also when its server is gone.
    Down(down::Flags),
    /// Run a command in the node's network (or, with --pod, in a pod).
    Exec(exec::Flags),
    /// Show what runs, where, and which revision is applied.
    Status(status::Flags),
    /// Say why an object has no traffic: the first failing step, evidence, a fix to paste. Also what a code means.
    Explain(explain::Flags),
    /// Look at every Service and say what is wrong.
    Doctor(doctor::Flags),
    /// Give images other names, so that manifests run as printed.
    Image(image::Flags),
    /// Print what a stage holds: the applied rules or maps, the DNS zone.
    Dump(dump::Flags),
    /// Play a Service's life on a throw-away sandbox and prove every step.
    Demo(demo::Flags),
    /// Measure.
    Bench(bench::Flags),
    /// Open many short connections and count what happens (used by the demo inside a pod).
    #[command(hide = true)]
    Load(load::Flags),
}

/// How a subcommand finds its instance.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct InstanceFlags {
    /// Directory of the instance [default: /var/lib/mainstay as root, else ~/.local/state/mainstay]
    #[arg(long, value_name = "DIR", env = "MAINSTAY_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Kubeconfig of the instance, instead of its directory
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
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
