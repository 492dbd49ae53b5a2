//! The measurements themselves; see the bench that runs them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use compile::nft::flows::Flush;
use compile::nft::state::{Batch, SetName};
use dataplane::Dataplane;
use dataplane::nft::{Flow, Nft, Tuple};

use super::elements::*;
use super::topology::*;
use kernel::nl::conntrack::bulk;
use kernel::nl::{Protocol, Socket};

const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const FLOWS: u32 = 1_000_000;
const LEAVING: u32 = 10_000;
/// Flows per endpoint that stays.
const PER_ENDPOINT: u32 = 10_000;
const NEW_FLOWS: usize = 3_000;

/// Puts the limit back.
struct Limit(String);

impl Drop for Limit {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(LIMIT, &self.0) {
            println!("{LIMIT} stays raised: {error}; write {} there", self.0.trim());
        }
    }
}

/// Processor time of a thread: the calling one, or all of this process with a name.
fn processor(named: Option<&str>) -> Duration {
    let time = |task: &std::path::Path| {
        let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        Duration::from_nanos(text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0))
    };
    let Some(name) = named else { return time("/proc/thread-self".as_ref()) };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let same =
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    same.map(|task| time(&task.path())).sum()
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (began, before) = (Instant::now(), processor(None));
    let out = work();
    let (cpu, wall) = (processor(None) - before, began.elapsed());
    println!("{what}: {:.1} ms processor, {:.1} ms", cpu.as_secs_f64() * 1e3, wall.as_secs_f64() * 1e3);
    out
}

/// Flow `n` of the table: UDP to an endpoint of ours, or TCP of somebody else.
fn flow(n: u32, udp: bool) -> Flow {
    let (host, port) = (n / 50_000, (n % 50_000) as u16 + 1_024);
    let tuple = |source: IpAddr, source_port, destination: IpAddr, destination_port| Tuple {
        source,
        destination,
        protocol: if udp { UDP } else { TCP },
        source_port,
        destination_port,
    };
    let client = IpAddr::V4(Ipv4Addr::from(0x0a80_0000 + host));
    let endpoint = if n < LEAVING { 1 } else { 2 + n / PER_ENDPOINT };
    let vip = ip(if udp { "10.96.0.10" } else { "10.3.0.1" });
    let to = if udp { IpAddr::V4(Ipv4Addr::from(0x0af4_0000 + endpoint)) } else { vip };
    let mark = if udp { identity(0, 0) + endpoint } else { 0 };
    let original = tuple(client, port, vip, 80);
    Flow { original, reply: tuple(to, 8080, client, port), status: if udp { 0 } else { 6 }, mark, id: 0 }
}

/// A namespace whose table holds `FLOWS` flows: those that leave, and others, UDP of ours or TCP of others.
fn filled(others_udp: bool) -> (Netns, Nft) {
    let netns = Netns::new();
    let nft = netns.run(|| {
        let mut nft = Nft::open().unwrap();
        nft.install().unwrap();
        nft.apply(&add(ranges())).unwrap();
        // What the flows' marks name is known, or a start would end them.
        let known = |n: u32| element(SetName::CtIds, n.to_ne_bytes().into(), (identity(0, 0) + n).to_ne_bytes().into());
        nft.apply(&add((1..=2 + FLOWS / PER_ENDPOINT).map(known))).unwrap();
        let mut socket = Socket::open(Protocol::Netfilter).unwrap();
        for first in (0..FLOWS).step_by(12_800) {
            let some: Vec<Flow> =
                (first..FLOWS.min(first + 12_800)).map(|n| flow(n, n < LEAVING || others_udp)).collect();
            bulk::insert(&mut socket, &some, 3_600).unwrap();
        }
        nft
    });
    (netns, nft)
}

fn departure() -> Batch {
    Batch { flush: vec![Flush::left(identity(0, 0) + 1)], ..Batch::default() }
}

