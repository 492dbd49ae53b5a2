//! Control groups: what containers may use in, groups that hold them to it (version 1, 2 or both mounted) out.
//!
//! Everything made is below one directory per hierarchy, `mainstay/INSTANCE`, which is recorded in the data directory
//! before it is made, so that whoever ends the sandbox can take it away whatever became of the holder.

mod find;
mod record;
mod v1;
mod v2;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use record::remove_recorded;

/// How much a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory at most.
    pub memory: Option<u64>,
    /// Thousandths of a processor at most.
    pub cpu: Option<u64>,
    /// Thousandths of a processor that it gets when others want it too.
    pub cpu_request: Option<u64>,
}

/// Where groups are made: version 1 has a hierarchy per controller, version 2 one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hierarchies {
    /// Directory of this instance per controller.
    V1(Vec<(&'static str, PathBuf)>),
    /// Directory of this instance.
    V2(PathBuf),
}

/// The control groups of one instance.
pub(crate) struct Groups {
    hierarchies: Result<Hierarchies, String>,
    /// Directories whose processes have not all ended yet.
    leaving: Vec<PathBuf>,
}

/// The way into a container's groups; opened before the fork, used after it.
#[derive(Default)]
pub(crate) struct Door(Vec<OwnedFd>);

impl Door {
    /// Moves the calling process, and with it everything that it will start, into the groups.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for procs in &self.0 {
            rustix::io::write(procs, b"0").map_err(|error| {
                let error = io::Error::from(error);
                io::Error::new(error.kind(), format!("enter the container's control group: {error}"))
            })?;
        }
        Ok(())
    }
}

impl Groups {
    /// Finds out where groups can be made and makes the directory of the instance there.
    pub(crate) fn open(directory: &Path) -> Self {
        record::remove_empty(directory);
        let hierarchies = find::find(directory);
        if let Err(why) = &hierarchies {
            note!("holder: limits of cpu and memory do not hold: {why}");
        }
        Self { hierarchies, leaving: Vec::new() }
    }

    /// Which control groups hold limits, or why none do.
    pub(crate) fn kind(&self) -> Result<&'static str, &str> {
        match &self.hierarchies {
            Ok(Hierarchies::V1(_)) => Ok("control groups version 1"),
            Ok(Hierarchies::V2(_)) => Ok("control groups version 2"),
            Err(why) => Err(why),
        }
    }

    /// Makes the groups of a container, afresh if an earlier run left some.
    pub(crate) fn make(&self, pod: &str, container: &str, limits: &Limits) -> io::Result<Door> {
        let Ok(hierarchies) = &self.hierarchies else { return Ok(Door::default()) };
        let explain = |at: &Path, error: io::Error| {
            let text = format!("limits: make the control group {}: {error}", at.display());
            io::Error::new(error.kind(), text)
        };
        let mut procs = Vec::new();
        for (controller, parent) in hierarchies.all() {
            let at = place(parent, pod, container)?;
            let _earlier = fs::remove_dir(&at);
            let values = match controller {
                Some(controller) => v1::values(controller, limits),
                None => v2::values(limits),
            };
            let opened = fs::create_dir_all(&at)
                .and_then(|()| if controller.is_none() { v2::pass_on(parent, &at) } else { Ok(()) })
                .and_then(|()| write_all(&at, &values))
                .and_then(|()| File::options().write(true).open(at.join("cgroup.procs")));
            procs.push(opened.map_err(|error| explain(&at, error))?.into());
        }
        Ok(Door(procs))
    }

    /// The way into the groups that a container has; none if it has none.
    pub(crate) fn door(&self, pod: &str, container: &str) -> Door {
        let Ok(hierarchies) = &self.hierarchies else { return Door::default() };
        let places = hierarchies.all().filter_map(|(_, parent)| place(parent, pod, container).ok());
        let open = |at: PathBuf| File::options().write(true).open(at.join("cgroup.procs")).ok();
        Door(places.filter_map(open).map(Into::into).collect())
    }

    /// Whether the kernel killed a process of a container because memory ran out.
    pub(crate) fn out_of_memory(&self, pod: &str, container: &str) -> bool {
        let Ok(hierarchies) = &self.hierarchies else { return false };
        let file = |controller| match controller {
            None => Some("memory.events"),
            Some("memory") => Some("memory.oom_control"),
            Some(_) => None,
        };
        hierarchies.all().any(|(controller, parent)| {
            let text = file(controller).zip(place(parent, pod, container).ok());
            let text = text.and_then(|(name, at)| fs::read_to_string(at.join(name)).ok()).unwrap_or_default();
            killed(&text)
        })
    }

    /// Takes a pod's groups away, now or once its last process has ended.
    pub(crate) fn remove(&mut self, pod: &str) {
        let Ok(hierarchies) = &self.hierarchies else { return };
        self.leaving.extend(hierarchies.all().filter_map(|(_, parent)| place(parent, pod, "").ok()));
        self.sweep();
    }

    /// Tries again what could not be taken away yet.
    pub(crate) fn sweep(&mut self) {
        self.leaving.retain(|at| !record::remove_tree(at));
    }
}

