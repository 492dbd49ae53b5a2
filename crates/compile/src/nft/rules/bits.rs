//! Bits of the scratch words F, W and E and of the conntrack mark, as the rules test them.

/// Set in every word: tells our words from a priority that somebody else set.
pub(in crate::nft) const TAG: u32 = 0xc000_0000;
/// Tag and Service number of F, W and E.
pub(in crate::nft) const SERVICE: u32 = 0xffff_f000;
/// Tag, Service number and LOCAL bit of W: the first half of the key of `slots`.
pub(in crate::nft) const SET: u32 = 0xffff_f800;
/// F: source must be masqueraded.
pub(in crate::nft) const F_MASQUERADE: u32 = 0x800;
/// F: policy Local.
pub(in crate::nft) const F_LOCAL: u32 = 0x400;
/// F: a cluster IP, as opposed to an external address or node port.
pub(in crate::nft) const F_CLUSTER_IP: u32 = 0x200;
/// F: loadBalancerSourceRanges apply.
pub(in crate::nft) const F_RANGES: u32 = 0x100;
/// F: no source is masqueraded.
pub(in crate::nft) const F_DIRECT: u32 = 0x80;
/// W: the local set.
pub(in crate::nft) const W_LOCAL: u32 = 0x800;
/// W: class of the affinity timeout.
pub(in crate::nft) const W_TIMEOUT: u32 = 0x7c0;
/// Shift of the timeout class.
pub(in crate::nft) const W_TIMEOUT_SHIFT: u32 = 6;
/// W: class of the number of endpoints.
pub(in crate::nft) const W_PICK: u32 = 0x3f;
/// Pick class of a Service without endpoints.
pub(in crate::nft) const PICK_REFUSE: u32 = 0;
/// Pick class of policy Local without local endpoints.
pub(in crate::nft) const PICK_DROP: u32 = 1;
/// First pick class that chooses.
pub(in crate::nft) const PICK_FIRST: u32 = 2;
/// Pick class of a set whose algorithm stands in `special`.
pub(in crate::nft) const PICK_SPECIAL: u32 = 63;
/// The bits of an endpoint's number that are zero in a set's word (endpoint numbers 0 and 2048 are not used), and where
/// `special` has the code of an algorithm.
pub(in crate::nft) const CHOSEN: u32 = 0x7ff;
/// Why a connection went nowhere, in the low bits of the Service word: no endpoint.
pub(in crate::nft) const NO_ENDPOINT: u32 = 1;
/// Policy Local without a local endpoint.
pub(in crate::nft) const NO_LOCAL_ENDPOINT: u32 = 2;
/// Outside loadBalancerSourceRanges.
pub(in crate::nft) const OUTSIDE_RANGES: u32 = 3;
/// IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
pub(in crate::nft) const STATUS_DNAT: u32 = 1 << 5;
/// The bit of an untrackable packet in `ct state`.
pub(in crate::nft) const STATE_INVALID: u32 = 1;
