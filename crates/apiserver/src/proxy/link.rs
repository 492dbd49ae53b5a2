//! A link as a proxied page spells it in; the same link through the proxy out, where it leads back to the page's own host.

/// How links of one answer are rewritten.
pub(super) struct Links<'a> {
    /// Path of the proxy.
    pub prefix: &'a str,
    /// `host:port` of the pod that answered.
    pub backend: &'a str,
    /// Host that the client asked for.
    pub host: &'a str,
}

impl Links<'_> {
    /// The rewritten link; none if it stays as it is: it is relative, or leads to another host.
    pub(super) fn rewrite(&self, link: &str) -> Option<String> {
        let (scheme, after) = scheme(link);
        let (host, path) = match after.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            // `mailto:` and its like have no host at all.
            None if !scheme.is_empty() => return None,
            None => ("", after),
        };
        let ours = host.is_empty() || host == self.backend || host == self.host;
        if !ours || !path.starts_with('/') {
            return None;
        }
        let origin = if !host.is_empty() && host == self.host { format!("{scheme}//{host}") } else { String::new() };
        let inside =
            path.strip_prefix(self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
        let prefix = if inside { "" } else { self.prefix };
        Some(format!("{origin}{prefix}{path}"))
    }
}

/// The scheme with its colon, and the rest.
fn scheme(link: &str) -> (&str, &str) {
    let Some(colon) = link.find(':') else { return ("", link) };
    let name = &link[..colon];
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(letter) {
        true => link.split_at(colon + 1),
        false => ("", link),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_the_pages_own_host_are_rewritten() {
        let links =
            Links { prefix: "/api/v1/namespaces/perf/pods/ham/proxy", backend: "10.0.0.8:80", host: "localhost:8001" };
        let through = |rest: &str| Some(format!("/api/v1/namespaces/perf/pods/ham/proxy{rest}"));
        for (link, expected) in [
            ("/rewriteme", through("/rewriteme")),
            ("/", through("/")),
            ("/a/?q=/b#c", through("/a/?q=/b#c")),
            ("http://10.0.0.8:80/x", through("/x")),
            ("//10.0.0.8:80/x", through("/x")),
            ("/api/v1/namespaces/perf/pods/ham/proxy/x", through("/x")),
            ("/api/v1/namespaces/perf/pods/ham/proxying", through("/api/v1/namespaces/perf/pods/ham/proxying")),
            ("http://localhost:8001/x", through("/x").map(|path| format!("http://localhost:8001{path}"))),
            ("http://10.0.0.8:80", None),
            ("http://10.0.0.8:81/x", None),
            ("https://example.com/x", None),
            ("//example.com/x", None),
            ("x/y", None),
            ("?q", None),
            ("#top", None),
            ("", None),
            ("mailto:a@example.com", None),
            ("javascript:/x", None),
            ("a/b:c", None),
        ] {
            assert_eq!(links.rewrite(link), expected, "{link}");
        }
    }
}
