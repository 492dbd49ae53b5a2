//! One packet's way through the hooks: expressions in order, registers and maps as the kernel has them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use super::super::expr::{
    Ct, Expression, Family, HookPoint, MapWrite, Meta, Payload, Register, Reject, Rule, Set, Verdict as Step,
};
use super::super::held::backend_of;
use super::super::jhash::{jhash, scale};
use super::super::rules::bits;
use super::super::state::State;
use super::super::words::{self, protocol_number};
use super::{Event, Interpreter, Outcome, Run, Tracked, Verdict};
use crate::service_table::Backend;

/// The kernel allows fewer nested jumps (NFT_JUMP_STACK_SIZE is 16); gotos count here too, and none of ours loops.
const DEPTH_MAX: u32 = 64;
/// Bits of `ct state`: IP_CT_ESTABLISHED and IP_CT_NEW of linux/netfilter/nf_conntrack_common.h.
const STATE_ESTABLISHED: u32 = 2;
const STATE_NEW: u32 = 8;
/// `NF_CT_STATE_UNTRACKED_BIT`.
const STATE_UNTRACKED: u32 = 1 << 6;

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

struct Walk<'a> {
    run: Run<'a>,
    interpreter: &'a Interpreter,
    registers: [u8; 64],
    priority: u32,
    mark: u32,
    depth: u32,
    look_ups: u32,
    untracked: bool,
    told: Option<u16>,
    translated: Option<Backend>,
    masqueraded: bool,
    rejected: Option<Reject>,
    counted: BTreeMap<String, u32>,
    /// The chain that is walked: the counts of rules are kept by it.
    here: &'a str,
}

pub(super) fn walk<'a>(interpreter: &'a Interpreter, run: Run<'a>) -> Outcome {
    let (priority, mark) = (run.circumstances.priority, run.circumstances.mark);
    let mut walk = Walk {
        run,
        interpreter,
        registers: [0; 64],
        priority,
        mark,
        depth: 0,
        look_ups: 0,
        untracked: false,
        told: None,
        translated: None,
        masqueraded: false,
        rejected: None,
        counted: BTreeMap::new(),
        here: "",
    };
    let verdict = walk.hooks();
    let Walk { masqueraded, mark, priority, rejected, untracked, told, counted, .. } = walk;
    Outcome { verdict, masqueraded, mark, priority, rejected, untracked, told, counted }
}

impl<'a> Walk<'a> {
    /// In the order of the kernel: raw before tracking, then translation, then filters, then the way out.
    fn hooks(&mut self) -> Verdict {
        let own = self.run.packet.source_is_host;
        let first = if own { HookPoint::Output } else { HookPoint::Prerouting };
        for nat in [false, true] {
            if let Some(end) = self.hook(first, nat) {
                return end;
            }
        }
        let destination = self.destination();
        let leaves = own || !self.run.host.contains(&destination);
        let mut rest = Vec::new();
        if !own {
            rest.push((if leaves { HookPoint::Forward } else { HookPoint::Input }, false));
        }
        if leaves {
            rest.extend([(HookPoint::Postrouting, false), (HookPoint::Postrouting, true)]);
        }
        for (point, nat) in rest {
            if let Some(end) = self.hook(point, nat) {
                return end;
            }
        }
        match self.translated {
            Some(backend) => Verdict::Translate { backend, masquerade: self.masqueraded },
            None => Verdict::Pass,
        }
    }

    /// Base chains of one hook in order of priority; nat chains see the first packet of a tracked flow only.
    fn hook(&mut self, point: HookPoint, nat: bool) -> Option<Verdict> {
        if nat && (self.untracked || self.run.circumstances.tracked != Tracked::New) {
            return None;
        }
        let interpreter = self.interpreter;
        let base = interpreter.rules.chains.iter().filter_map(|chain| Some((chain.hook?, chain)));
        for (_, chain) in base.filter(|(hook, _)| hook.point == point && hook.nat == nat) {
            match self.chain(&chain.name) {
                Some(End::Drop) => return Some(Verdict::Drop),
                Some(End::Refuse) => return Some(Verdict::Refuse),
                Some(End::Accept) | None => {}
            }
        }
        None
    }

    fn tell(&mut self, event: Event<'_>) {
        if let Some(observer) = &mut self.run.observer {
            observer(event);
        }
    }

    /// None: the chain ended without a verdict.
    fn chain(&mut self, name: &'a str) -> Option<End> {
        let interpreter = self.interpreter;
        let (true, Some(at)) = (self.depth < DEPTH_MAX, interpreter.chains.get(name)) else { return Some(End::Drop) };
        self.tell(Event::Chain(name));
        self.depth += 1;
        let before = std::mem::replace(&mut self.here, name);
        let end = self.rules(&interpreter.rules.chains[*at].rules);
        self.here = before;
        self.depth -= 1;
        end
    }

