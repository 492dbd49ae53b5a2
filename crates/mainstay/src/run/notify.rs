//! What the server is doing, in; datagrams that systemd understands (sd_notify(3)), out. Without systemd: nothing.
//!
//! `NOTIFY_SOCKET` names the socket, `WATCHDOG_USEC` how long systemd waits for a sign of life before it kills and restarts
//! the server. A sign is only given after the parts that must turn have turned (`Running::pulse`).

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to whoever supervises this process.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says; silent where it says nothing.
    pub(crate) fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let pid = std::process::id();
        let watchdog = watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), pid);
        let Some(name) = variable("NOTIFY_SOCKET") else { return Self::default() };
        match connect(&name) {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                tracing::warn!(%error, socket = %name.display(), "the socket that NOTIFY_SOCKET names cannot be used");
                Self::default()
            }
        }
    }

    /// Says that everything is up.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Says that the server ends, and why.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// Gives signs of life for ever, each only after `pulse` came to its end in time with a line for `systemctl status`.
    /// Never returns; without a watchdog it does nothing.
    pub(crate) async fn signs_of_life<P, F>(&self, pulse: P) -> Infallible
    where
        P: Fn() -> F,
        F: Future<Output = Result<String, String>>,
    {
        let Some(limit) = self.watchdog else { return std::future::pending().await };
        let period = limit / 3;
        loop {
            match tokio::time::timeout(limit / 2, pulse()).await {
                Ok(Ok(status)) => self.send(&format!("WATCHDOG=1\nSTATUS={}", one_line(&status))),
                Ok(Err(why)) => {
                    tracing::error!(%why, "no sign of life for the watchdog");
                    self.send(&format!("STATUS=stuck: {}", one_line(&why)));
                }
                Err(_) => {
                    tracing::error!("no sign of life for the watchdog: a part of the server does not turn");
                    self.send("STATUS=stuck: a part of the server does not turn");
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(%error, "systemd could not be told {:?}", message.lines().next().unwrap_or_default());
        }
    }
}

/// A socket to the given name: a path, or with `@` before it a name that is in no file system.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A supervisor that does not read must not hold the server.
    socket.set_nonblocking(true)?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => socket.connect_addr(&SocketAddr::from_abstract_name(abstract_name)?)?,
        None => socket.connect(name)?,
    }
    Ok(socket)
}

/// How long the supervisor waits for a sign of life, if it waits and means this process.
fn watchdog(microseconds: Option<OsString>, meant: Option<OsString>, pid: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    if meant.is_some_and(|meant| number(meant) != Some(u64::from(pid))) {
        return None;
    }
    microseconds.and_then(number).filter(|microseconds| *microseconds > 0).map(Duration::from_micros)
}

/// A status is one line: more would be read as more assignments.
fn one_line(text: &str) -> String {
    text.replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::{Notify, connect, one_line, watchdog};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::Duration;

    fn said(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = listener.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn ready_and_stopping_reach_a_socket_in_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let notify = Notify { socket: Some(connect(path.as_os_str()).unwrap()), watchdog: None };
        notify.ready("serving\nMAINPID=1");
        assert_eq!(said(&listener), "READY=1\nSTATUS=serving; MAINPID=1");
        notify.stopping("told to");
        assert_eq!(said(&listener), "STOPPING=1\nSTATUS=told to");
    }

    #[tokio::test]
    async fn signs_of_life_come_while_the_pulse_does_and_stop_with_it() {
        let name = format!("mainstay-notify-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let socket = connect(format!("@{name}").as_ref()).unwrap();
        let notify = Notify { socket: Some(socket), watchdog: Some(Duration::from_millis(30)) };
        let turns = std::cell::Cell::new(0);
        let pulse = async || {
            turns.set(turns.get() + 1);
            match turns.get() {
                1 => Ok("revision 7".to_owned()),
                2 => Err("the dataplane ended".to_owned()),
                _ => std::future::pending().await,
            }
        };
        let listening = tokio::task::spawn_blocking(move || [said(&listener), said(&listener), said(&listener)]);
        let heard = tokio::select! {
            heard = listening => heard.unwrap(),
            _ = notify.signs_of_life(pulse) => unreachable!("it never returns"),
        };
        assert_eq!(heard[0], "WATCHDOG=1\nSTATUS=revision 7");
        assert_eq!(heard[1], "STATUS=stuck: the dataplane ended");
        assert_eq!(heard[2], "STATUS=stuck: a part of the server does not turn");
    }

    #[test]
    fn the_watchdog_is_for_this_process_only() {
        let text = |text: &str| Some(text.into());
        assert_eq!(watchdog(text("30000000"), None, 7), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(text("30000000"), text("7"), 7), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(text("30000000"), text("8"), 7), None);
        assert_eq!(watchdog(text("0"), None, 7), None);
        assert_eq!(watchdog(text("soon"), None, 7), None);
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn without_a_supervisor_nothing_is_said_and_nothing_fails() {
        Notify::default().ready("x");
        assert!(connect("/nonexistent/notify".as_ref()).is_err());
        assert_eq!(one_line("a\nb"), "a; b");
    }
}
