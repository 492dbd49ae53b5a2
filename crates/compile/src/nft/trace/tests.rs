//! Each way in which a packet can end is told with the element that decided.

use serde_json::json;

use super::*;
use crate::nft::state::SetName;
use crate::nft::words::{Policy, bytes};

fn state() -> State {
    let id = ServiceId(7);
    let mut state = State::new();
    let mut put = |set: SetName, key: &[u8], value: &[u8]| {
        state.entry(set).or_default().insert(key.into(), value.into());
    };
    put(SetName::Pods4, &[10, 244, 0, 0, 10, 245, 0, 0], &[]);
    put(SetName::ServiceCidrs4, &[10, 96, 0, 0, 10, 97, 0, 0], &[]);
    let policy = Policy { cluster_ip: true, ..Policy::default() };
    put(SetName::Front4, &[10, 96, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0], &bytes(id.frontend(policy)));
    put(SetName::SetCluster, &bytes(id.word()), &bytes(id.choice(false, 0, 3)));
    for (slot, last) in [(0_u32, 2_u8), (1, 3)] {
        let endpoint = bytes(id.endpoint(slot as u16 + 1));
        put(SetName::Slots, &[id.set(false).to_ne_bytes(), slot.to_ne_bytes()].concat(), &endpoint);
        put(SetName::CtIds, &endpoint, &bytes(0x40_0000 | slot));
        put(SetName::Ep4, &endpoint, &[10, 244, 0, last, 0x1f, 0x90, 0, 0]);
    }
    put(SetName::Hairpin4, &[10, 244, 0, 2, 10, 244, 0, 2], &[]);
    state
}

fn follow(source: &str, destination: &str, port: u16) -> Trace {
    let (rules, state, memory) = (Interpreter::default(), state(), Memory::default());
    let names = |id: ServiceId| (id.0 == 7).then(|| "shop/web:http".to_owned());
    let question = Question { rules: &rules, state: &state, memory: &memory, host: &[], names: &names };
    let packet = Packet {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: Protocol::Tcp,
        port,
        source_is_host: false,
    };
    trace(&question, &packet, Circumstances::default())
}

fn step<'a>(trace: &'a Trace, set: &str) -> &'a Step {
    trace.steps.iter().find(|step| step.set.as_deref() == Some(set)).unwrap()
}

#[test]
fn a_translated_packet_is_told_from_frontend_to_endpoint() {
    let trace = follow("10.244.0.9", "10.96.0.1", 80);
    assert_eq!(trace.verdict(), "translated");
    assert_eq!(step(&trace, "front4").says, "a cluster IP of shop/web:http, traffic policy Cluster");
    assert_eq!(step(&trace, "front4").key.as_deref(), Some("10.96.0.1 . tcp . 80"));
    assert_eq!(step(&trace, "pods4").says, "the sender is a pod: it keeps its address");
    assert_eq!(step(&trace, "pods4").found.as_deref(), Some("10.244.0.0 - 10.245.0.0"));
    assert_eq!(step(&trace, "set_cluster").says, "shop/web:http has 2 endpoints");
    assert!(step(&trace, "slots").says.starts_with("one of 2, at random"));
    let json = trace.to_json();
    assert_eq!(
        json["endpoints"],
        json!([
            { "address": "10.244.0.2", "port": 8080, "masqueraded": false },
            { "address": "10.244.0.3", "port": 8080, "masqueraded": false },
        ])
    );
    assert!(trace.text().contains("10.244.0.3:8080 sees the sender's own address"), "{}", trace.text());
}

#[test]
fn masquerade_is_told_with_its_reason() {
    let outside = follow("203.0.113.7", "10.96.0.1", 80);
    assert_eq!(step(&outside, "pods4").says, "the sender is no pod: it is masqueraded");
    let itself = follow("10.244.0.2", "10.96.0.1", 80);
    assert_eq!(step(&itself, "hairpin4").says, "the endpoint is the sender itself");
    let masqueraded = |verdict: &&Verdict| matches!(verdict, Verdict::Translate { masquerade: true, .. });
    assert_eq!(itself.verdicts.iter().filter(masqueraded).count(), 1);
}

#[test]
fn what_is_refused_or_none_of_our_business_names_the_range() {
    let refused = follow("10.244.0.9", "10.96.0.1", 81);
    assert_eq!(refused.verdict(), "refused");
    assert_eq!(step(&refused, "front4").says, "no Service has this address and port");
    assert_eq!(step(&refused, "service_cidrs4").found.as_deref(), Some("10.96.0.0 - 10.97.0.0"));
    assert_eq!(refused.why, "an address of Services that nobody has with this port");
    let passed = follow("10.244.0.9", "192.0.2.1", 80);
    assert_eq!(passed.verdict(), "passed");
    assert!(passed.why.contains("none of our business"), "{}", passed.why);
}
