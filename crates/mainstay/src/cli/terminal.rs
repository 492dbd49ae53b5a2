//! This terminal and a running command in, each joined to the other until the command ends, and its exit code out.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use contract::streams::ExecSession;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Bytes that are moved at once.
const CHUNK: usize = 32 << 10;
/// How long output may still come after the command has ended: something it left behind may hold its terminal open.
const REST: Duration = Duration::from_millis(300);

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
            copy(tokio::io::stdin(), &mut to).await;
            if tty {
                // A terminal is not closed but told: input has ended.
                let _ = to.write_all(&[END_OF_INPUT]).await;
            }
            // One that is closed already needs no end.
            let _ = to.shutdown().await;
        });
    }
    let outputs = async {
        let out = async {
            if let Some(from) = stdout {
                copy(from, tokio::io::stdout()).await;
            }
        };
        let err = async {
            if let Some(from) = stderr {
                copy(from, tokio::io::stderr()).await;
            }
        };
        tokio::join!(out, err)
    };
    let mut outputs = std::pin::pin!(outputs);
    let mut exit = std::pin::pin!(exit);
    let mut open = true;
    let resize = resize.filter(|_| tty);
    tell_size(resize.as_ref());
    let ended = loop {
        tokio::select! {
            _ = &mut outputs, if open => open = false,
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
        let _ = tokio::time::timeout(REST, outputs).await;
    }
    drop(raw);
    match ended {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(why)) => Err(anyhow!("the command was lost: {why}.\nDoes the instance still run? Try: mainstay status")),
        Err(_) => {
            Err(anyhow!("the command was lost: its server ended.\nDoes the instance still run? Try: mainstay status"))
        }
    }
}

fn tell_size(resize: Option<&mpsc::Sender<(u16, u16)>>) {
    if let Some((resize, size)) = resize.zip(size()) {
        // A full queue holds a size already; the next change sends the newer one.
        let _ = resize.try_send(size);
    }
}

/// Moves bytes until either side ends, without holding any back.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; CHUNK];
    // An error reads like an end: a terminal whose program is gone answers EIO.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let piece = buffer.get(..count).unwrap_or_default();
        if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
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
