//! `--config` in, the flags that it stands for out: they are read as if typed before those of the command line.
//!
//! The file is YAML: flags without their dashes, or a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1). What is
//! unknown is told and left.

use std::path::Path;

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::Value;

use super::flags::Flags;
use crate::exit::Exit;

/// Fields of a KubeProxyConfiguration and the flags that they are.
const FIELDS: [(&str, &str); 27] = [
    ("/clientConnection/kubeconfig", "kubeconfig"),
    ("/hostnameOverride", "hostname-override"),
    ("/bindAddress", "bind-address"),
    ("/bindAddressHardFail", "bind-address-hard-fail"),
    ("/healthzBindAddress", "healthz-bind-address"),
    ("/metricsBindAddress", "metrics-bind-address"),
    ("/clusterCIDR", "cluster-cidr"),
    ("/detectLocalMode", "detect-local-mode"),
    ("/detectLocal/bridgeInterface", "pod-bridge-interface"),
    ("/detectLocal/interfaceNamePrefix", "pod-interface-name-prefix"),
    ("/nodePortAddresses", "nodeport-addresses"),
    ("/oomScoreAdj", "oom-score-adj"),
    ("/configSyncPeriod", "config-sync-period"),
    ("/conntrack/maxPerCore", "conntrack-max-per-core"),
    ("/conntrack/min", "conntrack-min"),
    ("/conntrack/tcpEstablishedTimeout", "conntrack-tcp-timeout-established"),
    ("/conntrack/tcpCloseWaitTimeout", "conntrack-tcp-timeout-close-wait"),
    ("/conntrack/tcpBeLiberal", "conntrack-tcp-be-liberal"),
    ("/conntrack/udpTimeout", "conntrack-udp-timeout"),
    ("/conntrack/udpStreamTimeout", "conntrack-udp-timeout-stream"),
    // What the mode in use says counts more: the last of several is taken.
    ("/iptables/masqueradeAll", "masquerade-all"),
    ("/ipvs/masqueradeAll", "masquerade-all"),
    ("/nftables/masqueradeAll", "masquerade-all"),
    ("/iptables/syncPeriod", "sync-period"),
    ("/nftables/syncPeriod", "sync-period"),
    ("/iptables/minSyncPeriod", "min-sync-period"),
    ("/nftables/minSyncPeriod", "min-sync-period"),
];
/// Fields that have no meaning here, and need none to be said when they hold what every file holds.
const SILENT: [&str; 14] = [
    "apiVersion",
    "kind",
    "mode",
    "winkernel",
    "portRange",
    "udpIdleTimeout",
    "enableProfiling",
    "showHiddenMetricsForVersion",
    "ipvs",
    "iptables",
    "nftables",
    "logging",
    "clientConnection",
    "windowsRunAsService",
];

/// The flags with those of their `--config` file.
pub(super) fn complete(flags: &Flags) -> Result<Flags> {
    let Some(path) = &flags.config else { return Ok(flags.clone()) };
    let typed: Vec<String> = std::env::args().skip_while(|word| word != "node").skip(1).collect();
    with_file(path, &typed).map_err(|error| Exit::Usage.of(error))
}

fn with_file(path: &Path, typed: &[String]) -> Result<Flags> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {shown}.\nName a file that is there: mainstay node --config PATH"))?;
    let value: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{shown} is not YAML.\nWrite lines such as `cluster-cidr: 10.244.0.0/16`"))?;
    let (given, unknown) = arguments(&value);
    for name in unknown {
        eprintln!("mainstay: {shown}: {name} has no meaning for mainstay node and is left out");
    }
    let all = given.iter().chain(typed);
    let matches = command().try_get_matches_from(all).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        anyhow::anyhow!("{shown}: {first}.\nSee what each flag takes: mainstay node --help")
    })?;
    from(&matches)
}

fn command() -> clap::Command {
    Flags::augment_args(clap::Command::new("node").no_binary_name(true).args_override_self(true))
}

fn from(matches: &ArgMatches) -> Result<Flags> {
    Ok(Flags::from_arg_matches(matches)?)
}

