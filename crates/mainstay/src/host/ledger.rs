//! Changes of the host in, a durable list that takes each of them back out.
//!
//! A change is on disk before it is made, so that a process killed at any moment leaves nothing that `mainstay down` does
//! not know. Taking back asks first whether what is there still is ours: what somebody changed since is left alone.

mod change;
pub(crate) mod sysctl;
mod undo;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

pub(crate) use change::Change;

const FILE: &str = "ledger";
/// How long the ledger of a dying process is waited for.
const LOCK_WAIT: Duration = Duration::from_millis(2_000);

/// The list of one data directory, locked while open.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    here: Place,
    inner: Mutex<Inner>,
    /// Held while a change is noted and made, and while changes are taken back: nobody sees half a change.
    whole: Mutex<()>,
    _lock: File,
}

#[derive(Debug)]
struct Inner {
    file: File,
    lines: Vec<Line>,
    /// Lines that cannot be read, with their numbers; they stay as they are.
    damaged: Vec<Damaged>,
    /// Everything is taken back or about to be: nothing may be noted any more.
    closed: bool,
    /// The file ends in half a line that could not be cut off: nothing may be written behind it.
    broken: bool,
}

/// Where a change was made: the kernel forgets at a boot, and every network namespace is a host of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    boot: String,
    net: u64,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    place: Place,
    change: Change,
    /// The change was taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

/// What taking back came to.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    /// How many changes were taken back.
    pub(crate) count: usize,
    /// What was left alone, and why.
    pub(crate) left: Vec<String>,
    /// What could not be taken back, and why; it stays in the ledger.
    pub(crate) failed: Vec<String>,
}

impl Place {
    /// Of the calling thread.
    fn here() -> Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot id")?;
        let net = std::fs::metadata("/proc/thread-self/ns/net").context("cannot see the own network namespace")?.ino();
        Ok(Self { boot: boot.trim().to_owned(), net })
    }
}

