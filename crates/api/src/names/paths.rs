//! Turns a wildcard host, a URL path or a segment of one into the list of what is wrong with it.

use super::{SUBDOMAIN, is_subdomain, pattern, too_many_characters};

/// What is wrong with a DNS-1123 subdomain whose first label is `*` (RFC 1034 section 4.3.3).
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > SUBDOMAIN {
        problems.push(too_many_characters(SUBDOMAIN));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let text = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        let regex = "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        problems.push(pattern(text, regex, &["*.example.com"]));
    }
    problems
}

/// What is wrong with the path of a URL (RFC 3986 section 3.3).
pub fn http_path(value: &str) -> Vec<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !value.is_empty() && value.bytes().all(good) {
        return Vec::new();
    }
    vec!["Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')".to_owned()]
}

/// What is wrong with a name that becomes a segment of a URL's path.
pub fn path_segment(value: &str) -> Vec<String> {
    if [".", ".."].contains(&value) {
        return vec![format!("may not be '{value}'")];
    }
    let found = ["/", "%"].into_iter().filter(|part| value.contains(part));
    found.map(|part| format!("may not contain '{part}'")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_a_wildcard() {
        for good in ["*.bar.com", "*.foo.bar.com", "*.a"] {
            assert!(wildcard_dns1123_subdomain(good).is_empty(), "{good}");
        }
        for bad in ["*.*.bar.com", "*.foo.*.com", "*bar.com", "f*.bar.com", "*", "*.", "*.Foo"] {
            assert_eq!(wildcard_dns1123_subdomain(bad).len(), 1, "{bad}");
        }
        assert_eq!(wildcard_dns1123_subdomain(&format!("*.{}", "a".repeat(300))).len(), 1);
    }

    #[test]
    fn paths_and_their_segments() {
        assert!(http_path("v1/foo:bar").is_empty() && !http_path("a b").is_empty() && !http_path("").is_empty());
        assert_eq!(path_segment(".."), ["may not be '..'"]);
        assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
        assert!(path_segment("a.b").is_empty() && path_segment("").is_empty());
    }
}
