//! Services on 127.0.0.1 of the host: opened, renumbered, closed and found again, with stock clients and much traffic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use serde_json::Value;

use crate::sandbox::{PATIENCE, Sandbox, text};

const MANIFEST: &str = include_str!("publish.yaml");

/// A sandbox with the Services of the manifest, all published and served.
fn start() -> Sandbox {
    let sandbox = Sandbox::start();
    sandbox.apply(MANIFEST);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/echo", "pod/bulk"]);
    for (service, source) in [("node", "NodePort"), ("balanced", "LoadBalancer"), ("bulk", "NodePort")] {
        served(&sandbox, service, source);
    }
    sandbox
}

/// Rows of the published ports of a Service.
fn rows(sandbox: &Sandbox, service: &str, source: &str) -> Vec<Value> {
    let status = sandbox.status();
    let ports = status["published"]["ports"].as_array().cloned().unwrap_or_default();
    ports.into_iter().filter(|row| row["name"] == service && row["source"] == source).collect()
}

/// Where the first port of a Service is published: the IPv4 address first. None while it is not.
fn place(sandbox: &Sandbox, service: &str, source: &str) -> Option<Vec<SocketAddr>> {
    let row = rows(sandbox, service, source).into_iter().next()?;
    let addresses = row["addresses"].as_array()?.iter().filter_map(|address| address.as_str()?.parse().ok());
    Some(addresses.collect::<Vec<_>>()).filter(|addresses| !addresses.is_empty())
}

/// Where a Service is published, once its rules are applied and it has an endpoint.
fn served(sandbox: &Sandbox, service: &str, source: &str) -> Vec<SocketAddr> {
    sandbox.until(&format!("{service} is published"), |sandbox| place(sandbox, service, source).is_some());
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "--timeout=60s", &format!("service/{service}")]);
    let ready = "jsonpath={.items[*].endpoints[*].conditions.ready}";
    let selector = format!("kubernetes.io/service-name={service}");
    sandbox.until("a ready endpoint", |sandbox| {
        sandbox.kubectl_ok(&["get", "endpointslices", "-l", &selector, "-o", ready]).contains("true")
    });
    let places = place(sandbox, service, source).expect("it was published a moment ago");
    sandbox.until("an answer", |_| TcpStream::connect(places[0]).is_ok_and(|stream| talks(&stream)));
    places
}

/// Whether a connection is led on: it is not reset, and the other side waits for us.
fn talks(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a time limit can be set");
    let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    (&mut &*stream).read(&mut [0]).is_err_and(|error| waits.contains(&error.kind()))
}

/// The pod that answers at an address, by curl.
fn pod_at(address: SocketAddr) -> String {
    let curl = Command::new("curl").args(["-sg", "--max-time", "5", &format!("http://{address}/")]).output();
    let body = curl.expect("curl must be installed: sh scripts/setup.sh test does it").stdout;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    answer["pod"].as_str().unwrap_or_default().to_owned()
}

/// What a UDP client is answered.
fn datagram(address: SocketAddr, text: &str) -> Option<Value> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("a time limit can be set");
    socket.send_to(text.as_bytes(), address).ok()?;
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(from, address, "the answer comes from where the question went");
    serde_json::from_slice(&buffer[..length]).ok()
}

/// A conversation by lines.
fn say(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    stream.get_mut().write_all(format!("{line}\n").as_bytes()).expect("the line can be sent");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("a line comes back");
    answer
}

fn converse(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).expect("the published port takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    BufReader::new(stream)
}

#[test]
fn services_answer_on_loopback_while_they_are_there() {
    let sandbox = start();
    for (service, source) in [("node", "NodePort"), ("balanced", "LoadBalancer"), ("balanced", "NodePort")] {
        for address in served(&sandbox, service, source) {
            assert!(address.ip().is_loopback(), "{address}");
            assert_eq!(pod_at(address), "echo", "{service} {source} at {address}");
        }
    }
    assert!(rows(&sandbox, "inside", "ClusterIP").is_empty(), "a cluster address is not published");
    let udp = rows(&sandbox, "node", "NodePort").into_iter().find(|row| row["protocol"] == "UDP").expect("a UDP port");
    let udp: SocketAddr = udp["addresses"][0].as_str().expect("a place").parse().expect("an address");
    sandbox.until("an answer over UDP", |_| datagram(udp, "hello").is_some_and(|answer| answer["received"] == "hello"));
    // Endpoints see the node, not the client.
    let answer = datagram(udp, "who am I").expect("an answer");
    assert_eq!(answer["client"], sandbox.node_address(), "{answer}");

    // A Service goes: new clients are refused, who is connected stays connected.
    let node = served(&sandbox, "node", "NodePort");
    let mut talk = converse(node[0]);
    assert!(say(&mut talk, "before").contains("\"received\":\"before\""));
    sandbox.kubectl_ok(&["delete", "service", "node"]);
    for address in &node {
        sandbox.until("new clients are refused", |_| TcpStream::connect(address).is_err());
    }
    sandbox.until("the port is listed no more", |sandbox| rows(sandbox, "node", "NodePort").is_empty());
    assert!(say(&mut talk, "after").contains("\"received\":\"after\""));

    // A port that changes its number, and one that loses its type.
    let old = place(&sandbox, "balanced", "NodePort").expect("a node port");
    sandbox.kubectl_ok(&["patch", "service", "balanced", "--type=merge", "-p", "{\"spec\":{\"type\":\"ClusterIP\"}}"]);
    sandbox.until("nothing of it is published", |sandbox| {
        rows(sandbox, "balanced", "NodePort").is_empty() && rows(sandbox, "balanced", "LoadBalancer").is_empty()
    });
    assert!(TcpStream::connect(old[0]).is_err());
}

