//! Compressed header blocks of SPDY in, names and values out, and the other way round.
//!
//! All blocks of one direction are one zlib stream that starts with a dictionary both sides know (SPDY/3, 2.6.10.1).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::Broken;
use crate::limits;

/// The words of the dictionary, each of which stands there behind its length in four bytes.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status";
/// What stands between and behind them.
const LINE: [&str; 5] = ["200 OK", "version", "HTTP/1.1", "url", "public"];
const LAST: [&str; 3] = ["set-cookie", "keep-alive", "origin"];
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
    Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov \
    Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-\
    8859-1,utf-,*,enq=0.";
/// Adler-32 of the dictionary, by which a zlib stream names it.
const DICTIONARY_ID: [u8; 4] = 0xe3c6_a7c2_u32.to_be_bytes();
/// The bit of a zlib header that says that a dictionary is used.
const USES_DICTIONARY: u8 = 0x20;

/// Names and values of one stream's header, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

impl Headers {
    /// The first value of a name (in lower case).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The dictionary itself.
fn dictionary() -> Vec<u8> {
    let mut out = Vec::new();
    for word in WORDS.split(' ').chain(LINE).chain(LAST) {
        put(&mut out, word.as_bytes());
    }
    out.extend_from_slice(TAIL.as_bytes());
    out
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text);
}

/// Reads the blocks of one connection, in order.
pub(super) struct Reader {
    inflate: Decompress,
    begun: bool,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), begun: false }
    }

    /// The next block.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<Headers, Broken> {
        if !self.begun {
            block = self.begin(block)?;
        }
        let mut plain = Vec::with_capacity(limits::SPDY_HEADER_BYTES + 1);
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let done = self.inflate.decompress_vec(block, &mut plain, FlushDecompress::Sync);
        done.map_err(|_| Broken("a header block is not compressed as its connection began"))?;
        let (read, written) = (self.inflate.total_in() - read, self.inflate.total_out() - written);
        if read != block.len() as u64 || written > limits::SPDY_HEADER_BYTES as u64 {
            return Err(Broken("a header block is longer than is accepted"));
        }
        parse(&plain)
    }

    /// Takes the zlib header off. A stored block that holds the dictionary puts it where later blocks refer to.
    fn begin<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Broken> {
        let unreadable = Broken("a header block does not begin as a zlib stream");
        let [method, flags, rest @ ..] = block else { return Err(unreadable) };
        if method & 0x0f != 8 || u16::from_be_bytes([*method, *flags]) % 31 != 0 {
            return Err(unreadable);
        }
        self.begun = true;
        if flags & USES_DICTIONARY == 0 {
            return Ok(rest);
        }
        let rest = rest.strip_prefix(&DICTIONARY_ID).ok_or(Broken("a header block names an unknown dictionary"))?;
        let known = dictionary();
        let length = u16::try_from(known.len()).unwrap_or(u16::MAX);
        let mut stored = vec![0];
        stored.extend_from_slice(&length.to_le_bytes());
        stored.extend_from_slice(&(!length).to_le_bytes());
        stored.extend_from_slice(&known);
        let mut sink = Vec::with_capacity(known.len() + 1);
        let fed = self.inflate.decompress_vec(&stored, &mut sink, FlushDecompress::Sync);
        fed.map_err(|_| Broken("the dictionary of header blocks cannot be used"))?;
        Ok(rest)
    }
}

/// Pairs of texts, each behind its length; the names of one block differ.
fn parse(plain: &[u8]) -> Result<Headers, Broken> {
    const SHORT: Broken = Broken("a header block ends too early");
    fn number(rest: &mut &[u8]) -> Result<usize, Broken> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        *rest = tail;
        Ok(u32::from_be_bytes(*head) as usize)
    }
    fn text(rest: &mut &[u8]) -> Result<String, Broken> {
        let length = number(rest)?;
        let (head, tail) = rest.split_at_checked(length).ok_or(SHORT)?;
        *rest = tail;
        std::str::from_utf8(head).map(str::to_owned).map_err(|_| Broken("a header is not text"))
    }
    let mut rest = plain;
    let count = number(&mut rest)?;
    let mut headers = Headers::default();
    for _ in 0..count {
        let name = text(&mut rest)?;
        headers.0.push((name.to_ascii_lowercase(), text(&mut rest)?));
    }
    Ok(headers)
}

/// Writes the blocks of one connection, in order.
pub(super) struct Writer {
    deflate: Compress,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { deflate: Compress::new(Compression::fast(), true) }
    }

    /// The next block.
    pub(super) fn write(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = Vec::new();
        plain.extend_from_slice(&u32::try_from(headers.0.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (name, value) in &headers.0 {
            put(&mut plain, name.as_bytes());
            put(&mut plain, value.as_bytes());
        }
        // Room for what does not shrink, the stream's own header and the marks of the flush.
        let mut block = Vec::with_capacity(plain.len() + 64);
        // With room for everything nothing can be refused.
        let _ = self.deflate.compress_vec(&plain, &mut block, FlushCompress::Sync);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_dictionary_has_the_sum_that_streams_name() {
        let dictionary = dictionary();
        let (mut low, mut high) = (1u32, 0u32);
        for byte in &dictionary {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        assert_eq!(dictionary.len(), 1423);
        assert_eq!(((high << 16) | low).to_be_bytes(), DICTIONARY_ID);
    }

    #[test]
    fn blocks_of_one_connection_build_on_one_another() {
        let (mut writer, mut reader) = (Writer::new(), Reader::new());
        for sent in [headers(&[("streamtype", "error"), ("port", "80")]), headers(&[]), headers(&[("port", "80")])] {
            assert_eq!(reader.read(&writer.write(&sent)).unwrap(), sent);
        }
        assert_eq!(headers(&[("port", "80")]).get("port"), Some("80"));
        assert_eq!(headers(&[("port", "80")]).get("requestid"), None);
    }

    /// Two blocks of one connection as zlib writes them (`deflateSetDictionary`, `Z_SYNC_FLUSH`), which is what Go does.
    #[test]
    fn blocks_that_refer_to_the_dictionary_are_read() {
        let mut first = hex("78f9e3c6a7c202e50e2c850917c215e0545852949a980b95634d054503000000ffff");
        let second = hex("02321831a440655022000000ffff");
        let mut reader = Reader::new();
        let expected = headers(&[("content-type", "text/plain"), ("streamtype", "error")]);
        assert_eq!(reader.read(&first).unwrap(), expected);
        assert_eq!(reader.read(&second).unwrap(), headers(&[("streamtype", "data")]));
        first[2] ^= 1;
        assert_eq!(Reader::new().read(&first).unwrap_err().0, "a header block names an unknown dictionary");
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn bombs_and_lies_are_refused() {
        let bomb = headers(&[("a", &"a".repeat(1 << 20))]);
        assert!(Reader::new().read(&Writer::new().write(&bomb)).is_err());
        for lie in
            [&[][..], &[0, 0, 0, 9], &[0, 0, 0, 1, 0, 0, 0, 9, b'a'], &[0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 0, 0]]
        {
            assert!(parse(lie).is_err(), "{lie:?}");
        }
        assert!(parse(&[0xff; 64]).is_err());
    }
}
