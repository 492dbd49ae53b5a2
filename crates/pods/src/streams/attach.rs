//! The streams of a container's own program: pipes handed to the holder in, a session out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use api::status::Status;
use contract::streams::{ExecOptions, ExecSession};
use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::exec::resizer;
use super::pipe::Pipe;
use crate::kubelet::Node;

/// Joins a running container.
pub(super) async fn join(
    node: &Arc<Node>,
    pod: &Pod,
    container: &Container,
    options: &ExecOptions,
) -> Result<ExecSession, Status> {
    let failed = |error: io::Error| Status::internal(format!("error attaching to container: {error}"));
    let (out, out_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let (err, err_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let (client, stdin) = (node.client.clone(), options.stdin);
    let (uid, name) = (pod.metadata.uid.clone().unwrap_or_default(), container.name.clone());
    let joined =
        tokio::task::spawn_blocking(move || client.attach(&uid, &name, stdin, [out_end.as_fd(), err_end.as_fd()]));
    let input = joined.await.map_err(|error| Status::internal(error.to_string()))?.map_err(failed)?;
    let resize = match (&input, container.tty) {
        (Some(terminal), Some(true)) => Some(resizer(terminal.try_clone().map_err(failed)?)),
        _ => None,
    };
    let stdin = match input.filter(|_| stdin) {
        Some(end) => Some(Box::new(Pipe::new(end).map_err(failed)?) as Box<dyn AsyncWrite + Send + Unpin>),
        None => None,
    };
    let (stdout, out) = wanted(out, options.stdout).map_err(failed)?;
    // On a terminal there is no standard error; its pipe is closed at once.
    let (stderr, err) = wanted(err, options.stderr).map_err(failed)?;
    let (mut done, exit) = oneshot::channel();
    tokio::spawn(async move {
        // Streams that nobody wants are read to their end, which is the container's.
        let rest = async {
            for mut pipe in [out, err].into_iter().flatten() {
                // An error ends the stream as well.
                let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
            }
        };
        let ended = tokio::select! {
            () = rest => true,
            // The client has left, and with it the pipes.
            () = done.closed() => false,
        };
        if ended {
            let _ = done.send(Ok(0));
        }
    });
    Ok(ExecSession { stdin, stdout, stderr, resize, exit })
}

type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A stream for the client, or else one to be read to its end.
fn wanted(end: OwnedFd, wanted: bool) -> io::Result<(Option<Output>, Option<Pipe>)> {
    let pipe = Pipe::new(end)?;
    Ok(if wanted { (Some(Box::new(pipe)), None) } else { (None, Some(pipe)) })
}
