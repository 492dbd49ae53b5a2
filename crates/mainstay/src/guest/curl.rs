//! `curl` and `wget`: a URL and the usual options in, the answer printed, curl's exit codes out.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest answer that is kept.
const ANSWER_BYTES: u64 = 64 << 20;
/// Time limit unless -m says otherwise.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Options {
    urls: Vec<String>,
    method: Option<String>,
    headers: Vec<String>,
    body: Option<String>,
    output: Option<String>,
    write_out: Option<String>,
    authorities: Option<String>,
    limit: Option<Duration>,
    connect_limit: Option<Duration>,
    insecure: bool,
    silent: bool,
    show_error: bool,
    include: bool,
    head: bool,
    fail: bool,
    verbose: bool,
    family: Option<bool>,
}

/// A failure with curl's exit code.
struct Failure(i32, String);

/// Runs `curl`.
pub(super) fn run(arguments: &[String]) -> i32 {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(option) => return super::host_program("curl", arguments, &option),
    };
    if options.urls.is_empty() {
        eprintln!("curl: (2) no URL specified");
        return 2;
    }
    let mut code = 0;
    for url in &options.urls {
        if let Err(Failure(failed, why)) = transfer(&options, url) {
            if !options.silent || options.show_error {
                eprintln!("curl: ({failed}) {why}");
            }
            code = failed;
        }
    }
    code
}

/// Runs `wget [-q] [-O FILE] [-T SECONDS] URL`.
pub(super) fn run_as_wget(arguments: &[String]) -> i32 {
    let mut translated = vec!["-f".to_owned(), "-sS".to_owned()];
    let mut all = arguments.iter();
    let mut output = None;
    while let Some(argument) = all.next() {
        match argument.as_str() {
            "-q" | "-nv" | "-S" => {}
            "-qO-" | "-O-" => output = Some("-".to_owned()),
            "-O" | "-qO" => output = all.next().cloned(),
            "--no-check-certificate" => translated.push("-k".to_owned()),
            "-T" => translated.extend(all.next().map(|seconds| format!("-m{seconds}"))),
            other => match other.strip_prefix("--timeout=") {
                Some(seconds) => translated.push(format!("-m{seconds}")),
                None if other.starts_with('-') => return super::host_program("wget", arguments, other),
                None => translated.push(other.to_owned()),
            },
        }
    }
    match output {
        Some(output) if output == "-" => {}
        Some(output) => translated.extend(["-o".to_owned(), output]),
        None => {
            let url = translated.last().cloned().unwrap_or_default();
            let name = url.rsplit('/').next().filter(|name| !name.is_empty() && url.matches('/').count() > 2);
            translated.extend(["-o".to_owned(), name.unwrap_or("index.html").to_owned()]);
        }
    }
    i32::from(run(&translated) != 0)
}

/// Options, or the first one that is not built in.
fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut all = arguments.iter().cloned().collect::<std::collections::VecDeque<_>>();
    while let Some(argument) = all.pop_front() {
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
            let letter = match name {
                "silent" => 's',
                "show-error" => 'S',
                "insecure" => 'k',
                "include" => 'i',
                "head" => 'I',
                "fail" => 'f',
                "verbose" => 'v',
                "ipv4" => '4',
                "ipv6" => '6',
                "request" => 'X',
                "header" => 'H',
                "data" => 'd',
                "output" => 'o',
                "write-out" => 'w',
                "max-time" => 'm',
                "connect-timeout" => 'c',
                "cacert" => 'C',
                "http1.1" | "no-progress-meter" => continue,
                _ => return Err(argument),
            };
            apply(&mut options, letter, &mut || value.clone().or_else(|| all.pop_front())).ok_or(argument)?;
        } else if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            for (at, letter) in letters.char_indices() {
                let rest = &letters[at + letter.len_utf8()..];
                let mut taken = false;
                let mut value = || {
                    taken = true;
                    if rest.is_empty() { all.pop_front() } else { Some(rest.to_owned()) }
                };
                let known = if "cC".contains(letter) { None } else { apply(&mut options, letter, &mut value) };
                known.ok_or_else(|| argument.clone())?;
                if taken {
                    break;
                }
            }
        } else {
            options.urls.push(argument);
        }
    }
    Ok(options)
}

