//! `--lb-pool` in, pools of load-balancer addresses out, checked against the cluster's other ranges.

use anyhow::{Result, bail};
use compile::load_balancer::{Pools, Range};
use compile::snapshot::Family;

use pods::sandbox::Mode;

use crate::config::Network;

/// Where a sandbox takes its pool from: the first of these per family that is nothing else's. They need not be unique on
/// the host, because a sandbox has a network of its own.
const SANDBOX: [&str; 6] =
    ["10.99.0.0/24", "172.31.99.0/24", "192.168.99.0/24", "fd00:10:99::/120", "fd00:172:99::/120", "fd00:192:99::/120"];

/// The pools that were asked for; for none the sandbox's own (a host has none), for `none` none at all.
pub(crate) fn choose(texts: &[String], network: &Network, mode: Mode) -> Result<Pools> {
    match texts {
        [] if mode == Mode::Host => Ok(Pools::default()),
        [] => Ok(default(network)),
        [only] if only == "none" => Ok(Pools::default()),
        _ => parse(texts, network),
    }
}

fn parse(texts: &[String], network: &Network) -> Result<Pools> {
    let example = "Give [NAME=]RANGE[,class=CLASS][,namespaces=A+B], for example --lb-pool 10.99.0.0/24 or --lb-pool \
                   web=10.99.1.10-10.99.1.20, or --lb-pool none alone";
    let pools = match Pools::parse(texts) {
        Ok(pools) => pools,
        Err(why) => bail!("--lb-pool {why}.\n{example}"),
    };
    for range in pools.list.iter().flat_map(|pool| &pool.ranges) {
        if let Some(other) = used(range, network) {
            bail!(
                "--lb-pool {range} overlaps {other}.\nGive a range that nothing else uses, for example {}",
                free(network)
            );
        }
        if !families(network).contains(&range.family()) {
            bail!(
                "--lb-pool {range}: no Service has addresses of that family (--service-cidr).\nGive a range of a family \
                 that Services have, or add one to --service-cidr and --pod-cidr"
            );
        }
    }
    Ok(pools)
}

fn families(network: &Network) -> Vec<Family> {
    network.service_cidrs.iter().map(compile::allocate::Cidr::family).collect()
}

/// The range of the cluster that shares addresses with this one.
fn used(range: &Range, network: &Network) -> Option<String> {
    let named = |name: &'static str| move |cidr: &compile::allocate::Cidr| (name, *cidr);
    let service = network.service_cidrs.iter().map(named("--service-cidr"));
    let mut all = service.chain(network.pod_cidrs.iter().map(named("--pod-cidr")));
    let overlaps = all.find(|(_, cidr)| {
        let inside = range.cidrs().iter().any(|own| own.contains(cidr.network));
        inside || cidr.contains(range.first) || cidr.contains(range.last)
    });
    overlaps.map(|(name, cidr)| format!("{name} {cidr}"))
}

fn candidates(network: &Network) -> Vec<&'static str> {
    let free = |family: Family| {
        SANDBOX.into_iter().find(|text| {
            Range::parse(text).is_ok_and(|range| range.family() == family && used(&range, network).is_none())
        })
    };
    families(network).into_iter().filter_map(free).collect()
}

fn default(network: &Network) -> Pools {
    Pools::parse(&candidates(network)).unwrap_or_default()
}

fn free(network: &Network) -> String {
    candidates(network).first().map_or_else(|| "--lb-pool none".to_owned(), |range| format!("--lb-pool {range}"))
}

/// A line for people.
pub(crate) fn describe(pools: &Pools) -> String {
    let pool = |pool: &compile::load_balancer::Pool| {
        let ranges: Vec<String> = pool.ranges.iter().map(ToString::to_string).collect();
        format!("{} {}", pool.name, ranges.join(", "))
    };
    let pools: Vec<String> = pools.list.iter().map(pool).collect();
    if pools.is_empty() { "no pool: --lb-pool RANGE gives one".to_owned() } else { pools.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "10.96.0.0/16,fd00:10:96::/112";
    const POD: &str = "10.244.0.0/16,fd00:10:244::/64";

    fn chosen(texts: &[&str], service: &str, pod: &str) -> Result<String> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        choose(&texts, &Network::parse(service, pod)?, Mode::Sandbox).map(|pools| describe(&pools))
    }

    #[test]
    fn a_sandbox_has_a_pool_per_family_that_is_nothing_elses() {
        let expected = "default 10.99.0.1-10.99.0.254, fd00:10:99::1-fd00:10:99::ff";
        assert_eq!(chosen(&[], SERVICE, POD).unwrap(), expected);
        assert_eq!(chosen(&[], "10.96.0.0/12", "10.244.0.0/16").unwrap(), "default 172.31.99.1-172.31.99.254");
        assert_eq!(
            chosen(&[], "fd00:10:96::/112", "fd00:10:244::/64").unwrap(),
            "default fd00:10:99::1-fd00:10:99::ff"
        );
        assert_eq!(chosen(&["none"], SERVICE, POD).unwrap(), "no pool: --lb-pool RANGE gives one");
        let two = chosen(&["a=192.168.1.200-192.168.1.208", "b=10.9.0.7,namespaces=x+y"], SERVICE, POD);
        assert_eq!(two.unwrap(), "a 192.168.1.200-192.168.1.208; b 10.9.0.7");
    }

    #[test]
    fn wrong_pools_say_what_to_type() {
        for (texts, expected) in [
            (&["10.96.1.0/24"][..], "overlaps --service-cidr 10.96.0.0/16"),
            (&["10.0.0.0-10.255.255.255"], "overlaps --service-cidr 10.96.0.0/16"),
            (&["10.244.9.1"], "overlaps --pod-cidr 10.244.0.0/16"),
            (&["10.99.0.0/24", "10.99.0.9"], "overlaps 10.99.0.1-10.99.0.254 of pool \"default\""),
            (&["10.99.0.9-10.99.0.1"], "comes after"),
            (&["10.99.0.9-fd00::1"], "different families"),
            (&["127.0.0.0/24"], "loopback"),
            (&["x"], "is no IP address"),
            (&["none", "10.99.0.0/24"], "\"none\" is no IP address"),
            (&["Web=10.99.0.0/24"], "pool name"),
            (&["web=10.99.0.0/24,colour=red"], "neither class=CLASS nor namespaces="),
            (&["web=10.99.0.0/24,namespaces=a", "web=10.99.1.0/24"], "other namespaces already"),
        ] {
            let error = chosen(texts, SERVICE, POD).unwrap_err().to_string();
            assert!(error.contains(expected), "{texts:?}: {error}");
            assert!(error.starts_with("--lb-pool") && error.contains('\n'), "{error}");
        }
        let error = chosen(&["fd00:9::/120"], "10.96.0.0/16", "10.244.0.0/16").unwrap_err().to_string();
        assert!(error.contains("no Service has addresses of that family"), "{error}");
    }
}
