//! TCP: connections in, several questions on each, answers out in the same order (RFC 7766).

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::answer::{self, Next};
use crate::limits;
use crate::server::{Shared, stopped};

/// Accepts connections until `stop` is set or its sender is gone.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(limits::TCP_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // The client is gone already, or descriptors are short: let others finish first.
            tokio::time::sleep(limits::DRAIN).await;
            continue;
        };
        let (shared, mut stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stopped(&mut stop) => {}
                // An error ends the connection, which is all that can be said about it.
                _ = connection(&shared, stream) => {}
            }
            drop(permit);
        });
    }
}

async fn connection(shared: &Arc<Shared>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut query, mut reply, mut framed, mut turn) = (Vec::new(), Vec::new(), Vec::new(), 0_usize);
    loop {
        timeout(limits::TCP_IDLE, read(&mut stream, &mut query)).await??;
        turn = turn.wrapping_add(1);
        let next = {
            let zone = shared.zone.load();
            answer::answer(zone.as_deref(), &query, true, turn, &mut reply)
        };
        match next {
            Next::Drop => return Ok(()),
            Next::Send => {}
            Next::Forward(pending) => {
                let outcome = match shared.waiting.try_acquire() {
                    Ok(_permit) => shared.forwarder.resolve(&pending.key).await,
                    Err(_) => Err("too many clients wait for resolvers"),
                };
                answer::complete(&query, true, &pending, &outcome, &mut reply);
            }
        }
        framed.clear();
        framed.extend_from_slice(&(reply.len() as u16).to_be_bytes());
        framed.extend_from_slice(&reply);
        timeout(limits::TCP_IDLE, stream.write_all(&framed)).await??;
    }
}

async fn read(stream: &mut TcpStream, query: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    query.resize(usize::from(length), 0);
    stream.read_exact(query).await?;
    Ok(())
}
