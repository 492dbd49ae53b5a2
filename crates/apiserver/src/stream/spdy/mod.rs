//! A connection that speaks SPDY/3.1 in, streams that its client opened out; theirs and ours, each with two directions.
//!
//! There are no windows, as in client-go: a connection whose streams hold [`limits::SPDY_BUFFER`] unread bytes is not
//! read until some are, and a client that does not read holds back those who send to it.

mod frame;
mod headers;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

pub(crate) use frame::Code;
use frame::{Event, Frame};
pub(crate) use headers::Headers;

use crate::limits;

/// Frames of ours that wait for the wire.
const OUTBOX: usize = 16;
/// New streams that wait to be looked at.
const OPENED: usize = 64;

/// The peer broke the protocol: how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) &'static str);

/// The connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// A connection. Dropping it cuts it.
pub(crate) struct Session {
    opened: mpsc::Receiver<Stream>,
    out: mpsc::Sender<Order>,
    reading: Task,
    writing: Task,
}

/// A stream that the client opened.
pub(crate) struct Stream {
    /// Its number.
    pub(crate) id: u32,
    /// What the client said of it.
    pub(crate) headers: Headers,
    /// What the client sends.
    pub(crate) reader: Reader,
    /// What the client is sent.
    pub(crate) writer: Writer,
}

/// What comes out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes.
    Data(Bytes),
    /// The client sends no more.
    End,
    /// The client gave the stream up, or is gone.
    Reset,
}

/// The client's direction of a stream.
pub(crate) struct Reader {
    pieces: mpsc::UnboundedReceiver<Piece>,
    _place: Arc<OwnedSemaphorePermit>,
}

/// Our direction of a stream.
pub(crate) struct Writer {
    id: u32,
    out: mpsc::Sender<Order>,
    _place: Arc<OwnedSemaphorePermit>,
}

enum Piece {
    Data(Bytes, #[expect(dead_code, reason = "its end is what it is kept for")] OwnedSemaphorePermit),
    End,
}

enum Order {
    Frame(Frame),
    Close,
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Serves a connection whose upgrade was just answered.
    pub(crate) fn start<S>(socket: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(socket);
        let (out, orders) = mpsc::channel(OUTBOX);
        let (accept, opened) = mpsc::channel(OPENED);
        let writing = Task(tokio::spawn(write_frames(write, orders)));
        let demux = Demux {
            streams: BTreeMap::new(),
            last: 0,
            accept: Some(accept),
            out: out.clone(),
            places: Arc::new(Semaphore::new(limits::SPDY_STREAMS)),
            room: Arc::new(Semaphore::new(limits::SPDY_BUFFER)),
        };
        let reading = Task(tokio::spawn(demux.run(read)));
        Self { opened, out, reading, writing }
    }

    /// The next stream; none once the client is gone or has said that none will come.
    pub(crate) async fn accept(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Waits until the client is gone.
    pub(crate) async fn gone(&mut self) {
        if !self.reading.0.is_finished() {
            // How it ended does not matter.
            let _ = (&mut self.reading.0).await;
        }
    }

    /// Sends what is still to be sent, says goodbye and waits a moment for the client to leave first: a cut connection
    /// would take unread bytes with it.
    pub(crate) async fn close(mut self) {
        self.opened.close();
        if self.out.send(Order::Close).await.is_ok() {
            // A client that neither reads nor leaves has had its time.
            let _ = tokio::time::timeout(limits::DRAIN, &mut self.writing.0).await;
            let _ = tokio::time::timeout(limits::DRAIN, self.gone()).await;
        }
    }
}

impl Reader {
    /// The next piece.
    pub(crate) async fn next(&mut self) -> Input {
        match self.pieces.recv().await {
            Some(Piece::Data(bytes, _)) => Input::Data(bytes),
            Some(Piece::End) => Input::End,
            None => Input::Reset,
        }
    }
}

impl Writer {
    /// Sends bytes, at most a chunk of them.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.order(Frame::Data { id: self.id, bytes, fin: false }).await
    }

    /// Ends our direction.
    pub(crate) async fn finish(&self) -> Result<(), Gone> {
        self.order(Frame::Data { id: self.id, bytes: Bytes::new(), fin: true }).await
    }

    /// Gives the stream up.
    pub(crate) async fn reset(&self, code: Code) -> Result<(), Gone> {
        self.order(Frame::Reset { id: self.id, code }).await
    }

