//! Real packets from a throw-away namespace like a pod's: which of the ways that matter are open, and who closes the rest.
//!
//! A table of our own marks the packets for tracing where they enter and drops them just before they would arrive, so
//! that nothing leaves this host and nobody need answer. The kernel then tells of each packet where it ended. The table
//! belongs to the socket that made it and the links to the namespace: both go with this process, however it ends.

mod packets;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kernel::nl::trace::{Event, Packet, Tracer};

use super::facts::{Hook, Ours};
pub(crate) use packets::is_link;
use packets::{Network, Target};
pub(crate) use table::is_one as is_table;

/// How long packets are waited for, before they are sent once more; a busy machine delivers late.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];
/// In the abstract namespace of Unix sockets, which every network namespace has its own of: held while a probe is at work.
const TURN: &str = "mainstay-probe";
/// How long another probe is waited for, and how often it is asked; who holds the name longer is no probe.
const TURN_WAIT: Duration = Duration::from_secs(10);
const TURN_ASK: Duration = Duration::from_millis(20);
/// Addresses for documentation: no such host exists, and no packet to them leaves.
const OUTSIDE4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OUTSIDE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMP6: u8 = 58;
const DNS_PORT: u16 = 53;
const API_PORT: u16 = 6443;
/// Any port: nobody listens in the throw-away namespace.
const POD_PORT: u16 = 8080;

/// A way that packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From a pod to the cluster DNS.
    PodToDns,
    /// From a pod to the API and other programs of the host.
    PodToHost,
    /// From a pod to a pod, and from the network to a pod behind a node port.
    PodToPod,
    /// From the host to a pod.
    HostToPod,
    /// From a pod to other machines.
    PodOutside,
}

impl Way {
    /// In a sentence.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::PodToDns => "pod -> cluster DNS",
            Self::PodToHost => "pod -> API on this host",
            Self::PodToPod => "pod -> pod, network -> node port",
            Self::HostToPod => "host -> pod",
            Self::PodOutside => "pod -> outside",
        }
    }

    /// The hook that decides.
    pub(crate) fn hook(self) -> Hook {
        match self {
            Self::PodToDns | Self::PodToHost => Hook::Input,
            Self::PodToPod | Self::PodOutside => Hook::Forward,
            Self::HostToPod => Hook::Output,
        }
    }

    /// Whether a cluster is of use without it.
    pub(crate) fn essential(self) -> bool {
        self != Self::PodOutside
    }
}

/// Where a packet ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Culprit {
    /// `NFPROTO_*` of the table.
    pub(crate) family: u8,
    /// Its name.
    pub(crate) table: String,
    /// The chain.
    pub(crate) chain: String,
    /// The base chain by which the packet came there.
    pub(crate) base: String,
    /// Handle of the rule; none: the chain's policy.
    pub(crate) rule: Option<u64>,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It would have arrived.
    Arrived,
    /// Somebody dropped it.
    Dropped(Culprit),
    /// It was seen to enter (or not even that) and then no more.
    Vanished {
        /// It entered.
        seen: bool,
    },
    /// It was not sent, and why.
    Untried(String),
}

/// One way that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Which.
    pub(crate) way: Way,
    /// TCP rather than UDP.
    pub(crate) tcp: bool,
    /// In which family.
    pub(crate) v6: bool,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

impl Trial {
    fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Vanished { .. })
    }
}

