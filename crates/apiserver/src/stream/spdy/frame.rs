//! Bytes of a SPDY/3.1 connection in, frames out, and frames into bytes. Only what streams of a pod need is understood;
//! the rest is skipped.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Broken;
use super::headers::{self, Headers};
use crate::limits;

const HEAD: usize = 8;
const VERSION: u16 = 3;
const FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const ID: u32 = 0x7fff_ffff;

/// Why a stream is refused or ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The peer broke the protocol.
    Protocol = 1,
    /// Too many streams.
    Refused = 3,
}

/// What the peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A new stream.
    Open { id: u32, headers: Headers, fin: bool },
    /// Bytes of a stream; `fin` when its peer sends no more.
    Data { id: u32, bytes: Bytes, fin: bool },
    /// A stream that its peer gave up.
    Reset { id: u32 },
    /// To be answered with the same number.
    Ping(u32),
    /// No new streams will come.
    GoAway,
    /// A frame that asks for nothing.
    Other,
}

/// Cuts the frames out of a connection.
pub(super) struct Reader<R> {
    io: R,
    headers: headers::Reader,
    /// The data frame that is being read: stream, bytes that are left, its last flag.
    data: Option<(u32, usize, bool)>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(io: R) -> Self {
        Self { io, headers: headers::Reader::new(), data: None }
    }

    /// The next event; none at the end of the connection. Large data frames come in pieces.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Broken> {
        const CUT: Broken = Broken("the connection ended within a frame");
        if let Some((id, left, fin)) = self.data.take() {
            let length = left.min(limits::STREAM_CHUNK);
            let mut piece = vec![0; length];
            self.io.read_exact(&mut piece).await.map_err(|_| CUT)?;
            if left > length {
                self.data = Some((id, left - length, fin));
            }
            return Ok(Some(Event::Data { id, bytes: piece.into(), fin: fin && left == length }));
        }
        let mut head = [0; HEAD];
        // A connection that ends between frames ends well, however it does.
        if self.io.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let [a, b, c, d, flags, length @ ..] = head;
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        if a & 0x80 == 0 {
            let id = u32::from_be_bytes([a, b, c, d]);
            if length > limits::STREAM_CHUNK {
                self.data = Some((id, length, flags & FIN != 0));
                return Ok(Some(Event::Other));
            }
            let mut bytes = vec![0; length];
            self.io.read_exact(&mut bytes).await.map_err(|_| CUT)?;
            return Ok(Some(Event::Data { id, bytes: bytes.into(), fin: flags & FIN != 0 }));
        }
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(Broken("a frame is not of SPDY version 3"));
        }
        if length > limits::SPDY_CONTROL_BYTES {
            return Err(Broken("a control frame is longer than is accepted"));
        }
        let mut body = vec![0; length];
        self.io.read_exact(&mut body).await.map_err(|_| CUT)?;
        control(u16::from_be_bytes([c, d]), flags, &body, &mut self.headers).map(Some)
    }
}

/// A control frame, taken apart.
fn control(kind: u16, flags: u8, body: &[u8], headers: &mut headers::Reader) -> Result<Event, Broken> {
    let number = |from: usize| {
        let word = body.get(from..).and_then(|rest| rest.first_chunk::<4>());
        word.map(|word| u32::from_be_bytes(*word)).ok_or(Broken("a control frame is too short"))
    };
    Ok(match kind {
        SYN_STREAM => {
            let block = body.get(10..).ok_or(Broken("a control frame is too short"))?;
            Event::Open { id: number(0)? & ID, headers: headers.read(block)?, fin: flags & FIN != 0 }
        }
        RST_STREAM => Event::Reset { id: number(0)? & ID },
        PING => Event::Ping(number(0)?),
        GOAWAY => Event::GoAway,
        // HEADERS and SYN_REPLY carry header blocks that later ones build on.
        SYN_REPLY | 8 => {
            headers.read(body.get(4..).ok_or(Broken("a control frame is too short"))?)?;
            Event::Other
        }
        // SETTINGS and WINDOW_UPDATE: client-go keeps to no windows, and the connection itself holds back who is too fast.
        _ => Event::Other,
    })
}

/// A frame of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Accepts a stream.
    Reply { id: u32 },
    /// Bytes of a stream.
    Data { id: u32, bytes: Bytes, fin: bool },
    /// Gives a stream up.
    Reset { id: u32, code: Code },
    /// Answers a ping.
    Pong(u32),
    /// A question whether the client lives; ours have even numbers.
    Ping(u32),
    /// Takes no new streams.
    GoAway { last: u32, code: u32 },
    /// Opens a stream, as a client does.
    #[cfg(test)]
    Open { id: u32, headers: Headers },
}

/// Appends a frame's bytes to `out`.
pub(super) fn encode(frame: &Frame, headers: &mut headers::Writer, out: &mut Vec<u8>) {
    match frame {
        Frame::Reply { id } => {
            let block = headers.write(&Headers::default());
            put_control(out, SYN_REPLY, &[&id.to_be_bytes(), &block]);
        }
        Frame::Data { id, bytes, fin } => {
            out.extend_from_slice(&(id & ID).to_be_bytes());
            put_length(out, u8::from(*fin), bytes.len());
            out.extend_from_slice(bytes);
        }
        Frame::Reset { id, code } => put_control(out, RST_STREAM, &[&id.to_be_bytes(), &(*code as u32).to_be_bytes()]),
        Frame::Pong(number) | Frame::Ping(number) => put_control(out, PING, &[&number.to_be_bytes()]),
        Frame::GoAway { last, code } => put_control(out, GOAWAY, &[&last.to_be_bytes(), &code.to_be_bytes()]),
        #[cfg(test)]
        Frame::Open { id, headers: pairs } => {
            let block = headers.write(pairs);
            put_control(out, SYN_STREAM, &[&id.to_be_bytes(), &[0; 6], &block]);
        }
    }
}

fn put_control(out: &mut Vec<u8>, kind: u16, parts: &[&[u8]]) {
    out.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    put_length(out, 0, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Flags and the length in three bytes; no frame of ours is longer than a chunk.
fn put_length(out: &mut Vec<u8>, flags: u8, length: usize) {
    let [_, high, middle, low] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[flags, high, middle, low]);
}
