//! Pods as processes in namespaces: Pod objects in, running containers, statuses, logs and exits out.

/// Says something in the log of the process; one that cannot be written (a full disk) is no reason to end.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _unread = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod addresses;
pub mod builtin;
pub mod cgroup;
pub mod enforced;
pub mod environment;
pub mod holder;
pub mod images;
mod kubelet;
pub mod limits;
pub(crate) mod log_files;
pub mod name_files;
pub mod network;
pub mod references;
pub mod sandbox;
mod streams;
pub mod volumes;

pub use kubelet::{Config, Kubelet};
pub use streams::{Streams, exec_on_terminal};
