//! The flags of `mainstay node`. Those that kube-proxy has mean what they mean there.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::{LogFormat, duration};

/// `--detect-local-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DetectLocal {
    /// Sources in --cluster-cidr are pods.
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// Sources in the Node object's podCIDRs are pods.
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// What comes from --pod-bridge-interface is from pods.
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// What comes from interfaces named like --pod-interface-name-prefix is from pods.
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

/// `--proxy-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyMode {
    /// The one there is.
    Nftables,
    /// Refused.
    #[value(hide = true)]
    Iptables,
    /// Refused.
    #[value(hide = true)]
    Ipvs,
}

/// Flags of `mainstay node`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Kubeconfig with the API server and who asks it [default: the ServiceAccount of the pod this runs in]
    #[arg(long, value_name = "PATH")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// URL of the API server, instead of the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub(super) master: Option<String>,
    /// A file with more flags: `flag: value` lines in YAML, or a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1).
    /// What the command line says counts
    #[arg(long, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// Name of this node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(super) hostname_override: Option<String>,
    /// Ranges of pods, for --detect-local-mode=ClusterCIDR
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub(super) cluster_cidr: Option<String>,
    /// How packets of pods are told from others
    #[arg(long, value_enum, default_value = "ClusterCIDR", value_name = "MODE")]
    pub(super) detect_local_mode: DetectLocal,
    /// The bridge of pods, for --detect-local-mode=BridgeInterface
    #[arg(long, value_name = "NAME")]
    pub(super) pod_bridge_interface: Option<String>,
    /// How names of pods' interfaces begin, for --detect-local-mode=InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pub(super) pod_interface_name_prefix: Option<String>,
    /// Give every connection to a cluster IP the node's address as its source
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) masquerade_all: bool,
    /// Bit of the conntrack mark that asks for masquerade, 23 to 31
    #[arg(long, value_name = "BIT", default_value_t = 23)]
    pub(super) conntrack_mark_bit: u32,
    /// Only Services whose label service.kubernetes.io/service-proxy-name is NAME [default: only those without the label]
    #[arg(long, value_name = "NAME")]
    pub(super) service_proxy_name: Option<String>,
    /// Where node ports are served: primary (as the Node object says), all, or ranges of this host's addresses
    #[arg(long, value_name = "primary|all|CIDR[,CIDR]", default_value = "primary")]
    pub(super) nodeport_addresses: String,
    /// Address of this node, where the Node object has none
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(super) bind_address: String,
    /// Where /healthz and /livez are served; empty for nowhere
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:10256")]
    pub(super) healthz_bind_address: String,
    /// Where /metrics, /healthz, /proxyMode, /configz and /status are served; empty for nowhere
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10249")]
    pub(super) metrics_bind_address: String,
    /// End when one of these cannot be bound, instead of trying again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) bind_address_hard_fail: bool,
    /// A change that waits twice as long for the kernel makes /healthz and /livez fail. Nothing else is periodic here
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse,
        visible_alias = "iptables-sync-period")]
    pub(super) sync_period: Duration,
    /// Accepted and not used: every change is written at once, and changes that come meanwhile go together
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse,
        visible_alias = "iptables-min-sync-period")]
    pub(super) min_sync_period: Duration,
    /// Accepted and not used: a watch tells what changed
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration::parse)]
    pub(super) config_sync_period: Duration,
    /// Entries of connection tracking per core; 0 leaves the limit. A larger limit is never lowered
    #[arg(long, value_name = "NUMBER", default_value_t = 32_768)]
    pub(super) conntrack_max_per_core: u32,
    /// At least so many entries
    #[arg(long, value_name = "NUMBER", default_value_t = 131_072)]
    pub(super) conntrack_min: u32,
    /// How long an idle TCP connection is remembered; 0 leaves it
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    pub(super) conntrack_tcp_timeout_established: Duration,
    /// How long one in CLOSE_WAIT is; 0 leaves it
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub(super) conntrack_tcp_timeout_close_wait: Duration,
    /// Let TCP packets outside their window pass
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) conntrack_tcp_be_liberal: bool,
    /// How long unanswered UDP is remembered; 0 leaves it
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub(super) conntrack_udp_timeout: Duration,
    /// How long answered UDP is; 0 leaves it
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub(super) conntrack_udp_timeout_stream: Duration,
    /// How late the kernel ends this process when memory is short, -1000 to 1000 [default: left as it is]
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(super) oom_score_adj: Option<i32>,
    /// nftables; there is no other mode
    #[arg(long, value_enum, default_value = "nftables", value_name = "MODE")]
    pub(super) proxy_mode: ProxyMode,
    /// Remove the rules of kube-proxy, once ours are complete and kube-proxy has ended
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) take_over: bool,
    /// Remove what an earlier run programmed, and end. For the way back: start kube-proxy first
    #[arg(long)]
    pub(super) cleanup: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
    /// More log lines (twice: everything)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}
