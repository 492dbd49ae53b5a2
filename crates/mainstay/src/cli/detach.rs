//! `mainstay up --detach`: this command line in, the same one running on its own out, with a log file for a terminal.
//!
//! The child's standard output is a pipe to the parent until it has said how the start went: an exit code on the first
//! line, the text for the user below it. Its end without a word means that the start failed, and why is in the log.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cli::hint;
use crate::config::DataDir;
use crate::exit::Exit;

mod log;

pub(crate) use log::{Log, file, files};

/// The hidden flag that makes `mainstay up` the child.
pub(crate) const CHILD: &str = "--detached-child";
/// Lines of the log that are shown when a start fails.
const LAST_LINES: usize = 20;

/// Starts the child with the arguments of this process and waits until it has said how the start went.
pub(crate) fn start(data_dir: &DataDir, reads_stdin: bool) -> Result<Exit> {
    let path = file(data_dir.path());
    let new = !data_dir.path().exists();
    make(data_dir.path())?;
    let opened = std::fs::File::options().create(true).append(true).open(&path);
    let log = opened.with_context(|| {
        format!("cannot write the log {}.\nChoose a directory that you may write: --data-dir DIR", path.display())
    })?;
    let from = log.metadata().map_or(0, |found| found.len());
    let program = std::env::current_exe().context("cannot find this program's own path.\nIs /proc mounted?")?;
    let mut command = Command::new(&program);
    command.args(std::env::args_os().skip(1)).arg(CHILD).stdout(Stdio::piped()).stderr(log);
    command.stdin(if reads_stdin { Stdio::inherit() } else { Stdio::null() });
    let mut child =
        command.spawn().with_context(|| format!("cannot start {}.\nIs it executable?", program.display()))?;
    let mut said = String::new();
    let pipe = child.stdout.take();
    pipe.context("the child has no output")?.read_to_string(&mut said).context("cannot hear how the start went")?;
    match said.split_once('\n').and_then(|(code, text)| Some((code.parse::<u8>().ok()?, text))) {
        Some((0, text)) => {
            println!("{}", text.trim_end());
            Ok(Exit::Fine)
        }
        Some((_, text)) => Err(Exit::TimedOut.error(text.trim_end())),
        None => Err(failed(&mut child, &path, from, new)),
    }
}

/// Makes the directory of the log, which only its owner may enter.
fn make(directory: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let made = made.with_context(|| {
        format!(
            "cannot make the data directory {}.\nChoose one that you may write: --data-dir DIR",
            directory.display()
        )
    });
    made.map_err(|error| crate::exit::tag(crate::messages::MS0110, error))
}

/// Why a start failed: what the child wrote into its log. A directory that was made for it goes again.
fn failed(child: &mut Child, path: &Path, from: u64, new: bool) -> anyhow::Error {
    let status = child.wait();
    let lines = last_lines(path, from).unwrap_or_else(|error| format!("(the log cannot be read: {error})"));
    let directory = path.parent().unwrap_or(path).to_owned();
    let mut next = format!("All of the log: mainstay logs server --data-dir {}", hint::word(&directory));
    if new {
        let _ = std::fs::remove_file(path);
        // Fails, as it should, when the child has left something to keep.
        if std::fs::remove_dir(&directory).is_ok() {
            next = "Start it in the foreground to see more: mainstay up without --detach".to_owned();
        }
    }
    let code = status.as_ref().ok().and_then(std::process::ExitStatus::code);
    let exit = if code == Some(i32::from(Exit::Usage as u8)) { Exit::Usage } else { Exit::Error };
    let ended = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    exit.error(format!("the instance did not start ({ended}). Its log ends with:\n{lines}\n{next}"))
}

/// The last lines that were written to the log since `from`.
fn last_lines(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LAST_LINES)..];
    Ok(shown.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))
}

/// The child's side of the start.
pub(crate) struct Start(());

impl Start {
    /// Leaves the parent's session, so that neither its terminal nor its Ctrl-C reaches this process. Must be called
    /// before any thread exists.
    pub(crate) fn become_child() -> Result<Self> {
        rustix::process::setsid().context("cannot leave the terminal's session")?;
        Ok(Self(()))
    }

    /// Tells the parent how the start went and sends what is printed from now on to the log.
    pub(crate) fn tell(&self, exit: Exit, text: &str) -> Result<()> {
        let mut parent = std::io::stdout();
        let told = write!(parent, "{}\n{text}\n", exit as u8).and_then(|()| parent.flush());
        // A parent that was killed meanwhile misses nothing but this.
        if let Err(error) = told {
            tracing::debug!(%error, "the command that started this instance is gone");
        }
        let null =
            std::fs::File::options().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
        let log = std::io::stderr();
        kernel::process::set_stdio([null.as_fd(), log.as_fd(), log.as_fd()]).context("cannot leave the parent's pipe")
    }
}

/// Checks what `--detach` cannot be used with.
pub(crate) fn check(data_dir: &DataDir) -> Result<()> {
    if let Ok(Some(instance)) = crate::instance::Instance::read(data_dir)
        && instance.alive()
    {
        let directory: PathBuf = data_dir.path().into();
        bail!(
            "an instance runs in {} already (process {}, API {}).\nUse it: {}\nStop it: mainstay down --data-dir {}",
            directory.display(),
            instance.pid,
            instance.server,
            hint::export(&data_dir.kubeconfig()),
            hint::word(&directory)
        );
    }
    Ok(())
}
