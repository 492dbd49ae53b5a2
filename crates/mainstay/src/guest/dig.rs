//! `dig` and `nslookup`: names and options in, the server's answer printed.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::dns::{Answer, Record, kind_name, kind_number, query, read};

struct Options {
    servers: Vec<String>,
    names: Vec<(String, Option<u16>)>,
    port: u16,
    short: bool,
    tcp: bool,
    search: bool,
    time: Duration,
    tries: u32,
}

impl Default for Options {
    fn default() -> Self {
        let (servers, names) = (Vec::new(), Vec::new());
        Self {
            servers,
            names,
            port: 53,
            short: false,
            tcp: false,
            search: false,
            time: Duration::from_secs(5),
            tries: 3,
        }
    }
}

/// The resolver configuration of this pod.
fn resolver() -> (Vec<String>, Vec<String>, usize) {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let words = |keyword: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(keyword));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let dots = words("options").iter().find_map(|option| option.strip_prefix("ndots:")?.parse().ok());
    (words("nameserver"), words("search"), dots.unwrap_or(1))
}

/// Runs `dig`.
pub(super) fn run(arguments: &[String]) -> i32 {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(option) => return super::host_program("dig", arguments, &option),
    };
    let mut code = 0;
    for (name, kind) in &options.names {
        let kind = kind.unwrap_or(1);
        let began = Instant::now();
        match lookup(&options, name, kind) {
            Ok((answer, _)) if options.short => {
                answer.sections[0].iter().for_each(|record| println!("{}", record.data));
            }
            Ok((answer, server)) => print_answer(&answer, server, began.elapsed()),
            Err(why) => {
                println!(";; {why}");
                code = 9;
            }
        }
    }
    code
}

/// Options, or the first one that is not built in.
fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        if let Some(server) = argument.strip_prefix('@') {
            options.servers.push(server.to_owned());
        } else if let Some(flag) = argument.strip_prefix('+') {
            match flag.split_once('=').unwrap_or((flag, "")) {
                ("short", _) => options.short = true,
                ("tcp" | "vc", _) => options.tcp = true,
                ("notcp" | "novc", _) => options.tcp = false,
                ("search", _) => options.search = true,
                ("nosearch" | "noall" | "answer" | "nocookie" | "noedns", _) => {}
                ("time" | "timeout", seconds) => {
                    options.time = Duration::from_secs(seconds.parse().map_err(|_| argument.clone())?);
                }
                ("tries", count) => options.tries = count.parse().map_err(|_| argument.clone())?,
                ("retry", count) => options.tries = 1 + count.parse::<u32>().map_err(|_| argument.clone())?,
                _ => return Err(argument.clone()),
            }
        } else if argument == "-x" {
            let address = all.next().and_then(|text| text.parse().ok()).ok_or_else(|| argument.clone())?;
            options.names.push((reverse(address), Some(12)));
        } else if argument == "-p" {
            options.port = all.next().and_then(|text| text.parse().ok()).ok_or_else(|| argument.clone())?;
        } else if argument == "-t" {
            let kind = all.next().and_then(|text| kind_number(text)).ok_or_else(|| argument.clone())?;
            set_kind(&mut options, kind);
        } else if argument.starts_with('-') {
            return Err(argument.clone());
        } else if let Some(kind) = kind_number(argument) {
            set_kind(&mut options, kind);
        } else if !argument.eq_ignore_ascii_case("in") {
            let waiting = options.names.last().filter(|(name, _)| name.is_empty()).and_then(|(_, kind)| *kind);
            if waiting.is_some() {
                options.names.pop();
            }
            options.names.push((argument.clone(), waiting));
        }
    }
    options.names.retain(|(name, _)| !name.is_empty());
    if options.names.is_empty() {
        options.names.push((".".to_owned(), Some(2)));
    }
    Ok(options)
}

/// A type belongs to the name before it, or to the one after if there is none.
fn set_kind(options: &mut Options, kind: u16) {
    match options.names.last_mut() {
        Some((_, known)) => *known = Some(kind),
        None => options.names.push((String::new(), Some(kind))),
    }
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(six) => {
            let nibbles = six.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// Asks for a name, with the search list if wanted: the first answer that is not NXDOMAIN, else the last.
fn lookup(options: &Options, name: &str, kind: u16) -> Result<(Answer, SocketAddr), String> {
    let (configured, searches, dots) = resolver();
    let servers = if options.servers.is_empty() { configured } else { options.servers.clone() };
    let mut names = vec![name.to_owned()];
    if options.search && !name.ends_with('.') {
        let searched = searches.iter().map(|domain| format!("{name}.{domain}"));
        if name.matches('.').count() >= dots { names.extend(searched) } else { names = searched.chain(names).collect() }
    }
    let mut last = Err("no servers could be reached: /etc/resolv.conf names none".to_owned());
    for name in &names {
        last = ask_any(options, &servers, name, kind);
        if last.as_ref().is_ok_and(|(answer, _)| answer.code() != "NXDOMAIN") {
            break;
        }
    }
    last
}

fn ask_any(options: &Options, servers: &[String], name: &str, kind: u16) -> Result<(Answer, SocketAddr), String> {
    let mut last = "no servers could be reached".to_owned();
    for _ in 0..options.tries.max(1) {
        for server in servers {
            let resolved = std::net::ToSocketAddrs::to_socket_addrs(&(server.as_str(), options.port));
            let Some(address) = resolved.ok().and_then(|mut found| found.next()) else {
                return Err(format!("couldn't get address for '{server}': not found"));
            };
            match ask(options, address, name, kind) {
                Ok(answer) => return Ok((answer, address)),
                Err(error) => last = format!("communications error to {address}: {error}; no servers could be reached"),
            }
        }
    }
    Err(last)
}

fn ask(options: &Options, server: SocketAddr, name: &str, kind: u16) -> io::Result<Answer> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let bytes = query(u16::from_be_bytes(id), name, kind);
    let bytes = bytes.ok_or_else(|| io::Error::other(format!("'{name}' is not a legal name")))?;
    if !options.tcp {
        let answer = ask_udp(options, server, &bytes)?;
        if !answer.truncated() {
            return Ok(answer);
        }
    }
    let mut stream = TcpStream::connect_timeout(&server, options.time)?;
    stream.set_read_timeout(Some(options.time))?;
    let mut framed = u16::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    read(&answer).ok_or_else(|| io::Error::other("malformed answer"))
}

fn ask_udp(options: &Options, server: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(options.time))?;
    socket.send(bytes)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = socket.recv(&mut buffer)?;
        match read(&buffer[..length]) {
            Some(answer) if bytes.starts_with(&answer.id.to_be_bytes()) => return Ok(answer),
            Some(_) => {}
            None => return Err(io::Error::other("malformed answer")),
        }
    }
}

