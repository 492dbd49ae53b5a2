//! A save: everything at one revision into one file with a checksum, and such a file back into records.
//!
//! The first line says what it is, for people and programs: `head -1 FILE`. Each entry is a line that says what it is and
//! how long, then its bytes; the last line is the SHA-256 of all before it. A save is complete or it is refused.

use std::io::{self, BufRead, Read, Write};

use api::object::{ObjectKey, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Record;

/// Format that this program writes, and the newest it reads.
pub const SAVE_FORMAT: u64 = 1;

/// Longest line and longest entry that are read; a larger number is damage.
const LINE_BYTES: u64 = 64 << 10;
const ENTRY_BYTES: u64 = 1 << 30;

/// What the first line says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Format of the save.
    pub mainstay_save: u64,
    /// Version of the program that wrote it.
    pub version: String,
    /// Revision of the store.
    pub revision: u64,
    /// When it was written, RFC 3339.
    pub time: String,
    /// Whether keys and certificates are in it.
    pub keys: bool,
}

/// What a save is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An object of a table.
    Object(String, Record),
    /// A file beside the store, by its path in the data directory.
    File(String, Bytes),
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    table: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    created: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    file: String,
    bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a save cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Not a save at all.
    #[error("it is not a save of mainstay: its first line is not a header")]
    NotASave,
    /// Written by a later release.
    #[error("it was made by mainstay {version} in format {found}, and this program reads formats up to {SAVE_FORMAT}")]
    Newer {
        /// Version that wrote it.
        version: String,
        /// Its format.
        found: u64,
    },
    /// Bytes are missing or not the ones that were written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Writes a save.
pub struct Writer<W> {
    out: W,
    sum: Sha256,
}

impl<W: Write> Writer<W> {
    /// Begins a save.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { out, sum: Sha256::new() };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds an object.
    pub fn object(&mut self, table: &str, record: &Record) -> io::Result<()> {
        let body = record.body.bytes();
        let line = Line {
            table: table.to_owned(),
            namespace: record.key.namespace.to_string(),
            name: record.key.name.to_string(),
            revision: record.revision.0,
            created: record.created.0,
            file: String::new(),
            bytes: body.len() as u64,
        };
        self.entry(&line, &body)
    }

    /// Adds a file of the data directory.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let line = Line {
            table: String::new(),
            namespace: String::new(),
            name: String::new(),
            revision: 0,
            created: 0,
            file: path.to_owned(),
            bytes: bytes.len() as u64,
        };
        self.entry(&line, bytes)
    }

    /// Ends the save with its checksum.
    pub fn finish(mut self) -> io::Result<W> {
        let sum = hex(&self.sum.clone().finalize());
        writeln!(self.out, "sha256 {sum}")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, line: &Line, bytes: &[u8]) -> io::Result<()> {
        self.line(line)?;
        self.put(bytes)?;
        self.put(b"\n")
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.put(&serde_json::to_vec(line)?)?;
        self.put(b"\n")
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads the header of a save.
pub fn header(input: &mut impl BufRead) -> Result<Header, SaveError> {
    Reader::new(input).header()
}

/// Reads a whole save, giving each entry; nothing given may be used before this has returned the header, because only the
/// last line tells whether all is right.
pub fn read(input: &mut impl BufRead, mut give: impl FnMut(Entry)) -> Result<Header, SaveError> {
    let mut reader = Reader::new(input);
    let header = reader.header()?;
    while let Some(entry) = reader.entry(&header)? {
        give(entry);
    }
    Ok(header)
}

struct Reader<'a, R> {
    input: &'a mut R,
    sum: Sha256,
}

impl<'a, R: BufRead> Reader<'a, R> {
    fn new(input: &'a mut R) -> Self {
        Self { input, sum: Sha256::new() }
    }

    fn header(&mut self) -> Result<Header, SaveError> {
        let line = self.line()?;
        let value: serde_json::Value = serde_json::from_slice(&line).map_err(|_| SaveError::NotASave)?;
        let found = value["mainstaySave"].as_u64().ok_or(SaveError::NotASave)?;
        if found != SAVE_FORMAT {
            return Err(SaveError::Newer { version: value["version"].as_str().unwrap_or("?").to_owned(), found });
        }
        self.sum.update(&line);
        serde_json::from_value(value).map_err(|error| SaveError::Damaged(format!("its header: {error}")))
    }

