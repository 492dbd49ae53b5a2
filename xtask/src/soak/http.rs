//! Requests in, status codes and bodies out, over one kept connection to `kubectl proxy`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Longest wait for a part of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest body that is read: a list of everything that the soak makes is far smaller.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A client of one proxy.
#[derive(Debug)]
pub(super) struct Client {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to `host:port`.
    pub(super) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot reach kubectl proxy at {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { address: address.to_owned(), stream: BufReader::new(stream) })
    }

    /// Where it is connected to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// One request; a connection that the proxy closed in between is opened again once.
    pub(super) fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        match self.exchange(method, path, body) {
            Ok(done) => Ok(done),
            Err(_) => {
                *self = Self::connect(&self.address)?;
                self.exchange(method, path, body)
            }
        }
    }

    fn exchange(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            self.address,
            text.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(text.as_bytes())?;
        let (code, length) = self.head()?;
        let body = match length {
            Some(length) => self.bytes(length)?,
            None => self.chunks()?,
        };
        Ok((code, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// Status code, and the length of the body unless it comes in chunks.
    fn head(&mut self) -> Result<(u16, Option<usize>)> {
        let first = self.line()?;
        let code = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.with_context(|| format!("kubectl proxy answered {first:?}"))?;
        let mut length = Some(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((code, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse().context("content-length is no number")?);
            } else if line.starts_with("transfer-encoding:") {
                length = None;
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).context("the size of a chunk is no number")?;
            body.extend(self.bytes(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
            if body.len() > BODY_BYTES_MAX {
                bail!("an answer of more than {BODY_BYTES_MAX} bytes");
            }
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > BODY_BYTES_MAX {
            bail!("an answer of {length} bytes");
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("kubectl proxy closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn answers_come_by_length_and_in_chunks() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
                "HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"b\r\n4\r\n\":2}\r\n0\r\n\r\n",
            ] {
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /x HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut client = Client::connect(&address).unwrap();
        assert_eq!(client.send("GET", "/x", None).unwrap(), (200, serde_json::json!({"a": 1})));
        assert_eq!(client.send("GET", "/x", None).unwrap(), (409, serde_json::json!({"b": 2})));
        server.join().unwrap();
    }
}
