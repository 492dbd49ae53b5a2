//! An HTML page in, the same page with other links out. Only the values of attributes that hold links change; every other
//! byte stays as it was.

/// Which attributes of which elements hold a link (HTML 4 and 5).
const LINKS: [(&str, &[&str]); 26] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text until their own end tag.
const RAW: [&str; 9] = ["iframe", "noembed", "noframes", "plaintext", "script", "style", "textarea", "title", "xmp"];

/// Rewrites the links of a page; `link` gives the new link, or none to keep the old one.
pub(super) fn rewrite(page: &[u8], link: &dyn Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut scanner = Scanner { page, at: 0, copied: 0, out: Vec::with_capacity(page.len() + page.len() / 8) };
    while let Some(found) = scanner.find(b"<") {
        scanner.at = found;
        let rest = &page[found..];
        if rest.starts_with(b"<!--") {
            scanner.at = found + 4;
            scanner.at = scanner.find(b"-->").map_or(page.len(), |end| end + 3);
        } else if rest.get(1).is_some_and(u8::is_ascii_alphabetic) {
            scanner.at = found + 1;
            scanner.tag(link);
        } else {
            scanner.at = found + 1;
        }
    }
    scanner.out.extend_from_slice(&page[scanner.copied..]);
    scanner.out
}

struct Scanner<'a> {
    page: &'a [u8],
    /// Where it reads.
    at: usize,
    /// Everything before is in `out`.
    copied: usize,
    out: Vec<u8>,
}

impl<'a> Scanner<'a> {
    fn find(&self, what: &[u8]) -> Option<usize> {
        let rest = self.page.get(self.at..)?;
        rest.windows(what.len()).position(|window| window == what).map(|found| self.at + found)
    }

    fn peek(&self) -> Option<u8> {
        self.page.get(self.at).copied()
    }

    /// Reads up to the first byte for which `stop` holds.
    fn until(&mut self, stop: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        let rest = &self.page[start..];
        self.at = start + rest.iter().position(|byte| stop(*byte)).unwrap_or(rest.len());
        &self.page[start..self.at]
    }

    /// Reads a start tag from its name on, with what belongs to it.
    fn tag(&mut self, link: &dyn Fn(&str) -> Option<String>) {
        let name = lower(self.until(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>')));
        let links = LINKS.iter().find(|(element, _)| *element == name).map_or(&[][..], |(_, links)| links);
        loop {
            self.until(|byte| !byte.is_ascii_whitespace() && byte != b'/');
            match self.peek() {
                None => return,
                Some(b'>') => {
                    self.at += 1;
                    break;
                }
                Some(_) => self.attribute(links, link),
            }
        }
        if RAW.contains(&name.as_str()) {
            self.skip_content(&name);
        }
    }

    fn attribute(&mut self, links: &[&str], link: &dyn Fn(&str) -> Option<String>) {
        let start = self.at;
        // A name may begin with "=" if it must; it is at least one byte long, so this always moves on.
        self.at += 1;
        self.until(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'='));
        let name = lower(&self.page[start..self.at]);
        self.until(|byte| !byte.is_ascii_whitespace());
        if self.peek() != Some(b'=') {
            return;
        }
        self.at += 1;
        self.until(|byte| !byte.is_ascii_whitespace());
        let (begin, value) = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => {
                self.at += 1;
                let begin = self.at;
                let value = self.until(|byte| byte == quote);
                self.at = (self.at + 1).min(self.page.len());
                (begin, value)
            }
            _ => (self.at, self.until(|byte| byte.is_ascii_whitespace() || byte == b'>')),
        };
        if !links.contains(&name.as_str()) {
            return;
        }
        let Some(new) = std::str::from_utf8(value).ok().and_then(link) else { return };
        self.out.extend_from_slice(&self.page[self.copied..begin]);
        self.out.extend_from_slice(new.as_bytes());
        self.copied = begin + value.len();
    }

    /// Moves to the element's own end tag, or to the end of the page.
    fn skip_content(&mut self, name: &str) {
        while let Some(found) = self.find(b"</").filter(|_| name != "plaintext") {
            self.at = found + 2;
            let end = self.page.get(self.at..self.at + name.len());
            let after = self.page.get(self.at + name.len()).copied().unwrap_or(b'>');
            let closed = after.is_ascii_whitespace() || matches!(after, b'/' | b'>');
            if closed && end.is_some_and(|end| end.eq_ignore_ascii_case(name.as_bytes())) {
                return;
            }
        }
        self.at = self.page.len();
    }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(page: &str) -> String {
        let link = |link: &str| link.starts_with('/').then(|| format!("/proxy{link}"));
        String::from_utf8(rewrite(page.as_bytes(), &link)).unwrap()
    }

    #[test]
    fn links_are_found_however_they_are_written() {
        for (page, expected) in [
            ("<a href=\"/rewriteme\">test</a>", "<a href=\"/proxy/rewriteme\">test</a>"),
            ("<A HREF='/x' class=y>", "<A HREF='/proxy/x' class=y>"),
            ("<a href=/x>", "<a href=/proxy/x>"),
            ("<img\n alt='a > b' src = \"/i.png\"/>", "<img\n alt='a > b' src = \"/proxy/i.png\"/>"),
            ("<video src=/a poster=/b></video>", "<video src=/proxy/a poster=/proxy/b></video>"),
            ("<script src=\"/s.js\"></script><a href=/x>", "<script src=\"/proxy/s.js\"></script><a href=/proxy/x>"),
        ] {
            assert_eq!(through(page), expected);
        }
    }

    #[test]
    fn what_is_no_link_stays() {
        for page in [
            "<a href=\"x\">",
            "<p href=\"/x\">",
            "<!-- <a href=\"/x\"> -->",
            "<script>var a = '<a href=\"/x\">';</script>",
            "<textarea><a href=/x></TEXTAREA >",
            "<title></titles><a href=/x></title>",
            "<plaintext><a href=/x></plaintext>",
            "a < b, <",
            "</a href=/x>",
            "<a href=\"/x",
            "<a href",
            "<a =",
            "<a href=",
            "<!-- <a href=/x>",
        ] {
            let seen = through(page);
            // A page that ends inside a value is still rewritten up to its end.
            assert!(seen == page || page == "<a href=\"/x", "{page} became {seen}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_kept_when_no_link_changes(page in proptest::collection::vec(
            prop_oneof![Just(b'<'), Just(b'>'), Just(b'='), Just(b'"'), Just(b'a'), Just(b'/'), Just(b' '), Just(b'-'), Just(b'!'), any::<u8>()],
            0..200,
        )) {
            prop_assert_eq!(rewrite(&page, &|_| None), page);
        }
    }
}