impl Ledger {
    /// Where the ledger of a data directory lies.
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("host").join(FILE)
    }

    /// Whether the directory has one: host mode ran there and was not ended by `down`.
    pub(crate) fn exists(data_dir: &Path) -> bool {
        Self::path(data_dir).exists()
    }

    /// Opens it, or a new one, and locks it. One with a damaged line is an error.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let ledger = Self::open_to_undo(data_dir)?;
        let damaged = ledger.inner().damaged.first().map(|(number, _)| damaged(*number, &ledger.path));
        damaged.map_or(Ok(ledger), Err)
    }

    /// Opens it, or a new one, and locks it; damaged lines are kept as they are.
    pub(crate) fn open_to_undo(data_dir: &Path) -> Result<Self> {
        let path = Self::path(data_dir);
        let shown = path.display();
        let directory = data_dir.join("host");
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let lock = lock(&directory)?;
        let mut file = open(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("cannot read {shown}"))?;
        let (lines, damaged, whole) = parse(&text);
        if whole < text.len() {
            // A line cut short by a power cut or a kill: its change was never made.
            file.set_len(whole as u64).with_context(|| format!("cannot cut {shown}"))?;
            file.seek(std::io::SeekFrom::End(0))?;
        }
        sync(&directory)?;
        let inner = Inner { file, lines, damaged, closed: false, broken: false };
        Ok(Self { path, here: Place::here()?, inner: Mutex::new(inner), whole: Mutex::new(()), _lock: lock })
    }

    /// Every change that may still be in place in this boot and this network namespace, oldest first.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.inner().lines.iter().filter(|line| line.place == self.here).map(|line| line.change.clone()).collect()
    }

    /// Whether everything was taken back, or is about to be.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// Whether changes of this boot and this network namespace are in place: the instance goes on where it was.
    pub(crate) fn is_live(&self) -> bool {
        self.inner().lines.iter().any(|line| line.place == self.here && line.change.is_network())
    }

    /// Whether exactly this change is noted for this boot and this network namespace.
    pub(crate) fn holds(&self, change: &Change) -> bool {
        self.inner().lines.iter().any(|line| line.place == self.here && line.change == *change)
    }

    /// Notes a change that is about to be made; it is durable when this returns. The same change is noted once.
    pub(crate) fn note(&self, change: Change) -> Result<()> {
        let mut inner = self.inner();
        if inner.closed {
            bail!("{change}: not made, because everything is being taken back.\nStart again: mainstay up --host");
        }
        let line = Line { place: self.here.clone(), change, gone: false };
        if inner.lines.contains(&line) {
            return Ok(());
        }
        self.append(&mut inner, &line)?;
        inner.lines.push(line);
        drop(inner);
        super::kill_points::after_note();
        Ok(())
    }

    /// Notes a change, then makes it. `make` must not note or make anything itself.
    pub(crate) fn make(&self, change: Change, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let _whole = self.whole();
        self.note(change)?;
        make()?;
        super::kill_points::after_make();
        Ok(())
    }

    /// Forgets a change that was taken back by whoever made it.
    pub(crate) fn gone(&self, change: &Change) -> Result<()> {
        let mut inner = self.inner();
        let is_it = |line: &Line| line.place == self.here && line.change == *change;
        let Some(at) = inner.lines.iter().position(is_it) else { return Ok(()) };
        let line = Line { gone: true, ..inner.lines[at].clone() };
        self.append(&mut inner, &line)?;
        inner.lines.remove(at);
        Ok(())
    }

    /// Notes one change in the place of another, at once.
    fn replace(&self, old: &Change, new: &Change) -> Result<()> {
        let mut lines = self.inner().lines.clone();
        let is_it = |line: &&mut Line| line.place == self.here && line.change == *old;
        lines.iter_mut().filter(is_it).for_each(|line| line.change = new.clone());
        self.keep_only(lines)
    }

    /// Takes one change back if it still holds, and forgets it.
    pub(crate) fn undo_one(&self, change: &Change) -> Result<()> {
        let _whole = self.whole();
        if let undo::Outcome::Failed(why) = undo::undo(change) {
            bail!("{change}: {why}");
        }
        self.gone(change)
    }

    /// Drops what the kernel forgot at a boot since, and files that went with it.
    pub(crate) fn forget_other_boots(&self) -> Result<()> {
        let lines = self.inner().lines.clone();
        let stays = |line: &&Line| match &line.change {
            _ if line.place.boot == self.here.boot => true,
            Change::File { path, .. } | Change::Directory { path } => path.exists(),
            change => !change.is_kernel(),
        };
        let kept: Vec<Line> = lines.iter().filter(stays).cloned().collect();
        if kept.len() < lines.len() { self.keep_only(kept) } else { Ok(()) }
    }

    /// Takes every change back, the last one first. What fails stays noted; when nothing does, the file goes. From its
    /// beginning on nothing may be noted any more: others in this process may still want to mend what they see go.
    pub(crate) fn undo_all(&self) -> Result<Undone> {
        self.inner().closed = true;
        // A change that is just being made is waited for, so that it is there to be taken back.
        let _whole = self.whole();
        let mut undone = Undone::default();
        let (lines, damaged_lines) = {
            let inner = self.inner();
            (inner.lines.clone(), inner.damaged.clone())
        };
        let why = |(number, _): &Damaged| damaged(*number, &self.path).to_string();
        undone.failed.extend(damaged_lines.iter().map(why));
        let mut kept = Vec::new();
        for line in lines.into_iter().rev() {
            if line.place.boot != self.here.boot && line.change.is_kernel() {
                continue;
            }
            if line.place.boot == self.here.boot && line.place.net != self.here.net && line.change.is_network() {
                match elsewhere(line.place.net, &self.path) {
                    Some(why) => {
                        undone.failed.push(format!("{}: {why}", line.change));
                        kept.push(line);
                    }
                    // The namespace ended, and everything in it.
                    None => continue,
                }
                continue;
            }
            match undo::undo(&line.change) {
                undo::Outcome::Done => undone.count += 1,
                undo::Outcome::Already => {}
                undo::Outcome::Changed(why) => undone.left.push(format!("{}: {why}", line.change)),
                undo::Outcome::Failed(why) => {
                    undone.failed.push(format!("{}: {why}", line.change));
                    kept.push(line);
                }
            }
            super::kill_points::after_undo();
        }
        kept.reverse();
        if kept.is_empty() && damaged_lines.is_empty() {
            std::fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        } else {
            self.keep_only(kept)?;
        }
        Ok(undone)
    }

    /// Replaces the list, at once.
    fn keep_only(&self, lines: Vec<Line>) -> Result<()> {
        let mut inner = self.inner();
        let new = self.path.with_extension("new");
        let mut text: String = inner.damaged.iter().map(|(_, line)| format!("{line}\n")).collect();
        for line in &lines {
            text.push_str(&(serde_json::to_string(line)? + "\n"));
        }
        let mut file = File::create(&new).with_context(|| format!("cannot write {}", new.display()))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path).with_context(|| format!("cannot replace {}", self.path.display()))?;
        sync(self.path.parent().unwrap_or(&self.path))?;
        (inner.file, inner.lines, inner.broken) = (open(&self.path)?, lines, false);
        Ok(())
    }

    /// A line that fits only in part is cut off again: behind it nothing could be read.
    fn append(&self, inner: &mut Inner, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let written = (|| {
            if inner.broken {
                return Err(std::io::Error::other("its last line is cut short"));
            }
            let before = inner.file.metadata()?.len();
            let written = inner.file.write_all(text.as_bytes()).and_then(|()| inner.file.sync_data());
            written.inspect_err(|_| inner.broken = inner.file.set_len(before).is_err())
        })();
        written.with_context(|| {
            format!(
                "cannot note in {} what is about to be changed, so nothing more is changed.\nMake room on the disk, then: \
                 mainstay down",
                self.path.display()
            )
        })
    }

    fn whole(&self) -> MutexGuard<'_, ()> {
        self.whole.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::options().read(true).append(true).create(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// Makes the names in a directory as durable as what is in the files.
fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot sync {}", directory.display()))
}