    fn rules(&mut self, rules: &'a [Rule]) -> Option<End> {
        for rule in rules {
            match self.rule(rule) {
                Next::Expression | Next::Rule => {}
                Next::End(end) => return Some(end),
                Next::Step(step) => {
                    self.tell(Event::Gave(step));
                    match step {
                        Step::Accept => return Some(End::Accept),
                        Step::Drop => return Some(End::Drop),
                        Step::Return => return None,
                        Step::Goto(chain) => return self.chain(chain),
                        Step::Jump(chain) => {
                            if let Some(end) = self.chain(chain) {
                                return Some(end);
                            }
                        }
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
                let Some((bytes, length)) = self.payload(*what) else { return Next::Rule };
                self.write(*to, &bytes[..length]);
            }
            Expression::Meta(Meta::InputInterface, to) => self.write(*to, &self.interface()),
            Expression::Meta(what, to) => self.write(*to, &self.meta(*what)),
            Expression::Ct(what, to) => match self.flow(*what) {
                Some(word) => self.write(*to, &word.to_ne_bytes()),
                None => return Next::Rule,
            },
            Expression::SetPriority(from) => self.priority = self.word(*from),
            Expression::SetCtMark(from) => {
                self.mark = self.word(*from);
                self.tell(Event::Marked(self.mark));
            }
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
                let drawn = (self.run.choose)(*modulus) % (*modulus).max(1);
                self.tell(Event::Drawn { bound: *modulus, drawn });
                self.write(*to, &drawn.to_ne_bytes());
            }
            Expression::InTurn { modulus, to } => {
                let drawn = self.run.memory.turn(self.here, *modulus, self.run.choose);
                self.tell(Event::Drawn { bound: *modulus, drawn });
                self.write(*to, &drawn.to_ne_bytes());
            }
            Expression::Hash { from, bytes, seed, modulus, to } => {
                let drawn = scale(jhash(self.read(*from, usize::from(*bytes)), *seed), *modulus);
                self.tell(Event::Drawn { bound: *modulus, drawn });
                self.write(*to, &drawn.to_ne_bytes());
            }
            // Counters of elements change nothing for any packet.
            Expression::Tally { .. } => {}
            Expression::SourceIsLocal(_) => {
                let local = self.run.packet.source_is_host || self.run.host.contains(&self.run.packet.source);
                self.tell(Event::SourceIsLocal(local));
                return go_on(local);
            }
            Expression::Write { map, how, key, value } => self.remember(map, *how, *key, *value),
            Expression::LogFlow { group } => {
                self.told = Some(*group);
                self.tell(Event::Told);
            }
            Expression::Counter(name) => {
                *self.counted.entry(name.clone()).or_default() += 1;
                self.tell(Event::Counted(name));
            }
            Expression::NoTrack => {
                self.untracked = true;
                self.tell(Event::Untracked);
            }
            Expression::Verdict(step) => return Next::Step(step),
            Expression::Dnat { .. } | Expression::Masquerade | Expression::Reject(_) => return self.end(expression),
        }
        Next::Expression
    }

    /// Expressions that end a packet's way through its hook.
    fn end(&mut self, expression: &'a Expression) -> Next<'a> {
        match expression {
            Expression::Dnat { address, family, port } => {
                let bytes = if *family == Family::V4 { 4 } else { 16 };
                self.translated = backend_of(&[self.read(*address, bytes), self.read(*port, 4)].concat());
                if let Some(backend) = self.translated {
                    self.tell(Event::Translated(backend));
                }
                Next::End(End::Accept)
            }
            Expression::Masquerade => {
                self.masqueraded = true;
                self.tell(Event::Masqueraded);
                Next::End(End::Accept)
            }
            Expression::Reject(how) => {
                self.rejected = Some(*how);
                self.tell(Event::Rejected(*how));
                Next::End(End::Refuse)
            }
            _ => Next::Expression,
        }
    }

    /// After translation the destination is the endpoint.
    fn destination(&self) -> IpAddr {
        self.translated.map_or(self.run.packet.destination, |backend| backend.address)
    }

    /// Bytes and how many. None: the packet is of the other family.
    fn payload(&self, what: Payload) -> Option<([u8; 16], usize)> {
        let port = |port: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&port.to_be_bytes());
            Some((bytes, 2))
        };
        let address = |address: IpAddr, family| {
            let mut bytes = [0; 16];
            match (address, family) {
                (IpAddr::V4(four), Family::V4) => bytes[..4].copy_from_slice(&four.octets()),
                (IpAddr::V6(six), Family::V6) => return Some((six.octets(), 16)),
                _ => return None,
            }
            Some((bytes, 4))
        };
        match what {
            Payload::Source(family) => address(self.run.packet.source, family),
            Payload::Destination(family) => address(self.destination(), family),
            Payload::SourcePort => port(self.run.circumstances.source_port),
            Payload::DestinationPort => port(self.translated.map_or(self.run.packet.port, |backend| backend.port)),
        }
    }

