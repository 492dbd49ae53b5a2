//! `nc`: an address in, standard input sent there and the answer printed.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// Time limit for a connection or a datagram's answer unless -w says otherwise.
const WAIT: Duration = Duration::from_secs(5);

struct Options {
    udp: bool,
    scan: bool,
    verbose: bool,
    listen: bool,
    close: bool,
    wait: Duration,
}

/// Runs `nc [-u] [-z] [-v] [-l] [-N] [-w SECONDS] HOST PORT`.
pub(super) fn run(arguments: &[String]) -> i32 {
    let mut options = Options { udp: false, scan: false, verbose: false, listen: false, close: false, wait: WAIT };
    let mut rest = Vec::new();
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            rest.push(argument.as_str());
            continue;
        };
        for (at, letter) in letters.char_indices() {
            match letter {
                'u' => options.udp = true,
                'z' => options.scan = true,
                'v' => options.verbose = true,
                'l' => options.listen = true,
                'N' => options.close = true,
                'n' | 'p' => {}
                'w' | 'q' => {
                    let attached = Some(&letters[at + 1..]).filter(|text| !text.is_empty());
                    let text = attached.or_else(|| all.next().map(String::as_str));
                    let seconds: u64 = text.and_then(|text| text.parse().ok()).unwrap_or(WAIT.as_secs());
                    options.wait = Duration::from_secs(seconds.max(1));
                    break;
                }
                _ => return super::host_program("nc", arguments, argument),
            }
        }
    }
    let done = match (options.listen, rest.as_slice()) {
        (true, [.., port]) => serve(&options, port),
        (false, [host, port]) => dial(&options, host, port),
        _ => {
            eprintln!("usage: nc [-u] [-z] [-v] [-l] [-N] [-w SECONDS] HOST PORT");
            return 2;
        }
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            let (host, port) = (rest.first().unwrap_or(&""), rest.last().unwrap_or(&""));
            eprintln!("nc: {host} port {port}: {error}");
            1
        }
    }
}

/// Takes one connection: what comes in is printed, standard input goes out; `-N` ends our direction with it.
fn serve(options: &Options, port: &str) -> io::Result<()> {
    let port = port.parse().map_err(|_| io::Error::other("the port is not a number"))?;
    let (mut stream, _) = TcpListener::bind(SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port))?.accept()?;
    let (mut out, close) = (stream.try_clone()?, options.close);
    // Ends with the process: a terminal may stay silent for ever.
    std::thread::spawn(move || {
        if io::copy(&mut io::stdin(), &mut out).is_ok() && close {
            // A peer that has left needs no end.
            let _ = out.shutdown(Shutdown::Write);
        }
    });
    io::copy(&mut stream, &mut io::stdout()).map(drop)
}

fn dial(options: &Options, host: &str, port: &str) -> io::Result<()> {
    let port: u16 = port.parse().map_err(|_| io::Error::other("the port is not a number"))?;
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        let done = if options.udp { datagram(options, address) } else { connect(options, address) };
        match done {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn input() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !io::stdin().is_terminal() {
        io::stdin().read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn connect(options: &Options, address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, options.wait)?;
    if options.verbose {
        eprintln!("Connection to {address} succeeded!");
    }
    if options.scan {
        return Ok(());
    }
    let mut back = stream.try_clone()?;
    let reader = std::thread::spawn(move || io::copy(&mut back, &mut io::stdout()).map(drop));
    io::copy(&mut io::stdin(), &mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    reader.join().unwrap_or_else(|_| Err(io::Error::other("reader failed")))
}

fn datagram(options: &Options, address: SocketAddr) -> io::Result<()> {
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(options.wait))?;
    let mut bytes = if options.scan { Vec::new() } else { input()? };
    if bytes.is_empty() {
        bytes.push(b'\n');
    }
    socket.send(&bytes)?;
    let mut buffer = vec![0; 64 << 10];
    let length = socket.recv(&mut buffer)?;
    if options.verbose {
        eprintln!("Connection to {address} (udp) succeeded!");
    }
    if options.scan { Ok(()) } else { io::stdout().write_all(&buffer[..length]) }
}