/// Tries every way, in the calling thread's network namespace.
pub(crate) fn run(ours: &Ours) -> Result<Vec<Trial>> {
    let _turn = turn();
    let network = Network::make(ours).context("cannot make a throw-away namespace beside the host")?;
    let mut tracer = Tracer::open().context("cannot listen to the kernel's packet traces")?;
    let table = table::Table::make(network.entrance, &network.pods()).context("cannot make a throw-away table")?;
    let mut trials = Vec::new();
    let mut targets = Vec::new();
    for (way, tcp, target) in wanted(ours, &network) {
        let v6 = target.address.is_ipv6();
        let outcome = match network.obstacle(way, v6) {
            Some(why) => Outcome::Untried(why),
            None => Outcome::Vanished { seen: false },
        };
        trials.push(Trial { way, tcp, v6, outcome });
        targets.push(target);
    }
    let mut ends = Ends::of(network.entrance);
    for patience in PATIENCE {
        let open: Vec<usize> = (0..trials.len()).filter(|at| trials[*at].is_open()).collect();
        if open.is_empty() {
            break;
        }
        for at in &open {
            network.send(&targets[*at])?;
        }
        listen(patience, &targets, &mut trials, &mut ends, |left| Ok(tracer.events(left)?))?;
    }
    drop(table);
    Ok(trials)
}

/// Two probes at once would use the same addresses.
fn turn() -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(TURN).ok()?;
    let began = Instant::now();
    while began.elapsed() < TURN_WAIT {
        match UnixListener::bind_addr(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => std::thread::sleep(TURN_ASK),
            done => return done.ok(),
        }
    }
    None
}

/// Notes what the kernel tells until every way is settled or the time is over, however much others trace meanwhile.
fn listen(
    patience: Duration,
    targets: &[Target],
    trials: &mut [Trial],
    ends: &mut Ends,
    mut events: impl FnMut(Duration) -> Result<Vec<Event>>,
) -> Result<()> {
    let began = Instant::now();
    while trials.iter().any(Trial::is_open) {
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            break;
        }
        events(left)?.iter().for_each(|event| ends.note(event, targets, trials));
    }
    Ok(())
}

/// What is sent where.
fn wanted(ours: &Ours, network: &Network) -> Vec<(Way, bool, Target)> {
    let mut out = Vec::new();
    let mut add = |way, address, protocol, port| {
        let target = Target { address, protocol, port, from_host: way == Way::HostToPod };
        out.push((way, protocol == TCP, target));
    };
    for address in &ours.dns {
        add(Way::PodToDns, *address, UDP, DNS_PORT);
        add(Way::PodToDns, *address, TCP, DNS_PORT);
    }
    for address in &ours.node {
        add(Way::PodToHost, *address, TCP, API_PORT);
    }
    for pod in network.pods() {
        add(Way::PodToPod, pod, TCP, POD_PORT);
        add(Way::HostToPod, pod, UDP, POD_PORT);
        add(Way::PodOutside, if pod.is_ipv4() { OUTSIDE4 } else { OUTSIDE6 }, TCP, 443);
    }
    out
}

/// Puts the events of our packets together: only the first one in each hook tells which packet it is about.
#[derive(Default)]
struct Ends {
    /// The link by which packets of the throw-away namespace come in.
    entrance: u32,
    /// Trial by the kernel's number of the packet; none for those by which IPv6 finds its neighbours.
    packets: BTreeMap<u32, Option<usize>>,
    /// Base chain that the packet is in.
    bases: BTreeMap<u32, String>,
}

impl Ends {
    fn of(entrance: u32) -> Self {
        Self { entrance, ..Self::default() }
    }

    /// What a packet is about; none: it is somebody else's.
    fn about(&self, event: &Event, packet: &Packet, targets: &[Target]) -> Option<Option<usize>> {
        let from_pod = event.incoming == Some(self.entrance);
        if from_pod && packet.protocol == ICMP6 {
            return Some(None);
        }
        let same = |target: &Target| {
            let comes = if target.from_host { event.incoming.is_none() } else { from_pod };
            let goes = (target.address, target.protocol, target.port);
            comes && goes == (packet.destination, packet.protocol, packet.port)
        };
        // One that was translated on its way still is the same packet.
        let known = self.packets.get(&event.id).filter(|_| from_pod);
        targets.iter().position(same).map(Some).or(known.copied())
    }

