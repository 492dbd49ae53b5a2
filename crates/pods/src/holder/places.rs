//! Places that the holder makes: its directories and programs, and the settings of a new network namespace.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use kernel::{mount, namespace};

use super::spawn::Places;
use super::user;

/// Paths inside the holder's private `run` directory, owned.
pub(super) struct OwnedPlaces {
    root: PathBuf,
    programs: PathBuf,
    node_resolv: PathBuf,
}

impl OwnedPlaces {
    /// The same, borrowed.
    pub(super) fn borrow(&self) -> Places<'_> {
        Places { root: &self.root, programs: &self.programs, node_resolv: &self.node_resolv }
    }
}

/// Where things are below the data directory.
pub(super) fn places(directory: &Path) -> OwnedPlaces {
    OwnedPlaces {
        root: directory.join("run/root"),
        programs: directory.join("run/bin"),
        node_resolv: directory.join("node/resolv.conf"),
    }
}

/// Prepares the new network namespace of the calling thread: any port may be bound, ping needs no raw socket.
pub(super) fn prepare_netns() -> io::Result<OwnedFd> {
    user::allow_ping();
    for (name, value) in [
        ("ipv4/ip_unprivileged_port_start", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/all/accept_ra", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
    ] {
        // Read-only in some containers; pods then lack low ports, which they report themselves.
        let _ = std::fs::write(format!("/proc/sys/net/{name}"), value);
    }
    namespace::current_net()
}

/// Makes the directory of built-in programs: this executable and links to it, pinned by a mount so that pods still
/// start after the file was replaced by an upgrade.
pub(super) fn install_programs(directory: &Path, applets: &[&str]) -> io::Result<()> {
    let programs = directory.join("run/bin");
    std::fs::create_dir_all(&programs)?;
    std::fs::create_dir_all(directory.join("run/root"))?;
    let program = programs.join(PROGRAM);
    std::fs::write(&program, "")?;
    // The link itself leads through the mounts of the supervisor's namespace, which cannot be bound here; its text names
    // the same file. A file that is already replaced is copied.
    if std::fs::read_link("/proc/self/exe").and_then(|path| mount::bind(&path, &program)).is_err() {
        std::fs::copy("/proc/self/exe", &program)?;
    }
    for applet in applets {
        std::os::unix::fs::symlink(PROGRAM, programs.join(applet))?;
    }
    // Commands on the node find programs here: nothing adds to them.
    mount::bind_recursive(&programs, &programs)?;
    mount::read_only_recursive(&programs)
}

/// Name of this executable inside pods.
pub const PROGRAM: &str = "mainstay";
