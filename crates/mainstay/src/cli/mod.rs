//! The command line as data: every subcommand with its flags and their help; each runs in a module of its own name.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub mod bench;
pub mod client;
pub mod demo;
pub mod down;
pub mod dump;
pub mod exec;
pub mod image;
pub mod load;
pub mod status;
pub mod up;

/// Everything behind a Kubernetes Service in one binary.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start an instance: API, pods, Services, DNS. Stays in the foreground; Ctrl-C stops everything.
    Up(Box<up::Flags>),
    /// Stop an instance and remove its pods and networks, also when its server is gone.
    Down(down::Flags),
    /// Run a command in the node's network (or, with --pod, in a pod).
    Exec(exec::Flags),
    /// Show what runs, where, and which revision is applied.
    Status(status::Flags),
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
pub struct InstanceFlags {
    /// Directory of the instance [default: /var/lib/mainstay as root, else ~/.local/state/mainstay]
    #[arg(long, value_name = "DIR", env = "MAINSTAY_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Kubeconfig of the instance, instead of its directory
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
