//! `PodStreams`: logs, commands and ports of running pods, as the API server asks the node for them.

use api::object::ObjectKey;
use api::status::Status;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// Which lines of a container's log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Container; empty means the only one (or the first).
    pub container: String,
    /// Keep the stream open and send new lines.
    pub follow: bool,
    /// The log of the previous run.
    pub previous: bool,
    /// Prefix each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines newer than so many seconds.
    pub since_seconds: Option<u64>,
    /// Only lines from this time on: RFC 3339 in UTC with nine digits after the point, as logs hold it.
    pub since_time: Option<String>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// A socket that listens (UDP: that is bound and not connected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Whether it is UDP; TCP otherwise.
    pub udp: bool,
    /// Own address and port.
    pub at: std::net::SocketAddr,
}

/// A command to run inside a container.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Container; empty means the only one (or the first).
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether the client sends standard input.
    pub stdin: bool,
    /// Whether the client wants standard output.
    pub stdout: bool,
    /// Whether the client wants standard error (never together with `tty`).
    pub stderr: bool,
    /// Run on a pseudo terminal.
    pub tty: bool,
}

/// A running command. Dropping it ends a command that was started for it, and leaves one that it joined.
pub struct ExecSession {
    /// Where standard input goes.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Standard output (all output when on a terminal).
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Standard error.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// New terminal sizes as (columns, rows).
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// The exit code, once; a signal counts as 128 + its number.
    pub exit: oneshot::Receiver<Result<i32, String>>,
}

/// A connection to a port of a pod.
pub type Connection = Box<dyn Duplex>;

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Logs, commands and ports of the pods of one node.
#[async_trait]
pub trait PodStreams: Send + Sync + 'static {
    /// A stream of log bytes; ends at the end of the log unless `follow`.
    async fn logs(
        &self,
        pod: &ObjectKey,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status>;
    /// Sockets that listen in the network of a pod, or of the node itself; none if that cannot be seen.
    fn listening(&self, _pod: Option<&ObjectKey>) -> Option<Vec<Listening>> {
        None
    }
    /// Starts a command.
    async fn exec(&self, pod: &ObjectKey, options: &ExecOptions) -> Result<ExecSession, Status>;
    /// Joins the streams of a container's own program; the options name no command. Its exit is 0 whatever the program's.
    async fn attach(&self, pod: &ObjectKey, options: &ExecOptions) -> Result<ExecSession, Status>;
    /// Connects to a port inside the pod's network, as a program of the pod would to `localhost`.
    async fn port_forward(&self, pod: &ObjectKey, port: u16) -> Result<Connection, Status>;
}
