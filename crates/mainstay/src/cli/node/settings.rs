//! The flags of `mainstay node` in, settings that can be used out, or which flag cannot and what to type instead.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, anyhow, bail};
use compile::allocate::Cidr;
use compile::service_table::{Interface, LocalPods, MarkBit};
use controller::remote::Target;
use serde_json::json;

use super::flags::{DetectLocal, Flags, ProxyMode};
use crate::cli::duration;
use crate::run::NodeName;
use crate::run::node_role::{Detect, Settings, conntrack};

/// Checks every flag.
pub(super) fn of(flags: &Flags) -> Result<Settings> {
    if flags.proxy_mode != ProxyMode::Nftables {
        bail!(
            "--proxy-mode: Mainstay programs nftables only.\nLeave the flag out; every Service works alike, and rules of \
             kube-proxy's other modes are removed with --take-over"
        );
    }
    let node = name(flags)?;
    let agent = format!("mainstay-node/{} ({node})", env!("CARGO_PKG_VERSION"));
    let target = Target { kubeconfig: flags.kubeconfig.clone(), master: flags.master.clone(), user_agent: agent };
    let mark = MarkBit::new(flags.conntrack_mark_bit).map_err(|error| anyhow!("--conntrack-mark-bit: {error}"))?;
    let node_ports = flags.nodeport_addresses.parse().map_err(|error| anyhow!("--nodeport-addresses: {error}"))?;
    let bind: IpAddr = flags.bind_address.parse().with_context(|| {
        format!("--bind-address {:?} is not an address.\nFor example: --bind-address 192.0.2.1", flags.bind_address)
    })?;
    if flags.sync_period.is_zero() {
        bail!("--sync-period must be more than nothing.\nLeave it out for 30s");
    }
    Ok(Settings {
        target,
        detect: detect(flags)?,
        masquerade_all: flags.masquerade_all,
        mark,
        proxy_name: flags.service_proxy_name.clone(),
        node_ports,
        bind,
        healthz: listen("--healthz-bind-address", &flags.healthz_bind_address, 10256)?,
        metrics: listen("--metrics-bind-address", &flags.metrics_bind_address, 10249)?,
        bind_hard: flags.bind_address_hard_fail,
        late: flags.sync_period * 2,
        conntrack: conntrack::Wanted {
            max_per_core: flags.conntrack_max_per_core,
            min: flags.conntrack_min,
            established: flags.conntrack_tcp_timeout_established,
            close_wait: flags.conntrack_tcp_timeout_close_wait,
            liberal: flags.conntrack_tcp_be_liberal,
            udp: flags.conntrack_udp_timeout,
            udp_stream: flags.conntrack_udp_timeout_stream,
        },
        take_over: flags.take_over,
        shown: shown(flags, &node),
        node,
    })
}

/// As kube-proxy: small letters, no blanks around.
fn name(flags: &Flags) -> Result<String> {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = flags.hostname_override.clone().unwrap_or_else(host).trim().to_ascii_lowercase();
    NodeName::check(&name).with_context(|| "--hostname-override: use a name that kubectl get nodes shows")?;
    Ok(name)
}

fn detect(flags: &Flags) -> Result<Detect> {
    let interface = |flag: &str, given: &Option<String>, make: fn(&str) -> Result<Interface, _>| -> Result<Detect> {
        let mode = flags.detect_local_mode;
        let Some(name) = given.as_deref().filter(|name| !name.is_empty()) else {
            bail!("--detect-local-mode={mode:?} needs {flag}.\nName it: {flag} NAME");
        };
        let interface: Interface =
            make(name).map_err(|error: compile::service_table::BadInterface| anyhow!("{flag}: {error}"))?;
        Ok(Detect::Known(LocalPods::Interfaces(vec![interface]), Vec::new()))
    };
    match flags.detect_local_mode {
        DetectLocal::NodeCidr => Ok(Detect::NodeRanges),
        DetectLocal::BridgeInterface => {
            interface("--pod-bridge-interface", &flags.pod_bridge_interface, Interface::named)
        }
        DetectLocal::InterfaceNamePrefix => {
            interface("--pod-interface-name-prefix", &flags.pod_interface_name_prefix, Interface::starting_with)
        }
        DetectLocal::ClusterCidr => {
            let text = flags.cluster_cidr.as_deref().unwrap_or_default();
            let range = |part: &str| {
                Cidr::around(part.trim()).with_context(|| {
                    format!("--cluster-cidr: {part:?} is not a range.\nFor example: --cluster-cidr 10.244.0.0/16")
                })
            };
            let ranges = text.split(',').filter(|part| !part.is_empty()).map(range).collect::<Result<Vec<_>>>()?;
            let pods = if ranges.is_empty() { LocalPods::Nobody } else { LocalPods::Ranges };
            Ok(Detect::Known(pods, ranges))
        }
    }
}

