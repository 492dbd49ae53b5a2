//! Turns the endpoints of one family and the CPU of each zone into zone hints in proportion (annotation
//! `service.kubernetes.io/topology-mode: Auto`), or says why there can be none. Hints that are given stay while they fit.

use std::collections::BTreeMap;

use crate::snapshot::Snapshot;

/// CPU of each zone, in thousandths of a core.
pub(super) type Zones = BTreeMap<Box<str>, u64>;

/// How much more than its share a zone's endpoints may be asked to carry: a fifth.
const OVERLOAD: f64 = 0.2;
const NODE_INFORMATION: &str =
    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
const NO_ZONE: &str = "One or more endpoints do not have a zone specified";

/// A ready endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready<'a> {
    /// Zone it runs in.
    pub zone: Option<&'a str>,
    /// Zone it was meant for so far.
    pub hint: Option<&'a str>,
}

/// What a zone is to get.
struct Share {
    least: usize,
    desired: f64,
    most: usize,
}

/// CPU by zone, or none: every ready node must say its zone and CPU, and there must be two zones.
pub(super) fn zones(snapshot: &Snapshot) -> Option<Zones> {
    let mut zones = Zones::new();
    for node in snapshot.nodes.values().filter(|node| node.ready && !node.control_plane) {
        let zone = node.zone.as_ref().filter(|zone| !zone.is_empty() && node.cpu_milli > 0)?;
        *zones.entry(zone.clone()).or_default() += node.cpu_milli;
    }
    Some(zones).filter(|zones| zones.len() > 1)
}

/// The zone that each endpoint is meant for, in the order given.
pub(super) fn hints(zones: Option<&Zones>, endpoints: &[Ready<'_>]) -> Result<Vec<Box<str>>, String> {
    let zones = zones.ok_or(NODE_INFORMATION)?;
    let shares = shares(zones, endpoints.len())?;
    if endpoints.iter().any(|endpoint| endpoint.zone.is_none_or(str::is_empty)) {
        return Err(NO_ZONE.to_owned());
    }
    let fresh = spread(&shares, endpoints, None);
    let kept = spread(&shares, endpoints, Some(&count(&fresh)));
    let counts = count(&kept);
    // Keeping may leave a zone short that has grown: then all are given anew.
    let short = shares.iter().any(|(zone, share)| counts.get(&**zone).copied().unwrap_or(0) < share.least);
    let chosen = if short { fresh } else { kept };
    Ok(chosen.into_iter().map(Box::from).collect())
}

fn shares(zones: &Zones, endpoints: usize) -> Result<BTreeMap<&str, Share>, String> {
    let numbers = format!("({endpoints} endpoints, {} zones)", zones.len());
    if zones.len() > endpoints {
        return Err(format!("Insufficient number of endpoints {numbers}"));
    }
    let total: u64 = zones.values().sum();
    let mut shares = BTreeMap::new();
    for (zone, cpu) in zones {
        let desired = *cpu as f64 / total as f64 * endpoints as f64;
        let least = (desired / (1.0 + OVERLOAD)).ceil();
        shares.insert(&**zone, Share { least: least as usize, desired: desired.max(least), most: 0 });
    }
    let least: usize = shares.values().map(|share| share.least).sum();
    let Some(spare) = endpoints.checked_sub(least) else {
        let why = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
        return Err(format!("{why} {numbers}"));
    };
    shares.values_mut().for_each(|share| share.most = share.least + spare);
    Ok(shares)
}

/// Keeps hints up to the larger of `most` and the counts of `keep` (none keeps nothing), starts the others in their own
/// zone, then moves as many of them as it takes from zones that have too many to zones that want more.
fn spread<'a>(
    shares: &BTreeMap<&'a str, Share>,
    endpoints: &[Ready<'a>],
    keep: Option<&BTreeMap<&'a str, usize>>,
) -> Vec<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let kept: Vec<bool> = endpoints
        .iter()
        .map(|endpoint| {
            let (Some(keep), Some(zone)) = (keep, endpoint.hint) else { return false };
            let Some(share) = shares.get(zone) else { return false };
            let limit = share.most.max(keep.get(zone).copied().unwrap_or(0));
            let count = counts.entry(zone).or_default();
            let fits = *count < limit;
            *count += usize::from(fits);
            fits
        })
        .collect();
    let mut chosen: Vec<&'a str> = Vec::with_capacity(endpoints.len());
    for (endpoint, kept) in endpoints.iter().zip(&kept) {
        let zone = if *kept { endpoint.hint } else { endpoint.zone }.unwrap_or_default();
        if !kept {
            *counts.entry(zone).or_default() += 1;
        }
        chosen.push(zone);
    }
    let (mut giving, mut receiving) = moves(shares, &counts);
    for (zone, _) in chosen.iter_mut().zip(&kept).filter(|(_, kept)| !**kept) {
        let Some(left) = giving.get_mut(*zone).filter(|left| **left > 0) else { continue };
        let Some((to, wanted)) = receiving.iter_mut().find(|(_, wanted)| **wanted > 0) else { break };
        *left -= 1;
        *wanted -= 1;
        *zone = to;
    }
    send_home(shares, &mut chosen);
    chosen
}