    fn meta(&self, what: Meta) -> [u8; 4] {
        match what {
            Meta::Priority => self.priority.to_ne_bytes(),
            // NFPROTO_IPV4 and NFPROTO_IPV6.
            Meta::Family => [if self.run.packet.destination.is_ipv4() { 2 } else { 10 }, 0, 0, 0],
            Meta::Protocol => [protocol_number(self.run.packet.protocol), 0, 0, 0],
            Meta::InputInterface => [0; 4],
        }
    }

    /// What this host sends itself arrives on none.
    fn interface(&self) -> [u8; 16] {
        if self.run.packet.source_is_host { [0; 16] } else { self.run.circumstances.interface }
    }

    /// A packet without a flow has a state only.
    fn flow(&self, what: Ct) -> Option<u32> {
        let tracked = self.run.circumstances.tracked;
        match what {
            Ct::State if self.untracked => Some(STATE_UNTRACKED),
            Ct::State => Some(match tracked {
                Tracked::New => STATE_NEW,
                Tracked::Established => STATE_ESTABLISHED,
                Tracked::Invalid => bits::STATE_INVALID,
            }),
            _ if self.untracked || tracked == Tracked::Invalid => None,
            Ct::Status => Some(self.translated.map_or(0, |_| bits::STATUS_DNAT)),
            Ct::Mark => Some(self.mark),
        }
    }

    fn verdict(&self, map: &str, key: u32) -> Next<'a> {
        let found = self.interpreter.verdicts.get(map).and_then(|verdicts| verdicts.get(&key));
        found.map_or(Next::Expression, Next::Step)
    }

    fn value(&mut self, map: &'a str, key: Register) -> Option<Vec<u8>> {
        let Some(length) = self.interpreter.dynamic.get(map) else { return self.look_up(map, key).map(Into::into) };
        let key = self.read(key, *length).to_vec();
        let value = self.run.memory.get(map, &key).map(<[u8]>::to_vec);
        let found = value.as_deref().map(|value| (key.as_slice(), value));
        self.tell(Event::Lookup { set: map, key: &key, found });
        value
    }

    fn remember(&mut self, map: &'a str, how: MapWrite, key: Register, value: Register) {
        let Some(length) = self.interpreter.dynamic.get(map) else { return };
        let (key, value) = (self.read(key, *length).to_vec(), self.read(value, 4).to_vec());
        self.tell(Event::Wrote { map, how, key: &key, value: &value });
        match how {
            MapWrite::Update { timeout } => self.run.memory.update(map, key, value, timeout),
            MapWrite::Delete => self.run.memory.delete(map, &key),
        }
    }

    /// What the maps hold at this instant.
    fn state(&mut self) -> &'a State {
        let before = self.look_ups;
        self.look_ups += 1;
        let committed = self.run.commits.iter().rev().find(|(at, _)| before >= *at);
        committed.map_or(self.run.state, |(_, after)| after)
    }

    fn look_up(&mut self, name: &'a str, key: Register) -> Option<&'a [u8]> {
        let state = self.state();
        let (set_name, set) = self.interpreter.data.get(name)?;
        let key: [u8; 64] = std::array::from_fn(|at| {
            let at = usize::from(key.0) * 4 + at;
            self.registers.get(at).copied().unwrap_or_default()
        });
        let key = &key[..set.key_len().min(64)];
        let elements = state.get(set_name);
        let found = elements.and_then(|elements| {
            if !set.interval {
                return elements.get_key_value(key);
            }
            // Ranges of one set never overlap: the one that contains the key is the last that starts at or before it.
            let top = [key, &[0xff; 64][..key.len()]].concat();
            let at = elements.range::<[u8], _>((Bound::Unbounded, Bound::Included(&*top))).next_back();
            at.filter(|(range, _)| {
                let (start, end) = range.split_at(key.len().min(range.len()));
                if set.key.len() > 1 { inside_concatenation(set, key, start, end) } else { inside(key, start, end) }
            })
        });
        self.tell(Event::Lookup { set: name, key, found: found.map(|(key, value)| (&**key, &**value)) });
        found.map(|(_, value)| &**value)
    }

    fn read(&self, from: Register, bytes: usize) -> &[u8] {
        let start = usize::from(from.0) * 4;
        self.registers.get(start..start + bytes).unwrap_or_default()
    }

    fn word(&self, from: Register) -> u32 {
        words::word(self.read(from, 4)).unwrap_or_default()
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
