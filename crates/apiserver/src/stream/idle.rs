//! A connection in, the same connection out, which ends by itself when nothing has moved on it for long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection whose reads fail with `TimedOut` once nothing was read or written for a time.
pub(super) struct Idle<S> {
    io: S,
    limit: Duration,
    last: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Idle<S> {
    pub(super) fn new(io: S, limit: Duration) -> Self {
        Self { io, limit, last: Instant::now(), alarm: Box::pin(tokio::time::sleep(limit)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(done) = Pin::new(&mut this.io).poll_read(cx, buffer) {
            this.last = Instant::now();
            return Poll::Ready(done);
        }
        // The alarm is set anew only when it rings: there are many reads and hardly ever an idle connection.
        while this.alarm.as_mut().poll(cx).is_ready() {
            let due = this.last + this.limit;
            if due <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(cx, bytes);
        if done.is_ready() {
            self.last = Instant::now();
        }
        done
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn an_idle_connection_ends_and_a_busy_one_does_not() {
        let (ours, mut theirs) = duplex(64);
        let mut idle = Idle::new(ours, Duration::from_millis(20));
        theirs.write_all(b"hi").await.unwrap();
        let mut two = [0; 2];
        idle.read_exact(&mut two).await.unwrap();
        assert_eq!(idle.read(&mut two).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (ours, theirs) = duplex(64);
        let mut open = Idle::new(ours, Duration::from_secs(3600));
        drop(theirs);
        assert_eq!(open.read(&mut two).await.unwrap(), 0);
    }
}
