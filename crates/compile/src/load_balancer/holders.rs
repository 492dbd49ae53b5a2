//! Services as they change in, who holds which load-balancer address out: the first to have it in its status keeps it.
//!
//! Whoever may write a status could otherwise take an address, and its traffic, from another Service (CVE-2020-8554).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::object::ObjectKey;
use rpds::RedBlackTreeMapSync;

use super::share::obstacle;
use crate::snapshot::{Service, Table};

/// Holders of addresses. Cloning is cheap and shares structure.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    by_address: RedBlackTreeMapSync<IpAddr, Arc<Claims>>,
}

/// Who has an address in its status, in the order in which they came.
#[derive(Clone, Debug, Default)]
struct Claims {
    /// These hold it, and share it if they are several.
    held: Vec<ObjectKey>,
    /// These do not: it cannot be shared with those that do.
    refused: Vec<ObjectKey>,
}

impl Holders {
    /// Whether the address is the Service's.
    pub fn holds(&self, address: IpAddr, service: &ObjectKey) -> bool {
        self.of(address).contains(service)
    }

    /// The Services whose address this is.
    pub fn of(&self, address: IpAddr) -> &[ObjectKey] {
        self.by_address.get(&address).map_or(&[], |claims| &claims.held)
    }

    /// Every address that somebody holds.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.by_address.iter().filter(|(_, claims)| !claims.held.is_empty()).map(|(address, _)| *address)
    }

    /// Takes a Service as it now is in `services` (or is no more) in. Returns the other Services that gained or lost an
    /// address by it.
    pub(crate) fn change(
        &mut self,
        key: &ObjectKey,
        before: impl Iterator<Item = IpAddr>,
        services: &Table<Service>,
    ) -> BTreeSet<ObjectKey> {
        let after = services.get(key).into_iter().flat_map(|service| service.load_balancer.addresses());
        let touched: BTreeSet<IpAddr> = before.chain(after).collect();
        let mut others = BTreeSet::new();
        for address in touched {
            let claims = self.by_address.get(&address).map_or_else(Claims::default, |claims| Claims::clone(claims));
            let settled = settle(&claims, key, address, services);
            let changed = |one: &Vec<ObjectKey>, other: &Vec<ObjectKey>| {
                one.iter().filter(|service| !other.contains(service) && *service != key).cloned().collect::<Vec<_>>()
            };
            others.extend(changed(&claims.held, &settled.held));
            others.extend(changed(&settled.held, &claims.held));
            if settled.held.is_empty() && settled.refused.is_empty() {
                self.by_address.remove_mut(&address);
            } else {
                self.by_address.insert_mut(address, Arc::new(settled));
            }
        }
        others
    }
}

/// Goes through the claims again, after `changed` did: in order, whoever can share with those before it holds.
fn settle(claims: &Claims, changed: &ObjectKey, address: IpAddr, services: &Table<Service>) -> Claims {
    // Between two that cannot share any more, the one that changed gives way; those who were refused come after both.
    let not = |key: &&ObjectKey| *key != changed;
    let (held, refused) = (claims.held.iter().filter(not), claims.refused.iter().filter(not));
    let order: Vec<&ObjectKey> = match claims.held.contains(changed) {
        true => held.chain([changed]).chain(refused).collect(),
        false => held.chain(refused).chain([changed]).collect(),
    };
    let mut settled = Claims::default();
    for key in order {
        let Some(service) = services.get(key) else { continue };
        if !service.load_balancer.addresses().any(|own| own == address) {
            continue;
        }
        let mut others = settled.held.iter().filter_map(|holder| services.get(holder));
        let free = others.all(|other| obstacle(service, other).is_none());
        if free { &mut settled.held } else { &mut settled.refused }.push(key.clone());
    }
    settled
}
