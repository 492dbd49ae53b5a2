//! A client's frames on one end of a connection, streams on the other; and bytes that are no frames.

use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::frame::encode;
use super::*;

/// The client's end, as client-go's is: frames out, frames in, no windows.
pub(crate) struct Client {
    io: DuplexStream,
    headers: headers::Writer,
    next: u32,
}

/// A session and its client.
pub(crate) fn pair() -> (Client, Session) {
    let (near, far) = duplex(64 << 10);
    (Client::new(near), Session::start(far))
}

impl Client {
    pub(crate) fn new(io: DuplexStream) -> Self {
        Self { io, headers: headers::Writer::new(), next: 1 }
    }

    pub(super) async fn send(&mut self, frame: Frame) {
        let mut bytes = Vec::new();
        encode(&frame, &mut self.headers, &mut bytes);
        self.io.write_all(&bytes).await.unwrap();
    }

    /// Opens a stream, and waits for nothing.
    pub(crate) async fn open(&mut self, pairs: &[(&str, &str)]) -> u32 {
        let id = self.next;
        self.next += 2;
        let headers = Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        self.send(Frame::Open { id, headers }).await;
        id
    }

    pub(crate) async fn data(&mut self, id: u32, bytes: &[u8], fin: bool) {
        self.send(Frame::Data { id, bytes: Bytes::copy_from_slice(bytes), fin }).await;
    }

    /// Says that no more streams will come.
    pub(crate) async fn goodbye(&mut self) {
        self.send(Frame::GoAway { last: 0, code: 0 }).await;
    }

    pub(crate) async fn reset(&mut self, id: u32) {
        self.send(Frame::Reset { id, code: Code::Refused }).await;
    }

    /// The next frame as (type, stream, payload, fin); type 0 is data. None at the end.
    pub(crate) async fn receive(&mut self) -> Option<(u16, u32, Vec<u8>, bool)> {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await.ok()?;
        let mut body = vec![0; u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize];
        self.io.read_exact(&mut body).await.unwrap();
        if head[0] & 0x80 == 0 {
            let id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            return Some((0, id, body, head[4] & 1 == 1));
        }
        let id = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
        Some((u16::from_be_bytes([head[2], head[3]]), id, body, false))
    }