    fn note(&mut self, event: &Event, targets: &[Target], trials: &mut [Trial]) {
        if let Some(packet) = &event.packet {
            match self.about(event, packet, targets) {
                Some(about) => {
                    self.packets.insert(event.id, about);
                    self.bases.insert(event.id, event.chain.clone());
                }
                None => {
                    self.packets.remove(&event.id);
                    self.bases.remove(&event.id);
                }
            }
        }
        let Some(at) = self.packets.get(&event.id) else { return };
        let ours = table::is_one(&event.table.name);
        let outcome = match (event.dropped, ours) {
            (true, true) => Outcome::Arrived,
            (true, false) => Outcome::Dropped(Culprit {
                family: event.table.family,
                table: event.table.name.clone(),
                chain: event.chain.clone(),
                base: self.bases.get(&event.id).unwrap_or(&event.chain).clone(),
                rule: event.rule,
            }),
            (false, _) => Outcome::Vanished { seen: true },
        };
        match at {
            Some(at) => settle(&mut trials[*at], outcome),
            // Without the neighbours' answers no packet of this family gets anywhere.
            None if matches!(outcome, Outcome::Dropped(_)) => {
                trials
                    .iter_mut()
                    .filter(|one| one.v6 && one.way != Way::HostToPod)
                    .for_each(|trial| settle(trial, outcome.clone()));
            }
            None => {}
        }
    }
}

/// A later event may say more than "seen", never less.
fn settle(trial: &mut Trial, outcome: Outcome) {
    if trial.is_open() {
        trial.outcome = outcome;
    }
}

#[cfg(test)]
mod tests {
    use kernel::nl::rulesets::{IP, Table};

    use super::*;

    fn target(from_host: bool) -> Target {
        Target { address: "10.244.255.254".parse().unwrap(), protocol: TCP, port: POD_PORT, from_host }
    }

    fn event(id: u32, incoming: Option<u32>, packet: Option<Packet>, dropped: bool) -> Event {
        let table = Table { family: IP, name: "filter".into() };
        Event { id, table, chain: "FORWARD".into(), rule: None, dropped, packet, incoming }
    }

    fn open() -> Trial {
        Trial { way: Way::PodToPod, tcp: true, v6: false, outcome: Outcome::Vanished { seen: false } }
    }

    #[test]
    fn packets_that_others_trace_neither_count_nor_keep_a_round_from_ending() {
        let (targets, mut trials, mut ends) = ([target(false)], [open()], Ends::of(7));
        let destination = "192.0.2.5".parse().unwrap();
        let mut number = 0;
        let endless = |_left| {
            number += 1;
            let foreign = Packet { protocol: UDP, destination, port: 9 };
            let neighbours = Packet { protocol: ICMP6, destination: "ff02::1".parse().unwrap(), port: 0 };
            Ok(vec![event(number, Some(2), Some(foreign), true), event(number + 1, Some(2), Some(neighbours), true)])
        };
        listen(Duration::from_millis(20), &targets, &mut trials, &mut ends, endless).unwrap();
        assert!(ends.packets.is_empty() && ends.bases.is_empty(), "nothing is kept of them");
        assert_eq!(trials[0].outcome, Outcome::Vanished { seen: false });
    }

    #[test]
    fn our_packets_are_told_by_link_and_destination_also_when_translated() {
        let (targets, mut trials, mut ends) = ([target(false), target(true)], [open(), open()], Ends::of(7));
        let packet = Packet { protocol: TCP, destination: targets[0].address, port: POD_PORT };
        let translated = Packet { destination: "10.244.0.9".parse().unwrap(), ..packet };
        let mut note = |event: Event| ends.note(&event, &targets, &mut trials);
        note(event(1, Some(2), Some(packet), true));
        note(event(2, Some(7), Some(packet), false));
        note(event(2, Some(7), Some(translated), false));
        note(event(2, None, None, true));
        note(event(3, None, Some(packet), true));
        assert!(trials.iter().all(|trial| matches!(trial.outcome, Outcome::Dropped(_))), "{trials:?}");
    }
}
