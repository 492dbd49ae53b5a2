//! Mutants that change nothing that anybody could see, by name, and why.

const OTHERS: &str = "the two rules look at other packets (family, protocol or port): their order is of no meaning";
const SAME_END: &str = "both rules lead to the same end: their order is of no meaning";
const NEVER_BACK: &str = "the chain drops or refuses: nothing comes back from it";
const LAST: &str = "nothing follows: to come back is to end";
const LOCAL_TOO: &str =
    "only while a packet straddles a commit: it then gets a local endpoint, which is one of the cluster's";

/// How a name begins, how it ends, and why.
pub(crate) const EQUIVALENT: &[(&str, &str, &str)] = &[
    ("dns_query ", ": after the next", OTHERS),
    ("dns_answer ", ": after the next", OTHERS),
    ("raw_", "0: after the next", OTHERS),
    ("postrouting 1", ": after the next", OTHERS),
    ("postrouting 5", ": after the next", OTHERS),
    ("services 0", ": after the next", OTHERS),
    ("recall 1", ": after the next", OTHERS),
    ("recall_local 0", ": after the next", OTHERS),
    ("translate ", ": after the next", OTHERS),
    ("forget 0", ": after the next", OTHERS),
    ("sticky_", " 1: after the next", OTHERS),
    ("invalid_here ", ": after the next", SAME_END),
    ("cluster_ip", " 0: after the next", SAME_END),
    ("external_local", " 0: after the next", SAME_END),
    ("postrouting 4", ": after the next", SAME_END),
    ("external_local", " 1: after the next", "what this host sends comes in by no interface"),
    ("services4 0", ": after the next", "an address of the cluster DNS is no frontend: the programmer leaves it out"),
    ("services6 0", ": after the next", "an address of the cluster DNS is no frontend: the programmer leaves it out"),
    ("services4 1", ": after the next", "a node's own address is no frontend with the number of a node port"),
    ("services6 1", ": after the next", "a node's own address is no frontend with the number of a node port"),
    ("services4 2", ": after the next", "a node's own address lies in no range of Services"),
    ("services6 2", ": after the next", "a node's own address lies in no range of Services"),
    ("check_", " 0: after the next", "what is forgotten is remembered again by the same packet, as it was"),
    ("check_", " 1: after the next", "to forget needs the Service only, and so does the set"),
    ("again 0", ": after the next", "the same is tried as often; it is counted one try later"),
    ("prerouting 1.0", "jump for goto", NEVER_BACK),
    ("output 1.0", "jump for goto", NEVER_BACK),
    ("invalid_here ", "jump for goto", NEVER_BACK),
    ("services4 3.2", "jump for goto", NEVER_BACK),
    ("services6 3.2", "jump for goto", NEVER_BACK),
    ("frontend4 0.8", "jump for goto", NEVER_BACK),
    ("frontend6 0.8", "jump for goto", NEVER_BACK),
    ("@pick 0x0", "jump for goto", NEVER_BACK),
    ("@pick 0x1", "jump for goto", NEVER_BACK),
    ("forward 0.3", "jump for goto", LAST),
    ("input 0.3", "jump for goto", LAST),
    ("raw_prerouting 1.2", "jump for goto", LAST),
    ("raw_output 1.2", "jump for goto", LAST),
    ("services 0.2", "jump for goto", "what comes back is IPv4, and the rule that follows is for IPv6"),
    ("services 1.1", ": gone", "what is IPv4 never comes to the second rule"),
    ("external_local", "0.2: goto for jump or jump for goto", LOCAL_TOO),
    ("external_local", "1.2: goto for jump or jump for goto", LOCAL_TOO),
    ("external_local", "2.1: goto for jump or jump for goto", LOCAL_TOO),
    ("@stickiness ", "jump for goto", "as for 60 seconds, which is caught: only that class is tried with commits"),
    ("postrouting 3.1", ": mask bit 4", "the first packet's source is not translated yet (IPS_SRC_NAT)"),
    ("postrouting 3.1", ": mask bit 6", "no sequence number is adjusted yet (IPS_SEQ_ADJUST)"),
    ("postrouting 1.5", ": @pods4", "the ranges that have a way out are those of the pods"),
    ("postrouting 2.5", ": @pods6", "the ranges that have a way out are those of the pods"),
    ("forward 0.1", ": mask bit 1", "what is invalid is not established"),
    ("input 0.1", ": mask bit 1", "what is invalid is not established"),
    ("frontend", " 0.1: mask bit 7", "no frontend with source ranges is one that masquerades nobody"),
    ("frontend", " 0.1: mask bit 9", "no frontend with source ranges is a cluster IP"),
    ("frontend", " 1.1: mask bit 6", "the bit is no flag, and always zero in F"),
    ("choose 1.1", ": mask bit 6", "only sets without affinity come here: their timeout class is zero"),
    ("recall 1.4", ": mask bit 11", "local sets have gone to recall_local"),
    ("recall 2.4", ": mask bit 11", "local sets have gone to recall_local"),
    ("forget ", "5: Protocol", "what is deleted is found by its key alone"),
    ("identify_masq 0.2", ": mask bit 31", "no identity has the bit"),
];

/// Why a mutant cannot be caught; none if it must be.
pub(crate) fn why(name: &str) -> Option<&'static str> {
    EQUIVALENT.iter().find(|(begin, end, _)| name.starts_with(begin) && name.ends_with(end)).map(|(.., why)| *why)
}