/// An address with or without a port; none for nothing.
fn listen(flag: &str, text: &str, port: u16) -> Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let whole = text.parse::<SocketAddr>().ok();
    let alone = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port));
    match whole.or_else(alone) {
        Some(address) => Ok(Some(address)),
        None => bail!("{flag} {text:?} is not an address with a port.\nFor example: {flag} 0.0.0.0:{port}"),
    }
}

/// What `/configz` shows, in the words of a KubeProxyConfiguration.
fn shown(flags: &Flags, node: &str) -> serde_json::Value {
    let seconds = |duration| duration::text(duration);
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
        "hostnameOverride": node, "bindAddress": flags.bind_address, "bindAddressHardFail": flags.bind_address_hard_fail,
        "healthzBindAddress": flags.healthz_bind_address, "metricsBindAddress": flags.metrics_bind_address,
        "clientConnection": { "kubeconfig": flags.kubeconfig },
        "clusterCIDR": flags.cluster_cidr.as_deref().unwrap_or_default(),
        "detectLocalMode": format!("{:?}", flags.detect_local_mode).replace("Cidr", "CIDR"),
        "detectLocal": {
            "bridgeInterface": flags.pod_bridge_interface, "interfaceNamePrefix": flags.pod_interface_name_prefix,
        },
        "nodePortAddresses": flags.nodeport_addresses.split(',').collect::<Vec<_>>(),
        "nftables": {
            "masqueradeAll": flags.masquerade_all, "syncPeriod": seconds(flags.sync_period),
            "minSyncPeriod": seconds(flags.min_sync_period),
        },
        "configSyncPeriod": seconds(flags.config_sync_period), "oomScoreAdj": flags.oom_score_adj,
        "conntrack": {
            "maxPerCore": flags.conntrack_max_per_core, "min": flags.conntrack_min,
            "tcpEstablishedTimeout": seconds(flags.conntrack_tcp_timeout_established),
            "tcpCloseWaitTimeout": seconds(flags.conntrack_tcp_timeout_close_wait),
            "tcpBeLiberal": flags.conntrack_tcp_be_liberal, "udpTimeout": seconds(flags.conntrack_udp_timeout),
            "udpStreamTimeout": seconds(flags.conntrack_udp_timeout_stream),
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn read(line: &str) -> Result<Settings> {
        let words = std::iter::once("node").chain(line.split_whitespace());
        of(&Line::try_parse_from(words).map_err(|error| anyhow!("{error}"))?.flags)
    }

    #[test]
    fn kube_proxys_flags_mean_what_they_mean_there() {
        let settings =
            read("--hostname-override Node-1 --cluster-cidr 10.244.0.0/16,fd00::/64 --masquerade-all").unwrap();
        assert_eq!((settings.node.as_str(), settings.masquerade_all), ("node-1", true));
        let Detect::Known(LocalPods::Ranges, ranges) = settings.detect else { panic!("ranges") };
        assert_eq!(ranges.len(), 2);
        assert_eq!(settings.healthz, Some("0.0.0.0:10256".parse().unwrap()));
        assert_eq!(settings.metrics, Some("127.0.0.1:10249".parse().unwrap()));
        let settings =
            read("--hostname-override n --masquerade-all=false --healthz-bind-address= --metrics-bind-address ::1")
                .unwrap();
        assert_eq!((settings.healthz, settings.metrics), (None, Some("[::1]:10249".parse().unwrap())));
        assert_eq!(settings.detect, Detect::Known(LocalPods::Nobody, Vec::new()), "no ranges, nobody is known");
        assert!(!settings.masquerade_all);
        let bridge =
            read("--hostname-override n --detect-local-mode=BridgeInterface --pod-bridge-interface=cni0").unwrap();
        assert!(matches!(bridge.detect, Detect::Known(LocalPods::Interfaces(names), _) if names.len() == 1));
        assert_eq!(read("--hostname-override n --detect-local-mode NodeCIDR").unwrap().detect, Detect::NodeRanges);
    }

    #[test]
    fn what_cannot_be_says_what_to_type() {
        for (line, next) in [
            ("--proxy-mode ipvs", "Leave the flag out"),
            ("--hostname-override a_b", "kubectl get nodes"),
            ("--detect-local-mode BridgeInterface", "Name it: --pod-bridge-interface NAME"),
            ("--detect-local-mode InterfaceNamePrefix --pod-interface-name-prefix x/y", "ip -br link"),
            ("--cluster-cidr 10.0.0.1", "For example: --cluster-cidr"),
            ("--bind-address nowhere", "For example: --bind-address"),
            ("--healthz-bind-address :10256x", "For example: --healthz-bind-address 0.0.0.0:10256"),
            ("--conntrack-mark-bit 14", "choose one from 23 to 31"),
            ("--nodeport-addresses eth0", "Give primary, all"),
            ("--sync-period 0s", "Leave it out"),
        ] {
            let error = crate::report(&read(line).unwrap_err());
            assert!(error.contains(next), "{line}: {error}");
        }
    }
}
