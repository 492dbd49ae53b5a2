//! A packet, what it met and what the rules made of it -> whether that is right, by the reference model and by the
//! documented layout of the words; never by the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::nft::expr::Reject;
use compile::nft::interpret::{Circumstances, Event, Interpreter, Memory, Outcome, Packet, Run, Tracked, Verdict};
use compile::nft::rules::FLOW_LOG_GROUP;
use compile::nft::state::State;
use compile::service_table::{Backend, Config, LocalPods};
use compile::snapshot::Protocol;

use super::reference::Reference;
use super::words::{Words, word};

const TAG: u32 = 0xc000_0000;
const MASQUERADE: u32 = 0x80_0000;

/// What the maps hold, and the packets that are asked about it.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) snapshot: std::sync::Arc<compile::snapshot::Snapshot>,
    pub(crate) state: State,
    /// Endpoint words in order of slots, by the head of their keys.
    pub(crate) slots: BTreeMap<u32, Vec<u32>>,
}

/// How a number is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// The largest.
    Top,
    /// This one, or the largest below the bound.
    Number(u32),
}

/// A packet and everything about it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) site: usize,
    pub(crate) packet: Packet,
    pub(crate) circumstances: Circumstances,
    /// Draws in order; the last goes on for ever.
    pub(crate) draws: Vec<Draw>,
    pub(crate) memory: Memory,
    /// Commits on the way: before which look-up, which site from then on.
    pub(crate) commits: Vec<(u32, usize)>,
}

/// Addresses of the host.
pub(crate) fn host(config: &Config) -> Vec<IpAddr> {
    let all = [&config.node_port_addresses, &config.node_addresses, &config.dns_addresses];
    all.into_iter().flatten().copied().collect()
}

/// What a run shows.
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    memory: Memory,
    bounds: Vec<u32>,
    pub(crate) chains: BTreeSet<String>,
    pub(crate) look_ups: u32,
}

/// Runs a case; with `listen` it notes what the packet walks through.
pub(crate) fn run(rules: &Interpreter, sites: &[Site], case: &Case, listen: bool) -> Seen {
    let site = &sites[case.site];
    let mut bounds = Vec::new();
    let mut choose = |bound: u32| {
        let draw = case.draws.get(bounds.len()).or(case.draws.last()).copied().unwrap_or(Draw::Number(0));
        bounds.push(bound);
        match draw {
            Draw::Top => bound - 1,
            Draw::Number(number) => number.min(bound - 1),
        }
    };
    let (mut memory, mut chains, mut look_ups) = (case.memory.clone(), BTreeSet::new(), 0);
    let mut observer = |event: Event<'_>| match event {
        Event::Chain(name) => _ = chains.insert(name.to_owned()),
        Event::Lookup { set, .. } if !set.starts_with("affinity") => look_ups += 1,
        _ => (),
    };
    let commits: Vec<(u32, &State)> = case.commits.iter().map(|(at, site)| (*at, &sites[*site].state)).collect();
    let host = host(&site.config);
    let observer: Option<compile::nft::interpret::Observer<'_>> = if listen { Some(&mut observer) } else { None };
    let outcome = rules.run(Run {
        state: &site.state,
        commits: &commits,
        packet: &case.packet,
        circumstances: case.circumstances,
        host: &host,
        choose: &mut choose,
        memory: &mut memory,
        observer,
    });
    Seen { outcome, memory, bounds, chains, look_ups }
}

/// What a packet may do, computed once for all draws.
#[derive(Clone, Default)]
pub(crate) struct Allowed(BTreeMap<(usize, Packet, [u8; 16]), BTreeSet<Verdict>>);

impl Allowed {
    fn of(&mut self, sites: &[Site], site: usize, packet: &Packet, interface: [u8; 16]) -> &BTreeSet<Verdict> {
        self.0.entry((site, *packet, interface)).or_insert_with(|| {
            let site = &sites[site];
            Reference { snapshot: &site.snapshot, config: &site.config }.verdicts_on(packet, &interface)
        })
    }
}