fn apply(options: &mut Options, letter: char, value: &mut dyn FnMut() -> Option<String>) -> Option<()> {
    let seconds = |text: String| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match letter {
        's' => options.silent = true,
        'S' => options.show_error = true,
        'k' => options.insecure = true,
        'i' => options.include = true,
        'I' => options.head = true,
        'f' => options.fail = true,
        'v' => options.verbose = true,
        '4' => options.family = Some(true),
        '6' => options.family = Some(false),
        'X' => options.method = Some(value()?),
        'H' => options.headers.push(value()?),
        'd' => options.body = Some(value()?),
        'o' => options.output = Some(value()?),
        'w' => options.write_out = Some(value()?),
        'm' => options.limit = Some(seconds(value()?)?),
        'c' => options.connect_limit = Some(seconds(value()?)?),
        'C' => options.authorities = Some(value()?),
        _ => return None,
    }
    Some(())
}

/// Scheme, authority as sent in Host, host, port and path of a URL.
fn split(url: &str) -> Result<(bool, &str, &str, u16, &str), Failure> {
    let bad = || Failure(3, format!("bad URL {url:?}"));
    let (secure, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some((scheme, _)) => return Err(Failure(1, format!("protocol {scheme:?} is not built in"))),
        None => (false, url),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&authority[..at], authority[at + 1..].parse().map_err(|_| bad())?),
        None => (authority, if secure { 443 } else { 80 }),
    };
    if host.is_empty() { Err(bad()) } else { Ok((secure, authority, host, port, path)) }
}

fn transfer(options: &Options, url: &str) -> Result<(), Failure> {
    let (secure, authority, host, port, path) = split(url)?;
    let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let found = found.map_err(|_| Failure(6, format!("Could not resolve host: {host}")))?;
    let addresses: Vec<_> =
        found.filter(|address| options.family.is_none_or(|four| four == address.is_ipv4())).collect();
    let limit = options.limit.unwrap_or(LIMIT);
    let stream = connect(options, &addresses, host, port, limit)?;
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure(28, format!("Operation timed out after {limit:?}"))
        }
        _ => Failure(56, format!("Recv failure: {error}")),
    };
    stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit))).map_err(broken)?;
    let request = request(options, authority, path);
    if options.verbose {
        eprint!("> {}", request.replace("\r\n", "\n> ").trim_end_matches("> "));
    }
    let answer = if secure {
        let wrapped = super::tls::wrap(stream, host, options.insecure, options.authorities.as_deref());
        let stream = wrapped.map_err(|error| Failure(35, error.to_string()))?;
        exchange(stream, &request).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure(60, format!("SSL certificate problem: {error}; -k ignores it")),
            _ => broken(error),
        })?
    } else {
        exchange(stream, &request).map_err(broken)?
    };
    show(options, &answer)
}

