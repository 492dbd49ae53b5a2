//! A host, a number and what is known of a port in, a URL out. Pure.

use super::place::Port;

/// What a person types, or a browser opens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// The text: a URL, or HOST:PORT where the scheme is unknown.
    pub(super) text: String,
    /// Whether a browser can show it.
    pub(super) browsable: bool,
}

/// Names of ports that speak something else than HTTP.
const OTHERS: [&str; 18] = [
    "amqp", "dns", "etcd", "ftp", "grpc", "imap", "kafka", "ldap", "mongo", "mqtt", "mysql", "nats", "postgres",
    "redis", "smtp", "sql", "ssh", "tcp",
];
/// Numbers that speak something else than HTTP.
const OTHER_NUMBERS: [u16; 14] = [21, 22, 25, 53, 110, 143, 389, 1883, 3306, 4222, 5432, 5672, 6379, 27017];
/// Numbers of HTTP over TLS.
const TLS_NUMBERS: [u16; 3] = [443, 6443, 8443];

/// The URL of a port that is reached at a host and number. An unknown port is HTTP.
pub(super) fn of(host: &str, number: u16, port: Option<&Port>) -> Url {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match port.map_or(Some("http"), scheme) {
        Some(scheme) => {
            let usual = if scheme == "https" { 443 } else { 80 };
            let number = if number == usual { String::new() } else { format!(":{number}") };
            Url { text: format!("{scheme}://{host}{number}"), browsable: true }
        }
        None => Url { text: format!("{host}:{number}"), browsable: false },
    }
}

/// `http`, `https`, or none of them: what the Service says counts most, then the port's name, then its number.
pub(super) fn scheme(port: &Port) -> Option<&'static str> {
    if port.udp {
        return None;
    }
    let said = port.app_protocol.to_ascii_lowercase();
    match said.strip_prefix("kubernetes.io/").unwrap_or(&said) {
        "" => {}
        "https" | "wss" => return Some("https"),
        "http" | "ws" | "h2c" => return Some("http"),
        _ => return None,
    }
    let name = port.name.to_ascii_lowercase();
    if name.starts_with("https") || name.starts_with("tls") {
        return Some("https");
    }
    if name.starts_with("http") {
        return Some("http");
    }
    if OTHERS.iter().any(|other| name.starts_with(other)) || OTHER_NUMBERS.contains(&port.number) {
        return None;
    }
    Some(if TLS_NUMBERS.contains(&port.number) { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, number: u16, app_protocol: &str, udp: bool) -> Port {
        Port { name: name.to_owned(), number, app_protocol: app_protocol.to_owned(), udp }
    }

    #[test]
    fn the_scheme_follows_what_the_service_says_then_the_name_then_the_number() {
        for (name, number, app_protocol, udp, expected) in [
            ("", 80, "", false, Some("http")),
            ("", 443, "", false, Some("https")),
            ("web", 8443, "", false, Some("https")),
            ("http", 443, "", false, Some("http")),
            ("https-admin", 9000, "", false, Some("https")),
            ("http", 80, "https", false, Some("https")),
            ("x", 80, "kubernetes.io/wss", false, Some("https")),
            ("x", 443, "kubernetes.io/h2c", false, Some("http")),
            ("x", 80, "mysql", false, None),
            ("grpc", 80, "", false, None),
            ("", 5432, "", false, None),
            ("http", 80, "", true, None),
        ] {
            assert_eq!(
                scheme(&port(name, number, app_protocol, udp)),
                expected,
                "{name} {number} {app_protocol} {udp}"
            );
        }
    }

    #[test]
    fn usual_numbers_are_left_out_and_ipv6_is_bracketed() {
        let text = |host, number, known: Option<&Port>| of(host, number, known).text;
        let (http, https) = (port("", 80, "", false), port("", 443, "", false));
        assert_eq!(text("127.0.0.1", 80, Some(&http)), "http://127.0.0.1");
        assert_eq!(text("127.0.0.1", 443, Some(&https)), "https://127.0.0.1");
        assert_eq!(text("127.0.0.1", 443, Some(&http)), "http://127.0.0.1:443");
        assert_eq!(text("::1", 30007, Some(&http)), "http://[::1]:30007");
        assert_eq!(text("example.com", 80, None), "http://example.com");
        let redis = port("redis", 6379, "", false);
        assert_eq!(of("127.0.0.1", 41000, Some(&redis)), Url { text: "127.0.0.1:41000".into(), browsable: false });
    }
}
