//! The rules as a function: contents of the maps and a packet in, what becomes of the packet out.
//!
//! It runs the very rules that are installed ([`super::rules`]), expression by expression, so that what it says cannot
//! drift from them. What the rules remember of clients is a [`Memory`]; without one every packet is a client's first.
//! Every decision is told to whoever listens ([`Event`]): `mainstay trace` has no rules of its own.

mod memory;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::expr::{Contents, MapWrite, Reject, Ruleset, Set, Verdict as Step};
use super::rules::{ALL_SETS, describe, ruleset};
use super::state::{SetName, State};
use crate::service_table::Backend;
use crate::snapshot::Protocol;

pub use self::memory::Memory;

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// Sender.
    pub source: IpAddr,
    /// Receiver, of the same family.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// The sender is a process on this host, outside every pod.
    pub source_is_host: bool,
}

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracked {
    /// It opens a flow: the only packets that nat chains see.
    #[default]
    New,
    /// It belongs to a flow that is there.
    Established,
    /// It belongs to no flow and opens none: out of window, or malformed.
    Invalid,
}

/// What else is true of a packet; by default nothing out of the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Circumstances {
    /// Source port.
    pub source_port: u16,
    /// What connection tracking says of it.
    pub tracked: Tracked,
    /// The mark that its flow has before our rules see it: somebody else's, or none.
    pub mark: u32,
    /// skb->priority before our rules see it.
    pub priority: u32,
    /// Name of the interface on which it arrives, padded with zeros; zeros: none that anybody names.
    pub interface: [u8; 16],
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes to an endpoint.
    Translate {
        /// Which.
        backend: Backend,
        /// The endpoint sees this host's address instead of the sender's.
        masquerade: bool,
    },
    /// The sender is told that nobody is there.
    Refuse,
    /// It vanishes.
    Drop,
    /// It is none of our business.
    Pass,
}

/// What becomes of a packet, and what it leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it goes.
    pub verdict: Verdict,
    /// Its source becomes an address of this host, wherever it goes.
    pub masqueraded: bool,
    /// Mark of its flow.
    pub mark: u32,
    /// skb->priority when it leaves.
    pub priority: u32,
    /// What the sender is told when it is refused.
    pub rejected: Option<Reject>,
    /// It stays out of connection tracking.
    pub untracked: bool,
    /// The log group whose listener was told of its flow.
    pub told: Option<u16>,
    /// Named counters that counted it, and how often.
    pub counted: BTreeMap<String, u32>,
}

/// A decision of the rules about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The packet enters a chain.
    Chain(&'a str),
    /// A set, map or remembered client was looked up.
    Lookup {
        /// Its name.
        set: &'a str,
        /// The key as it lay in the registers.
        key: &'a [u8],
        /// The element's key (both ends of a range) and value; none if there is none.
        found: Option<(&'a [u8], &'a [u8])>,
    },
    /// Whether the sender is an address of this host was asked.
    SourceIsLocal(bool),
    /// A number was drawn.
    Drawn {
        /// Exclusive upper bound.
        bound: u32,
        /// Result.
        drawn: u32,
    },
    /// A client was remembered or forgotten.
    Wrote {
        /// Map.
        map: &'a str,
        /// How.
        how: MapWrite,
        /// Key.
        key: &'a [u8],
        /// Value; of no meaning for deletions.
        value: &'a [u8],
    },
    /// A named counter counted.
    Counted(&'a str),
    /// The flow's mark was set.
    Marked(u32),
    /// Who ends flows is told of its flow.
    Told,
    /// The packet is exempt from tracking.
    Untracked,
    /// The destination becomes this endpoint.
    Translated(Backend),
    /// The source becomes an address of this host.
    Masqueraded,
    /// The sender is told.
    Rejected(Reject),
    /// The rules end here with a verdict.
    Gave(&'a Step),
}

/// Listens to decisions.
pub type Observer<'a> = &'a mut dyn FnMut(Event<'_>);

/// One walk of a packet.
pub struct Run<'a> {
    /// What the maps hold.
    pub state: &'a State,
    /// Commits while the packet is on its way: how many look-ups come before each, and what the maps hold after it.
    pub commits: &'a [(u32, &'a State)],
    /// The packet.
    pub packet: &'a Packet,
    /// What else is true of it.
    pub circumstances: Circumstances,
    /// Addresses of this host: what is sent to them does not leave it. The sender of a packet of this host counts too.
    pub host: &'a [IpAddr],
    /// Draws a number below its argument.
    pub choose: &'a mut dyn FnMut(u32) -> u32,
    /// Clients remembered.
    pub memory: &'a mut Memory,
    /// Is told every decision.
    pub observer: Option<Observer<'a>>,
}