fn connect(
    options: &Options,
    addresses: &[SocketAddr],
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, Failure> {
    let mut last = Failure(6, format!("Could not resolve host: {host}"));
    for address in addresses {
        match TcpStream::connect_timeout(address, options.connect_limit.unwrap_or(limit)) {
            Ok(stream) => {
                if options.verbose {
                    eprintln!("* Connected to {host} ({}) port {port}", address.ip());
                }
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                last = Failure(28, format!("Failed to connect to {host} port {port}: Timeout was reached"));
            }
            Err(error) => last = Failure(7, format!("Failed to connect to {host} port {port}: {error}")),
        }
    }
    Err(last)
}

fn request(options: &Options, authority: &str, path: &str) -> String {
    let default = if options.head {
        "HEAD"
    } else if options.body.is_some() {
        "POST"
    } else {
        "GET"
    };
    let method = options.method.as_deref().unwrap_or(default);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let mut defaults = vec![("Host", authority.to_owned()), ("User-Agent", "mainstay-curl".to_owned())];
    defaults.push(("Accept", "*/*".to_owned()));
    if let Some(body) = &options.body {
        defaults.push(("Content-Length", body.len().to_string()));
        defaults.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
    }
    for (name, value) in defaults {
        let own =
            options.headers.iter().any(|own| own.split(':').next().is_some_and(|own| own.eq_ignore_ascii_case(name)));
        if !own {
            text += &format!("{name}: {value}\r\n");
        }
    }
    for header in &options.headers {
        text += &format!("{header}\r\n");
    }
    text += "Connection: close\r\n\r\n";
    text + options.body.as_deref().unwrap_or("")
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES).read_to_end(&mut answer) {
        // Servers that skip TLS's closing message have still said everything if it is complete; `show` checks.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(answer),
        other => other.map(|_| answer),
    }
}

fn show(options: &Options, answer: &[u8]) -> Result<(), Failure> {
    if answer.is_empty() {
        return Err(Failure(52, "Empty reply from server".to_owned()));
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let Some(end) = end else { return Err(Failure(56, "the answer ended within its headers".to_owned())) };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let code: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let header = |wanted: &str| {
        let pairs = head.lines().filter_map(|line| line.split_once(':'));
        pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned()).next()
    };
    let mut body = answer[end..].to_vec();
    if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        body = unchunk(&body).ok_or_else(|| Failure(18, "transfer closed with outstanding read data".to_owned()))?;
    } else if !options.head
        && header("content-length").and_then(|text| text.parse().ok()).is_some_and(|all: usize| all > body.len())
    {
        return Err(Failure(18, "transfer closed with outstanding read data remaining".to_owned()));
    }
    if options.verbose {
        eprint!("< {}", head.replace("\r\n", "\n< ").trim_end_matches("< "));
    }
    if options.fail && code >= 400 {
        return Err(Failure(22, format!("The requested URL returned error: {code}")));
    }
    let mut out = if options.include || options.head { head.into_bytes() } else { Vec::new() };
    out.extend(body);
    let failed = |error: io::Error| Failure(23, format!("Failure writing output: {error}"));
    match options.output.as_deref() {
        None | Some("-") => io::stdout().write_all(&out).map_err(failed)?,
        Some(path) => std::fs::write(path, &out).map_err(failed)?,
    }
    if let Some(format) = &options.write_out {
        let text =
            format.replace("%{http_code}", &format!("{code:03}")).replace("%{response_code}", &format!("{code:03}"));
        print!("{}", text.replace("\\n", "\n"));
    }
    Ok(())
}

/// Joins the chunks of a body; none if it is cut off.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_options() {
        let parts = |url| split(url).ok();
        assert_eq!(parts("a:81/x"), Some((false, "a:81", "a", 81, "/x")));
        assert_eq!(parts("https://[fd00::1]/"), Some((true, "[fd00::1]", "[fd00::1]", 443, "/")));
        assert_eq!(parts("http://[fd00::1]:8/?q"), Some((false, "[fd00::1]:8", "[fd00::1]", 8, "/?q")));
        assert!(parts("http://a:x/").is_none());
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = parse(&words("-sSk -m2 -o /dev/null -w%{http_code} --header=A:b url")).ok().unwrap();
        assert_eq!((options.silent, options.insecure, options.urls.len()), (true, true, 1));
        assert_eq!((options.limit, options.headers), (Some(Duration::from_secs(2)), vec!["A:b".to_owned()]));
        assert_eq!(parse(&words("--resolve x url")).err(), Some("--resolve".to_owned()));
    }

    #[test]
    fn chunks_are_joined_and_cuts_noticed() {
        assert_eq!(unchunk(b"3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n"), Some(b"abcd".to_vec()));
        assert_eq!(unchunk(b"3\r\nab"), None);
        assert_eq!(unchunk(b"ffffffffffffffff\r\nab"), None);
    }
}
