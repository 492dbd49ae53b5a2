//! Specs laid over a valid Service in, the whole list of errors out.

use super::*;

fn errors(new: &Value) -> Vec<String> {
    texts(new, None, Target::Main)
}

/// Each case: what is laid over the valid Service, and every error it must give.
fn check(base: fn(Value) -> Value, table: &[(Value, &[&str])]) {
    for (spec, expected) in table {
        assert_eq!(errors(&base(spec.clone())), *expected, "{spec}");
    }
}

#[test]
fn valid_services_have_no_errors() {
    let table = [
        service(json!({})),
        balanced(json!({})),
        external_name(json!({})),
        external_name(json!({ "externalName": "a.b." })),
        external_name(json!({ "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080 }] })),
        service(json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": null })),
        service(
            json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 8080 }] }),
        ),
        service(
            json!({ "clusterIPs": ["10.96.0.10", "fd00::a"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack" }),
        ),
        balanced(
            json!({ "loadBalancerSourceRanges": [" 10.0.0.0/8 "], "loadBalancerClass": "a.b/c", "loadBalancerIP": "not checked" }),
        ),
        balanced(json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": 30999 })),
        service(json!({ "ports": [
            { "name": "dns", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp", "appProtocol": "kubernetes.io/h2c" },
            { "name": "dns-udp", "port": 53, "protocol": "UDP", "targetPort": 1 } ] })),
        service(json!({ "trafficDistribution": "PreferSameNode", "internalTrafficPolicy": "Local" })),
    ];
    for service in table {
        assert_eq!(errors(&service), Vec::<String>::new(), "{service}");
    }
}

#[test]
fn types_and_names() {
    let forbidden = "may not be set for ExternalName services";
    check(
        service,
        &[
            (
                json!({ "type": "Foo", "internalTrafficPolicy": null }),
                &[
                    "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
                ],
            ),
            (
                json!({ "type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"], "externalTrafficPolicy": "Cluster" }),
                &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
            ),
            (
                json!({ "sessionAffinity": "Foo" }),
                &["spec.sessionAffinity: Unsupported value: \"Foo\": supported values: \"ClientIP\", \"None\""],
            ),
            (
                json!({ "internalTrafficPolicy": "Foo" }),
                &["spec.internalTrafficPolicy: Unsupported value: \"Foo\": supported values: \"Cluster\", \"Local\""],
            ),
            (json!({ "internalTrafficPolicy": null }), &["spec.internalTrafficPolicy: Required value"]),
            (
                json!({ "trafficDistribution": "Foo" }),
                &[
                    "spec.trafficDistribution: Unsupported value: \"Foo\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
                ],
            ),
            (
                json!({ "selector": { "a": "-" } }),
                &[
                    "spec.selector: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ],
            ),
        ],
    );
    check(
        external_name,
        &[
            (json!({ "externalName": "" }), &["spec.externalName: Required value"]),
            (json!({ "externalName": "." }), &["spec.externalName: Required value"]),
            (
                json!({ "clusterIPs": ["10.96.0.1"], "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack" }),
                &[
                    &format!("spec.clusterIPs: Forbidden: {forbidden}"),
                    &format!("spec.ipFamilies: Forbidden: {forbidden}"),
                    &format!("spec.ipFamilyPolicy: Forbidden: {forbidden}"),
                ],
            ),
        ],
    );
    assert_eq!(errors(&external_name(json!({ "externalName": "a_b" }))).len(), 1);
}

#[test]
fn ports() {
    let port = |over: Value| json!([merged(json!({ "port": 80, "protocol": "TCP", "targetPort": 80 }), over)]);
    let range = "must be between 1 and 65535, inclusive";
    check(
        service,
        &[
            (json!({ "ports": null }), &["spec.ports: Required value"]),
            (json!({ "ports": [] }), &["spec.ports: Required value"]),
            (
                json!({ "ports": port(json!({ "port": 0 })) }),
                &[&format!("spec.ports[0].port: Invalid value: 0: {range}")],
            ),
            (
                json!({ "ports": port(json!({ "port": 65536 })) }),
                &[&format!("spec.ports[0].port: Invalid value: 65536: {range}")],
            ),
            (
                json!({ "ports": port(json!({ "targetPort": 65536 })) }),
                &[&format!("spec.ports[0].targetPort: Invalid value: 65536: {range}")],
            ),
            (
                json!({ "ports": port(json!({ "targetPort": "a--b" })) }),
                &["spec.ports[0].targetPort: Invalid value: \"a--b\": must not contain consecutive hyphens"],
            ),
            (
                json!({ "ports": port(json!({ "protocol": "ICMP" })) }),
                &["spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""],
            ),
            (
                json!({ "ports": port(json!({ "nodePort": 30000 })) }),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (
                json!({ "ports": port(json!({ "name": "a.b" })) }),
                &["spec.ports[0].name: Invalid value: \"a.b\": must not contain dots"],
            ),
            (
                json!({ "ports": [
            { "port": 1, "protocol": "TCP", "targetPort": 1 },
            { "name": "b", "port": 2, "protocol": "TCP", "targetPort": 2 },
            { "name": "b", "port": 3, "protocol": "TCP", "targetPort": 3 } ] }),
                &["spec.ports[0].name: Required value", "spec.ports[2].name: Duplicate value: \"b\""],
            ),
            (
                json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [
            { "port": 1, "protocol": "TCP", "targetPort": 1 }, { "port": 2, "protocol": "TCP", "targetPort": 2 } ] }),
                &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
            ),
            (
                json!({ "ports": [
            { "name": "a", "port": 1, "protocol": "TCP", "targetPort": 1 },
            { "name": "b", "port": 1, "protocol": "TCP", "targetPort": 2 } ] }),
                &[
                    "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":1,\"TargetPort\":0,\"NodePort\":0}",
                ],
            ),
        ],
    );
    check(
        balanced,
        &[(
            json!({ "ports": [
        { "name": "a", "port": 1, "protocol": "TCP", "targetPort": 1, "nodePort": 30000 },
        { "name": "b", "port": 2, "protocol": "UDP", "targetPort": 2, "nodePort": 30000 },
        { "name": "c", "port": 3, "protocol": "TCP", "targetPort": 3, "nodePort": 30000 } ] }),
            &["spec.ports[2].nodePort: Duplicate value: 30000"],
        )],
    );
    assert_eq!(errors(&service(json!({ "ports": port(json!({ "appProtocol": "a b" })) }))).len(), 1);
}

#[test]
fn linked_address_fields() {
    check(
        service,
        &[
            (json!({ "clusterIP": null, "clusterIPs": null }), &[]),
            (json!({ "clusterIPs": null }), &["spec.clusterIPs: Required value"]),
            (
                json!({ "clusterIP": null }),
                &["spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: must be empty when `clusterIP` is not specified"],
            ),
            (
                json!({ "clusterIP": "10.96.0.11" }),
                &["spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: first value must match `clusterIP`"],
            ),
            (
                json!({ "clusterIPs": ["10.96.0.10", "10.96.0.11"] }),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.96.0.10\",\"10.96.0.11\"]: may specify no more than one IP for each IP family",
                ],
            ),
            (
                json!({ "clusterIPs": ["10.96.0.10", "fd00::1", "fd00::2"] }),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.96.0.10\",\"fd00::1\",\"fd00::2\"]: may only hold up to 2 values",
                ],
            ),
            (
                json!({ "clusterIP": "None", "clusterIPs": ["None", "10.96.0.10"] }),
                &["spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.10\"]: 'None' must be the first and only value"],
            ),
            (
                json!({ "clusterIPs": ["10.96.0.10", "None"] }),
                &[
                    "spec.clusterIPs[1]: Invalid value: \"None\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                json!({ "clusterIP": "010.0.0.1", "clusterIPs": ["010.0.0.1"] }),
                &["spec.clusterIPs[0]: Invalid value: \"010.0.0.1\": must not have leading 0s"],
            ),
            (
                json!({ "ipFamilies": ["IPv6"] }),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"10.96.0.10\": expected an IPv6 value as indicated by `ipFamilies[0]`",
                ],
            ),
            (
                json!({ "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"] }),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"fd00::1\": expected an IPv4 value as indicated by `ipFamilies[0]`",
                ],
            ),
            (
                json!({ "ipFamilies": ["IPv5"] }),
                &["spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\""],
            ),
            (json!({ "ipFamilies": ["IPv4", "IPv4"] }), &["spec.ipFamilies[1]: Duplicate value: \"IPv4\""]),
            (
                json!({ "ipFamilyPolicy": "Foo" }),
                &[
                    "spec.ipFamilyPolicy: Unsupported value: \"Foo\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
                ],
            ),
        ],
    );
}

#[test]
fn mapped_and_stored_addresses() {
    let mapped = service(json!({ "clusterIP": "::ffff:1.2.3.4", "clusterIPs": ["::ffff:1.2.3.4"] }));
    assert_eq!(
        errors(&mapped),
        ["spec.clusterIPs[0]: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address"]
    );
    let stored = service(json!({ "clusterIP": "010.0.0.1", "clusterIPs": ["010.0.0.1"] }));
    assert_eq!(texts(&stored, Some(&stored), Target::Main), Vec::<String>::new(), "stored values are exempt");
}

#[test]
fn outside_access() {
    let only = "Forbidden: may only be used when `type` is 'LoadBalancer'";
    check(
        service,
        &[
            (
                json!({ "externalIPs": ["127.0.0.1"], "externalTrafficPolicy": "Cluster" }),
                &[
                    "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ],
            ),
            (
                json!({ "externalIPs": ["0.0.0.0"], "externalTrafficPolicy": "Cluster" }),
                &["spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)"],
            ),
            (
                json!({ "externalIPs": ["x"], "externalTrafficPolicy": "Cluster" }),
                &[
                    "spec.externalIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                json!({ "externalTrafficPolicy": "Local" }),
                &[
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (
                json!({ "loadBalancerSourceRanges": ["10.0.0.0/8"] }),
                &[&format!("spec.LoadBalancerSourceRanges: {only}")],
            ),
            (json!({ "loadBalancerClass": "a/b" }), &[&format!("spec.loadBalancerClass: {only}")]),
            (
                json!({ "allocateLoadBalancerNodePorts": true }),
                &[&format!("spec.allocateLoadBalancerNodePorts: {only}")],
            ),
            (
                json!({ "healthCheckNodePort": 30000 }),
                &[
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
        ],
    );
    check(
        balanced,
        &[
            (json!({ "externalTrafficPolicy": null }), &["spec.externalTrafficPolicy: Required value"]),
            (
                json!({ "externalTrafficPolicy": "Foo" }),
                &["spec.externalTrafficPolicy: Unsupported value: \"Foo\": supported values: \"Cluster\", \"Local\""],
            ),
            (json!({ "externalTrafficPolicy": "Local" }), &["spec.healthCheckNodePort: Required value"]),
            (json!({ "allocateLoadBalancerNodePorts": null }), &["allocateLoadBalancerNodePorts: Required value"]),
            (
                json!({ "loadBalancerSourceRanges": ["10.0.0.1/8", "x"] }),
                &[
                    "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
                    "spec.LoadBalancerSourceRanges[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
        ],
    );
}

#[test]
fn source_ranges_by_annotation() {
    let ranges = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let only = "Forbidden: may only be used when `type` is 'LoadBalancer'";
    let annotated =
        |service: Value, value: &str| merged(service, json!({ "metadata": { "annotations": { ranges: value } } }));
    assert_eq!(errors(&annotated(balanced(json!({})), "10.0.0.0/8, 11.0.0.0/8")), Vec::<String>::new());
    assert_eq!(errors(&annotated(balanced(json!({})), "10.0.0.0/8,x")).len(), 1);
    assert_eq!(
        errors(&annotated(service(json!({})), "10.0.0.0/8")),
        [format!("metadata.annotations[{ranges}]: {only}")]
    );
    assert_eq!(errors(&balanced(json!({ "loadBalancerClass": "a b" }))).len(), 1);
}

#[test]
fn affinity_and_topology() {
    let timeout = |seconds: i64| json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } } });
    for (seconds, good) in [(0, false), (1, true), (86_400, true), (86_401, false)] {
        let found = errors(&service(timeout(seconds)));
        let text = format!(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: {seconds}: must be greater than 0 and less than 86400"
        );
        assert_eq!(found, if good { vec![] } else { vec![text] });
    }
    let both = |mode: &str| {
        let annotations = json!({ "service.kubernetes.io/topology-mode": mode, "service.kubernetes.io/topology-aware-hints": "auto" });
        errors(&merged(service(json!({})), json!({ "metadata": { "annotations": annotations } })))
    };
    assert_eq!(both("auto"), Vec::<String>::new());
    assert_eq!(
        both("disabled"),
        [
            "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"disabled\": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified"
        ]
    );
}

#[test]
fn load_balancer_status() {
    let with = |service: Value, ingress: Value| {
        let new = merged(service, json!({ "status": { "loadBalancer": { "ingress": [ingress] } } }));
        texts(&new, None, Target::Status)
    };
    let field = "status.loadBalancer.ingress";
    assert_eq!(with(balanced(json!({})), json!({ "ip": "1.2.3.4", "ipMode": "VIP" })), Vec::<String>::new());
    assert_eq!(
        with(service(json!({})), json!({ "ip": "1.2.3.4" })),
        [format!("{field}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'")]
    );
    assert_eq!(
        with(balanced(json!({})), json!({ "ip": "1.2.3.4" })),
        [format!("{field}[0].ipMode: Required value: must be specified when `ip` is set")]
    );
    assert_eq!(
        with(balanced(json!({})), json!({ "hostname": "a.b", "ipMode": "VIP" })),
        [format!("{field}[0].ipMode: Forbidden: may not be specified when `ip` is not set")]
    );
    assert_eq!(
        with(balanced(json!({})), json!({ "ip": "x", "ipMode": "Foo", "hostname": "1.2.3.4" })),
        [
            format!(
                "{field}[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            ),
            format!("{field}[0].ipMode: Unsupported value: \"Foo\": supported values: \"Proxy\", \"VIP\""),
            format!("{field}[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"),
        ]
    );
}