/// Locks the directory of the ledger as long as the file is open.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let file = open(&path)?;
    let began = Instant::now();
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if began.elapsed() > LOCK_WAIT {
            bail!("{} is locked: a server of this directory runs.\nStop it first: mainstay down", path.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(file)
}

/// Number and text of a line that cannot be read.
type Damaged = (usize, String);

/// The changes that are in place by the text of a ledger, the lines that cannot be read, and how many of its bytes are
/// whole lines.
fn parse(text: &str) -> (Vec<Line>, Vec<Damaged>, usize) {
    let (mut lines, mut damaged): (Vec<Line>, Vec<Damaged>) = (Vec::new(), Vec::new());
    let whole = text.rfind('\n').map_or(0, |last| last + 1);
    for (number, text) in text[..whole].lines().enumerate() {
        let Ok(line) = serde_json::from_str::<Line>(text) else {
            damaged.push((number + 1, text.to_owned()));
            continue;
        };
        match lines.iter().position(|noted| noted.place == line.place && noted.change == line.change) {
            Some(at) if line.gone => _ = lines.remove(at),
            None if !line.gone => lines.push(line),
            _ => {}
        }
    }
    (lines, damaged, whole)
}

/// What to do about a line that cannot be read.
fn damaged(number: usize, path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "line {number} of {} is damaged.\nLook at the file: it lists what was changed on this host, one change a line; \
         take the line out and undo by hand what it says",
        path.display()
    )
}

/// How to reach a network namespace that still exists; None: it has ended.
fn elsewhere(net: u64, ledger: &Path) -> Option<String> {
    let is_it = |path: &Path| std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == net);
    let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
    let named = entries("/run/netns").map(|entry| entry.path()).find(|path| is_it(path));
    let of_processes = || entries("/proc").map(|entry| entry.path().join("ns/net")).find(|path| is_it(path));
    let path = named.or_else(of_processes)?;
    let data_dir = ledger.parent().and_then(Path::parent).unwrap_or(ledger);
    let (path, data_dir) = (path.display(), data_dir.display());
    Some(format!(
        "it was made in another network namespace; type: nsenter --net={path} mainstay down --data-dir {data_dir}"
    ))
}

#[cfg(test)]
mod tests;