/// The processes in the control groups of a container; none where no groups were ever made for the data directory.
pub(crate) fn members(data: &Path, pod: &str, container: &str) -> Option<BTreeSet<i32>> {
    let parents = record::read(data);
    if parents.is_empty() || container.is_empty() {
        return None;
    }
    let places = parents.iter().filter_map(|parent| place(parent, pod, container).ok());
    let texts = places.filter_map(|at| fs::read_to_string(at.join("cgroup.procs")).ok());
    Some(texts.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()).collect())
}

impl Hierarchies {
    /// Each directory of the instance; with its controller in version 1.
    fn all(&self) -> impl Iterator<Item = (Option<&'static str>, &Path)> {
        let (one, two) = match self {
            Self::V1(all) => (Some(all.iter().map(|(controller, at)| (Some(*controller), at.as_path()))), None),
            Self::V2(at) => (None, Some((None, at.as_path()))),
        };
        one.into_iter().flatten().chain(two)
    }
}

/// The directory of a container, or (without one) of a pod. Names are the API's, but they become paths here.
fn place(parent: &Path, pod: &str, container: &str) -> io::Result<PathBuf> {
    let bad = |name: &str| name.contains('/') || name.contains('\0') || name.starts_with('.');
    if bad(pod) || bad(container) || pod.is_empty() {
        return Err(io::Error::other(format!("{pod:?} and {container:?} cannot name a control group")));
    }
    let at = parent.join(format!("pod{pod}"));
    Ok(if container.is_empty() { at } else { at.join(container) })
}

/// Writes settings; those that this kernel lacks and that nobody asked for may be left out.
fn write_all(at: &Path, values: &[Setting]) -> io::Result<()> {
    for Setting { file, value, needed } in values {
        let path = at.join(file);
        if !needed && !path.exists() {
            continue;
        }
        match fs::write(&path, value) {
            Err(error) if *needed => return Err(io::Error::new(error.kind(), format!("{file}={value}: {error}"))),
            _ => {}
        }
    }
    Ok(())
}

/// A file of a group and what is to be written there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    /// A manifest asks for it.
    needed: bool,
}

fn needed(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), needed: true }
}

fn optional(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), needed: false }
}

/// Microseconds of processor time per period of [`PERIOD`] for so many thousandths of a processor.
fn quota(milli: u64) -> u64 {
    // Less than a millisecond is refused by the kernel.
    (milli.saturating_mul(PERIOD) / 1000).max(1000)
}

/// Shares (1024 for a processor) for so many thousandths of a processor.
fn shares(milli: u64) -> u64 {
    (milli.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// Period over which processor time is counted, in microseconds.
const PERIOD: u64 = 100_000;

fn killed(text: &str) -> bool {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
    count.is_some_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { memory: Some(64 << 20), cpu: Some(1500), cpu_request: Some(250) }
    }

    #[test]
    fn a_version_2_tree_gets_its_values() {
        let home = tempfile::tempdir().unwrap();
        let hierarchies = Ok(Hierarchies::V2(home.path().to_owned()));
        let mut groups = Groups { hierarchies, leaving: Vec::new() };
        let at = home.path().join("podu/c");
        // A plain directory has none of the files that the kernel would make.
        fs::create_dir_all(&at).unwrap();
        for file in ["cgroup.procs", "memory.max", "cpu.max", "pids.max", "memory.oom.group"] {
            fs::write(at.join(file), "").unwrap();
        }
        let door = groups.make("u", "c", &limits()).unwrap();
        door.enter().unwrap();
        let read = |file: &str| fs::read_to_string(at.join(file)).unwrap();
        assert_eq!(read("memory.max"), (64 << 20).to_string());
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("cpu.weight"), "10");
        assert_eq!((read("memory.oom.group"), read("cgroup.procs")), ("1".into(), "0".into()));
        assert_eq!(fs::read_to_string(home.path().join("podu/cgroup.subtree_control")).unwrap(), "+cpu +memory +pids");
        fs::write(at.join("memory.events"), "low 0\noom 2\noom_kill 1\n").unwrap();
        assert!(groups.out_of_memory("u", "c"));
        groups.remove("u");
        assert_eq!(groups.leaving.len(), 1, "plain files keep a directory, as processes keep a group");
    }

    #[test]
    fn names_never_lead_out() {
        for (pod, container) in [("../x", "c"), ("u", ".."), ("", "c"), ("a/b", "c")] {
            assert!(place(Path::new("/g"), pod, container).is_err(), "{pod} {container}");
        }
        assert_eq!(place(Path::new("/g"), "u", "").unwrap(), Path::new("/g/podu"));
    }

    #[test]
    fn numbers_of_the_processor() {
        assert_eq!((quota(500), quota(1), shares(250), shares(0)), (50_000, 1000, 256, 2));
        assert!(!killed("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n") && killed("under_oom 0\noom_kill 3"));
    }
}
