//! What a container is shown of the outside: paths of files and volumes in, mounts at their places in the container out.
//!
//! Both sides may be a pod's own doing: links in a volume whose part is shown, links on the way to the place. So nothing
//! is mounted by its path: before the root changes each source is opened within its volume and copied as a mount without a
//! place; afterwards places are looked up and made where no link leads out of the container, and the mounts put there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

use kernel::beneath::{self, Within};
use kernel::mount;
use rustix::fs::{Mode, fstat};
use rustix::process::umask;

use super::message::{Part, Root, Volume};
use super::own;
use super::root::Owners;
use crate::limits::ROOT_TMPFS_BYTES;

/// Permissions of directories that are made to mount on.
const PLACE: Mode = Mode::from_raw_mode(0o755);
/// Where a directory is kept while it is covered by a copy of itself.
const BESIDE: &str = "/run/mainstay/shadow";

/// The sources, mounted nowhere yet.
pub(super) struct Shown<'a> {
    files: Vec<(&'a Path, OwnedFd)>,
    volumes: Vec<(&'a Volume, OwnedFd)>,
}

/// Takes the sources, where the root is still the node's. Volumes that are the pod's own get their owners.
pub(super) fn take<'a>(root: &'a Root, owners: &Owners) -> io::Result<Shown<'a>> {
    let mut files = Vec::new();
    for (inside, outside) in &root.files {
        files.push((inside.as_path(), mount::copy(beneath::place(outside)?.as_fd())?));
    }
    let one = |volume: &'a Volume| {
        let taken = take_volume(volume, owners);
        taken.map(|mount| (volume, mount)).map_err(|error| about(volume, "", &error))
    };
    let volumes = root.volumes.iter().map(one).collect::<io::Result<_>>()?;
    Ok(Shown { files, volumes })
}

fn take_volume(volume: &Volume, owners: &Owners) -> io::Result<OwnedFd> {
    let whole = beneath::place(volume.part.as_ref().map_or(&volume.source, |part| &part.volume))?;
    let part = volume.part.as_ref().map(|part| open_part(whole.as_fd(), part)).transpose()?;
    if volume.owned {
        own::give(whole.as_fd(), owners.root, owners.fs_group, volume.read_only)?;
    }
    let mount = mount::copy(part.as_ref().unwrap_or(&whole).as_fd())?;
    if volume.read_only {
        mount::read_only_tree(mount.as_fd())?;
    }
    Ok(mount)
}

/// Opens a part of a volume; a missing one becomes a directory with the volume's permissions, as by a kubelet.
fn open_part(whole: BorrowedFd<'_>, part: &Part) -> io::Result<OwnedFd> {
    let stays = part.path.components().all(|step| matches!(step, Component::Normal(_) | Component::CurDir));
    if !stays {
        let text = format!(
            "subPath {:?} must be a relative path and must not contain '..'; give a path that stays in the volume",
            part.path
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mode = Mode::from_raw_mode(fstat(whole)?.st_mode & 0o7777);
    let before = umask(Mode::empty());
    let made = beneath::make_directories(whole, &part.path, Within::Tree, mode);
    umask(before);
    made.map_err(|error| {
        let text = format!("subPath {error}; give a path that stays in the volume");
        io::Error::new(error.kind(), text)
    })
}

impl Shown<'_> {
    /// Puts everything in its place, where the root is the container's.
    pub(super) fn put(self) -> io::Result<()> {
        let root = beneath::place(Path::new("/"))?;
        for (inside, mount) in &self.files {
            put_file(root.as_fd(), inside, mount.as_fd())?;
        }
        for (volume, mount) in &self.volumes {
            put_volume(root.as_fd(), volume, mount.as_fd())?;
        }
        Ok(())
    }
}

/// Shows a file at the path `inside`, which may be absent or a dangling link on the host.
fn put_file(root: BorrowedFd<'_>, inside: &Path, mount: BorrowedFd<'_>) -> io::Result<()> {
    if !fs::symlink_metadata(inside).is_ok_and(|found| found.is_file()) {
        // The host's read-only directory has no plain file of that name: give the pod a copy of the directory that has.
        let directory = inside.parent().ok_or_else(|| io::Error::other("a file needs a directory"))?;
        shadow(directory)?;
        let _ = fs::remove_file(inside);
        fs::write(inside, "")?;
    }
    mount::put(mount, beneath::open(root, inside, Within::Root)?.as_fd())
}

/// Covers a directory by a tmpfs with the same entries: links are copied, files and directories bound.
fn shadow(directory: &Path) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        entries.push((entry.file_name(), entry.file_type()?));
    }
    let beside = Path::new(BESIDE);
    fs::create_dir_all(beside)?;
    mount::bind_recursive(directory, beside)?;
    mount::tmpfs(directory, "755", ROOT_TMPFS_BYTES)?;
    for (name, kind) in entries {
        let (source, target) = (beside.join(&name), directory.join(&name));
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&target)?;
        } else {
            fs::write(&target, "")?;
        }
        mount::bind_recursive(&source, &target)?;
    }
    mount::detach(beside)
}

fn put_volume(root: BorrowedFd<'_>, volume: &Volume, mount: BorrowedFd<'_>) -> io::Result<()> {
    let place = match beneath::is_directory(mount)? {
        true => beneath::make_directories(root, &volume.target, Within::Root, PLACE),
        false => beneath::make_file(root, &volume.target, Within::Root, PLACE),
    };
    let place = place.map_err(|error| {
        let hint = ": pods see the host's file system read-only, so a mount path must exist there or lie under a new top \
                    directory, /tmp, /run, /mnt, /srv, /home or /root";
        about(volume, hint, &error)
    })?;
    let (found, top) = (fstat(&place)?, fstat(root)?);
    if (found.st_dev, found.st_ino) == (top.st_dev, top.st_ino) {
        let error =
            io::Error::new(io::ErrorKind::InvalidInput, "that is the container's root; give a directory below it");
        return Err(about(volume, "", &error));
    }
    mount::put(mount, place.as_fd()).map_err(|error| about(volume, "", &error))
}

fn about(volume: &Volume, hint: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("mount volume at {}: {error}{hint}", volume.target.display()))
}
