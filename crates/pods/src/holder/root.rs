//! The file system of a container: the host's, read-only, under a root of its own, private where programs write.
//!
//! Runs in the child between clone and exec, inside the container's own mount and pid namespaces.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use kernel::{beneath, mount};

use super::message::Root;
use super::security::Security;
use super::{mask, shown};
use crate::limits::{ROOT_TMPFS_BYTES, WRITABLE_TMPFS_BYTES};

/// Where the programs built into Mainstay are found inside a pod.
pub const PROGRAMS: &str = "/run/mainstay/bin";
/// Directories at the top that are empty and writable in a pod.
const WRITABLE: [(&str, &str); 7] = [
    ("tmp", "1777"),
    ("run", "755"),
    ("root", "700"),
    ("home", "755"),
    ("mnt", "755"),
    ("media", "755"),
    ("srv", "755"),
];
/// Directories further down that are empty and writable in a pod.
const WRITABLE_BELOW: [(&str, &str); 3] = [("/var/tmp", "1777"), ("/var/log", "755"), ("/var/cache", "755")];
/// Top directories that a pod gets afresh.
const FRESH: [&str; 3] = ["proc", "sys", "dev"];
/// Device nodes a pod sees.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Whose a container's files are: users and groups as the holder counts them.
pub(super) struct Owners {
    /// The container's root.
    pub root: (u32, u32),
    /// The group of its volumes.
    pub fs_group: Option<u32>,
}

/// Builds the root described by `root` at `at` (an empty directory) and moves the calling process into it.
/// `programs` is the directory shown at [`PROGRAMS`].
pub(super) fn enter(root: &Root, security: &Security, owners: &Owners, at: &Path, programs: &Path) -> io::Result<()> {
    let shown = shown::take(root, owners)?;
    mount::tmpfs_of(at, "755", ROOT_TMPFS_BYTES, owners.root)?;
    copy_top(at)?;
    fresh(at, security, owners.root)?;
    let target = at.join(&PROGRAMS[1..]);
    fs::create_dir_all(&target)?;
    mount::bind_recursive(programs, &target)?;
    // One directory for all pods, and for commands on the node.
    mount::read_only_recursive(&target)?;
    if security.masked {
        mask::apply(at)?;
    }
    mount::change_root(at)?;
    // From here on links lead nowhere but into the container.
    for (path, mode) in WRITABLE_BELOW {
        // Only real directories: a link such as /var/tmp -> /tmp already leads to a private one.
        if is_own_directory(Path::new(path)) {
            mount::tmpfs_of(Path::new(path), mode, WRITABLE_TMPFS_BYTES, owners.root)?;
        }
    }
    for hidden in root.hide.iter().filter(|hidden| hidden.is_dir()) {
        mount::tmpfs(hidden, "700", ROOT_TMPFS_BYTES)?;
    }
    let fixed = if security.read_only_root { own_places()? } else { Vec::new() };
    shown.put()?;
    for place in fixed {
        match mount::read_only_mount(place.as_fd()) {
            // Not a mount of its own, so that it is the host's, which is read-only already.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            done => done?,
        }
    }
    Ok(())
}

/// The container's own writable places, taken before a volume covers one; they are still made to mount on.
fn own_places() -> io::Result<Vec<OwnedFd>> {
    let tops = WRITABLE.iter().map(|(name, _)| Path::new("/").join(name));
    let below = WRITABLE_BELOW.iter().map(|(path, _)| Path::new(path).to_owned());
    let all = tops.chain(below).chain([Path::new("/").to_owned()]);
    all.filter(|path| is_own_directory(path)).map(|path| beneath::place(&path)).collect()
}

fn is_own_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Shows every top-level entry of the host in the new root, so that directories can still be added at the top.
fn copy_top(at: &Path) -> io::Result<()> {
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let name = entry.file_name();
        let (source, target) = (entry.path(), at.join(&name));
        let kind = entry.file_type()?;
        let own = |listed: &str| name.to_str() == Some(listed);
        if FRESH.iter().any(|listed| own(listed)) || WRITABLE.iter().any(|(listed, _)| own(listed)) {
            continue;
        }
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_dir() {
            fs::create_dir(&target)?;
            mount::bind_recursive(&source, &target)?;
            mount::read_only_recursive(&target)?;
        }
    }
    Ok(())
}

/// Mounts what is the pod's own: writable directories, /proc, /sys and a minimal /dev.
fn fresh(at: &Path, security: &Security, owner: (u32, u32)) -> io::Result<()> {
    for (name, mode) in WRITABLE {
        let target = at.join(name);
        fs::create_dir(&target)?;
        mount::tmpfs_of(&target, mode, WRITABLE_TMPFS_BYTES, owner)?;
    }
    for name in FRESH {
        fs::create_dir(at.join(name))?;
    }
    // A container that masks parts of /proc forbids a new one (mount_too_revealing in the kernel): use the old one.
    if mount::proc(&at.join("proc")).is_err() {
        mount::bind_recursive(Path::new("/proc"), &at.join("proc"))?;
    }
    let sys = at.join("sys");
    if security.privileged { mount::sysfs_writable(&sys) } else { mount::sysfs(&sys) }.or_else(|_| {
        mount::bind_recursive(Path::new("/sys"), &sys)?;
        mount::read_only_recursive(&sys)
    })?;
    let dev = at.join("dev");
    mount::tmpfs_of(&dev, "755", ROOT_TMPFS_BYTES, owner)?;
    devices(&dev, security.privileged)?;
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(name))?;
    }
    mount::devpts(&dev.join("pts"))?;
    mount::tmpfs(&dev.join("shm"), "1777", WRITABLE_TMPFS_BYTES)?;
    symlink("pts/ptmx", dev.join("ptmx"))?;
    symlink("/proc/self/fd", dev.join("fd"))?;
    for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
        symlink(format!("/proc/self/fd/{number}"), dev.join(name))?;
    }
    Ok(())
}

/// Shows the harmless devices, or every one of the host's own.
fn devices(dev: &Path, all: bool) -> io::Result<()> {
    let mut names: Vec<_> = DEVICES.iter().map(|name| (*name).into()).collect();
    if all {
        for entry in fs::read_dir("/dev")? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let known = names.contains(&entry.file_name()) || entry.file_name() == "ptmx";
            if !known && (kind.is_char_device() || kind.is_block_device()) {
                names.push(entry.file_name());
            }
        }
    }
    for name in names {
        let (source, target) = (Path::new("/dev").join(&name), dev.join(&name));
        if source.exists() {
            fs::write(&target, "")?;
            mount::bind(&source, &target)?;
            if !all {
                // What is read and written is the device; the node is the host's own, whose mode a pod could change.
                mount::read_only(&target)?;
            }
        }
    }
    Ok(())
}