fn ending() {
    for (others, others_udp) in [("TCP of others", false), ("UDP of our Services", true)] {
        println!("-- {LEAVING} of {FLOWS} flows end; the rest is {others}");
        for indexed in [false, true] {
            let (netns, mut nft) = filled(others_udp);
            if indexed {
                netns.run(|| nft.follow_flows().unwrap());
                let before = resident();
                // A start finds the flows that there are.
                netns.run(|| measured("fill the index at the start", || nft.observe().unwrap()));
                let followed = nft.flow_figures().followed.unwrap_or(0);
                let bytes = resident().saturating_sub(before);
                println!("the index: {followed} flows, {} KiB, {} bytes each", bytes >> 10, bytes / followed.max(1));
            }
            let how = if indexed { "by the index" } else { "by a walk" };
            // Thread time: the netlink socket works in the caller.
            let before = nft.flow_figures();
            measured(&format!("end them {how}"), || nft.apply(&departure()).unwrap());
            let after = nft.flow_figures();
            println!("ended {}, walks {}", after.ended - before.ended, after.walks - before.walks);
        }
    }
}

/// Processor time of the client's and the server's side per new flow, without, and with somebody who follows.
fn new_flows() {
    println!("-- processor time per new flow through a Service, {NEW_FLOWS} flows, medians of 5 interleaved rounds");
    let node = Node::new();
    let pod = node.attach("pod2", "10.244.0.2", "fd00:244::2");
    let client = node.attach("pod3", "10.244.0.3", "fd00:244::3");
    let mut nft = node.netns.run(|| Nft::open().unwrap());
    nft.install().unwrap();
    nft.apply(&add(ranges())).unwrap();
    let service = Service { number: 1, timeout_class: 0, endpoints: vec![(1, SocketAddr::new(pod.four, 8080))] };
    nft.apply(&add(service.elements())).unwrap();
    let target = SocketAddr::new(ip("10.96.0.10"), 80);
    nft.apply(&add([TCP, UDP].map(|transport| front(target, transport, 1, CLUSTER_IP)))).unwrap();
    serve(&pod.netns, 8080, "a");
    let mut figures: [[Vec<f64>; 3]; 2] = Default::default();
    for _ in 0..5 {
        for followed in [false, true] {
            if followed {
                node.netns.run(|| nft.follow_flows().unwrap());
            }
            let figures = &mut figures[usize::from(followed)];
            for (figure, transport) in [UDP, TCP].into_iter().enumerate() {
                // Old flows would be met again: their ports are.
                let table = node.netns.run(|| std::process::Command::new("conntrack").arg("-F").output());
                assert!(table.is_ok_and(|output| output.status.success()), "conntrack -F");
                let watcher = processor(Some("udp-flows"));
                let cost = client.netns.run(|| each(transport, target));
                figures[figure].push(cost);
                if transport == UDP {
                    // What was told last is still being looked up.
                    std::thread::sleep(Duration::from_millis(50));
                    let spent = processor(Some("udp-flows")).saturating_sub(watcher);
                    figures[2].push(spent.as_secs_f64() * 1e6 / NEW_FLOWS as f64);
                }
            }
            if followed {
                nft = node.netns.run(|| {
                    drop(std::mem::replace(&mut nft, Nft::open().unwrap()));
                    Nft::open().unwrap()
                });
            }
        }
    }
    for (followed, figures) in [(false, &figures[0]), (true, &figures[1])] {
        let [udp, tcp, watcher] = [0, 1, 2].map(|which| median(&figures[which]));
        println!("followed {followed}: UDP {udp:.2} us, TCP {tcp:.2} us, our thread {watcher:.2} us per UDP flow");
    }
}

/// Microseconds of the client's thread (which does the forwarding too) per flow.
fn each(transport: u8, target: SocketAddr) -> f64 {
    let before = processor(None);
    for _ in 0..NEW_FLOWS {
        if transport == UDP {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"?", target).unwrap();
        } else {
            drop(TcpStream::connect(target).unwrap());
        }
    }
    (processor(None) - before).as_secs_f64() * 1e6 / NEW_FLOWS as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

pub(crate) fn run() {
    let old = std::fs::read_to_string(LIMIT).unwrap_or_else(|error| panic!("{LIMIT}: {error}; run as root"));
    let _limit = Limit(old);
    std::fs::write(LIMIT, "2000000").unwrap_or_else(|error| panic!("{LIMIT}: {error}; run as root"));
    let only = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    if only.as_deref() != Some("ending") {
        new_flows();
    }
    if only.as_deref() != Some("new") {
        ending();
    }
}
