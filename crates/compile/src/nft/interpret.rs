//! The rules as a function: contents of the maps and a packet in, what becomes of the packet out.
//!
//! It runs the very rules that are installed ([`super::rules`]), expression by expression, so that what it says cannot
//! drift from them. What the rules remember of clients is a [`Memory`]; without one every packet is a client's first.

mod memory;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::expr::{
    Contents, Ct, Expression, Family, MapWrite, Meta, Payload, Register, Rule, Ruleset, Set, Verdict as Step,
};
use super::held::{backend_of, octets};
use super::rules::{ALL_SETS, bits, describe, ruleset};
use super::state::{SetName, State};
use super::words::protocol_number;
use crate::service_table::Backend;
use crate::snapshot::Protocol;

pub use self::memory::Memory;

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The rules, ready to be run many times.
#[derive(Debug)]
pub struct Interpreter {
    rules: Ruleset,
    chains: BTreeMap<String, usize>,
    data: BTreeMap<String, (SetName, Set)>,
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
        Self { rules, chains, data: data.into() }
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
        let mut walk = Walk {
            memory,
            interpreter: self,
            state,
            packet,
            choose,
            registers: [0; 64],
            priority: 0,
            mark: 0,
            depth: 0,
            untracked: false,
            translated: None,
            masqueraded: false,
        };
        walk.run()
    }
}

/// The kernel allows fewer nested jumps (NFT_JUMP_STACK_SIZE is 16); gotos count here too, and none of ours loops.
const DEPTH_MAX: u32 = 64;
/// `ct state new`: bit of IP_CT_NEW in linux/netfilter/nf_conntrack_common.h.
const STATE_NEW: u32 = 8;

/// How a packet's way through a hook ended.
#[derive(Clone, Copy)]
enum End {
    Accept,
    Drop,
    Refuse,
}

/// What an expression does to the rule it is in.
enum Next<'a> {
    Expression,
    Rule,
    Step(&'a Step),
    End(End),
}

struct Walk<'a, 'c> {
    interpreter: &'a Interpreter,
    state: &'a State,
    packet: &'a Packet,
    choose: &'c mut dyn FnMut(u32) -> u32,
    memory: &'c mut Memory,
    registers: [u8; 64],
    priority: u32,
    mark: u32,
    depth: u32,
    untracked: bool,
    translated: Option<Backend>,
    masqueraded: bool,
}

