//! Random histories of creates, updates and deletes: no address or port is ever given twice, and what is taken is what is stored.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Create { name: u8, spec: Value },
    Update { name: u8, changes: Value },
    Delete { name: u8 },
}

fn members() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]);
    let policy = prop::sample::select(vec!["", "SingleStack", "PreferDualStack", "RequireDualStack"]);
    let ip = prop::sample::select(vec!["", "", "", "None", "10.96.0.3", "10.96.0.4", "10.96.0.99", "fd00::3"]);
    let ports = prop::collection::vec((1u8..4, prop::bool::ANY, 0u16..6), 1..4);
    (kind, policy, ip, ports, prop::bool::ANY, prop::bool::ANY).prop_map(|(kind, policy, ip, ports, local, selector)| {
        let port = |(i, (port, udp, node)): (usize, (u8, bool, u16))| {
            let node = if node > 2 { 30000 + node } else { 0 };
            json!({ "name": format!("p{i}"), "port": port, "protocol": if udp { "UDP" } else { "TCP" }, "nodePort": node })
        };
        let ports: Vec<_> = ports.into_iter().enumerate().map(port).collect();
        let mut members = json!({ "type": kind, "ports": ports, "clusterIP": ip, "externalName": "a.b" });
        if !policy.is_empty() {
            members["ipFamilyPolicy"] = policy.into();
        }
        if local && kind == "LoadBalancer" {
            members["externalTrafficPolicy"] = "Local".into();
        }
        if selector {
            members["selector"] = json!({ "a": "b" });
        }
        members
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6, members()).prop_map(|(name, spec)| Step::Create { name, spec }),
        4 => (0u8..6, members()).prop_map(|(name, changes)| Step::Update { name, changes }),
        1 => (0u8..6).prop_map(|name| Step::Delete { name }),
    ]
}

/// What the stored Services hold, by asking each of them; fails if two hold the same.
fn audit(stored: &BTreeMap<u8, Value>, taken: &Taken) {
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for service in stored.values() {
        let kind = service["spec"]["type"].as_str().unwrap();
        for ip in ips(service).into_iter().filter(|ip| *ip != "None") {
            assert_ne!(kind, "ExternalName");
            assert!(addresses.insert(ip), "{ip} is given twice");
            assert!(taken.has(ip.parse().unwrap()), "{ip} is stored and not taken");
        }
        let mut own: BTreeSet<_> = BTreeSet::new();
        if matches!(kind, "NodePort" | "LoadBalancer") {
            own.extend(node_ports(service));
        }
        own.extend(service["spec"]["healthCheckNodePort"].as_i64());
        for port in own.into_iter().filter(|port| *port != 0) {
            assert!(ports.insert(port), "{port} is given twice");
            assert!(taken.port(port as u16).is_some(), "{port} is stored and not taken");
        }
    }
    assert_eq!(taken.counts(), (addresses.len(), ports.len()), "nothing is taken that nobody has");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_given_twice(steps in prop::collection::vec(step(), 1..40), seed in any::<u64>()) {
        let mut cluster = cluster(&["10.96.0.0/29", "fd00::/125"], 30000..=30008);
        cluster.seed = seed;
        let mut stored: BTreeMap<u8, Value> = BTreeMap::new();
        for step in steps {
            let before = cluster.taken.clone();
            let result = match step {
                Step::Create { name, spec } if !stored.contains_key(&name) => Some((name, cluster.create(&format!("s{name}"), spec))),
                Step::Update { name, changes } => stored.get(&name).cloned().map(|old| (name, cluster.patch(&old, changes))),
                Step::Delete { name } => {
                    if let Some(old) = stored.remove(&name) {
                        cluster.taken.remove(&old);
                    }
                    None
                }
                Step::Create { .. } => None,
            };
            match result {
                Some((name, Ok(service))) => {
                    stored.insert(name, service);
                }
                Some((_, Err(status))) => {
                    prop_assert!(matches!(status.code, 422 | 500), "{}", status);
                    prop_assert_eq!(&cluster.taken, &before, "a refused write takes nothing");
                }
                None => {}
            }
            audit(&stored, &cluster.taken);
        }
        // A restart rebuilds the same from what is stored.
        let mut rebuilt = Taken::default();
        stored.values().for_each(|service| rebuilt.add(service));
        prop_assert_eq!(rebuilt, cluster.taken);
    }
}
