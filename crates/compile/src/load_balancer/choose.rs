//! A Service and who holds what in, its addresses out: what it has stays, what it asks for comes next, the rest is free choice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::object::{ObjectKey, Revision};

use super::problem::{Asked, Problem};
use super::share::obstacle;
use super::{Holders, Pools};
use crate::service_table::family_of;
use crate::snapshot::{Family, Service, Snapshot};

/// What is known when an address is chosen.
pub(super) struct Known<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) pools: &'a Pools,
    /// Given by decisions that are not in the snapshot yet.
    pub(super) promised: &'a BTreeMap<IpAddr, Vec<ObjectKey>>,
    /// Given back, and some node may still programme them.
    pub(super) leaving: &'a BTreeMap<IpAddr, Leaving>,
}

/// An address that was given back.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    /// The revision without it.
    pub(super) revision: Revision,
    /// Uid of the Service that had it: that one may have it again at once.
    pub(super) uid: Box<str>,
}

/// The addresses of a Service, one per family at most, and what it lacks.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Choice {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) problem: Option<Problem>,
}

/// Chooses for a Service that is ours.
pub(super) fn choose(service: &Service, known: &Known<'_>) -> Choice {
    let mut choice = Choice::default();
    let asked = match asked(service) {
        Ok(asked) => asked,
        Err(problem) => {
            choice.problem = Some(problem);
            BTreeMap::new()
        }
    };
    let wrong = choice.problem.is_some();
    for family in &service.families {
        let held = held(service, *family, known);
        let wanted = asked.get(family);
        let chosen = match (held, wanted) {
            (Some(held), Some((address, _))) if held == *address => Ok(held),
            (held, Some((address, asked))) => match check(service, *address, asked, known) {
                Ok(()) => Ok(*address),
                // Better the old address than none while the new one cannot be had.
                Err(problem) => {
                    choice.addresses.extend(held);
                    Err(problem)
                }
            },
            (Some(held), None) => Ok(held),
            (None, None) if wrong => continue,
            (None, None) => any(service, *family, known),
        };
        match chosen {
            Ok(address) => choice.addresses.push(address),
            Err(problem) => choice.problem = choice.problem.or(Some(problem)),
        }
    }
    if choice.addresses.len() < service.families.len() && service.load_balancer.every_family {
        // All or nothing, but what it has already stays.
        choice.addresses.retain(|address| service.load_balancer.addresses().any(|own| own == *address));
    }
    if !choice.addresses.is_empty() && !service.load_balancer.every_family {
        // PreferDualStack takes what there is: a family without any pool is not missed.
        choice.problem = choice.problem.filter(|problem| !matches!(problem, Problem::NoFamily(_)));
    }
    choice
}

/// The address of the family that the Service has and may keep.
fn held(service: &Service, family: Family, known: &Known<'_>) -> Option<IpAddr> {
    service.load_balancer.addresses().find(|address| {
        family_of(*address) == family
            && known.snapshot.holders.holds(*address, &service.meta.key)
            && allowed(service, *address, known)
    })
}

fn allowed(service: &Service, address: IpAddr, known: &Known<'_>) -> bool {
    known.pools.allow(address, service.load_balancer.class.as_deref(), &service.meta.key.namespace)
}

type Asks = BTreeMap<Family, (IpAddr, Asked)>;

fn asked(service: &Service) -> Result<Asks, Problem> {
    let by_annotation = service.load_balancer.asked_by_annotation;
    let field =
        if by_annotation { "metadata.annotations[mainstay.dev/load-balancer-ips]" } else { "spec.loadBalancerIP" };
    let mut asks = Asks::new();
    for text in &service.load_balancer.asked {
        let asked = Asked { text: text.clone(), field };
        let Ok(address) = text.parse::<IpAddr>() else { return Err(Problem::NotAnAddress(asked)) };
        if !service.families.contains(&family_of(address)) {
            return Err(Problem::WrongFamily(asked));
        }
        if asks.insert(family_of(address), (address, asked.clone())).is_some() {
            return Err(Problem::Twice(asked));
        }
    }
    Ok(asks)
}

/// Whether an address that a Service asks for can be its.
fn check(service: &Service, address: IpAddr, asked: &Asked, known: &Known<'_>) -> Result<(), Problem> {
    if known.pools.list.is_empty() {
        return Err(Problem::NoPool);
    }
    if !allowed(service, address, known) {
        return Err(Problem::Outside(asked.clone()));
    }
    if let Some((holder, obstacle)) = in_the_way(service, address, known) {
        return Err(Problem::Taken { asked: asked.clone(), holder, obstacle });
    }
    if !usable_by(service, address, known) {
        return Err(Problem::Leaving(address));
    }
    Ok(())
}

/// The Service that has the address and cannot share it with this one.
fn in_the_way(service: &Service, address: IpAddr, known: &Known<'_>) -> Option<(ObjectKey, String)> {
    let others = holders(address, &known.snapshot.holders, known.promised).filter(|key| **key != service.meta.key);
    let mut others = others.filter_map(|key| known.snapshot.services.get(key));
    others.find_map(|other| Some((other.meta.key.clone(), obstacle(service, other)?)))
}

/// Whether no node may still send the address's traffic to another Service.
fn usable_by(service: &Service, address: IpAddr, known: &Known<'_>) -> bool {
    known.leaving.get(&address).is_none_or(|leaving| leaving.uid == service.meta.uid)
}

fn holders<'a>(
    address: IpAddr,
    holders: &'a Holders,
    promised: &'a BTreeMap<IpAddr, Vec<ObjectKey>>,
) -> impl Iterator<Item = &'a ObjectKey> {
    holders.of(address).iter().chain(promised.get(&address).into_iter().flatten())
}

/// Any address: one to share if the Service shares, else the lowest that is free.
fn any(service: &Service, family: Family, known: &Known<'_>) -> Result<IpAddr, Problem> {
    if known.pools.list.is_empty() {
        return Err(Problem::NoPool);
    }
    if !known.pools.has(family) {
        return Err(Problem::NoFamily(family));
    }
    let pools = || known.pools.of(service.load_balancer.class.as_deref(), &service.meta.key.namespace);
    let ranges = || pools().flat_map(|pool| &pool.ranges).filter(|range| range.family() == family);
    if ranges().next().is_none() {
        return Err(Problem::NotForYou(family));
    }
    let inside = |address: &IpAddr| ranges().any(|range| range.contains(*address));
    let usable = |address: &IpAddr| usable_by(service, *address, known);
    let held = known.snapshot.holders.addresses().chain(known.promised.keys().copied());
    let mut held = held.filter(|_| service.load_balancer.share_key.is_some()).filter(inside).filter(usable);
    if let Some(address) = held.find(|address| in_the_way(service, *address, known).is_none()) {
        return Ok(address);
    }
    let taken = |address: IpAddr| holders(address, &known.snapshot.holders, known.promised).next().is_some();
    // Somebody emptied its status, or its type went to and fro: it has the address that it had.
    let lost = known.leaving.iter().filter(|(_, leaving)| leaving.uid == service.meta.uid).map(|(address, _)| *address);
    let all = lost.filter(inside).chain(ranges().flat_map(|range| range.addresses()));
    let mut leaving = None;
    for address in all.filter(|address| !taken(*address)) {
        if usable(&address) {
            return Ok(address);
        }
        leaving = leaving.or(Some(address));
    }
    Err(match leaving {
        Some(address) => Problem::Leaving(address),
        None => Problem::Exhausted {
            family,
            pools: pools().map(|pool| pool.name.clone()).collect(),
            size: ranges().map(super::Range::size).sum(),
        },
    })
}