impl<'a> Walk<'a, '_> {
    fn run(&mut self) -> Verdict {
        let (raw, nat) =
            if self.packet.source_is_host { ("raw_output", "output") } else { ("raw_prerouting", "prerouting") };
        // nat chains see tracked packets only.
        for hook in [raw, nat] {
            match self.chain(hook) {
                Some(End::Drop) => return Verdict::Drop,
                Some(End::Refuse) => return Verdict::Refuse,
                Some(End::Accept) | None if self.untracked => return Verdict::Pass,
                Some(End::Accept) | None => {}
            }
        }
        let Some(backend) = self.translated else { return Verdict::Pass };
        self.chain("postrouting");
        Verdict::Translate { backend, masquerade: self.masqueraded }
    }

    /// None: the chain ended without a verdict.
    fn chain(&mut self, name: &str) -> Option<End> {
        let interpreter = self.interpreter;
        let (true, Some(at)) = (self.depth < DEPTH_MAX, interpreter.chains.get(name)) else { return Some(End::Drop) };
        self.depth += 1;
        let end = self.rules(&interpreter.rules.chains[*at].rules);
        self.depth -= 1;
        end
    }

    fn rules(&mut self, rules: &'a [Rule]) -> Option<End> {
        for rule in rules {
            match self.rule(rule) {
                Next::Expression | Next::Rule => {}
                Next::End(end) => return Some(end),
                Next::Step(Step::Accept) => return Some(End::Accept),
                Next::Step(Step::Drop) => return Some(End::Drop),
                Next::Step(Step::Return) => return None,
                Next::Step(Step::Goto(chain)) => return self.chain(chain),
                Next::Step(Step::Jump(chain)) => {
                    if let Some(end) = self.chain(chain) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    fn rule(&mut self, rule: &'a Rule) -> Next<'a> {
        for expression in rule {
            match self.expression(expression) {
                Next::Expression => {}
                other => return other,
            }
        }
        Next::Rule
    }

    fn expression(&mut self, expression: &'a Expression) -> Next<'a> {
        match expression {
            Expression::Payload(what, to) => {
                let Some(bytes) = self.payload(*what) else { return Next::Rule };
                self.write(*to, &bytes);
            }
            Expression::Meta(what, to) => self.write(*to, &self.meta(*what)),
            Expression::Ct(what, to) => self.write(*to, &self.flow(*what).to_ne_bytes()),
            Expression::SetPriority(from) => self.priority = self.word(*from),
            Expression::SetCtMark(from) => self.mark = self.word(*from),
            Expression::Bitwise { from, to, mask, xor } => {
                self.write(*to, &((self.word(*from) & mask) ^ xor).to_ne_bytes());
            }
            Expression::Compare { from, equal, value } => {
                return go_on((self.read(*from, value.len()) == value.as_slice()) == *equal);
            }
            Expression::InSet { set, key, inverted } => return go_on(self.look_up(set, *key).is_some() != *inverted),
            Expression::Map { map, key, to } => match self.value(map, *key) {
                Some(value) => self.write(*to, &value),
                None => return Next::Rule,
            },
            Expression::VerdictMap { map, key } => return self.verdict(map, self.word(*key)),
            Expression::Random { modulus, to } => {
                let drawn = (self.choose)(*modulus) % (*modulus).max(1);
                self.write(*to, &drawn.to_ne_bytes());
            }
            Expression::SourceIsLocal(_) => return go_on(self.packet.source_is_host),
            Expression::Dnat { address, family, .. } => {
                let bytes = if *family == Family::V4 { 8 } else { 20 };
                self.translated = backend_of(self.read(*address, bytes));
                return Next::End(End::Accept);
            }
            Expression::Masquerade => {
                self.masqueraded = true;
                return Next::End(End::Accept);
            }
            Expression::Reject(_) => return Next::End(End::Refuse),
            Expression::NoTrack => self.untracked = true,
            Expression::Verdict(step) => return Next::Step(step),
            Expression::Write { map, how, key, value } => self.remember(map, *how, *key, *value),
            Expression::Counter(_) | Expression::LogFlow { .. } => {}
        }
        Next::Expression
    }

    /// After translation the destination is the endpoint. None: the packet is of the other family.
    fn payload(&self, what: Payload) -> Option<Vec<u8>> {
        let destination = self.translated.map_or(self.packet.destination, |backend| backend.address);
        let port = self.translated.map_or(self.packet.port, |backend| backend.port);
        let address = |address: IpAddr, family| (address.is_ipv4() == (family == Family::V4)).then(|| octets(address));
        match what {
            Payload::Source(family) => address(self.packet.source, family),
            Payload::Destination(family) => address(destination, family),
            // No rule looks at the sender's port but those for the cluster DNS's own answers.
            Payload::SourcePort => Some(vec![0, 0]),
            Payload::DestinationPort => Some(port.to_be_bytes().into()),
        }
    }

    fn meta(&self, what: Meta) -> [u8; 4] {
        match what {
            Meta::Priority => self.priority.to_ne_bytes(),
            // NFPROTO_IPV4 and NFPROTO_IPV6.
            Meta::Family => [if self.packet.destination.is_ipv4() { 2 } else { 10 }, 0, 0, 0],
            Meta::Protocol => [protocol_number(self.packet.protocol), 0, 0, 0],
        }
    }

    fn flow(&self, what: Ct) -> u32 {
        match what {
            Ct::State => STATE_NEW,
            Ct::Status => self.translated.map_or(0, |_| bits::STATUS_DNAT),
            Ct::Mark => self.mark,
        }
    }

    fn verdict(&self, map: &str, key: u32) -> Next<'a> {
        let set = self.interpreter.rules.sets.iter().find(|set| set.name == map);
        let Some(Contents::Verdicts(verdicts)) = set.map(|set| &set.contents) else { return Next::Expression };
        let found = verdicts.iter().find(|(value, _)| *value == key);
        found.map_or(Next::Expression, |(_, step)| Next::Step(step))
    }

    fn value(&self, map: &str, key: Register) -> Option<Vec<u8>> {
        match self.dynamic(map) {
            Some(set) => self.memory.get(map, self.read(key, set.key_len())).map(Into::into),
            None => self.look_up(map, key).map(Into::into),
        }
    }

    fn remember(&mut self, map: &str, how: MapWrite, key: Register, value: Register) {
        let Some(set) = self.dynamic(map) else { return };
        let (key, value) = (self.read(key, set.key_len()).to_vec(), self.read(value, 4).to_vec());
        match how {
            MapWrite::Update { timeout } => self.memory.update(map, key, value, timeout),
            MapWrite::Delete => self.memory.delete(map, &key),
        }
    }

    /// A map that the rules themselves fill.
    fn dynamic(&self, map: &str) -> Option<&'a Set> {
        self.interpreter.rules.sets.iter().find(|set| set.name == map && set.dynamic.is_some())
    }

    fn look_up(&self, set: &str, key: Register) -> Option<&'a [u8]> {
        let (name, set) = self.interpreter.data.get(set)?;
        let elements = self.state.get(name)?;
        let key = self.read(key, set.key_len());
        if !set.interval {
            return elements.get(key).map(|value| &**value);
        }
        let found = elements.iter().find(|(range, _)| {
            let (start, end) = range.split_at(key.len().min(range.len()));
            if set.key.len() > 1 { inside_concatenation(set, key, start, end) } else { inside(key, start, end) }
        });
        found.map(|(_, value)| &**value)
    }

    fn read(&self, from: Register, bytes: usize) -> &[u8] {
        let start = usize::from(from.0) * 4;
        self.registers.get(start..start + bytes).unwrap_or_default()
    }

    fn word(&self, from: Register) -> u32 {
        super::words::word(self.read(from, 4)).unwrap_or_default()
    }

    /// The rest of the last register becomes zero, as in the kernel.
    fn write(&mut self, to: Register, bytes: &[u8]) {
        let start = usize::from(to.0) * 4;
        if let Some(room) = self.registers.get_mut(start..start + bytes.len().next_multiple_of(4)) {
            room.fill(0);
            room[..bytes.len()].copy_from_slice(bytes);
        }
    }
}

fn go_on<'a>(yes: bool) -> Next<'a> {
    if yes { Next::Expression } else { Next::Rule }
}

/// Half-open; an end of zeros is the top.
fn inside(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    start <= key && (key < end || end.iter().all(|byte| *byte == 0))
}

/// Every field lies between its two ends, both included.
fn inside_concatenation(set: &Set, key: &[u8], start: &[u8], end: &[u8]) -> bool {
    let mut at = 0;
    set.key.iter().all(|field| {
        let part = at..at + field.padded();
        at = part.end;
        let parts = (key.get(part.clone()), start.get(part.clone()), end.get(part));
        matches!(parts, (Some(key), Some(start), Some(end)) if start <= key && key <= end)
    })
}
