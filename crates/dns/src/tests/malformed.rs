//! Any bytes: never a panic, and every answer is a DNS message that another library reads.

use proptest::prelude::*;

use super::*;
use crate::answer::{Next, answer};

fn check(packet: &[u8], tcp: bool) {
    let zone = ZONE.get_or_init(zone);
    let mut out = Vec::new();
    match answer(Some(zone), packet, tcp, 3, &mut out) {
        Next::Drop => assert!(packet.len() < 12 || packet[2] & 0x80 != 0, "only what is no query is dropped"),
        Next::Forward(pending) => assert!(pending.key.len() >= 5),
        Next::Send => {
            assert!(tcp || out.len() <= crate::limits::UDP_ANSWER);
            assert_eq!(out[..2], packet[..2]);
            show(&Message::from_octets(out).unwrap());
        }
    }
}

static ZONE: std::sync::OnceLock<Arc<Zone>> = std::sync::OnceLock::new();

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..300), tcp in any::<bool>()) {
        check(&packet, tcp);
    }

    #[test]
    fn damaged_queries(
        which in 0..6_usize,
        rtype in prop_oneof![Just(1_u16), Just(28), Just(33), Just(12), Just(255), any::<u16>()],
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        tcp in any::<bool>(),
    ) {
        let names = ["web.ns.svc.cluster.local", "_http._tcp.hundred.ns.svc.cluster.local", "20.0.96.10.in-addr.arpa",
            "in.ns.svc.cluster.local", "example.com", "cluster.local"];
        let mut packet = query(names[which], Rtype::from_int(rtype), Class::IN, Some(1232));
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        check(&packet, tcp);
    }

    #[test]
    fn any_upstream_answer(mut message in proptest::collection::vec(any::<u8>(), 0..300), shaped in any::<bool>()) {
        let packet = query("example.com", Rtype::A, Class::IN, None);
        let question = &packet[12..];
        if shaped && message.len() > 12 {
            message[..2].copy_from_slice(&[1, 2]);
            message[2] = 0x81;
            message[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 1, 0, 1]);
            message.splice(12..12, question.iter().copied());
        }
        if let Some(answer) = crate::wire::records::Upstream::parse(message, 0x0102, question) {
            answer.answers();
        }
    }
}