    /// The next entry; none at the end, whose checksum must be right.
    fn entry(&mut self, header: &Header) -> Result<Option<Entry>, SaveError> {
        let line = self.line()?;
        if let Some(sum) = line.strip_prefix(b"sha256 ") {
            let right = sum.trim_ascii_end() == hex(&self.sum.clone().finalize()).as_bytes();
            let ended = self.input.fill_buf()?.is_empty();
            return match (right, ended) {
                (true, true) => Ok(None),
                (false, _) => Err(SaveError::Damaged("its checksum is not that of its bytes".to_owned())),
                (true, false) => Err(SaveError::Damaged("something stands after its end".to_owned())),
            };
        }
        self.sum.update(&line);
        let line: Line = serde_json::from_slice(&line)
            .map_err(|error| SaveError::Damaged(format!("a line that tells of no entry: {error}")))?;
        let body = self.body(line.bytes)?;
        if !line.file.is_empty() {
            return Ok(Some(Entry::File(line.file, body)));
        }
        let (revision, created) = (line.revision, line.created);
        if line.table.is_empty() || line.name.is_empty() || revision > header.revision || created > revision {
            let Line { table, namespace, name, .. } = line;
            return Err(SaveError::Damaged(format!("an impossible entry: {table} {namespace}/{name} at {revision}")));
        }
        let key = ObjectKey::new(line.namespace, line.name);
        let record = Record { key, revision: Revision(revision), created: Revision(created), body: body.into() };
        Ok(Some(Entry::Object(line.table, record)))
    }

    fn line(&mut self) -> Result<Vec<u8>, SaveError> {
        let mut line = Vec::new();
        self.input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.ends_with(b"\n") { Ok(line) } else { Err(SaveError::Damaged("it ends too early".to_owned())) }
    }

    fn body(&mut self, length: u64) -> Result<Bytes, SaveError> {
        if length > ENTRY_BYTES {
            return Err(SaveError::Damaged(format!("an entry of {length} bytes")));
        }
        let mut body = Vec::new();
        self.input.by_ref().take(length + 1).read_to_end(&mut body)?;
        if body.len() as u64 != length + 1 || body.last() != Some(&b'\n') {
            return Err(SaveError::Damaged("an entry ends too early or too late".to_owned()));
        }
        self.sum.update(&body);
        body.pop();
        Ok(body.into())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, body: &'static [u8]) -> Record {
        let body = Bytes::from_static(body).into();
        Record { key: ObjectKey::new("perf", name), revision: Revision(7), created: Revision(3), body }
    }

    fn head() -> Header {
        let (version, time) = ("0.1.0".to_owned(), "2026-11-21T08:00:00Z".to_owned());
        Header { mainstay_save: SAVE_FORMAT, version, revision: 9, time, keys: true }
    }

    fn save() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &head()).unwrap();
        writer.object("services", &record("ham", b"{\"a\":\n1}")).unwrap();
        writer.file("pki/ca.key", b"secret\n").unwrap();
        writer.object("pods", &record("eggs", b"")).unwrap();
        writer.finish().unwrap()
    }

    fn entries(bytes: &[u8]) -> Result<(Header, Vec<Entry>), SaveError> {
        let mut entries = Vec::new();
        let header = read(&mut &bytes[..], |entry| entries.push(entry))?;
        Ok((header, entries))
    }

    #[test]
    fn what_was_saved_comes_back() {
        let bytes = save();
        assert!(bytes.starts_with(b"{\"mainstaySave\":1,\"version\":\"0.1.0\",\"revision\":9,"));
        let expected = vec![
            Entry::Object("services".to_owned(), record("ham", b"{\"a\":\n1}")),
            Entry::File("pki/ca.key".to_owned(), Bytes::from_static(b"secret\n")),
            Entry::Object("pods".to_owned(), record("eggs", b"")),
        ];
        assert_eq!(entries(&bytes).unwrap(), (head(), expected));
        assert_eq!(header(&mut &bytes[..]).unwrap(), head());
    }

    #[test]
    fn every_flipped_bit_and_every_missing_end_is_noticed() {
        let bytes = save();
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(entries(&wrong).is_err(), "byte {at} changed");
            assert!(entries(&bytes[..at]).is_err(), "cut at {at}");
        }
        let more = [&bytes[..], b"x"].concat();
        assert!(matches!(entries(&more), Err(SaveError::Damaged(why)) if why.contains("after its end")));
    }

    #[test]
    fn what_is_no_save_or_a_newer_one_is_named() {
        assert!(matches!(entries(b"kind: Service\n"), Err(SaveError::NotASave)));
        assert!(matches!(entries(b"{\"a\":1}\n"), Err(SaveError::NotASave)));
        let newer = entries(b"{\"mainstaySave\":2,\"version\":\"3.1.0\"}\n").unwrap_err().to_string();
        assert!(newer.contains("made by mainstay 3.1.0 in format 2"), "{newer}");
    }
}
