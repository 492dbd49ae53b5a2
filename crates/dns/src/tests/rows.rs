//! Rows of the Kubernetes DNS specification over UDP and TCP, sizes, and the ways a question is refused.

use std::collections::BTreeSet;

use domain::base::iana::{Class, Rtype};
use domain::rdata::A;

use super::*;

#[tokio::test]
async fn rows_over_udp_and_tcp() {
    let (handle, server) = serve(vec![]).await;
    handle.publish(zone());
    let soa = "0 SOA ns.dns.cluster.local hostmaster.cluster.local 42 7200 1800 86400 0";
    let rows = [
        ("dns-version", Rtype::TXT, "NOERROR aa | dns-version.cluster.local 5 TXT \"1.1.0\"".to_owned()),
        ("web.ns.svc", Rtype::A, "NOERROR aa | web.ns.svc.cluster.local 5 A 10.96.0.20".into()),
        ("WEB.ns.SVC", Rtype::A, "NOERROR aa | WEB.ns.SVC.cluster.local 5 A 10.96.0.20".into()),
        ("web.ns.svc", Rtype::ANY, "NOERROR aa | web.ns.svc.cluster.local 5 A 10.96.0.20".into()),
        ("six.ns.svc", Rtype::AAAA, "NOERROR aa | six.ns.svc.cluster.local 5 AAAA fd00:96::20".into()),
        ("web.ns.svc", Rtype::AAAA, format!("NOERROR aa / cluster.local {soa}")),
        ("web.ns.svc", Rtype::MX, format!("NOERROR aa / cluster.local {soa}")),
        ("nope.ns.svc", Rtype::A, format!("NXDOMAIN aa / cluster.local {soa}")),
        (
            "_http._tcp.web.ns.svc",
            Rtype::SRV,
            "NOERROR aa | _http._tcp.web.ns.svc.cluster.local 5 SRV 0 100 80 web.ns.svc.cluster.local + \
             web.ns.svc.cluster.local 5 A 10.96.0.20"
                .into(),
        ),
        (
            "in.ns.svc",
            Rtype::A,
            "NOERROR aa | in.ns.svc.cluster.local 5 CNAME web.ns.svc.cluster.local | \
             web.ns.svc.cluster.local 5 A 10.96.0.20"
                .into(),
        ),
        (
            "in.ns.svc",
            Rtype::AAAA,
            format!("NOERROR aa | in.ns.svc.cluster.local 5 CNAME web.ns.svc.cluster.local / cluster.local {soa}"),
        ),
        ("out.ns.svc", Rtype::CNAME, "NOERROR aa | out.ns.svc.cluster.local 5 CNAME www.example.com".into()),
        ("loop.ns.svc", Rtype::A, "SERVFAIL".into()),
        (
            "10-244-0-2.three.ns.svc",
            Rtype::A,
            "NOERROR aa | 10-244-0-2.three.ns.svc.cluster.local 5 A 10.244.0.2".into(),
        ),
    ];
    for (name, rtype, want) in rows {
        let query = query(&format!("{name}.cluster.local"), rtype, Class::IN, None);
        assert_eq!(show(&udp(server, &query).await), want, "{name} {rtype} over UDP");
        assert_eq!(show(&tcp(server, &[query]).await[0]), want, "{name} {rtype} over TCP");
    }
    let rows = [
        ("cluster.local", Rtype::SOA, format!("NOERROR aa | cluster.local {}", soa.replacen('0', "5", 1))),
        (
            "cluster.local",
            Rtype::NS,
            "NOERROR aa | cluster.local 5 NS ns.dns.cluster.local + ns.dns.cluster.local 5 A 10.96.0.10".into(),
        ),
        ("cluster.local", Rtype::A, format!("NOERROR aa / cluster.local {soa}")),
        (
            "20.0.96.10.in-addr.arpa",
            Rtype::PTR,
            "NOERROR aa | 20.0.96.10.in-addr.arpa 5 PTR web.ns.svc.cluster.local".into(),
        ),
        ("99.0.96.10.in-addr.arpa", Rtype::PTR, format!("NXDOMAIN aa / 96.10.in-addr.arpa {soa}")),
    ];
    for (name, rtype, want) in rows {
        assert_eq!(show(&udp(server, &query(name, rtype, Class::IN, Some(1232))).await), want, "{name} {rtype}");
    }
}

