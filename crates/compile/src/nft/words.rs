//! The 32-bit words that the rules and the maps share: F (frontend), W (endpoint set), E (endpoint).
//!
//! | word | 31..30 | 29..12 | 11 | 10 | 9 | 8 | 7..0 |
//! |---|---|---|---|---|---|---|---|
//! | F | 11 | service | masquerade | local | cluster IP | ranges | direct (7), 0 |
//! | W | 11 | service | local | timeout class (10..6) | | | pick class (5..0) |
//! | E | 11 | service | endpoint (11..0) | | | | |

use super::rules::bits::{
    CHOSEN, F_CLUSTER_IP, F_DIRECT, F_LOCAL, F_MASQUERADE, F_RANGES, SERVICE, TAG, W_LOCAL, W_PICK, W_TIMEOUT,
    W_TIMEOUT_SHIFT,
};
use super::state::Value;
use crate::snapshot::Protocol;

/// Where the Service number begins.
const SERVICE_SHIFT: u32 = SERVICE.trailing_zeros();
/// Service numbers fit in 18 bits; zero is not used.
pub const SERVICE_MAX: u32 = (1 << 18) - 1;
/// Endpoint numbers fit in 12 bits; zero and 2048 are not used, so that a set's word is never that of an endpoint.
pub const ENDPOINT_MAX: u16 = (1 << 12) - 1;
/// Conntrack identities fit in 22 bits; zero means "ours, but unnumbered".
pub const IDENTITY_MAX: u32 = (1 << 22) - 1;
/// Bit of the conntrack mark that says an identity is ours.
pub const IDENTITY_OURS: u32 = 1 << 22;

/// Number of a Service port in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// What a frontend does with traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Masquerade every source.
    pub masquerade: bool,
    /// Traffic policy Local.
    pub local: bool,
    /// A cluster IP; otherwise an external address or a node port.
    pub cluster_ip: bool,
    /// Only listed sources.
    pub ranges: bool,
    /// Masquerade no source (cluster IPs only).
    pub direct: bool,
}

impl ServiceId {
    /// The key of `set_cluster` and `set_local`.
    pub fn word(self) -> u32 {
        TAG | self.0 << SERVICE_SHIFT
    }

    /// F.
    pub fn frontend(self, policy: Policy) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        self.word()
            | bit(policy.masquerade, F_MASQUERADE)
            | bit(policy.local, F_LOCAL)
            | bit(policy.cluster_ip, F_CLUSTER_IP)
            | bit(policy.ranges, F_RANGES)
            | bit(policy.direct, F_DIRECT)
    }

    /// The first half of the key of `slots`.
    pub fn set(self, local: bool) -> u32 {
        self.word() | if local { W_LOCAL } else { 0 }
    }

    /// W.
    pub fn choice(self, local: bool, timeout_class: u32, pick_class: u32) -> u32 {
        self.set(local) | (timeout_class << W_TIMEOUT_SHIFT & W_TIMEOUT) | (pick_class & W_PICK)
    }

    /// E.
    pub fn endpoint(self, number: u16) -> u32 {
        self.word() | u32::from(number)
    }

    /// The Service a word names; none if the word is not one of ours.
    pub fn of(word: u32) -> Option<Self> {
        (word & TAG == TAG).then_some(Self((word & SERVICE & !TAG) >> SERVICE_SHIFT))
    }
}

/// Number of the endpoint that E names.
pub fn endpoint_of(word: u32) -> u16 {
    (word & u32::from(ENDPOINT_MAX)) as u16
}

/// Whether an endpoint may have this number.
pub(super) fn is_endpoint(number: u16) -> bool {
    (1..=ENDPOINT_MAX).contains(&number) && u32::from(number) & CHOSEN != 0
}

/// A word as netlink carries it: host byte order.
pub fn bytes(word: u32) -> Value {
    word.to_ne_bytes().into()
}

/// The word at the start of a key or value.
pub fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// The number of a transport protocol in an IP header.
pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_table() {
        let service = ServiceId(0x1_2345);
        let policy = Policy { masquerade: true, cluster_ip: false, ..Policy::default() };
        assert_eq!(service.frontend(policy), 0xd234_5800);
        assert_eq!(service.frontend(Policy { local: true, ..Policy::default() }), 0xd234_5400);
        assert_eq!(service.frontend(Policy { cluster_ip: true, ..Policy::default() }), 0xd234_5200);
        assert_eq!(service.choice(true, 31, 63), 0xd234_5fff);
        assert_eq!(service.endpoint(4095), 0xd234_5fff);
        assert_eq!(ServiceId::of(0xd234_5800), Some(service));
        assert_eq!(ServiceId::of(0x1234_5800), None);
        assert_eq!(endpoint_of(0xd234_5abc), 0xabc);
    }
}