type Judged = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Judged {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, should be {expected:?}")) }
}

/// Whether the run is right.
pub(crate) fn judge(allowed: &mut Allowed, sites: &[Site], case: &Case, seen: &Seen) -> Judged {
    let site = &sites[case.site];
    let around = Around { site, case, seen, host: host(&site.config) };
    if !case.commits.is_empty() {
        return around.straddling(allowed, sites);
    }
    let expected = allowed.of(sites, case.site, &case.packet, case.circumstances.interface);
    if case.circumstances.tracked != Tracked::New || around.is_dns() {
        return around.beside();
    }
    around.first(expected)
}

struct Around<'a> {
    site: &'a Site,
    case: &'a Case,
    seen: &'a Seen,
    host: Vec<IpAddr>,
}

impl Around<'_> {
    /// By its address; where interfaces tell pods, addresses tell nothing.
    fn is_pod(&self, address: IpAddr) -> bool {
        self.site.config.local_pods == LocalPods::Ranges && self.in_pods(address)
    }

    fn in_pods(&self, address: IpAddr) -> bool {
        self.site.config.pod_cidrs.iter().any(|range| range.contains(address))
    }

    /// Queries to the cluster DNS and its answers.
    fn is_dns(&self) -> bool {
        let (packet, dns) = (&self.case.packet, &self.site.config.dns_addresses);
        packet.protocol != Protocol::Sctp
            && ((dns.contains(&packet.destination) && packet.port == 53)
                || (dns.contains(&packet.source) && self.case.circumstances.source_port == 53))
    }

    fn leaves(&self, to: IpAddr) -> bool {
        self.case.packet.source_is_host || !self.host.contains(&to)
    }

    /// What opens no flow is not translated. What belongs to no flow is not forwarded, and reaches this host only if
    /// it is not from a pod and no Service is there.
    fn beside(&self) -> Judged {
        let (outcome, given, packet) = (&self.seen.outcome, &self.case.circumstances, &self.case.packet);
        let served = || self.is_pod(packet.source) || Words::new(&self.site.state, packet).is_some();
        let stray = given.tracked == Tracked::Invalid
            && !self.is_dns()
            && !packet.source_is_host
            && (self.leaves(packet.destination) || served());
        same("verdict", outcome.verdict, if stray { Verdict::Drop } else { Verdict::Pass })?;
        same("untracked", outcome.untracked, self.is_dns())?;
        same("told", outcome.told, None)?;
        same("mark, priority", (outcome.mark, outcome.priority), (given.mark, given.priority))?;
        same("masqueraded", outcome.masqueraded, false)?;
        same("counted", outcome.counted.get("dropped_invalid").copied(), stray.then_some(1))?;
        same("counters", outcome.counted.len(), usize::from(stray))?;
        same("memory", self.seen.memory == self.case.memory, true)
    }

    /// A packet that opens a flow.
    fn first(&self, allowed: &BTreeSet<Verdict>) -> Judged {
        let (outcome, given, packet) = (&self.seen.outcome, &self.case.circumstances, &self.case.packet);
        let verdict = match outcome.verdict {
            Verdict::Translate { backend, .. } => backend,
            other => {
                self.count(outcome, other, allowed)?;
                if other != Verdict::Pass {
                    return self.nothing_remembered();
                }
                let ours = given.priority & TAG == TAG && self.leaves(packet.destination);
                let priority = if ours { 0 } else { given.priority };
                same("mark, priority", (outcome.mark, outcome.priority), (given.mark, priority))?;
                same("untracked", outcome.untracked, false)?;
                return same("masqueraded", outcome.masqueraded, self.beyond(packet.destination));
            }
        };
        self.count(outcome, outcome.verdict, allowed)?;
        self.translated(verdict, allowed)
    }

    /// A client that reaches nobody is not remembered; that its endpoint is gone may be forgotten.
    fn nothing_remembered(&self) -> Judged {
        let words = Words::new(&self.site.state, &self.case.packet);
        let own = words.map(|words| words.client(self.case.packet.source));
        let mut after = self.seen.memory.entries().filter(|(_, key, ..)| own.as_deref() != Some(*key));
        let mut before = self.case.memory.entries().filter(|(_, key, ..)| own.as_deref() != Some(*key));
        let unchanged = before.all(|entry| after.next() == Some(entry)) && after.next().is_none();
        let fewer = self.seen.memory.len() <= self.case.memory.len();
        same("memory", unchanged && fewer, true)
    }

    /// The verdict is allowed, its counter counted once and no other, and a refusal is of the right kind.
    fn count(&self, outcome: &Outcome, verdict: Verdict, allowed: &BTreeSet<Verdict>) -> Judged {
        let possible = match verdict {
            Verdict::Translate { backend, .. } => {
                [false, true].iter().any(|one| allowed.contains(&Verdict::Translate { backend, masquerade: *one }))
            }
            other => allowed.contains(&other),
        };
        if !possible {
            let few: Vec<_> = allowed.iter().take(4).collect();
            return Err(format!("verdict {verdict:?}, should be one of {} such as {few:?}", allowed.len()));
        }
        let packet = &self.case.packet;
        let reference = Reference { snapshot: &self.site.snapshot, config: &self.site.config };
        let counted: Vec<(String, u32)> = outcome.counted.iter().map(|(name, count)| (name.clone(), *count)).collect();
        let expected = match verdict {
            Verdict::Refuse => vec![("refused", 1)],
            Verdict::Drop if reference.admitted(packet) => vec![("dropped_local", 1)],
            Verdict::Drop => vec![("dropped_ranges", 1)],
            _ => Vec::new(),
        };
        same("counted", counted, expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())?;
        let how = if packet.protocol == Protocol::Tcp { Reject::TcpReset } else { Reject::PortUnreachable };
        same("rejected", outcome.rejected, (verdict == Verdict::Refuse).then_some(how))
    }

    /// Whether an address is one to which pods must not go with theirs.
    fn beyond(&self, to: IpAddr) -> bool {
        let from = self.case.packet.source;
        self.site.config.egress && self.in_pods(from) && !self.in_pods(to) && self.leaves(to)
    }

    fn translated(&self, backend: Backend, allowed: &BTreeSet<Verdict>) -> Judged {
        let (outcome, given, packet) = (&self.seen.outcome, &self.case.circumstances, &self.case.packet);
        let reference = Reference { snapshot: &self.site.snapshot, config: &self.site.config };
        let (local, everyone, seconds) =
            reference.asked(packet, &given.interface).ok_or("translated, and meets no Service")?;
        let words = Words::new(&self.site.state, packet).ok_or("translated, and no frontend is in the maps")?;
        let chosen = self.choice(&words, local, seconds)?;
        same("endpoint", Some(backend), words.backend(chosen))?;
        let asked = allowed.contains(&Verdict::Translate { backend, masquerade: true });
        let masquerade = self.leaves(backend.address) && (asked || self.beyond(backend.address));
        same("masqueraded", outcome.masqueraded, masquerade)?;
        let hidden = given.mark | if everyone { MASQUERADE } else { 0 };
        let mark = if given.mark == 0 { hidden | words.identity(chosen) } else { hidden };
        same("mark", outcome.mark, mark)?;
        same("told", outcome.told, (packet.protocol == Protocol::Udp).then_some(FLOW_LOG_GROUP))?;
        if self.leaves(backend.address) {
            same("priority", outcome.priority, 0)?;
        }
        same("untracked", outcome.untracked, false)
    }

    /// The word of the endpoint that must have been chosen, and whether it was remembered.
    fn choice(&self, words: &Words<'_>, local: bool, seconds: Option<u32>) -> Result<u32, String> {
        let slots = self.site.slots.get(&words.head(local)).map_or(&[][..], |slots| slots);
        let key = words.client(self.case.packet.source);
        let map = if self.case.packet.source.is_ipv4() { "affinity4" } else { "affinity6" };
        let held = self.case.memory.entries().find(|entry| (entry.0, entry.1) == (map, &*key));
        let held = held.map(|entry| word(entry.2)).filter(|held| seconds.is_some() && slots.contains(held));
        let chosen = match held {
            Some(held) => {
                same("bounds drawn below", &self.seen.bounds, &Vec::new())?;
                held
            }
            None => self.drawn(slots)?,
        };
        let mut expected: BTreeMap<(String, Vec<u8>), (u32, u64)> = self
            .case
            .memory
            .entries()
            .map(|(map, key, value, left)| ((map.to_owned(), key.to_vec()), (word(value), left)))
            .collect();
        if let Some(seconds) = seconds {
            let kept = TIMEOUTS.into_iter().find(|timeout| *timeout >= seconds).unwrap_or(86_400);
            expected.insert((map.to_owned(), key), (chosen, kept.into()));
        }
        let found = self.seen.memory.entries();
        let found =
            found.map(|(map, key, value, left)| ((map.to_owned(), key.to_vec()), (word(value), left))).collect();
        same("memory", found, expected)?;
        Ok(chosen)
    }

    /// By the documented ladder: one draw up to 32 endpoints; above, six below the smallest class that has room for
    /// all, then one below the class before.
    fn drawn(&self, slots: &[u32]) -> Result<u32, String> {
        let count = slots.len() as u32;
        let class = ladder().into_iter().find(|class| *class >= count).ok_or("more endpoints than the ladder has")?;
        let below = ladder().into_iter().rev().find(|other| *other < class).unwrap_or(1);
        let (mut bounds, mut found) = (Vec::new(), None);
        let draws = if count <= 32 { vec![class] } else { [vec![class; 6], vec![below]].concat() };
        for bound in draws {
            let draw = self.case.draws.get(bounds.len()).or(self.case.draws.last()).copied();
            bounds.push(bound);
            let number = match draw {
                Some(Draw::Top) => bound - 1,
                Some(Draw::Number(number)) => number.min(bound - 1),
                None => 0,
            };
            if let Some(chosen) = slots.get(number as usize) {
                found = Some(*chosen);
                break;
            }
        }
        same("bounds drawn below", &self.seen.bounds, &bounds)?;
        found.ok_or_else(|| "the last draw hits nothing".to_owned())
    }

    /// A packet that meets commits is served by an endpoint of one of the states, or judged by one of them; it never
    /// passes untranslated, and what is looked up again finds something.
    fn straddling(&self, allowed: &mut Allowed, sites: &[Site]) -> Judged {
        let outcome = &self.seen.outcome;
        let states = std::iter::once(self.case.site).chain(self.case.commits.iter().map(|(_, site)| *site));
        let all: BTreeSet<Verdict> = states
            .flat_map(|site| allowed.of(sites, site, &self.case.packet, self.case.circumstances.interface).clone())
            .collect();
        let lost = self.case.commits.len() > 2 && outcome.verdict == Verdict::Drop;
        if !lost && !all.contains(&outcome.verdict) {
            return Err(format!("{:?}, should be one of {all:?}", outcome.verdict));
        }
        same("unsettled", outcome.counted.get("unsettled").copied(), lost.then_some(1))?;
        let retried = outcome.counted.get("retried").copied().unwrap_or_default();
        same("retried", retried <= 1 && (!lost || retried == 1), true)?;
        if let Verdict::Translate { .. } = outcome.verdict {
            same("priority", outcome.priority, 0)?;
        }
        Ok(())
    }
}

const TIMEOUTS: [u32; 31] = [
    1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800,
    14_400, 18_000, 21_600, 28_800, 36_000, 43_200, 86_400,
];

/// 1 to 32, then 40 48 56 64 80 and so on to 4096.
pub(crate) fn ladder() -> Vec<u32> {
    let above = (0..7).flat_map(|octave| [40, 48, 56, 64].map(|base| base << octave));
    (1..=32).chain(above).collect()
}
