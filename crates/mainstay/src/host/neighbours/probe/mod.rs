//! Real packets from a throw-away namespace like a pod's: which of the ways that matter are open, and who closes the rest.
//!
//! A table of our own marks the packets for tracing where they enter and drops them just before they would arrive, so
//! that nothing leaves this host and nobody need answer. The kernel then tells of each packet where it ended. The table
//! belongs to the socket that made it and the links to the namespace: both go with this process, however it ends.

mod packets;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use kernel::nl::trace::{Event, Tracer};

use super::facts::{Hook, Ours};
use packets::{Network, Target};
pub(crate) use table::NAME as TABLE;

/// How long packets are waited for, before they are sent once more; a busy machine delivers late.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];
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

/// Tries every way, in the calling thread's network namespace.
pub(crate) fn run(ours: &Ours) -> Result<Vec<Trial>> {
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
    let mut ends = Ends::default();
    for patience in PATIENCE {
        let open: Vec<usize> =
            (0..trials.len()).filter(|at| matches!(trials[*at].outcome, Outcome::Vanished { .. })).collect();
        if open.is_empty() {
            break;
        }
        for at in &open {
            network.send(&targets[*at])?;
        }
        loop {
            let events = tracer.events(patience)?;
            if events.is_empty() {
                break;
            }
            events.iter().for_each(|event| ends.note(event, &targets, &mut trials));
            if !trials.iter().any(|trial| matches!(trial.outcome, Outcome::Vanished { .. })) {
                break;
            }
        }
    }
    drop(table);
    Ok(trials)
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

/// Puts the events of packets together: only the first one in each hook tells which packet it is about.
#[derive(Default)]
struct Ends {
    /// Trial by the kernel's number of the packet.
    packets: BTreeMap<u32, Option<usize>>,
    /// Base chain that the packet is in.
    bases: BTreeMap<u32, String>,
}

impl Ends {
    fn note(&mut self, event: &Event, targets: &[Target], trials: &mut [Trial]) {
        if let Some(packet) = event.packet {
            let same = |target: &Target| {
                (target.address, target.protocol, target.port) == (packet.destination, packet.protocol, packet.port)
            };
            let neighbour_discovery = packet.protocol == ICMP6;
            self.packets.insert(event.id, if neighbour_discovery { None } else { targets.iter().position(same) });
            self.bases.insert(event.id, event.chain.clone());
        }
        let Some(at) = self.packets.get(&event.id) else { return };
        let ours = event.table.name == table::NAME;
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
    if matches!(trial.outcome, Outcome::Vanished { .. }) {
        trial.outcome = outcome;
    }
}