/// Arguments that a file stands for, and names in it that are none.
fn arguments(value: &Value) -> (Vec<String>, Vec<String>) {
    let Some(fields) = value.as_object() else { return Default::default() };
    if value["kind"] != "KubeProxyConfiguration" {
        let command = command();
        let known = |name: &str| command.get_arguments().any(|flag| flag.get_long() == Some(name));
        let (ours, other): (Vec<_>, Vec<_>) =
            fields.iter().partition(|(name, _)| known(name) && !["config", "cleanup"].contains(&name.as_str()));
        let ours = ours.into_iter().filter_map(|(name, value)| argument(name, value)).collect();
        return (ours, other.into_iter().map(|(name, _)| name.clone()).collect());
    }
    // There, no period means the usual one.
    let usual = |flag: &str, value: &Value| flag.ends_with("sync-period") && value.as_str() == Some("0s");
    let stated = |path: &str, flag: &str| value.pointer(path).filter(|value| !usual(flag, value));
    let given = FIELDS.iter().filter_map(|(path, flag)| argument(flag, stated(path, flag)?)).collect();
    let mut unknown: Vec<String> = fields
        .iter()
        .filter(|(name, value)| {
            let known = FIELDS.iter().any(|(path, _)| path.split('/').nth(1) == Some(name));
            !known && !SILENT.contains(&name.as_str()) && !is_nothing(value)
        })
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(mode) = value["mode"].as_str().filter(|mode| !["", "nftables"].contains(mode)) {
        unknown.push(format!("mode: {mode}"));
    }
    (given, unknown)
}

/// A value of a file as an argument; what says nothing is none.
fn argument(flag: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) if !items.is_empty() => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        _ => return None,
    };
    Some(format!("--{flag}={text}"))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, typed: &[&str]) -> Result<Flags> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        with_file(&path, &typed.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// As kubeadm writes it.
    const KUBEADM: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: true
  tcpCloseWaitTimeout: 30m0s
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: \"\"
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: \"\"
iptables:
  localhostNodePorts: null
  masqueradeAll: true
  syncPeriod: 0s
kind: KubeProxyConfiguration
mode: \"\"
nodePortAddresses: [10.0.0.0/8, fd00::/8]
oomScoreAdj: null
featureGates: { A: true }
";

    #[test]
    fn a_kube_proxy_configuration_is_understood() {
        let flags = read(KUBEADM, &[]).unwrap();
        assert_eq!(flags.kubeconfig.as_deref(), Some(Path::new("/var/lib/kube-proxy/kubeconfig.conf")));
        assert_eq!(flags.cluster_cidr.as_deref(), Some("10.244.0.0/16"));
        assert!(flags.masquerade_all && flags.conntrack_tcp_be_liberal);
        assert_eq!(flags.conntrack_tcp_timeout_close_wait.as_secs(), 1800);
        assert_eq!((flags.conntrack_min, flags.healthz_bind_address.as_str()), (131_072, "0.0.0.0:10256"));
        assert_eq!(flags.nodeport_addresses, "10.0.0.0/8,fd00::/8");
        let value: Value = serde_saphyr::from_str(KUBEADM).unwrap();
        assert_eq!(arguments(&value).1, ["featureGates"]);
    }

    #[test]
    fn the_command_line_counts_and_unknown_lines_are_told() {
        let flags = read(
            "cluster-cidr: 10.0.0.0/8\nmasquerade-all: true\nhealthz-bind-address: 127.0.0.1:1\n",
            &["--cluster-cidr", "10.1.0.0/16", "--masquerade-all=false"],
        )
        .unwrap();
        assert_eq!(flags.cluster_cidr.as_deref(), Some("10.1.0.0/16"));
        assert!(!flags.masquerade_all);
        assert_eq!(flags.healthz_bind_address, "127.0.0.1:1");
        let value: Value = serde_saphyr::from_str("cluster-cidr: a\nfoo: 1\ncleanup: true\n").unwrap();
        assert_eq!(arguments(&value).1, ["cleanup", "foo"]);
        let wrong = crate::report(&read("conntrack-min: many\n", &[]).unwrap_err());
        assert!(wrong.contains("conntrack-min") && wrong.contains("mainstay node --help"), "{wrong}");
        assert!(crate::report(&read("a: [\n", &[]).unwrap_err()).contains("is not YAML"));
    }
}