/// Nobody asks for the endpoints of a zone without a share (none of its nodes is ready): the zone that has least of its
/// share gets them.
fn send_home<'a>(shares: &BTreeMap<&'a str, Share>, chosen: &mut [&'a str]) {
    let mut counts = count(chosen);
    for zone in chosen.iter_mut().filter(|zone| !shares.contains_key(**zone)) {
        let filled = |zone: &str, share: &Share| counts.get(zone).copied().unwrap_or(0) as f64 / share.desired;
        let neediest = shares.iter().min_by(|(one, a), (other, b)| filled(one, a).total_cmp(&filled(other, b)));
        if let Some((to, _)) = neediest {
            *counts.entry(to).or_default() += 1;
            *zone = to;
        }
    }
}

/// How many endpoints which zones give and receive: whole ones, while somebody has one too many and somebody else wants
/// at least half of one.
fn moves<'a>(
    shares: &BTreeMap<&'a str, Share>,
    counts: &BTreeMap<&'a str, usize>,
) -> (BTreeMap<&'a str, usize>, BTreeMap<&'a str, usize>) {
    let count = |zone: &str| counts.get(zone).copied().unwrap_or(0) as f64;
    let target = |zone: &str| shares.get(zone).map_or(0.0, |share| share.desired);
    let differences = |sign: f64| -> BTreeMap<&'a str, f64> {
        let zones = shares.keys().chain(counts.keys());
        zones.map(|zone| (*zone, sign * (count(zone) - target(zone)))).filter(|(_, over)| *over > 0.0).collect()
    };
    let (mut over, mut under) = (differences(1.0), differences(-1.0));
    let (mut giving, mut receiving) = (BTreeMap::new(), BTreeMap::new());
    while let (Some((from, surplus)), Some((to, want))) = (most(&over), most(&under)) {
        if (surplus < 1.0 && want < 1.0) || surplus < 0.5 || want < 0.5 {
            break;
        }
        *giving.entry(from).or_default() += 1;
        *receiving.entry(to).or_default() += 1;
        over.insert(from, surplus - 1.0);
        under.insert(to, want - 1.0);
    }
    (giving, receiving)
}

fn most<'a>(zones: &BTreeMap<&'a str, f64>) -> Option<(&'a str, f64)> {
    let entries = zones.iter().map(|(zone, number)| (*zone, *number)).filter(|(_, number)| *number > 0.0);
    // The first of equals, so that the same input gives the same hints.
    entries.fold(None, |best, entry| if best.is_none_or(|(_, number)| entry.1 > number) { Some(entry) } else { best })
}

fn count<'a>(zones: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for zone in zones {
        *counts.entry(*zone).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
