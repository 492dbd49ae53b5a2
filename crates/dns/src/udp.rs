//! One UDP socket: packets in, answers out, until it is replaced.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::answer::{self, Next, Pending};
use crate::limits;
use crate::server::{Shared, stopped};

/// The buffers of a socket's task: a query that the zone answers allocates nothing.
struct Worker {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    query: Vec<u8>,
    reply: Vec<u8>,
    turn: usize,
}

/// Serves `socket` until `stop` is set (or its sender is gone), then answers what it still holds.
pub(crate) async fn serve(shared: Arc<Shared>, socket: UdpSocket, mut stop: watch::Receiver<bool>) {
    let mut worker = Worker {
        shared,
        socket: Arc::new(socket),
        query: vec![0; limits::QUERY],
        reply: Vec::with_capacity(limits::QUERY),
        turn: 0,
    };
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            ready = worker.socket.readable() => if ready.is_ok() { worker.batch().await },
        }
    }
    worker.drain().await;
}

impl Worker {
    /// Answers what the socket holds, up to a batch.
    async fn batch(&mut self) {
        for _ in 0..limits::UDP_BATCH {
            match self.socket.try_recv_from(&mut self.query) {
                Ok((length, client)) => self.answer(length, client).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error about an earlier answer: the client is gone, the socket is well.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }

    async fn answer(&mut self, length: usize, client: SocketAddr) {
        // A server never answers port 0, nor can it.
        if client.port() == 0 {
            return;
        }
        self.turn = self.turn.wrapping_add(1);
        let next = {
            let zone = self.shared.zone.load();
            answer::answer(zone.as_deref(), &self.query[..length], false, self.turn, &mut self.reply)
        };
        match next {
            Next::Drop => {}
            Next::Send => send(&self.socket, &self.reply, client).await,
            Next::Forward(pending) => self.forward(pending, length, client).await,
        }
    }

    async fn forward(&mut self, pending: Pending, length: usize, client: SocketAddr) {
        let query = &self.query[..length];
        let Ok(permit) = self.shared.waiting.clone().try_acquire_owned() else {
            answer::complete(query, false, &pending, &Err("too many clients wait for resolvers"), &mut self.reply);
            return send(&self.socket, &self.reply, client).await;
        };
        let (shared, socket, query) = (self.shared.clone(), self.socket.clone(), query.to_vec());
        tokio::spawn(async move {
            let outcome = shared.forwarder.resolve(&pending.key).await;
            let mut reply = Vec::new();
            answer::complete(&query, false, &pending, &outcome, &mut reply);
            send(&socket, &reply, client).await;
            drop(permit);
        });
    }

    /// Answers what came before the socket was replaced. Connected to itself, it is no longer a candidate for other
    /// packets: the kernel gives them to the new socket of the SO_REUSEPORT group, and keeps what is queued here.
    async fn drain(&mut self) {
        let aside = match self.socket.local_addr() {
            Ok(own) => self.socket.connect(own).await,
            Err(error) => Err(error),
        };
        if let Err(error) = aside {
            self.shared.logs.write(format!("[WARNING] a replaced socket still receives, queries may be lost: {error}"));
        }
        let end = tokio::time::sleep(limits::DRAIN);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                ready = self.socket.readable() => if ready.is_ok() { self.batch().await },
            }
        }
        self.batch().await;
    }
}

/// Sends an answer. If it cannot be sent, the client asks again.
async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    let sent = match socket.try_send_to(reply, client) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.send_to(reply, client).await,
        sent => sent,
    };
    if let Err(error) = sent {
        tracing::debug!(target: "dns", %client, %error, "answer not sent");
    }
}