#[tokio::test]
async fn no_zone_and_no_resolver_is_servfail() {
    let (handle, server) = serve(vec![]).await;
    let query_in = query("web.ns.svc.cluster.local", Rtype::A, Class::IN, Some(1232));
    assert_eq!(show(&udp(server, &query_in).await), "SERVFAIL");
    handle.publish(zone());
    assert!(show(&udp(server, &query_in).await).starts_with("NOERROR aa |"));
    let answer = udp(server, &query("example.com", Rtype::A, Class::IN, Some(1232))).await;
    assert_eq!(show(&answer), "SERVFAIL");
    let text = String::from_utf8_lossy(answer.as_slice()).into_owned();
    assert!(text.contains("the host has no resolver"), "the extended error says why: {text}");
    assert!(handle.logs().iter().any(|line| line.text.contains("example.com.: the host has no resolver")));
}

#[tokio::test]
async fn refusals() {
    let (handle, server) = serve(vec![]).await;
    handle.publish(zone());
    let name = "web.ns.svc.cluster.local";
    let code = async |query: &[u8]| show(&udp(server, query).await);
    assert_eq!(code(&query("cluster.local", Rtype::AXFR, Class::IN, None)).await, "REFUSED");
    assert_eq!(code(&query("version.bind", Rtype::TXT, Class::CH, None)).await, "REFUSED");
    assert_eq!(code(&query(name, Rtype::A, Class::ANY, None)).await, "REFUSED");
    let mut notify = query(name, Rtype::A, Class::IN, None);
    notify[2] = 4 << 3;
    assert_eq!(code(&notify).await, "NOTIMP");
    let mut two = query(name, Rtype::A, Class::IN, None);
    two[5] = 2;
    assert_eq!(code(&two).await, "FORMERR");
    let mut version = query(name, Rtype::A, Class::IN, Some(1232));
    let at = version.len() - 5;
    version[at] = 1;
    let answer = udp(server, &version).await;
    assert_eq!(answer.opt().unwrap().rcode(answer.header()).to_int(), 16, "BADVERS");
    // A response gets no answer, so that two servers cannot talk to each other for ever; the next query does.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut response = query(name, Rtype::A, Class::IN, None);
    response[0..2].copy_from_slice(&[9, 9]);
    response[2] |= 0x80;
    socket.send_to(&response, server).await.unwrap();
    socket.send_to(&query(name, Rtype::A, Class::IN, None), server).await.unwrap();
    let mut buffer = [0; 512];
    socket.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..2], [0x12, 0x34]);
}

#[tokio::test]
async fn sizes() {
    let (handle, server) = serve(vec![]).await;
    handle.publish(zone());
    for (edns, limit) in [(None, 512), (Some(100), 512), (Some(900), 900), (Some(1232), 1232), (Some(65_000), 1232)] {
        let answer = udp(server, &query("hundred.ns.svc.cluster.local", Rtype::A, Class::IN, edns)).await;
        assert!(answer.header().tc(), "{edns:?}");
        let length = answer.as_slice().len();
        assert!(length <= limit && length > limit - 16, "{edns:?}: {length} bytes");
        assert_eq!(answer.opt().is_some(), edns.is_some());
        show(&answer);
    }
    let all = tcp(server, &[query("hundred.ns.svc.cluster.local", Rtype::A, Class::IN, None)]).await;
    assert!(!all[0].header().tc());
    assert_eq!(all[0].header_counts().ancount(), 100);
}

#[tokio::test]
async fn large_sets_over_tcp_rotate() {
    let (handle, server) = serve(vec![]).await;
    handle.publish(zone());
    // 5,000 records do not fit one message of 65,535 bytes: each answer has as many as fit, and all come in turn.
    let questions = vec![query("many.ns.svc.cluster.local", Rtype::A, Class::IN, None); 3];
    let mut firsts = BTreeSet::new();
    for answer in tcp(server, &questions).await {
        assert!(!answer.header().tc());
        let records: Vec<A> =
            answer.answer().unwrap().limit_to::<A>().map(|record| record.unwrap().into_data()).collect();
        assert!(records.len() > 4000, "{}", records.len());
        assert_eq!(records.iter().map(|a| a.addr()).collect::<BTreeSet<_>>().len(), records.len());
        firsts.insert(records[0].addr());
    }
    assert_eq!(firsts.len(), 3);
    let located = &tcp(server, &[query("_http._tcp.many.ns.svc.cluster.local", Rtype::SRV, Class::IN, None)]).await[0];
    assert!(located.header_counts().ancount() > 900);
    show(located);
}
