//! Owners of a volume: the container's users and its `fsGroup` in, files that they can use out.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

/// Bits that a group gets on files and directories of a volume that may be written.
const WRITABLE: (u32, u32) = (0o660, 0o2770);
/// The same for one that may not.
const READABLE: (u32, u32) = (0o440, 0o550);

/// Gives a volume to `owner` (user and group as the holder counts them). With an `fs_group` (that group, outside) its
/// files belong to the group and are open to it; without, only what still is the holder's changes hands.
///
/// Called where the container's root is `/` already: whatever links another container of the pod puts in the way while
/// this runs lead nowhere but into the container, whose other files are read-only.
pub(super) fn give(path: &Path, owner: (u32, u32), fs_group: Option<u32>, read_only: bool) -> io::Result<()> {
    if owner == (0, 0) && fs_group.is_none_or(|group| group == 0) {
        return Ok(());
    }
    let explain = |error: io::Error| {
        let text = format!("give the volume {} to its pod: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    below(path, owner, fs_group, if read_only { READABLE } else { WRITABLE }).map_err(explain)
}

fn below(path: &Path, owner: (u32, u32), fs_group: Option<u32>, bits: (u32, u32)) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // Another container of the pod may use the volume already.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // What a pod's own user made stays that user's.
    let user = (found.uid() == 0).then_some(owner.0);
    let group = fs_group.or((found.gid() == 0).then_some(owner.1)).filter(|group| *group != found.gid());
    if found.is_symlink() {
        return lchown(path, user, group);
    }
    if user.is_some() || group.is_some() {
        chown(path, user, group)?;
    }
    if fs_group.is_some() {
        let more = if found.is_dir() { bits.1 } else { bits.0 };
        if found.mode() & more != more {
            fs::set_permissions(path, fs::Permissions::from_mode(found.mode() & 0o7777 | more))?;
        }
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            below(&entry?.path(), owner, fs_group, bits)?;
        }
    }
    Ok(())
}
