//! Mounts: a path and what should be there in, a changed mount namespace out. Errors name the mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

/// Stops mounts and unmounts from travelling between this mount namespace and the one it was copied from.
pub fn make_private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    explain("make all mounts private", rustix::mount::mount_change("/", flags))
}

/// Lets mounts and unmounts travel into this mount namespace from the one it was copied from, but not back.
pub fn make_slave() -> io::Result<()> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    explain("make all mounts followers of the host's", rustix::mount::mount_change("/", flags))
}

/// Shows `source` also at `target`.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    explain(&format!("bind {} on {}", source.display(), target.display()), rustix::mount::mount_bind(source, target))
}

/// Shows `source` and everything mounted below it also at `target`.
pub fn bind_recursive(source: &Path, target: &Path) -> io::Result<()> {
    let what = format!("bind {} with its mounts on {}", source.display(), target.display());
    explain(&what, rustix::mount::mount_bind_recursive(source, target))
}

/// A mount of what `place` shows, with everything mounted below it, that has no place of its own yet: no path is looked up,
/// so that nobody can change what is meant.
pub fn copy(place: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let done = rustix::mount::open_tree(place, c"", flags);
    done.map_err(|errno| explained("copy a mount (open_tree)", errno))
}

/// Puts such a mount on `place`.
pub fn put(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    explain("put a mount on its place (move_mount)", rustix::mount::move_mount(mount, c"", place, c"", flags))
}

/// Mounts an empty tmpfs of at most `bytes` with the given octal mode.
pub fn tmpfs(target: &Path, mode: &str, bytes: u64) -> io::Result<()> {
    tmpfs_of(target, mode, bytes, (0, 0))
}

/// The same, owned by a user and a group.
pub fn tmpfs_of(target: &Path, mode: &str, bytes: u64, (user, group): (u32, u32)) -> io::Result<()> {
    let options = CString::new(format!("mode={mode},size={bytes},uid={user},gid={group}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let done = rustix::mount::mount("mainstay", target, "tmpfs", flags, options.as_c_str());
    explain(&format!("mount a tmpfs on {}", target.display()), done)
}

/// Mounts `proc` for the pid namespace of the caller.
pub fn proc(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    explain(&format!("mount proc on {}", target.display()), rustix::mount::mount("proc", target, "proc", flags, None))
}

/// Mounts `sysfs` for the network namespace of the caller, read-only.
pub fn sysfs(target: &Path) -> io::Result<()> {
    sysfs_with(target, MountFlags::RDONLY)
}

/// Mounts a writable `sysfs` for the network namespace of the caller.
pub fn sysfs_writable(target: &Path) -> io::Result<()> {
    sysfs_with(target, MountFlags::empty())
}

fn sysfs_with(target: &Path, more: MountFlags) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | more;
    explain(
        &format!("mount sysfs on {}", target.display()),
        rustix::mount::mount("sysfs", target, "sysfs", flags, None),
    )
}

/// Mounts a pseudo-terminal file system of its own.
pub fn devpts(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let done = rustix::mount::mount("devpts", target, "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620");
    explain(&format!("mount devpts on {}", target.display()), done)
}

/// Makes a mount and everything mounted below it read-only.
pub fn read_only_recursive(target: &Path) -> io::Result<()> {
    read_only_at(target, libc::AT_RECURSIVE)
}

/// Makes one mount read-only, not those below it.
pub fn read_only(target: &Path) -> io::Result<()> {
    read_only_at(target, 0)
}

/// Makes the mount of a descriptor and everything mounted below it read-only.
pub fn read_only_tree(mount: BorrowedFd<'_>) -> io::Result<()> {
    read_only_with(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, "a mount")
}

/// Makes the one mount of a descriptor read-only.
pub fn read_only_mount(mount: BorrowedFd<'_>) -> io::Result<()> {
    read_only_with(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, "a mount")
}

fn read_only_at(target: &Path, flags: i32) -> io::Result<()> {
    let path = CString::new(target.as_os_str().as_bytes())?;
    read_only_with(libc::AT_FDCWD, &path, flags, &target.display().to_string())
}

fn read_only_with(base: i32, path: &CStr, flags: i32, name: &str) -> io::Result<()> {
    // SAFETY: all-zero mount_attr is valid ("change nothing").
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
    // SAFETY: a live path and a live mount_attr of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            base,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    let text = format!("make {name} read-only (mount_setattr, Linux 5.12 or newer): {error}");
    Err(io::Error::new(error.kind(), text))
}

/// Makes `root`, a mount point, the root of this mount namespace and forgets the old one.
pub fn change_root(root: &Path) -> io::Result<()> {
    let what = format!("make {} the root", root.display());
    std::env::set_current_dir(root)?;
    // pivot_root(".", ".") stacks the old root on the new one; the unmount then takes it away (pivot_root(2), NOTES).
    explain(&what, rustix::process::pivot_root(".", "."))?;
    explain(&what, rustix::mount::unmount(".", UnmountFlags::DETACH))?;
    std::env::set_current_dir("/")
}

/// Takes a mount away, now for new users and later for those that still use it.
pub fn detach(target: &Path) -> io::Result<()> {
    explain(&format!("unmount {}", target.display()), rustix::mount::unmount(target, UnmountFlags::DETACH))
}

fn explain(what: &str, done: rustix::io::Result<()>) -> io::Result<()> {
    done.map_err(|errno| explained(what, errno))
}

fn explained(what: &str, errno: rustix::io::Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
