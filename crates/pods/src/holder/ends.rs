//! The ends of a container's streams: what to start in, ours and its own out; on a host so that the next holder finds ours.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use kernel::process::Child;
use kernel::unix_socket;
use rustix::fs::{CWD, FileType, Mode as Rights, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::PidfdGetfdFlags;

use super::kept::Kept;
use super::log::Log;
use super::message::Spawn;
use super::spawn::Given;
use super::spool::{Files, Mark, Spool};
use super::stream::Stream;
use crate::limits;
use crate::sandbox::Mode;

/// Our ends.
pub(super) struct Ends {
    pub(super) log: Log,
    pub(super) streams: Vec<Stream>,
    /// Where its input comes from, or its terminal (first the connection on which it is sent).
    pub(super) input: Option<OwnedFd>,
}

/// Makes both ends for a container that is about to start.
pub(super) fn make(spawn: &Spawn, mode: Mode) -> io::Result<(Ends, Given)> {
    match mode {
        Mode::Sandbox => pipes(spawn),
        Mode::Host => fifos(spawn),
    }
}

fn pipes(spawn: &Spawn) -> io::Result<(Ends, Given)> {
    let log = Log::open(spawn.log.clone())?;
    if spawn.tty {
        return terminal(log, false);
    }
    let (out_read, out) = output_pipe()?;
    let (err_read, err) = output_pipe()?;
    let (read, write) = if spawn.stdin { input_pipe()? } else { (None, None) };
    let streams = vec![Stream::new(out_read, "stdout"), Stream::new(err_read, "stderr")];
    Ok((Ends { log, streams, input: write }, Given::Pipes { input: read, output: [out, err] }))
}

/// Names in the data directory instead of pipes. The container's own ends are open for both directions, so that the end of
/// a holder is neither an end of file nor a broken pipe to it.
fn fifos(spawn: &Spawn) -> io::Result<(Ends, Given)> {
    let files = Files::beside(&spawn.log);
    files.remove();
    let _ = std::fs::remove_file(&spawn.log);
    let mut log = Log::marked(spawn.log.clone(), Mark::open(&files.mark())?)?;
    if spawn.tty {
        return terminal(log, true);
    }
    let mut streams = Vec::new();
    let mut output = |name: &'static str| -> io::Result<OwnedFd> {
        let theirs = fifo(&files.fifo(name))?;
        streams.push(stream(&files, name, &mut log)?);
        Ok(theirs)
    };
    let given = [output("stdout")?, output("stderr")?];
    let (read, write) = match (spawn.stdin, spawn.stdin_once) {
        (false, _) => (None, None),
        // Its end is to be seen, so that it ends with the holder, too.
        (true, true) => input_pipe()?,
        (true, false) => {
            let theirs = fifo(&files.fifo("stdin"))?;
            (Some(theirs), Some(open(&files.fifo("stdin"), OFlags::WRONLY)?))
        }
    };
    Ok((Ends { log, streams, input: write }, Given::Pipes { input: read, output: given }))
}

/// Finds the ends that an earlier holder made. What cannot be had is told of, and the container goes on without it.
pub(super) fn again(kept: &Kept, child: Option<&Child>) -> io::Result<Ends> {
    let spawn = &kept.spawn;
    let files = Files::beside(&spawn.log);
    let mut log = Log::marked(spawn.log.clone(), Mark::open(&files.mark())?)?;
    let (mut streams, mut input) = (Vec::new(), None);
    let name = format!("{}/{}", spawn.pod, spawn.container);
    if spawn.tty {
        match child.map(|child| terminal_of(kept, child)) {
            Some(Ok(terminal)) => {
                input = Some(terminal.try_clone()?);
                streams.push(Stream::new(terminal, "stdout"));
            }
            Some(Err(error)) => note!("holder: {name}: its terminal ended with the last holder: {error}"),
            None => {}
        }
        return Ok(Ends { log, streams, input });
    }
    for stream_name in ["stdout", "stderr"] {
        match stream(&files, stream_name, &mut log) {
            Ok(stream) => streams.push(stream),
            Err(error) => note!("holder: {name}: its {stream_name} is lost: {error}"),
        }
    }
    if spawn.stdin && !spawn.stdin_once && child.is_some() {
        input = open(&files.fifo("stdin"), OFlags::WRONLY | OFlags::NONBLOCK).ok();
    }
    Ok(Ends { log, streams, input })
}

/// Our side of a terminal, of which the container has a copy for this.
fn terminal_of(kept: &Kept, child: &Child) -> io::Result<OwnedFd> {
    let number = kept.terminal.ok_or_else(|| io::Error::other("the container has no copy of it"))?;
    let terminal = rustix::process::pidfd_getfd(&child.pidfd, number, PidfdGetfdFlags::empty())?;
    rustix::termios::tcgetwinsize(&terminal)?;
    rustix::io::ioctl_fionbio(&terminal, true)?;
    Ok(terminal)
}

fn terminal(log: Log, keep: bool) -> io::Result<(Ends, Given)> {
    let (ours, connection) = unix_socket::pair()?;
    Ok((Ends { log, streams: Vec::new(), input: Some(ours) }, Given::Terminal { connection, keep }))
}

fn stream(files: &Files, name: &'static str, log: &mut Log) -> io::Result<Stream> {
    let pipe = open(&files.fifo(name), OFlags::RDONLY | OFlags::NONBLOCK)?;
    let (spool, rest) = Spool::open(&files.spool(name), log.done(name))?;
    Ok(Stream::spooled(pipe, name, spool, &rest, log))
}

/// Makes a FIFO and opens the container's end. Whoever has that may open it again by name (`/dev/stdout`), as whatever user.
fn fifo(path: &Path) -> io::Result<OwnedFd> {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Rights::from_raw_mode(0o600), 0)?;
    rustix::fs::chmod(path, Rights::from_raw_mode(0o666))?;
    let theirs = open(path, OFlags::RDWR)?;
    // Only root may go beyond the host's limit; less room is enough.
    let _ = rustix::pipe::fcntl_setpipe_size(&theirs, limits::FIFO_BYTES);
    Ok(theirs)
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Rights::empty())?)
}

/// A pipe for a container's output: our end never blocks.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(read.as_fd(), true)?;
    Ok((read, write))
}

fn input_pipe() -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (Some(read), Some(write)))?)
}
