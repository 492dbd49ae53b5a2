//! This terminal and a running command in, each joined to the other until the command ends, and its exit code out.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use contract::streams::ExecSession;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::out;

/// Bytes that are moved at once.
const CHUNK: usize = 32 << 10;
/// How long output may still come after the command has ended: something it left behind may hold its terminal open.
const REST: Duration = Duration::from_millis(300);

/// How a command ended: its code, or why it was lost; nothing from a server that ended.
type ExecEnd = Result<Result<i32, String>, tokio::sync::oneshot::error::RecvError>;

/// What Ctrl-D types.
const END_OF_INPUT: u8 = 4;

/// A terminal in raw mode: every key goes to the command. Dropping it gives the terminal back as it was.
struct Raw {
    before: Termios,
}

impl Raw {
    /// Puts standard input into raw mode, if it is a terminal.
    fn enter() -> Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin).context("cannot read the terminal's settings.\nRun without one: --no-tty")?;
        let raw = Self { before };
        raw.apply()?;
        Ok(Some(raw))
    }

    /// Raw mode, again after somebody else has had the terminal.
    fn apply(&self) -> Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &raw)
            .context("cannot change the terminal's settings.\nRun without one: --no-tty")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs no settings.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether a person sits at both ends of this program.
pub(super) fn is_ours() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Columns and rows of this terminal.
pub(super) fn size() -> Option<(u16, u16)> {
    let size =
        rustix::termios::tcgetwinsize(std::io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(std::io::stdin()));
    size.ok().map(|size| (size.ws_col, size.ws_row)).filter(|size| *size != (0, 0))
}

/// Joins this program's streams with the command's. With `tty`, keys go to the command as they are typed.
pub(super) async fn join(session: ExecSession, tty: bool) -> Result<i32> {
    let mut ends = Ends::listen()?;
    let raw = if tty { Raw::enter()? } else { None };
    let ExecSession { stdin, stdout, stderr, resize, exit } = session;
    if let Some(to) = stdin {
        // It reads until the process ends: nobody waits for a key that is never pressed.
        tokio::spawn(async move {
            let mut to = to;
            // A command that reads no more needs no more.
            let _ = copy(tokio::io::stdin(), &mut to).await;
            if tty {
                // A terminal is not closed but told: input has ended.
                let _ = to.write_all(&[END_OF_INPUT]).await;
            }
            // One that is closed already needs no end.
            let _ = to.shutdown().await;
        });
    }
    // Ends early, with the error, when one of our own outputs does not take any more.
    let outputs = async {
        let out = async {
            match stdout {
                Some(from) => copy(from, tokio::io::stdout()).await,
                None => Ok(()),
            }
        };
        let err = async {
            match stderr {
                Some(from) => copy(from, tokio::io::stderr()).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(out, err)
    };
    let mut outputs = std::pin::pin!(outputs);
    let mut exit = std::pin::pin!(exit);
    let mut open = true;
    let resize = resize.filter(|_| tty);
    tell_size(resize.as_ref());
    let ended = loop {
        tokio::select! {
            done = &mut outputs, if open => match done {
                Ok(_) => open = false,
                Err(error) => return Ok(unread(error, exit).await),
            },
            ended = &mut exit => break ended,
            signal = ends.next() => match signal {
                Told::Resized => tell_size(resize.as_ref()),
                Told::Continued => {
                    if let Some(raw) = &raw {
                        raw.apply()?;
                    }
                    tell_size(resize.as_ref());
                }
                // Returning drops `raw`, and with it the command.
                Told::Ended(number) => return Ok(128 + number),
            },
        }
    };
    if open {
        // What the command itself has written is there already; what its children write later is not waited for.
        if let Ok(Err(error)) = tokio::time::timeout(REST, outputs).await {
            out::lose(error);
        }
    }
    drop(raw);
    match ended {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(why)) => Err(lost(&why)),
        Err(_) => Err(lost("its server ended")),
    }
}

fn lost(why: &str) -> anyhow::Error {
    let next = format!("Does the instance still run? Try: mainstay status{}", super::hint::same());
    anyhow!("the command was lost: {why}.\n{next}")
}

/// Nobody reads what the command says: it is not waited for, as `kubectl exec` does not either. Its code if it has ended
/// already, else 0; returning ends it.
async fn unread(error: std::io::Error, exit: impl Future<Output = ExecEnd>) -> i32 {
    out::lose(error);
    match tokio::time::timeout(REST, exit).await {
        Ok(Ok(Ok(code))) => code,
        _ => 0,
    }
}

fn tell_size(resize: Option<&mpsc::Sender<(u16, u16)>>) {
    if let Some((resize, size)) = resize.zip(size()) {
        // A full queue holds a size already; the next change sends the newer one.
        let _ = resize.try_send(size);
    }
}

/// Moves bytes until there are no more, without holding any back; an error if they are not taken.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    // An error reads like an end: a terminal whose program is gone answers EIO.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
        to.flush().await?;
    }
    Ok(())
}

/// What a signal means here.
enum Told {
    /// The window has another size.
    Resized,
    /// The program was stopped and goes on.
    Continued,
    /// End, with this signal's number.
    Ended(i32),
}

/// Signals that are waited for while a command runs.
struct Ends {
    window: Signal,
    goes_on: Signal,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Ends {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            window: listen(SignalKind::window_change())?,
            goes_on: listen(SignalKind::from_raw(libc::SIGCONT))?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.window.recv() => Told::Resized,
            _ = self.goes_on.recv() => Told::Continued,
            _ = self.interrupt.recv() => Told::Ended(libc::SIGINT),
            _ = self.terminate.recv() => Told::Ended(libc::SIGTERM),
            _ = self.hangup.recv() => Told::Ended(libc::SIGHUP),
            _ = self.quit.recv() => Told::Ended(libc::SIGQUIT),
        }
    }
}
