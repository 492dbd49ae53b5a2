//! `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname` and `/etc/nsswitch.conf` of a Pod: its spec in, texts out. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// Most name servers that resolvers read.
const NAMESERVERS: usize = 3;
/// Most search domains that Kubernetes passes on.
const SEARCHES: usize = 32;

/// What names depend on beside the Pod.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Addresses of the cluster's DNS.
    pub dns: Vec<IpAddr>,
    /// Cluster domain, for example `cluster.local`.
    pub domain: String,
    /// The host's resolver file, for `dnsPolicy: Default`.
    pub host_resolv: String,
}

/// Host name of a Pod: at most 63 bytes.
pub fn hostname(pod: &Pod) -> String {
    let name = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = name.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// Every file by its path.
pub fn files(pod: &Pod, addresses: &[IpAddr], names: &Names) -> Vec<(&'static str, String)> {
    vec![
        ("/etc/resolv.conf", resolv_conf(pod, names)),
        ("/etc/hosts", hosts(pod, addresses, names)),
        ("/etc/hostname", format!("{}\n", hostname(pod))),
        // Only files and DNS: no name service of the host answers for cluster names.
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n".to_owned(),
        ),
    ]
}

fn lines_of<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().filter_map(move |line| line.trim().strip_prefix(keyword));
    lines.filter(|rest| rest.starts_with([' ', '\t'])).flat_map(str::split_whitespace)
}

fn resolv_conf(pod: &Pod, names: &Names) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    let owned = |values: &mut dyn Iterator<Item = &str>| values.map(str::to_owned).collect::<Vec<_>>();
    let host = &names.host_resolv;
    let host_searches = owned(&mut lines_of(host, "search"));
    let policy = match spec.dns_policy.as_deref() {
        Some("ClusterFirst") | None if spec.host_network == Some(true) => "Default",
        Some(policy) => policy,
        None => "ClusterFirst",
    };
    let (mut servers, mut searches, mut options) = match policy {
        "None" => (Vec::new(), Vec::new(), Vec::new()),
        "Default" => (owned(&mut lines_of(host, "nameserver")), host_searches, owned(&mut lines_of(host, "options"))),
        _ => {
            let (namespace, domain) = (pod.metadata.namespace.as_deref().unwrap_or("default"), &names.domain);
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(host_searches);
            (names.dns.iter().map(ToString::to_string).collect(), searches, vec!["ndots:5".to_owned()])
        }
    };
    if let Some(config) = &spec.dns_config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            options.retain(|known| known.split(':').next() != Some(name));
            options.push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
        }
    }
    let unique = |values: Vec<String>, most: usize| {
        let mut seen: Vec<String> = Vec::new();
        for value in values {
            if !seen.contains(&value) && seen.len() < most {
                seen.push(value);
            }
        }
        seen
    };
    let mut text = String::new();
    for server in unique(servers, NAMESERVERS) {
        text += &format!("nameserver {server}\n");
    }
    for (keyword, values) in [("search", unique(searches, SEARCHES)), ("options", options)] {
        if !values.is_empty() {
            text += &format!("{keyword} {}\n", values.join(" "));
        }
    }
    text
}

fn hosts(pod: &Pod, addresses: &[IpAddr], names: &Names) -> String {
    let mut text = "# Written by Mainstay for this pod.\n127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n"
        .to_owned();
    let spec = pod.spec.as_ref();
    let name = hostname(pod);
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|subdomain| !subdomain.is_empty());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    for address in addresses {
        match subdomain {
            Some(subdomain) => {
                text += &format!("{address}\t{name}.{subdomain}.{namespace}.svc.{}\t{name}\n", names.domain);
            }
            None => text += &format!("{address}\t{name}\n"),
        }
    }
    for alias in spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten()) {
        text +=
            &format!("{}\t{}\n", alias.ip, alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolv(spec: serde_json::Value) -> String {
        let pod = serde_json::json!({ "metadata": { "name": "p", "namespace": "perf" }, "spec": spec });
        let names = Names {
            dns: vec!["10.96.0.10".parse().unwrap()],
            domain: "cluster.local".into(),
            host_resolv: "# c\nnameserver 1.1.1.1\nsearch corp.example\noptions edns0\n".into(),
        };
        resolv_conf(&serde_json::from_value(pod).unwrap(), &names)
    }

    #[test]
    fn cluster_first_searches_the_namespace_then_the_host() {
        assert_eq!(
            resolv(serde_json::json!({ "containers": [] })),
            "nameserver 10.96.0.10\nsearch perf.svc.cluster.local svc.cluster.local cluster.local corp.example\noptions ndots:5\n"
        );
    }

    #[test]
    fn host_network_and_default_use_the_host_resolver() {
        let host = "nameserver 1.1.1.1\nsearch corp.example\noptions edns0\n";
        assert_eq!(resolv(serde_json::json!({ "containers": [], "hostNetwork": true })), host);
        assert_eq!(resolv(serde_json::json!({ "containers": [], "dnsPolicy": "Default" })), host);
        let with = serde_json::json!({ "containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet" });
        assert!(resolv(with).starts_with("nameserver 10.96.0.10\n"));
    }

    #[test]
    fn dns_config_alone_and_merged() {
        let config = serde_json::json!({ "nameservers": ["9.9.9.9"], "searches": ["a.example"], "options": [
            { "name": "ndots", "value": "2" }, { "name": "edns0" },
        ] });
        assert_eq!(
            resolv(serde_json::json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": config })),
            "nameserver 9.9.9.9\nsearch a.example\noptions ndots:2 edns0\n"
        );
        let merged = resolv(serde_json::json!({ "containers": [], "dnsConfig": config }));
        assert!(merged.starts_with("nameserver 10.96.0.10\nnameserver 9.9.9.9\n"), "{merged}");
        assert!(merged.ends_with("corp.example a.example\noptions ndots:2 edns0\n"), "{merged}");
    }
}
