//! The rules' alphabet: nf_tables expressions, sets and chains as plain values that a backend encodes and [`super::text`]
//! prints.
//!
//! A rule is a list of expressions. Each reads and writes 32-bit registers; one that does not match ends the rule.

/// One of the sixteen 32-bit registers of a rule; wider values take consecutive ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

/// IP family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A field of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Source address; the rule must have established the family.
    Source(Family),
    /// Destination address; the rule must have established the family.
    Destination(Family),
    /// Source port (TCP, UDP, SCTP).
    SourcePort,
    /// Destination port (TCP, UDP, SCTP).
    DestinationPort,
}

/// Something about the packet that is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// skb->priority, our scratch word.
    Priority,
    /// Network protocol family, one byte.
    Family,
    /// Transport protocol, one byte.
    Protocol,
    /// Name of the interface on which it arrived, sixteen bytes; zeros if it is made here.
    InputInterface,
}

/// Something about the packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ct {
    /// Tracking state bits of this packet.
    State,
    /// Status bits of the flow.
    Status,
    /// Mark of the flow.
    Mark,
}

/// Where a rule or a map element sends the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out of this hook, onwards.
    Accept,
    /// Away.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Into a chain, and back here.
    Jump(String),
    /// Into a chain, and back to where this chain was called from.
    Goto(String),
}

/// What a rejected sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// A TCP reset.
    TcpReset,
    /// ICMP or ICMPv6 port unreachable.
    PortUnreachable,
}

/// How a rule writes a dynamic map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapWrite {
    /// Add, or refresh the timeout (the value of an existing key stays).
    Update {
        /// Seconds until the entry goes unless refreshed.
        timeout: u32,
    },
    /// Delete the key.
    Delete,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Packet field into a register.
    Payload(Payload, Register),
    /// Meta value into a register.
    Meta(Meta, Register),
    /// Register into skb->priority.
    SetPriority(Register),
    /// Flow property into a register.
    Ct(Ct, Register),
    /// Register into the flow's mark.
    SetCtMark(Register),
    /// `to = (from & mask) ^ xor` on one word in host order.
    Bitwise {
        /// Operand.
        from: Register,
        /// Result.
        to: Register,
        /// Bits that stay.
        mask: u32,
        /// Bits that flip afterwards.
        xor: u32,
    },
    /// Goes on only if the register equals (or differs from) the bytes.
    Compare {
        /// Operand.
        from: Register,
        /// True: must be equal. False: must differ.
        equal: bool,
        /// Bytes as they lie in the register.
        value: Vec<u8>,
    },
    /// Goes on only if the key is in the set (or is not).
    InSet {
        /// Set name.
        set: String,
        /// First register of the key.
        key: Register,
        /// True: must not be in it.
        inverted: bool,
    },
    /// Value of the key into registers; the rule ends if there is none.
    Map {
        /// Map name.
        map: String,
        /// First register of the key.
        key: Register,
        /// First register of the value.
        to: Register,
    },
    /// The verdict that the key maps to; goes on if there is none.
    VerdictMap {
        /// Map name.
        map: String,
        /// First register of the key.
        key: Register,
    },
    /// A random number below the bound into a register.
    Random {
        /// Exclusive upper bound.
        modulus: u32,
        /// Result.
        to: Register,
    },
    /// The next number below the bound into a register: 0, 1, .. and round again. The count belongs to the rule.
    InTurn {
        /// Exclusive upper bound.
        modulus: u32,
        /// Result.
        to: Register,
    },
    /// A number below the bound that depends on nothing but the bytes into a register (the kernel's jhash, scaled).
    Hash {
        /// First register of the bytes.
        from: Register,
        /// How many bytes.
        bytes: u8,
        /// What the hash begins with.
        seed: u32,
        /// Exclusive upper bound.
        modulus: u32,
        /// Result.
        to: Register,
    },
    /// Counts in the element of a dynamic set, which is added if it is not there; the rule ends if the set is full.
    Tally {
        /// Set name; its elements have counters.
        set: String,
        /// First register of the key.
        key: Register,
        /// Seconds without a packet after which the element goes.
        timeout: u32,
    },
    /// Writes a dynamic map.
    Write {
        /// Map name.
        map: String,
        /// How.
        how: MapWrite,
        /// First register of the key.
        key: Register,
        /// First register of the value.
        value: Register,
    },
    /// Goes on only if the packet's source is an address of this host.
    SourceIsLocal(Register),
    /// Translates the destination to address and port in registers.
    Dnat {
        /// Family.
        family: Family,
        /// First register of the address.
        address: Register,
        /// Register of the port.
        port: Register,
    },
    /// Translates the source to the address of the outgoing device, with a random port.
    Masquerade,
    /// Refuses.
    Reject(Reject),
    /// Counts in a named counter.
    Counter(String),
    /// Exempts the packet from tracking.
    NoTrack,
    /// Tells the listener of a log group, if there is one, of the packet and its flow.
    LogFlow {
        /// Number of the group.
        group: u16,
    },
    /// Ends the rule.
    Verdict(Verdict),
}

/// A rule: steps from left to right.
pub type Rule = Vec<Expression>;

/// A hook of the network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Every packet that arrives.
    Prerouting,
    /// Every packet for this host.
    Input,
    /// Every packet that passes through.
    Forward,
    /// Every packet made here.
    Output,
    /// Every packet that leaves.
    Postrouting,
}

/// What makes a chain a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// True: a nat chain, which sees the first packet of a flow only. False: a filter chain.
    pub nat: bool,
    /// Where.
    pub point: HookPoint,
    /// When, among other chains there.
    pub priority: i32,
}

/// A named list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name.
    pub name: String,
    /// Set on base chains; their policy is accept.
    pub hook: Option<Hook>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// One field of a key or value; each takes whole 32-bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A transport protocol, one byte.
    Protocol,
    /// A port, two bytes in network order.
    Port,
    /// F, W or E: a word in host order.
    Word,
    /// A conntrack mark or a slot number: a word in host order.
    Mark,
    /// Name of an interface, padded with zeros.
    Interface,
}

impl Field {
    /// Bytes that carry the field, before padding.
    pub fn bytes(self) -> usize {
        match self {
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4 | Self::Word | Self::Mark => 4,
            Self::Ipv6 | Self::Interface => 16,
        }
    }

    /// Bytes with padding to whole registers.
    pub fn padded(self) -> usize {
        self.bytes().next_multiple_of(4)
    }
}

/// What a set's elements map to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: a plain set.
    Members,
    /// Data.
    Data(Vec<Field>),
    /// Verdicts, fixed with the rules.
    Verdicts(Vec<(u32, Verdict)>),
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Name.
    pub name: String,
    /// Fields of the key.
    pub key: Vec<Field>,
    /// What elements map to.
    pub contents: Contents,
    /// Elements are ranges.
    pub interval: bool,
    /// Written by rules, with timeouts, up to this many elements.
    pub dynamic: Option<u32>,
    /// Elements count packets.
    pub counter: bool,
}

impl Set {
    /// Bytes of a key (of one end of it, in interval sets).
    pub fn key_len(&self) -> usize {
        self.key.iter().map(|field| field.padded()).sum()
    }
}

/// Everything fixed in our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Named counters.
    pub counters: Vec<String>,
    /// Sets and maps.
    pub sets: Vec<Set>,
    /// Chains.
    pub chains: Vec<Chain>,
}