    /// Everything that streams get until the connection ends: by stream, its bytes and how it ended.
    pub(crate) async fn rest(&mut self) -> BTreeMap<u32, (Vec<u8>, &'static str)> {
        let mut all: BTreeMap<u32, (Vec<u8>, &'static str)> = BTreeMap::new();
        while let Some((kind, id, body, fin)) = self.receive().await {
            match kind {
                0 => {
                    let stream = all.entry(id).or_insert((Vec::new(), "open"));
                    stream.0.extend_from_slice(&body);
                    if fin {
                        stream.1 = "ended";
                    }
                }
                3 => all.entry(id).or_default().1 = "reset",
                _ => {}
            }
        }
        all
    }
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_end_one_way_at_a_time() {
    let (mut client, mut session) = pair();
    let id = client.open(&[("StreamType", "data"), ("port", "80")]).await;
    client.data(id, b"hello", false).await;
    client.data(id, b"", true).await;
    let mut stream = session.accept().await.unwrap();
    assert_eq!(
        (stream.id, stream.headers.get("streamtype"), stream.headers.get("port")),
        (1, Some("data"), Some("80"))
    );
    assert_eq!(stream.reader.next().await, Input::Data(Bytes::from_static(b"hello")));
    assert_eq!(stream.reader.next().await, Input::End);
    stream.writer.send(Bytes::from_static(b"world")).await.unwrap();
    stream.writer.finish().await.unwrap();
    assert_eq!(client.receive().await.unwrap().0, 2, "the stream is accepted first");
    assert_eq!(client.receive().await.unwrap(), (0, id, b"world".to_vec(), false));
    assert_eq!(client.receive().await.unwrap(), (0, id, Vec::new(), true));
    client.send(Frame::Pong(7)).await;
    assert_eq!(client.receive().await.unwrap(), (6, 7, 7u32.to_be_bytes().to_vec(), false), "a ping is answered");
    let closing = tokio::spawn(session.close());
    assert_eq!(client.receive().await.unwrap().0, 7, "a goodbye");
    assert_eq!(client.receive().await, None);
    drop(client);
    closing.await.unwrap();
}

#[tokio::test]
async fn a_reset_and_a_lost_client_are_no_ends() {
    let (mut client, mut session) = pair();
    let one = client.open(&[]).await;
    let mut first = session.accept().await.unwrap();
    client.reset(one).await;
    assert_eq!(first.reader.next().await, Input::Reset);
    client.open(&[]).await;
    let mut second = session.accept().await.unwrap();
    drop(client);
    assert_eq!(second.reader.next().await, Input::Reset);
    assert!(session.accept().await.is_none());
}

#[tokio::test]
async fn streams_are_counted_and_large_frames_come_in_pieces() {
    let (mut client, mut session) = pair();
    let mut kept = Vec::new();
    for _ in 0..limits::SPDY_STREAMS {
        client.open(&[]).await;
        kept.push(session.accept().await.unwrap());
        assert_eq!(client.receive().await.unwrap().0, 2);
    }
    let more = client.open(&[]).await;
    let (kind, id, body, _) = client.receive().await.unwrap();
    assert_eq!((kind, id, &body[4..]), (3, more, &3u32.to_be_bytes()[..]), "refused");
    kept.pop();
    client.open(&[]).await;
    let mut large = session.accept().await.unwrap();
    let sent: Vec<u8> = (0..200_000u32).map(|index| index as u8).collect();
    let id = large.id;
    let write = async { client.data(id, &sent, true).await };
    let read = async {
        let mut seen = Vec::new();
        while let Input::Data(piece) = large.reader.next().await {
            assert!(piece.len() <= limits::STREAM_CHUNK);
            seen.extend_from_slice(&piece);
        }
        seen
    };
    assert_eq!(tokio::join!(write, read).1, sent);
}

#[tokio::test]
async fn unread_bytes_are_bounded_and_hold_nobody_back_once_their_stream_is_gone() {
    let (mut client, mut session) = pair();
    let slow = client.open(&[]).await;
    let unread = session.accept().await.unwrap();
    let flood = tokio::spawn(async move {
        let piece = vec![7; limits::STREAM_CHUNK];
        for _ in 0..2 * limits::SPDY_BUFFER / limits::STREAM_CHUNK {
            client.data(slow, &piece, false).await;
        }
        client.open(&[("streamtype", "last")]).await;
        client
    });
    // Twice as much as is held unread cannot have been taken; without its reader nothing is held.
    drop(unread);
    assert_eq!(session.accept().await.unwrap().headers.get("streamtype"), Some("last"));
    flood.await.unwrap();
}

#[tokio::test]
async fn numbers_that_do_not_grow_end_the_connection() {
    for ids in [vec![2], vec![0], vec![3, 3], vec![5, 1]] {
        let (mut client, mut session) = pair();
        for id in ids {
            client.send(Frame::Open { id, headers: Headers::default() }).await;
        }
        while session.accept().await.is_some() {}
        while client.receive().await.is_some() {}
    }
}

/// A generator good enough to make nonsense: xorshift.
struct Nonsense(u64);

impl Nonsense {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Reads frames until the bytes end or break the protocol; no event holds more than a chunk or a header.
async fn read_all(bytes: &[u8]) -> usize {
    let mut reader = frame::Reader::new(bytes);
    let mut events = 0;
    while let Ok(Some(event)) = reader.next().await {
        events += 1;
        match event {
            Event::Data { bytes, .. } => assert!(bytes.len() <= limits::STREAM_CHUNK),
            Event::Open { headers, .. } => {
                let length: usize = headers.0.iter().map(|(name, value)| name.len() + value.len()).sum();
                assert!(length <= limits::SPDY_HEADER_BYTES);
            }
            _ => {}
        }
    }
    events
}

#[tokio::test]
async fn nonsense_never_panics() {
    let mut random = Nonsense(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3000 {
        let length = random.next() as usize % 600;
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        read_all(&bytes).await;
    }
}

#[tokio::test]
async fn damaged_conversations_never_panic() {
    let mut headers = headers::Writer::new();
    let mut whole = Vec::new();
    for id in [1, 3, 5] {
        let pairs = Headers(vec![("streamtype".into(), "error".into()), ("port".into(), "8080".into())]);
        encode(&Frame::Open { id, headers: pairs }, &mut headers, &mut whole);
        encode(&Frame::Data { id, bytes: Bytes::from(vec![1; 300]), fin: id == 3 }, &mut headers, &mut whole);
        encode(&Frame::Reset { id, code: Code::Protocol }, &mut headers, &mut whole);
    }
    encode(&Frame::GoAway { last: 5, code: 0 }, &mut headers, &mut whole);
    assert_eq!(read_all(&whole).await, 10);
    let mut random = Nonsense(42);
    for _ in 0..3000 {
        let mut damaged = whole.clone();
        for _ in 0..=random.next() % 4 {
            let at = random.next() as usize % damaged.len();
            damaged[at] ^= 1 << (random.next() % 8);
        }
        damaged.truncate(random.next() as usize % damaged.len() + 1);
        read_all(&damaged).await;
    }
}
