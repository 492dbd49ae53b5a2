//! The body of an answer in, its lines out; one line is held at a time, and silence is an end.

use api::status::Status;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;

use super::fault;
use crate::limits;

/// Reads lines. Dropping it ends the request.
pub(super) struct Lines<B = Body> {
    body: B,
    held: BytesMut,
    /// So much of `held` has no end of line.
    searched: usize,
}

impl<B> Lines<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    pub(super) fn new(body: B) -> Self {
        Self { body, held: BytesMut::new(), searched: 0 }
    }

    /// The next line without its end; none when the server has ended the body.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(at) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.held.split_to(self.searched + at + 1).freeze();
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.held.len();
            if self.searched > limits::LINE_BYTES {
                return Err(fault::nonsense(&format!("a line of more than {} bytes", limits::LINE_BYTES)));
            }
            let frame = tokio::time::timeout(limits::SILENCE, self.body.frame()).await;
            match frame.map_err(|_| fault::silent(limits::SILENCE))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(fault::lost(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(&data);
                    }
                }
            }
        }
    }

    fn take(&mut self, data: &Bytes) {
        if self.held.is_empty() {
            // What a large line needed is given back: it may have been the only one in days.
            self.held = BytesMut::with_capacity(data.len());
        }
        self.held.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_where_they_end_however_they_come() {
        let frames = ["{\"a\"", ":1}\n{}\n", "\n{\"b\"", ":2", "}\nrest"];
        let frames = frames.map(|text| Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::from(text))));
        let stream = http_body_util::StreamBody::new(futures::stream::iter(frames));
        let mut lines = Lines::new(stream);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            seen.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(seen, ["{\"a\":1}", "{}", "", "{\"b\":2}"], "a torn last line is no line");
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let frames = std::iter::repeat_with(move || Ok::<_, std::io::Error>(hyper::body::Frame::data(piece.clone())));
        let mut lines = Lines::new(http_body_util::StreamBody::new(futures::stream::iter(frames)));
        assert!(lines.next().await.unwrap_err().message.contains("a line of more than"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_end() {
        let never = futures::stream::pending::<Result<hyper::body::Frame<Bytes>, std::io::Error>>();
        let mut lines = Lines::new(http_body_util::StreamBody::new(never));
        assert_eq!(lines.next().await.unwrap_err().code, 504);
    }
}