#[test]
fn a_service_without_endpoints_resets_its_clients() {
    let sandbox = start();
    let address = served(&sandbox, "node", "NodePort")[0];
    sandbox.kubectl_ok(&[
        "patch",
        "service",
        "node",
        "--type=merge",
        "-p",
        "{\"spec\":{\"selector\":{\"app\":\"none\"}}}",
    ]);
    sandbox.until("a reset", |_| {
        let stream = TcpStream::connect(address).expect("the port is open as long as the Service is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
        // The moment before the rules are applied somebody still answers: a question makes the end come.
        let mut talk = BufReader::new(stream);
        let sent = talk.get_mut().write_all(b"anybody\n");
        let ended = sent.and_then(|()| talk.read_line(&mut String::new()));
        ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    });
    assert!(sandbox.status()["published"]["relay"]["unanswered"].as_u64() > Some(0));
}

#[test]
fn taken_numbers_are_replaced_said_and_kept() {
    let (mut one, two) = (Sandbox::start(), Sandbox::start());
    // Somebody else's port, in the range of node ports.
    let theirs = (31_700..32_700).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a free port");
    let taken = theirs.local_addr().expect("an address").port();
    let service = |name: &str, port: u16| {
        let ports = format!("[{{ port: 80, targetPort: 8080, nodePort: {port} }}]");
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ type: NodePort, selector: {{ app: echo }}, \
             ports: {ports} }}\n"
        )
    };
    let pod = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: echo }} }}\nspec: {{ \
             terminationGracePeriodSeconds: 1, containers: [{{ name: main, image: mainstay/echo, ports: [{{ containerPort: \
             8080 }}] }}] }}\n"
        )
    };
    let shared = (30_700..31_700).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port");
    for (sandbox, name) in [(&one, "one"), (&two, "two")] {
        sandbox.apply(&[pod(name), service("web", shared)].join("---\n"));
        served(sandbox, "web", "NodePort");
    }
    let (first, second) = (served(&one, "web", "NodePort")[0], served(&two, "web", "NodePort")[0]);
    assert_eq!(first.port(), shared);
    assert_ne!(second.port(), shared);
    assert_eq!((pod_at(first).as_str(), pod_at(second).as_str()), ("one", "two"));
    let said = format!("NodePort {shared} at {second}");
    two.until("the new number is printed", |two| two.log().contains(&said));
    assert!(two.log().contains(&format!("port {shared} is in use on this host")), "{}", two.log());

    one.apply(&service("other", taken));
    let other = served(&one, "other", "NodePort")[0];
    assert_ne!(other.port(), taken);
    let why = rows(&one, "other", "NodePort")[0]["why"].as_str().unwrap_or_default().to_owned();
    assert_eq!(why, format!("port {taken} is in use on this host"));
    one.until("an Event says it", |one| {
        one.kubectl_ok(&["describe", "service", "other"]).contains(&format!("is published at {other}"))
    });

    // The same numbers after the server died, also where the wanted one is free by now.
    drop(theirs);
    one.kill_server();
    one.until("the relay is gone with the server", |_| TcpStream::connect(first).is_err());
    one.restart();
    assert_eq!((served(&one, "web", "NodePort")[0], served(&one, "other", "NodePort")[0]), (first, other));
    assert_eq!(pod_at(other), "one");
    // A Service that is gone leaves no trace: its number is the wanted one when it comes again.
    one.kubectl_ok(&["delete", "service", "other"]);
    one.until("the port is closed", |one| rows(one, "other", "NodePort").is_empty());
    one.apply(&service("other", taken));
    assert_eq!(served(&one, "other", "NodePort")[0].port(), taken);
}

