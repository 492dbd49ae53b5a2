//! A node of each proxy in, what clients meet there out: both must answer the same.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::api::Api;
use super::ground::{Ground, NODE, Node, SERVERS};
use super::side::{Programs, Proxy};

/// How long nothing must come for a connection to count as dropped.
const DROPPED: Duration = Duration::from_millis(1_500);

/// Where from, where to, whether by UDP, and what must happen.
const CASES: [(&str, &str, bool, &str); 9] = [
    ("client", "10.96.1.1:80", false, "connected"),
    ("node", "10.96.1.1:80", false, "connected"),
    ("client", "192.0.2.2:30080", false, "connected"),
    ("api", "192.0.2.2:30080", false, "connected"),
    ("client", "10.96.1.1:81", true, "answered"),
    ("api", "192.0.2.2:30081", true, "answered"),
    // A port that the Service does not have, a Service without endpoints, an address that no Service has.
    ("client", "10.96.1.1:82", false, "refused"),
    ("client", "10.96.1.2:80", false, "refused"),
    ("node", "10.96.1.2:80", false, "refused"),
];

/// Asks both the same; an answer that is not what kube-proxy's rules promise is an error.
pub(super) fn compare(programs: &Programs<'_>, ground: &Ground, api: &Api) -> Result<Value> {
    let mut all = json!({});
    for side in programs.sides.iter().copied() {
        eprintln!("xtask: behaviour of {}", side.name());
        let node = ground.node()?;
        serve(&node)?;
        let proxy = Proxy::start(side, programs, ground, &node, api)?;
        let mut met = Vec::new();
        for (from, to, udp, expected) in CASES {
            let namespace = match from {
                "client" => &node.client,
                "node" => &node.node,
                _ => ground.api(),
            };
            let outcome = within(namespace, || Ok(attempt(to, udp)))??;
            if outcome != expected {
                bail!("{}: from {from} to {to}: {outcome}, but {expected} is right", side.name());
            }
            met.push(format!("{from} to {to}{}: {outcome}", if udp { " (UDP)" } else { "" }));
        }
        all[side.name()] = json!(met);
        proxy.stop()?;
    }
    Ok(all)
}

/// Servers that answer as long as this process runs; their namespace ends earlier.
fn serve(node: &Node) -> Result<()> {
    let (tcp, udp) =
        within(&node.server, || Ok((TcpListener::bind((SERVERS[0], 8080))?, UdpSocket::bind((SERVERS[0], 8081))?)))?;
    std::thread::spawn(move || tcp.incoming().for_each(drop));
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..length], from);
        }
    });
    Ok(())
}

fn attempt(to: &str, udp: bool) -> Result<&'static str> {
    let to: SocketAddr = to.parse()?;
    if !udp {
        return match TcpStream::connect_timeout(&to, DROPPED) {
            Ok(_) => Ok("connected"),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok("refused"),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok("dropped"),
            Err(error) => Err(error).with_context(|| format!("connect to {to} of {NODE}")),
        };
    }
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(DROPPED))?;
    socket.connect(to)?;
    socket.send(b"?")?;
    match socket.recv(&mut [0; 8]) {
        Ok(_) => Ok("answered"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok("refused"),
        Err(_) => Ok("dropped"),
    }
}

fn within<T: Send>(namespace: &str, work: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
    let file = File::open(Path::new("/run/netns").join(namespace))?;
    kernel::namespace::within_net(file.as_fd(), work).with_context(|| format!("cannot work in {namespace}"))
}