/// The rules, ready to be run many times.
#[derive(Debug)]
pub struct Interpreter {
    rules: Ruleset,
    chains: BTreeMap<String, usize>,
    data: BTreeMap<String, (SetName, Set)>,
    verdicts: BTreeMap<String, BTreeMap<u32, Step>>,
    dynamic: BTreeMap<String, usize>,
}

/// Runs the rules once: [`Interpreter`] keeps them.
pub fn interpret(state: &State, packet: &Packet, choose: &mut dyn FnMut(u32) -> u32) -> Verdict {
    Interpreter::default().interpret(state, packet, choose)
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new(ruleset(false))
    }
}

impl Interpreter {
    /// An interpreter of these rules.
    pub fn new(rules: Ruleset) -> Self {
        let chains = rules.chains.iter().enumerate().map(|(at, chain)| (chain.name.clone(), at)).collect();
        let data = ALL_SETS.map(|name| (name, describe(name))).map(|(name, set)| (set.name.clone(), (name, set)));
        let verdicts = rules.sets.iter().filter_map(|set| match &set.contents {
            Contents::Verdicts(verdicts) => Some((set.name.clone(), verdicts.iter().cloned().collect())),
            _ => None,
        });
        let dynamic = rules.sets.iter().filter(|set| set.dynamic.is_some());
        Self {
            chains,
            data: data.into(),
            verdicts: verdicts.collect(),
            dynamic: dynamic.map(|set| (set.name.clone(), set.key_len())).collect(),
            rules,
        }
    }

    /// The shape of a set or map that the rules use.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.rules.sets.iter().find(|set| set.name == name)
    }

    /// What becomes of `packet` while the maps hold `state`. `choose(n)` draws a number below n.
    pub fn interpret(&self, state: &State, packet: &Packet, choose: &mut dyn FnMut(u32) -> u32) -> Verdict {
        self.remembering(state, packet, choose, &mut Memory::default())
    }

    /// The same, after the packets that made `memory` what it is.
    pub fn remembering(
        &self,
        state: &State,
        packet: &Packet,
        choose: &mut dyn FnMut(u32) -> u32,
        memory: &mut Memory,
    ) -> Verdict {
        let circumstances = Circumstances::default();
        self.run(Run { state, commits: &[], packet, circumstances, host: &[], choose, memory, observer: None }).verdict
    }

    /// One packet in all its circumstances, and everything that it leaves behind.
    pub fn run<'a>(&'a self, run: Run<'a>) -> Outcome {
        walk::walk(self, run)
    }

    /// All verdicts that the data allows: every result of every choice is tried.
    pub fn verdicts(&self, state: &State, packet: &Packet, circumstances: Circumstances) -> BTreeSet<Verdict> {
        self.verdicts_remembering(state, packet, circumstances, &[], &Memory::default())
    }

    /// The same on a host with these addresses, after the packets that made `memory` what it is.
    pub fn verdicts_remembering(
        &self,
        state: &State,
        packet: &Packet,
        circumstances: Circumstances,
        host: &[IpAddr],
        memory: &Memory,
    ) -> BTreeSet<Verdict> {
        let mut among = 1;
        let mut drawn = 0;
        let mut verdicts = BTreeSet::new();
        while drawn < among {
            let mut choose = |bound: u32| {
                among = among.max(bound);
                drawn
            };
            let (choose, memory): (&mut dyn FnMut(u32) -> u32, _) = (&mut choose, &mut memory.clone());
            let run = Run { state, commits: &[], packet, circumstances, host, choose, memory, observer: None };
            verdicts.insert(self.run(run).verdict);
            drawn += 1;
        }
        verdicts
    }
}