#[test]
fn nothing_is_published_with_off_and_addresses_must_be_of_this_host() {
    let sandbox = Sandbox::start_with(&["--publish=off"]);
    sandbox.apply(MANIFEST);
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "--timeout=60s", "service/node"]);
    let status = sandbox.status();
    assert_eq!(
        (&status["published"]["on"], status["published"]["ports"].as_array().map(Vec::len)),
        (&false.into(), Some(0))
    );
    let up = |address: &str| {
        let mut command = Command::new(crate::account::program());
        command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(sandbox.path().join("never"));
        command.arg(format!("--publish={address}")).output().expect("mainstay runs")
    };
    let absent = up("203.0.113.9");
    assert!(text(&absent).contains("this host does not have that address"), "{}", text(&absent));
    assert_eq!(absent.status.code(), Some(3));
    assert_eq!(up("nonsense").status.code(), Some(3));
}

/// The pattern that the bulk pod sends.
fn pattern(bytes: usize) -> impl Iterator<Item = u8> {
    (0..=255).cycle().take(bytes)
}

#[test]
fn much_is_carried_both_ways_and_a_slow_reader_is_waited_for() {
    const BYTES: usize = 64 << 20;
    let sandbox = start();
    let address = served(&sandbox, "bulk", "NodePort")[0];
    // In: the pod counts and sums what it got; the half-close ends it, and the answer comes after.
    let mut upload = TcpStream::connect(address).expect("a connection");
    let block: Vec<u8> = pattern(1 << 20).collect();
    upload.write_all(b"take 0\n").expect("the command is sent");
    for _ in 0..BYTES >> 20 {
        upload.write_all(&block).expect("all is taken");
    }
    upload.shutdown(std::net::Shutdown::Write).expect("our half can be closed");
    let mut answer = String::new();
    upload.read_to_string(&mut answer).expect("the answer comes after our end");
    let piped = std::process::Stdio::piped;
    let mut sum = Command::new("sha256sum").stdin(piped()).stdout(piped()).spawn().expect("sha256sum runs");
    let mut input = sum.stdin.take().expect("its input");
    for _ in 0..BYTES >> 20 {
        input.write_all(&block).expect("it reads");
    }
    drop(input);
    let sum = String::from_utf8_lossy(&sum.wait_with_output().expect("it ends").stdout).into_owned();
    assert_eq!(answer.trim(), format!("{BYTES} {}", sum.split(' ').next().unwrap_or_default()));

    // Out: while nobody reads, the relay stops taking; then every byte arrives.
    let carried = |sandbox: &Sandbox| sandbox.status()["published"]["relay"]["bytesOut"].as_u64().unwrap_or(0);
    let start = carried(&sandbox);
    let mut download = TcpStream::connect(address).expect("a connection");
    download.write_all(format!("send {BYTES}\n").as_bytes()).expect("the command is sent");
    let mut before = u64::MAX;
    sandbox.until("the relay waits for the reader", |sandbox| {
        let now = carried(sandbox);
        let rests = now == before && now > start;
        before = now;
        std::thread::sleep(std::time::Duration::from_millis(20));
        rests
    });
    assert!(before - start < BYTES as u64 / 2, "{} bytes were taken for a reader that does not read", before - start);
    let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
    loop {
        let bytes = download.read(&mut buffer).expect("the download goes on");
        if bytes == 0 {
            break;
        }
        assert!(buffer[..bytes].iter().zip(read..).all(|(byte, at)| usize::from(*byte) == at % 256), "at {read}");
        read += bytes;
    }
    assert_eq!(read, BYTES);
}

#[test]
fn a_thousand_clients_at_once_and_none_left_behind() {
    const CLIENTS: usize = 1000;
    let sandbox = start();
    let address = served(&sandbox, "node", "NodePort")[0];
    let mut talks: Vec<_> = (0..CLIENTS).map(|_| converse(address)).collect();
    let relay = |sandbox: &Sandbox, field: &str| sandbox.status()["published"]["relay"][field].as_u64().unwrap_or(0);
    for round in 0..2 {
        for (number, talk) in talks.iter_mut().enumerate() {
            let word = format!("round-{round}-client-{number}");
            assert!(say(talk, &word).contains(&format!("\"received\":\"{word}\"")), "{word}");
        }
    }
    assert!(relay(&sandbox, "connectionsOpen") >= CLIENTS as u64);
    // Ports of connections that are over serve new ones at once, so that many short clients a second find one.
    assert_eq!(sandbox.exec_ok(&["cat", "/proc/sys/net/ipv4/tcp_tw_reuse"]).trim(), "1");
    // UDP clients, each with its own answers.
    let udp = rows(&sandbox, "node", "NodePort").into_iter().find(|row| row["protocol"] == "UDP").expect("a UDP port");
    let udp: SocketAddr = udp["addresses"][0].as_str().expect("a place").parse().expect("an address");
    for number in 0..200 {
        let word = format!("datagram-{number}");
        sandbox.until("an answer over UDP", |_| datagram(udp, &word).is_some_and(|answer| answer["received"] == word));
    }
    drop(talks);
    sandbox.until("every connection is closed", |sandbox| relay(sandbox, "connectionsOpen") == 0);
    assert_eq!(relay(&sandbox, "unanswered"), 0, "{:#}", sandbox.status()["published"]["relay"]);
}