    async fn order(&self, frame: Frame) -> Result<(), Gone> {
        self.out.send(Order::Frame(frame)).await.map_err(|_| Gone)
    }
}

/// Gives every frame to its stream.
struct Demux {
    streams: BTreeMap<u32, mpsc::UnboundedSender<Piece>>,
    last: u32,
    accept: Option<mpsc::Sender<Stream>>,
    out: mpsc::Sender<Order>,
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Demux {
    async fn run<S: AsyncRead + Send>(mut self, io: ReadHalf<S>) {
        let mut frames = frame::Reader::new(io);
        loop {
            let done = match frames.next().await {
                Ok(Some(event)) => self.take(event).await,
                Ok(None) => return,
                Err(broken) => Err(broken),
            };
            if let Err(broken) = done {
                tracing::debug!(%broken, "a client's SPDY connection is ended");
                let goodbye = Frame::GoAway { last: self.last, code: 1 };
                // Whoever breaks the protocol may be gone already.
                let _ = self.out.send(Order::Frame(goodbye)).await;
                let _ = self.out.send(Order::Close).await;
                return;
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Open { id, headers, fin } => self.open(id, headers, fin).await?,
            Event::Data { id, bytes, fin } => {
                if let Some(stream) = self.streams.get(&id)
                    && !bytes.is_empty()
                {
                    // Dropped with the bytes once they are read; the semaphore is never closed.
                    let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    if !stream.is_closed() {
                        let room = self.room(count).await?;
                        // A reader that has left reads no more.
                        let _ = stream.send(Piece::Data(bytes, room));
                    }
                }
                if fin && let Some(stream) = self.streams.remove(&id) {
                    let _ = stream.send(Piece::End);
                }
            }
            Event::Reset { id } => drop(self.streams.remove(&id)),
            // The answer to a question of ours.
            Event::Ping(number) if number.is_multiple_of(2) => {}
            Event::Ping(number) => self.say(Frame::Pong(number)).await,
            Event::GoAway => self.accept = None,
            Event::Other => {}
        }
        Ok(())
    }

    /// Waits for room for bytes that nobody has read yet. The client is not read meanwhile, so that its death shows only
    /// when something is sent to it.
    async fn room(&self, count: u32) -> Result<OwnedSemaphorePermit, Broken> {
        let mut room = std::pin::pin!(self.room.clone().acquire_many_owned(count));
        let mut number = 0_u32;
        loop {
            tokio::select! {
                room = &mut room => return room.map_err(|_| Broken("the connection is closed")),
                () = self.out.closed() => return Err(Broken("the client is gone")),
                () = tokio::time::sleep(limits::STREAM_PING) => {
                    number = number.wrapping_add(2);
                    // A full queue means that the writer has something to find out with.
                    let _ = self.out.try_send(Order::Frame(Frame::Ping(number)));
                }
            }
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, fin: bool) -> Result<(), Broken> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(Broken("a client's streams have odd numbers that grow"));
        }
        self.last = id;
        let Some(accept) = self.accept.clone() else { return Ok(()) };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.say(Frame::Reset { id, code: Code::Refused }).await;
            return Ok(());
        };
        // Streams that we are done with, but of which the client has not said so, keep no place for ever.
        if self.streams.len() > 2 * limits::SPDY_STREAMS {
            self.streams.retain(|_, stream| !stream.is_closed());
        }
        let (sender, pieces) = mpsc::unbounded_channel();
        let place = Arc::new(place);
        let reader = Reader { pieces, _place: place.clone() };
        let writer = Writer { id, out: self.out.clone(), _place: place };
        self.say(Frame::Reply { id }).await;
        if accept.send(Stream { id, headers, reader, writer }).await.is_err() {
            self.say(Frame::Reset { id, code: Code::Refused }).await;
        } else if fin {
            let _ = sender.send(Piece::End);
        } else {
            self.streams.insert(id, sender);
        }
        Ok(())
    }

    async fn say(&self, frame: Frame) {
        // Without a writer the connection is gone, which the next read shows.
        let _ = self.out.send(Order::Frame(frame)).await;
    }
}

/// Puts frames on the wire, flushed whenever none waits.
async fn write_frames<S: AsyncWrite + Send>(io: WriteHalf<S>, mut orders: mpsc::Receiver<Order>) {
    let mut io = BufWriter::with_capacity(2 * limits::STREAM_CHUNK, io);
    let mut headers = headers::Writer::new();
    let mut bytes = Vec::new();
    while let Some(order) = orders.recv().await {
        bytes.clear();
        let close = match order {
            Order::Frame(frame) => {
                frame::encode(&frame, &mut headers, &mut bytes);
                false
            }
            Order::Close => {
                frame::encode(&Frame::GoAway { last: 0, code: 0 }, &mut headers, &mut bytes);
                true
            }
        };
        let written = io.write_all(&bytes).await;
        let flushed = if close || orders.is_empty() { io.flush().await } else { Ok(()) };
        if close || written.and(flushed).is_err() {
            break;
        }
    }
    // A connection that cannot be shut down is down.
    let _ = io.shutdown().await;
}
