//! Two connections in, the bytes of each to the other: half-closes and resets included, with no memory for idle ones.
//!
//! All connections of the thread share one buffer. What was read is written at once; only what the other side does not
//! take is copied, and nothing more is read until it has been taken: a slow reader slows its sender and costs one chunk.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::net::{Shutdown, sockopt};
use tokio::net::TcpStream;

use super::counts::add;
use super::limits;

thread_local! {
    static CHUNK: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::CHUNK_BYTES]);
}

/// Lends the thread's buffer to what does not wait.
pub(super) fn with_chunk<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    CHUNK.with_borrow_mut(|chunk| work(chunk))
}

/// Which end of a direction failed.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The sender is gone in disorder: nobody will read the answers either.
    Sender,
    /// The receiver takes no more: what it had sent before may still be on its way.
    Receiver,
}

/// What one look at a sender brought.
enum Step {
    Nothing,
    End,
    Moved(u64, Vec<u8>),
}

/// Relays until both sides have ended, or one was reset: then the other is reset as well.
pub(super) async fn relay(client: &TcpStream, server: &TcpStream, bytes_in: &AtomicU64, bytes_out: &AtomicU64) {
    let mut there = pin!(one_way(client, server, bytes_in));
    let mut back = pin!(one_way(server, client, bytes_out));
    let (mut there_ended, mut back_ended) = (false, false);
    while !(there_ended && back_ended) {
        let ended = tokio::select! {
            ended = &mut there, if !there_ended => { there_ended = true; ended }
            ended = &mut back, if !back_ended => { back_ended = true; ended }
        };
        if ended == Err(Fault::Sender) {
            reset(client);
            reset(server);
            return;
        }
    }
}

/// Lets the peer see a reset, not an orderly end, when the connection is dropped.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is none.
    let _ = sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}

/// Moves bytes until the sender's end, which is passed on.
async fn one_way(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> Result<(), Fault> {
    let mut chunks = 0;
    loop {
        from.readable().await.map_err(|_| Fault::Sender)?;
        match with_chunk(|chunk| step(from, to, chunk))? {
            Step::Nothing => {}
            Step::End => {
                // A receiver that is gone needs no end.
                let _ = rustix::net::shutdown(to.as_fd(), Shutdown::Write);
                return Ok(());
            }
            Step::Moved(moved, rest) => {
                add(count, moved);
                write(to, &rest).await?;
                chunks += 1;
                if chunks % limits::CHUNKS_OF_A_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Reads a chunk and writes what the receiver takes of it.
fn step(from: &TcpStream, to: &TcpStream, chunk: &mut [u8]) -> Result<Step, Fault> {
    let read = match from.try_read(chunk) {
        Ok(0) => return Ok(Step::End),
        Ok(read) => read,
        Err(error) if is_passing(&error) => return Ok(Step::Nothing),
        Err(_) => return Err(Fault::Sender),
    };
    let data = chunk.get(..read).unwrap_or_default();
    let taken = match to.try_write(data) {
        Ok(taken) => taken,
        Err(error) if is_passing(&error) => 0,
        Err(_) => return Err(Fault::Receiver),
    };
    Ok(Step::Moved(read as u64, data.get(taken..).unwrap_or_default().to_vec()))
}

async fn write(to: &TcpStream, mut rest: &[u8]) -> Result<(), Fault> {
    while !rest.is_empty() {
        to.writable().await.map_err(|_| Fault::Receiver)?;
        match to.try_write(rest) {
            Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
            Err(error) if is_passing(&error) => {}
            Err(_) => return Err(Fault::Receiver),
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A client and a server with a relay between them, and how many bytes went there.
    async fn pair() -> (TcpStream, TcpStream, Arc<AtomicU64>) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(front.local_addr().unwrap()).await.unwrap();
        let (near, _) = front.accept().await.unwrap();
        let far = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let (served, _) = server.accept().await.unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        tokio::spawn(async move { relay(&near, &far, &counted, &AtomicU64::new(0)).await });
        (client, served, count)
    }

    #[tokio::test]
    async fn a_half_close_passes_and_the_other_half_goes_on() {
        let (mut client, mut server, _) = pair().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!(answered, "answer");
    }

    #[tokio::test]
    async fn a_reset_of_either_side_reaches_the_other() {
        let (client, mut server, _) = pair().await;
        reset(&client);
        drop(client);
        assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (mut client, server, _) = pair().await;
        reset(&server);
        drop(server);
        assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_reader_that_waits_stops_its_sender_and_loses_nothing() {
        const BYTES: usize = 64 << 20;
        let (mut client, mut server, count) = pair().await;
        let sender = tokio::spawn(async move {
            let block: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
            for _ in 0..BYTES >> 20 {
                client.write_all(&block).await.unwrap();
            }
        });
        // Nobody reads: what was taken stops growing long before the whole was sent.
        let mut before = u64::MAX;
        loop {
            let now = count.load(std::sync::atomic::Ordering::Relaxed);
            if now == before && now > 0 {
                break;
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(before < BYTES as u64 / 2, "{before} bytes were taken from a sender whose receiver does not read");
        let (mut read, mut block) = (0, vec![0; 1 << 16]);
        loop {
            let bytes = server.read(&mut block).await.unwrap();
            if bytes == 0 {
                break;
            }
            assert!(block[..bytes].iter().zip(read..).all(|(byte, at)| usize::from(*byte) == at % 256), "at {read}");
            read += bytes;
        }
        assert_eq!(read, BYTES);
        sender.await.unwrap();
    }
}
