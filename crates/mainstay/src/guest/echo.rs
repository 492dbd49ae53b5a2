//! `mainstay/echo`: HTTP, TCP and UDP on the same ports; every answer says which pod gave it and whom it saw.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;

/// Longest request head, body or line.
const REQUEST_BYTES: usize = 64 << 10;
/// Connections that wait to be accepted: bursts at thousands a second must not overflow it.
const BACKLOG: u32 = 4096;
/// Connections served at once.
const CONNECTIONS: usize = 10_000;
/// Silence after which a kept connection is closed.
const IDLE: Duration = Duration::from_secs(60);

struct Server {
    pod: String,
    namespace: String,
    node: String,
    ready: AtomicBool,
    live: AtomicBool,
    open: AtomicUsize,
    stopping: watch::Sender<bool>,
}

/// Serves until SIGTERM; then closes the listeners at once, answers what was accepted, and ends.
pub(super) fn run(arguments: &[String]) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail("echo", &error),
    };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let ports = ports(arguments, &variable("PORT"), &variable("MAINSTAY_PORTS"));
    match runtime.block_on(serve(&ports)) {
        Ok(()) => 0,
        Err(error) => super::fail("echo", &error),
    }
}

/// Ports from the arguments, else `$PORT`, else the container's ports, else 8080.
fn ports(arguments: &[String], port: &str, declared: &str) -> Vec<u16> {
    let numbers = |text: &str| -> Vec<u16> {
        let parts =
            text.split([',', ' ']).filter_map(|part| part.split('/').next()?.trim_start_matches(':').parse().ok());
        parts.collect()
    };
    let mut found =
        [arguments.join(" ").as_str(), port, declared].into_iter().map(numbers).find(|found| !found.is_empty());
    let mut found = found.take().unwrap_or_else(|| vec![8080]);
    found.sort_unstable();
    found.dedup();
    found
}

async fn serve(ports: &[u16]) -> io::Result<()> {
    let variable = |name: &str, other: &str| std::env::var(name).or_else(|_| std::env::var(other)).unwrap_or_default();
    let server = Arc::new(Server {
        pod: variable("MAINSTAY_POD", "HOSTNAME"),
        namespace: variable("MAINSTAY_NAMESPACE", "POD_NAMESPACE"),
        node: variable("MAINSTAY_NODE", "NODE_NAME"),
        ready: AtomicBool::new(true),
        live: AtomicBool::new(true),
        open: AtomicUsize::new(0),
        stopping: watch::Sender::new(false),
    });
    let terminated = super::terminated();
    let mut listening = Vec::new();
    for port in ports {
        listening.push(tokio::spawn(accept(listen(*port)?, server.clone())));
        tokio::spawn(datagrams(UdpSocket::bind(any(*port)).await?, server.clone()));
    }
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    println!("{} serves HTTP, TCP and UDP on port {list}", server.pod);
    super::rest();
    terminated.await?;
    server.stopping.send_replace(true);
    for listener in listening {
        let _ = listener.await;
    }
    println!("{} stopped listening, {} connections to answer", server.pod, server.open.load(Ordering::Relaxed));
    // Every connection ends by itself: answered, or closed because it was idle.
    server.stopping.closed().await;
    println!("{} ends", server.pod);
    Ok(())
}

fn any(port: u16) -> SocketAddr {
    let six = std::path::Path::new("/proc/net/if_inet6").exists();
    SocketAddr::new(if six { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from([0, 0, 0, 0]) }, port)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let address = any(port);
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until told to stop; then takes what the kernel has already accepted and closes the listener.
async fn accept(listener: TcpListener, server: Arc<Server>) {
    let mut stopping = server.stopping.subscribe();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => begin(stream, client, &server),
                // Out of descriptors: the connection stays in the queue until one is free.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            () = stopped(&mut stopping) => break,
        }
    }
    drop(stopping);
    poll_fn(|context| {
        while let Poll::Ready(Ok((stream, client))) = listener.poll_accept(context) {
            begin(stream, client, &server);
        }
        Poll::Ready(())
    })
    .await;
}