fn print_answer(answer: &Answer, server: SocketAddr, took: Duration) {
    let flags = [(0x8000, "qr"), (0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra")];
    let flags: Vec<_> = flags.into_iter().filter(|(bit, _)| answer.flags & bit != 0).map(|(_, name)| name).collect();
    println!(";; ->>HEADER<<- opcode: QUERY, status: {}, id: {}", answer.code(), answer.id);
    let [answers, authority, additional] = &answer.sections;
    let counts = (answers.len(), authority.len(), additional.len());
    let flags = flags.join(" ");
    println!(";; flags: {flags}; QUERY: 1, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}", counts.0, counts.1, counts.2);
    println!("\n;; QUESTION SECTION:\n;{}", answer.question);
    for (title, records) in [("ANSWER", answers), ("AUTHORITY", authority), ("ADDITIONAL", additional)] {
        if !records.is_empty() {
            println!("\n;; {title} SECTION:");
            records.iter().for_each(print_record);
        }
    }
    println!("\n;; Query time: {} msec\n;; SERVER: {}#{}", took.as_millis(), server.ip(), server.port());
}

fn print_record(record: &Record) {
    println!("{}\t{}\tIN\t{}\t{}", record.name, record.ttl, kind_name(record.kind), record.data);
}

/// Runs `nslookup [-type=TYPE] NAME [SERVER]`.
pub(super) fn run_as_nslookup(arguments: &[String]) -> i32 {
    let mut options = Options { search: true, ..Options::default() };
    let (mut names, mut kinds) = (Vec::new(), vec![1, 28]);
    for argument in arguments {
        let kind = ["-type=", "-query=", "-q="].into_iter().find_map(|prefix| argument.strip_prefix(prefix));
        match kind {
            Some(kind) => match kind_number(kind) {
                Some(kind) => kinds = vec![kind],
                None => return super::host_program("nslookup", arguments, argument),
            },
            None if argument.starts_with('-') => return super::host_program("nslookup", arguments, argument),
            None => names.push(argument.clone()),
        }
    }
    let Some(name) = names.first() else {
        eprintln!("usage: nslookup [-type=TYPE] NAME [SERVER]");
        return 2;
    };
    options.servers = names.get(1).cloned().into_iter().collect();
    let (mut name, mut shown) = (name.clone(), false);
    if let Ok(address) = name.parse() {
        (name, kinds) = (reverse(address), vec![12]);
    }
    let mut code = 1;
    let mut missing = "NXDOMAIN".to_owned();
    for kind in kinds {
        match lookup(&options, &name, kind) {
            Err(why) => {
                println!(";; {why}");
                return 1;
            }
            Ok((answer, server)) => {
                if !shown {
                    println!("Server:\t\t{}\nAddress:\t{}#{}\n", server.ip(), server.ip(), server.port());
                    shown = true;
                }
                missing = answer.code().to_owned();
                for record in &answer.sections[0] {
                    code = 0;
                    match record.kind {
                        1 | 28 => println!("Name:\t{}\nAddress: {}", record.name.trim_end_matches('.'), record.data),
                        12 => println!("{}\tname = {}", record.name.trim_end_matches('.'), record.data),
                        _ => print_record(record),
                    }
                }
            }
        }
    }
    if code != 0 {
        println!("** server can't find {name}: {missing}");
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_and_servers_in_any_order() {
        let names = |text: &str| parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>()).ok().unwrap().names;
        assert_eq!(names("+short web.ns AAAA"), [("web.ns".to_owned(), Some(28))]);
        assert_eq!(names("-t SRV web.ns @10.0.0.1"), [("web.ns".to_owned(), Some(33))]);
        assert_eq!(names("-x 10.96.0.1"), [("1.0.96.10.in-addr.arpa".to_owned(), Some(12))]);
        assert!(
            reverse("fd00::1".parse().unwrap()).starts_with("1.0.0.0.")
                && reverse("fd00::1".parse().unwrap()).ends_with("d.f.ip6.arpa")
        );
        assert_eq!(parse(&["+trace".to_owned()]).err(), Some("+trace".to_owned()));
    }
}
