//! Where control groups can be made: what is mounted and the own groups in, directories of the instance out.
//!
//! Version 1: below the own group of each controller, so that limits set on Mainstay as a whole hold for its pods too.
//! Version 2 allows no processes in a group that has groups below it. So: below the own group if it was given to us
//! (systemd's `Delegate=yes`, or it belongs to our user), after moving our processes into a group of their own; else at
//! the root, which is exempt, if we may.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Hierarchies, record, v1, v2};

/// The group of Mainstay's own processes in a group that was given to us.
const OWN: &str = "mainstay-itself";
/// How often a directory is made again that went away meanwhile.
const TRIES: usize = 8;
/// What to do about it, for the user.
const ADVICE: &str = "run Mainstay as root, or let systemd delegate a group to it: systemd-run --user --scope -p \
                      Delegate=yes mainstay up ...";

/// Finds or makes the directories of the instance whose data is in `data`.
pub(super) fn find(data: &Path) -> Result<Hierarchies, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    let name = instance(data);
    let places: Vec<_> = v1::CONTROLLERS
        .iter()
        .filter_map(|controller| Some((*controller, place(&mounts, &own, controller)?)))
        .collect();
    if places.iter().any(|(controller, _)| *controller == "memory") {
        return version_1(data, &name, places);
    }
    let Some((root, below)) = place_parts(&mounts, &own, "") else {
        return Err("no control groups are mounted on /sys/fs/cgroup".to_owned());
    };
    version_2(data, &name, &root, &below)
}

fn version_1(data: &Path, name: &str, places: Vec<(&'static str, PathBuf)>) -> Result<Hierarchies, String> {
    let all: Vec<_> =
        places.into_iter().map(|(controller, own)| (controller, own.join("mainstay").join(name))).collect();
    let directories: Vec<_> = all.iter().map(|(_, at)| at.as_path()).collect();
    record::write(data, &directories).map_err(|error| format!("record the control groups: {error}"))?;
    for at in directories {
        make(at).map_err(|error| format!("make {}: {error}; {ADVICE}", at.display()))?;
    }
    Ok(Hierarchies::V1(all))
}

fn version_2(data: &Path, name: &str, root: &Path, below: &Path) -> Result<Hierarchies, String> {
    let own = root.join(below);
    let mut tried = Vec::new();
    let mut candidates = Vec::new();
    if own != *root && given(&own) {
        candidates.push((own.clone(), true));
    }
    candidates.push((root.to_owned(), false));
    for (parent, move_out) in candidates {
        let at = parent.join("mainstay").join(name);
        let made = record::write(data, &[&at]).and_then(|()| {
            if move_out {
                step_aside(&parent)?;
            }
            let controllers = fs::read_to_string(parent.join("cgroup.controllers"))?;
            if !v1::CONTROLLERS.iter().all(|wanted| controllers.split_whitespace().any(|one| one == *wanted)) {
                return Err(io::Error::other(format!("it has the controllers \"{}\"", controllers.trim())));
            }
            fs::write(parent.join("cgroup.subtree_control"), v2::SWITCH)?;
            make(&at)?;
            fs::write(parent.join("mainstay/cgroup.subtree_control"), v2::SWITCH)?;
            fs::write(at.join("cgroup.subtree_control"), v2::SWITCH)
        });
        match made {
            Ok(()) => return Ok(Hierarchies::V2(at)),
            Err(error) => tried.push(format!("{}: {error}", parent.display())),
        }
    }
    Err(format!("no control group can be divided ({}); {ADVICE}", tried.join("; ")))
}

/// Makes the directory of an instance; the last instance to end may take the shared one away at the same moment.
fn make(at: &Path) -> io::Result<()> {
    for _ in 0..TRIES {
        match fs::create_dir_all(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    fs::create_dir_all(at)
}

/// Whether a group was given to us to divide.
fn given(own: &Path) -> bool {
    let marked = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0u8; 8];
        rustix::fs::getxattr(own, *name, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
    });
    let user = rustix::process::geteuid().as_raw();
    // Root owns every group; an ordinary user (in a sandbox shown as 0) only those that are meant for it.
    let ordinary = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.trim_end().ends_with(" 4294967295"));
    marked || (ordinary && fs::metadata(own).is_ok_and(|found| found.uid() == user))
}

/// Moves every process of a group into one of its own below, so that the group can be divided.
fn step_aside(own: &Path) -> io::Result<()> {
    let aside = own.join(OWN);
    fs::create_dir_all(&aside)?;
    for pid in fs::read_to_string(own.join("cgroup.procs"))?.lines() {
        match fs::write(aside.join("cgroup.procs"), pid) {
            // It ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            done => done?,
        }
    }
    Ok(())
}

/// A name for the instance that no other data directory has.
fn instance(data: &Path) -> String {
    let hash = data
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// The own group of a controller.
fn place(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    place_parts(mounts, own, controller).map(|(root, below)| root.join(below))
}

/// Where the hierarchy of a controller (of version 2 if it is empty) is mounted, and the own group in it.
fn place_parts(mounts: &str, own: &str, controller: &str) -> Option<(PathBuf, PathBuf)> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|one| one == controller).then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, at) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let fits = match controller {
            "" => kind == "cgroup2",
            controller => kind == "cgroup" && options.split(',').any(|one| one == controller),
        };
        // In a container the mount may begin at the container's own group.
        let below = Path::new(path).strip_prefix(root).or_else(|_| Path::new(path).strip_prefix("/")).ok()?;
        fits.then(|| (PathBuf::from(at), below.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";
    const OWN_GROUPS: &str = "12:cpu,cpuacct:/user.slice\n5:memory:/docker/abc/x\n0::/user.slice/session-1.scope\n";

    #[test]
    fn finds_the_own_group_of_each_hierarchy() {
        let find = |controller| place(MOUNTS, OWN_GROUPS, controller);
        assert_eq!(find("cpu").unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct/user.slice"));
        assert_eq!(
            find("memory").unwrap(),
            Path::new("/sys/fs/cgroup/memory/x"),
            "a container's own root is its mount"
        );
        assert_eq!(find("").unwrap(), Path::new("/sys/fs/cgroup/unified/user.slice/session-1.scope"));
        assert_eq!(find("pids"), None);
    }
}