/// Waits for the stop; a server that is gone counts as stopped.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn begin(stream: TcpStream, client: SocketAddr, server: &Arc<Server>) {
    if server.open.load(Ordering::Relaxed) >= CONNECTIONS {
        return;
    }
    server.open.fetch_add(1, Ordering::Relaxed);
    let (server, stopping) = (server.clone(), server.stopping.subscribe());
    tokio::spawn(async move {
        // A client that goes away mid-way is its own business.
        let _ = converse(stream, client, &server, stopping).await;
        server.open.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Answers requests (or lines) on one connection until it ends.
async fn converse(
    mut stream: TcpStream,
    client: SocketAddr,
    server: &Server,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    let mut answered = false;
    loop {
        let closing = *stopping.borrow();
        match next(&mut held) {
            Next::Http(request) => {
                let keep = request.keep && !closing;
                let (code, body) = server.answer(&request, client);
                stream.write_all(&response(&request, code, &body, keep)).await?;
                answered = true;
                if !keep {
                    return stream.shutdown().await;
                }
            }
            Next::Line(line) => {
                let mut said = server.say("tcp", client);
                said["received"] = line.into();
                stream.write_all(format!("{said}\n").as_bytes()).await?;
                answered = true;
            }
            Next::TooLong => {
                return stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
            }
            // An idle connection that has had its answer is closed; one that was accepted and not yet answered is not.
            Next::More if closing && answered && held.is_empty() => return stream.shutdown().await,
            Next::More => {
                tokio::select! {
                    read = tokio::time::timeout(IDLE, stream.read_buf(&mut held)) => if read?? == 0 { return Ok(()) },
                    _ = stopping.changed(), if !closing => {}
                }
            }
        }
    }
}

/// What a connection has sent so far.
enum Next {
    Http(Request),
    Line(String),
    More,
    TooLong,
}

struct Request {
    method: String,
    target: String,
    host: String,
    keep: bool,
    body: String,
}

fn next(held: &mut Vec<u8>) -> Next {
    let Some(end) = held.iter().position(|byte| *byte == b'\n') else {
        return if held.len() > REQUEST_BYTES { Next::TooLong } else { Next::More };
    };
    let line = String::from_utf8_lossy(&held[..end]).trim_end().to_owned();
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version @ ("HTTP/1.0" | "HTTP/1.1"))) = (method, target, version) else {
        held.drain(..=end);
        return Next::Line(line);
    };
    let Some(head) = held.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if held.len() > REQUEST_BYTES { Next::TooLong } else { Next::More };
    };
    let text = String::from_utf8_lossy(&held[..head]).into_owned();
    let header = |wanted: &str| {
        let pairs = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut found = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let length = header("content-length").parse().unwrap_or(0usize);
    if length > REQUEST_BYTES {
        return Next::TooLong;
    }
    let Some(body) = held.get(head + 4..head + 4 + length) else { return Next::More };
    let connection = header("connection").to_ascii_lowercase();
    let keep = if version == "HTTP/1.1" { !connection.contains("close") } else { connection.contains("keep-alive") };
    let body = String::from_utf8_lossy(body).into_owned();
    let request = Request { method: method.to_owned(), target: target.to_owned(), host: header("host"), keep, body };
    held.drain(..head + 4 + length);
    Next::Http(request)
}

fn response(request: &Request, code: u16, body: &str, keep: bool) -> Vec<u8> {
    let reason = if code == 200 { "OK" } else { "Service Unavailable" };
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let connection = if keep { "keep-alive" } else { "close" };
    let shown = if request.method == "HEAD" { "" } else { body };
    format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n{shown}",
        body.len()
    )
    .into_bytes()
}

impl Server {
    fn say(&self, protocol: &str, client: SocketAddr) -> Value {
        let address = client.ip().to_canonical();
        json!({
            "pod": self.pod, "namespace": self.namespace, "node": self.node, "protocol": protocol,
            "client": address, "clientPort": client.port(),
        })
    }

    fn answer(&self, request: &Request, client: SocketAddr) -> (u16, String) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let health = |good: bool| if good { (200, "ok\n".to_owned()) } else { (503, "off\n".to_owned()) };
        let switch = |which: &AtomicBool| {
            which.store(query != "off", Ordering::Relaxed);
            (200, format!("{}\n", if query == "off" { "off" } else { "on" }))
        };
        match path {
            "/ready" | "/readyz" => health(self.ready.load(Ordering::Relaxed) && !*self.stopping.borrow()),
            "/healthz" | "/livez" => health(self.live.load(Ordering::Relaxed)),
            "/switch/ready" => switch(&self.ready),
            "/switch/live" => switch(&self.live),
            "/hostname" => (200, format!("{}\n", self.pod)),
            _ => {
                let mut said = self.say("http", client);
                said["method"] = request.method.as_str().into();
                said["path"] = request.target.as_str().into();
                said["host"] = request.host.as_str().into();
                if !request.body.is_empty() {
                    said["body"] = request.body.as_str().into();
                }
                (200, format!("{said}\n"))
            }
        }
    }
}

async fn datagrams(socket: UdpSocket, server: Arc<Server>) {
    let mut buffer = vec![0; REQUEST_BYTES];
    loop {
        // An ICMP error of an earlier answer shows up as an error here; the socket is fine.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let mut said = server.say("udp", client);
        said["received"] = String::from_utf8_lossy(&buffer[..length]).trim_end().into();
        let _ = socket.send_to(format!("{said}\n").as_bytes(), client).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_from_the_nearest_place() {
        let arguments = ["9000".to_owned(), ":9001".to_owned()];
        assert_eq!(ports(&arguments, "1", "2/TCP"), [9000, 9001]);
        assert_eq!(ports(&[], "81", "2/TCP"), [81]);
        assert_eq!(ports(&[], "", "8080/TCP,53/UDP,53/TCP"), [53, 8080]);
        assert_eq!(ports(&[], "", ""), [8080]);
    }

    #[test]
    fn requests_lines_and_halves_are_told_apart() {
        let mut held =
            b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.0\r\n\r\nhel".to_vec();
        let Next::Http(first) = next(&mut held) else { panic!("a request") };
        assert_eq!(
            (first.method.as_str(), first.target.as_str(), first.body.as_str(), first.keep),
            ("POST", "/a?b", "hi", true)
        );
        let Next::Http(second) = next(&mut held) else { panic!("a second request") };
        assert!(!second.keep);
        assert!(matches!(next(&mut held), Next::More));
        held.extend_from_slice(b"lo\n");
        assert!(matches!(next(&mut held), Next::Line(line) if line == "hello"));
    }

    #[tokio::test]
    async fn what_was_accepted_is_answered_after_the_stop() {
        let server = Arc::new(Server {
            pod: "p".into(),
            namespace: String::new(),
            node: String::new(),
            ready: AtomicBool::new(true),
            live: AtomicBool::new(true),
            open: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        });
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(accept(listener, server.clone()));
        let mut early = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        server.stopping.send_replace(true);
        accepting.await.unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the listener must be closed");
        early.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close"), "{answer}");
        server.stopping.closed().await;
    }
}
