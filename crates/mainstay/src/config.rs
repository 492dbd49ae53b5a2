//! Settings of one instance: what the flags of `mainstay up` say, with defaults, checked before anything starts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use compile::allocate::Cidr;
use compile::load_balancer::Pools;

/// Where an instance keeps everything, and the files in it.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

/// The longest path a Unix socket address can hold, less the names we append (unix(7): 108 bytes).
const DATA_DIR_BYTES_MAX: usize = 90;

impl DataDir {
    /// The given directory, or the default: `/var/lib/mainstay` for root, else `$XDG_STATE_HOME/mainstay`.
    pub(crate) fn choose(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => std::path::absolute(path)
                .with_context(|| format!("cannot make --data-dir {} absolute", path.display()))?,
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/mainstay"),
            None => state_home()?.join("mainstay"),
        };
        if path.as_os_str().len() > DATA_DIR_BYTES_MAX {
            bail!(
                "--data-dir {} is too long: its socket paths must fit in 108 bytes.\nChoose a directory of at most \
                 {DATA_DIR_BYTES_MAX} bytes, for example --data-dir /tmp/mainstay",
                path.display()
            );
        }
        Ok(Self(path))
    }

    /// Makes the directory durably, so that one that cannot be written is noticed before anything is started.
    pub(crate) fn create(&self) -> Result<()> {
        // It may have been made by somebody who did not sync its name.
        let made = store::durable::make_directory(&self.0.join("run"), 0o777)
            .and_then(|()| store::durable::sync_parent(&self.0));
        let made = made.with_context(|| {
            format!(
                "cannot make the data directory {}.\nChoose one that you may write: --data-dir DIR",
                self.0.display()
            )
        });
        made.map_err(|error| crate::exit::tag(crate::messages::MS0110, error))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The kubeconfig of this instance.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// Facts about the running server (address, process id), for the other subcommands.
    pub(crate) fn instance(&self) -> PathBuf {
        self.0.join("instance.json")
    }

    /// Certificates and keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The durable store.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

/// Where a user's programs keep their state.
pub(crate) fn state_home() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    match std::env::var_os("HOME").filter(|path| !path.is_empty()) {
        Some(home) => Ok(Path::new(&home).join(".local/state")),
        None => bail!("no place for data: neither XDG_STATE_HOME nor HOME is set.\nSay where: --data-dir DIR"),
    }
}

/// Addresses of the cluster, derived from the two pairs of ranges.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Service ranges, primary first.
    pub(crate) service_cidrs: Vec<Cidr>,
    /// Pod ranges, primary first.
    pub(crate) pod_cidrs: Vec<Cidr>,
    /// The node's own addresses: the first usable of each pod range.
    pub(crate) node_addresses: Vec<IpAddr>,
    /// The cluster DNS: the tenth address of each Service range.
    pub(crate) dns_addresses: Vec<IpAddr>,
    /// Load-balancer addresses (`--lb-pool`).
    pub(crate) pools: Pools,
}

/// Which host address of a Service range the cluster DNS has (10.96.0.10 in the default range).
const DNS_ADDRESS_INDEX: u128 = 10;

impl Network {
    /// Parses and checks the ranges.
    pub(crate) fn parse(service: &str, pod: &str) -> Result<Self> {
        let service_cidrs = parse_cidrs("--service-cidr", service, 20)?;
        let pod_cidrs = parse_cidrs("--pod-cidr", pod, 128)?;
        for one in &service_cidrs {
            for other in &pod_cidrs {
                if one.contains(other.network) || other.contains(one.network) {
                    bail!(
                        "--service-cidr {service} and --pod-cidr {pod} overlap.\nGive ranges that share no address, \
                         for example --service-cidr 10.96.0.0/16 --pod-cidr 10.244.0.0/16"
                    );
                }
            }
        }
        let families = |cidrs: &[Cidr]| cidrs.iter().map(|cidr| cidr.network.is_ipv4()).collect::<Vec<_>>();
        if families(&service_cidrs) != families(&pod_cidrs) {
            bail!(
                "--service-cidr {service} and --pod-cidr {pod} have different families.\nGive the same families in \
                 the same order in both"
            );
        }
        let node_addresses = pod_cidrs.iter().map(|cidr| offset(cidr.network, 1)).collect();
        let dns_addresses = service_cidrs.iter().map(|cidr| offset(cidr.network, DNS_ADDRESS_INDEX)).collect();
        Ok(Self { service_cidrs, pod_cidrs, node_addresses, dns_addresses, pools: Pools::default() })
    }
}

fn parse_cidrs(flag: &str, text: &str, host_bits_max: u8) -> Result<Vec<Cidr>> {
    let example = "one IPv4 and one IPv6 range, comma separated, for example 10.96.0.0/16,fd00:10:96::/112";
    let mut cidrs = Vec::new();
    for part in text.split(',') {
        let cidr: Cidr = part
            .trim()
            .parse()
            .map_err(|error| anyhow::anyhow!("{flag} {text}: {part:?} is not a range: {error}.\nGive {example}"))?;
        let bits = if cidr.network.is_ipv4() { 32 } else { 128 };
        let host_bits = bits - cidr.prefix;
        if host_bits < 4 {
            bail!("{flag} {part}: only {} addresses, too few.\nGive at least a /{}", 1_u32 << host_bits, bits - 4);
        }
        if host_bits > host_bits_max {
            bail!(
                "{flag} {part}: larger than Kubernetes allows.\nGive at most {host_bits_max} host bits: /{}",
                bits - host_bits_max
            );
        }
        cidrs.push(cidr);
    }
    let same_family = cidrs.len() == 2 && cidrs[0].network.is_ipv4() == cidrs[1].network.is_ipv4();
    if cidrs.len() > 2 || same_family {
        bail!("{flag} {text}: at most one range per family.\nGive {example}");
    }
    Ok(cidrs)
}

/// The address `index` after `network`.
pub(crate) fn offset(network: IpAddr, index: u128) -> IpAddr {
    match network {
        IpAddr::V4(address) => IpAddr::V4(u32::from(address).wrapping_add(index as u32).into()),
        IpAddr::V6(address) => IpAddr::V6(u128::from(address).wrapping_add(index).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_ranges_give_the_usual_addresses() {
        let network = Network::parse("10.96.0.0/16,fd00:10:96::/112", "10.244.0.0/16,fd00:10:244::/64").unwrap();
        assert_eq!(network.dns_addresses[0].to_string(), "10.96.0.10");
        assert_eq!(network.dns_addresses[1].to_string(), "fd00:10:96::a");
        assert_eq!(network.node_addresses[0].to_string(), "10.244.0.1");
        assert_eq!(network.node_addresses[1].to_string(), "fd00:10:244::1");
    }

    #[test]
    fn bad_ranges_say_what_to_type() {
        for (service, pod, expected) in [
            ("10.96.0.0", "10.244.0.0/16", "is not a range"),
            ("10.96.0.0/30", "10.244.0.0/16", "too few"),
            ("10.0.0.0/8", "192.168.0.0/16", "larger than Kubernetes allows"),
            ("10.96.0.0/16,10.97.0.0/16", "10.244.0.0/16", "at most one range per family"),
            ("10.96.0.0/16", "10.96.128.0/17", "overlap"),
            ("10.96.0.0/16", "fd00::/64", "different families"),
        ] {
            let error = Network::parse(service, pod).unwrap_err().to_string();
            assert!(error.contains(expected), "{service} {pod}: {error}");
            assert!(error.contains('\n'), "{error}: says what to type next on a second line");
        }
    }
}
