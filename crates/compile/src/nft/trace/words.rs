//! Decisions of the rules -> sentences, with keys and values as a person writes them.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::super::expr::{Contents, MapWrite, Reject, Set, Verdict as Given};
use super::super::interpret::{Event, Verdict};
use super::super::rules::{TIMEOUTS, bits};
use super::super::state::SetName;
use super::super::text;
use super::super::words::{ServiceId, endpoint_of, word};
use super::{Question, Step};

/// Writes the steps down as they happen.
pub(super) struct Writer<'a> {
    question: &'a Question<'a>,
    /// Among how many endpoints is chosen.
    possible: usize,
    chain: String,
    steps: Vec<Step>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(question: &'a Question<'a>, possible: usize) -> Self {
        Self { question, possible, chain: String::new(), steps: Vec::new() }
    }

    /// The steps, and why the packet ends as it does.
    pub(super) fn finish(self, verdicts: &BTreeSet<Verdict>) -> (Vec<Step>, String) {
        let decisive = self.steps.iter().rev().find(|step| step.set.is_some()).or(self.steps.last());
        let last = decisive.map_or("no rule is about it", |step| &step.says).to_owned();
        let why = match verdicts.first() {
            Some(Verdict::Translate { .. }) => match verdicts.len() {
                1 => "to this endpoint".to_owned(),
                count => format!("to one of these {count} endpoints"),
            },
            Some(Verdict::Pass) | None => format!("it goes on as it is; {last}"),
            _ => last,
        };
        (self.steps, why)
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Chain(chain) => self.chain = chain.to_owned(),
            Event::Lookup { set, key, found } => self.lookup(set, key, found),
            Event::SourceIsLocal(true) => {
                self.say("the sender is this host: all endpoints, and the source becomes this host's")
            }
            Event::Masqueraded => {
                self.say("masqueraded: the endpoint sees an address of this host, so that answers come back")
            }
            Event::Told => self.say("its flow is noted, so that it can be ended with its endpoint"),
            Event::Untracked => self.say("it stays out of connection tracking"),
            Event::Rejected(Reject::TcpReset) => self.say("refused at once: a TCP reset to the sender"),
            Event::Rejected(Reject::PortUnreachable) => self.say("refused at once: port unreachable to the sender"),
            Event::Counted("dropped_local") => self.say("dropped: traffic policy Local, and no endpoint on this node"),
            Event::Counted("dropped_ranges") => self.say("dropped: outside of loadBalancerSourceRanges"),
            Event::Counted("retried") => self.say("what a map promised is not there: everything is looked up again"),
            Event::Counted("unsettled") => self.say("dropped: the maps contradict each other"),
            Event::Gave(Given::Drop) if self.chain == "invalid" => {
                self.say("dropped: it belongs to no connection and would leave untranslated");
            }
            Event::Wrote { how: MapWrite::Update { timeout }, .. } => {
                self.say(&format!(
                    "the client stays with this endpoint until {timeout} seconds pass without a connection"
                ));
            }
            Event::Wrote { how: MapWrite::Delete, .. } => self.say("the remembered endpoint is forgotten"),
            _ => (),
        }
    }

    fn say(&mut self, says: &str) {
        self.steps.push(Step { set: None, key: None, found: None, says: says.to_owned() });
    }

    fn lookup(&mut self, name: &str, key: &[u8], found: Option<(&[u8], &[u8])>) {
        let Some(says) = self.meaning(name, key, found) else { return };
        let set = self.question.rules.set(name);
        let shown = set.map(|set| text::fields(&set.key, key));
        let found = set.zip(found).map(|(set, (element, value))| held(set, element, value));
        self.steps.push(Step { set: Some(name.to_owned()), key: shown, found: found.flatten(), says });
    }

    /// None for look-ups that decide nothing.
    fn meaning(&self, name: &str, key: &[u8], found: Option<(&[u8], &[u8])>) -> Option<String> {
        let value = found.and_then(|(_, value)| word(value)).unwrap_or_default();
        let family = |name: &str| name.trim_end_matches(['4', '6']).to_owned();
        let here = found.is_some();
        Some(match family(name).as_str() {
            "dns_addrs" if here => "an address of the cluster DNS, which answers itself".into(),
            "front" | "nodeport" if here => self.frontend(value),
            "front" => "no Service has this address and port".into(),
            "nodeport_addrs" if here => "an address that serves node ports".into(),
            "nodeport" => "no Service has this node port".into(),
            "service_cidrs" if here => "an address of Services that nobody has with this port".into(),
            "service_cidrs" => "no address of Services: none of our business".into(),
            "lb_allow" if here => "the source is within loadBalancerSourceRanges".into(),
            "lb_allow" => "the source is outside of loadBalancerSourceRanges".into(),
            "pods" | "pod_interfaces" => return self.sender(here),
            "set_cluster" | "set_local" if here => self.choice(value),
            "affinity" if here => format!("the client is remembered, with endpoint {}", endpoint_of(value)),
            "affinity" => "the client is not remembered".into(),
            "members_cluster" | "members_local" if here => "its endpoint still serves it".into(),
            "members_cluster" | "members_local" => "its endpoint serves no more".into(),
            "slots" if here => match self.possible {
                0 | 1 => format!("the only endpoint is number {}", endpoint_of(value)),
                count => format!("one of {count}, at random: for example endpoint {}", endpoint_of(value)),
            },
            "slots" => "no endpoint in this slot: drawn again".into(),
            "ep" if here => format!("the address of endpoint {}", word(key).map_or(0, endpoint_of)),
            "ct_ids" if here => "what the connection's mark says, so that it can be found again".into(),
            "hairpin" if here => "the endpoint is the sender itself".into(),
            "egress" if here && self.chain == "postrouting" => return None,
            _ => return None,
        })
    }

    fn sender(&self, pod: bool) -> Option<String> {
        let says = match (self.chain.trim_end_matches(['4', '6']), pod) {
            ("cluster_ip" | "cluster_ip_local", true) => "the sender is a pod: it keeps its address",
            ("cluster_ip" | "cluster_ip_local", false) => "the sender is no pod: it is masqueraded",
            ("external_local", true) => "the sender is a pod: all endpoints, and it keeps its address",
            ("external_local", false) => "the sender is no pod",
            ("invalid", true) => "the sender is a pod",
            _ => return None,
        };
        Some(says.to_owned())
    }

    fn service(&self, held: u32) -> String {
        let Some(id) = ServiceId::of(held) else { return format!("a word of nobody's, {held:#x}") };
        (self.question.names)(id).unwrap_or_else(|| format!("Service number {}", id.0))
    }

    fn frontend(&self, held: u32) -> String {
        let has = |bit: u32| held & bit != 0;
        let way = if has(bits::F_CLUSTER_IP) { "a cluster IP" } else { "an external way in" };
        let mut out = format!("{way} of {}", self.service(held));
        let local = if has(bits::F_LOCAL) { "Local" } else { "Cluster" };
        out.push_str(&format!(", traffic policy {local}"));
        if has(bits::F_MASQUERADE) {
            out.push_str(", every source is masqueraded");
        }
        if has(bits::F_RANGES) {
            out.push_str(", with source ranges");
        }
        out
    }

    fn choice(&self, held: u32) -> String {
        let local = held & bits::W_LOCAL != 0;
        let head = (held & bits::SET).to_ne_bytes();
        let slots = self.question.state.get(&SetName::Slots);
        let count = slots.map_or(0, |slots| {
            slots
                .range::<[u8], _>((Bound::Included(&head[..]), Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(&head))
                .count()
        });
        let on = if local { " on this node" } else { "" };
        let mut out = match (held & bits::W_PICK, count) {
            (bits::PICK_REFUSE, _) => format!("{} has no endpoint{on}", self.service(held)),
            (bits::PICK_DROP, _) => format!("{} has endpoints, but none{on}", self.service(held)),
            (_, 1) => format!("{} has one endpoint{on}", self.service(held)),
            (_, count) => format!("{} has {count} endpoints{on}", self.service(held)),
        };
        let class = (held & bits::W_TIMEOUT) >> bits::W_TIMEOUT_SHIFT;
        if let Some(seconds) = class.checked_sub(1).and_then(|index| TIMEOUTS.get(index as usize)) {
            out.push_str(&format!("; a client stays with its own for {seconds} seconds"));
        }
        out
    }
}

/// What an element says beside its key.
fn held(set: &Set, element: &[u8], value: &[u8]) -> Option<String> {
    if set.interval {
        let (start, end) = element.split_at_checked(set.key_len())?;
        return Some(format!("{} - {}", text::fields(&set.key, start), text::fields(&set.key, end)));
    }
    match &set.contents {
        Contents::Data(fields) => Some(text::fields(fields, value)),
        _ => None,
    }
}
