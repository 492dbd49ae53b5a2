//! `--lb-pool` texts in, pools of load-balancer addresses out: which Service may have which address.

use std::net::IpAddr;

use super::{CLASS, Range};
use crate::allocate::Cidr;
use crate::snapshot::Family;

/// Name of the pool of ranges that were given without one.
const UNNAMED: &str = "default";

/// Addresses that some Services may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Name, for people.
    pub name: Box<str>,
    /// Ranges, in order of use.
    pub ranges: Vec<Range>,
    /// Only for this `loadBalancerClass`; none: for Services without a class, and of our own.
    pub class: Option<Box<str>>,
    /// Only for Services in these namespaces; empty: for all.
    pub namespaces: Vec<Box<str>>,
}

/// All pools, in order of use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pools {
    /// The pools.
    pub list: Vec<Pool>,
}

impl Pools {
    /// Reads `[NAME=]RANGE[,class=CLASS][,namespaces=A+B]` texts. The same name twice is one pool with more ranges.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        let mut pools = Self::default();
        for text in texts {
            let text = text.as_ref();
            pools.add(parse(text)?).map_err(|why| format!("{text}: {why}"))?;
        }
        Ok(pools)
    }

    fn add(&mut self, pool: Pool) -> Result<(), String> {
        for (other, range) in self.list.iter().flat_map(|pool| pool.ranges.iter().map(move |range| (&pool.name, range)))
        {
            if pool.ranges.iter().any(|new| new.overlaps(range)) {
                return Err(format!("overlaps {range} of pool {other:?}"));
            }
        }
        let Some(known) = self.list.iter_mut().find(|known| known.name == pool.name) else {
            self.list.push(pool);
            return Ok(());
        };
        if (&known.class, &known.namespaces) != (&pool.class, &pool.namespaces) {
            return Err(format!("pool {:?} has another class or other namespaces already", pool.name));
        }
        known.ranges.extend(pool.ranges);
        Ok(())
    }

    /// Whether Services of this class are served at all.
    pub fn serve(&self, class: Option<&str>) -> bool {
        let own = class.is_none_or(|class| class == CLASS);
        own || self.list.iter().any(|pool| pool.class.as_deref() == class)
    }

    /// Whether a Service of this class in this namespace may have the address.
    pub fn allow(&self, address: IpAddr, class: Option<&str>, namespace: &str) -> bool {
        self.of(class, namespace).any(|pool| pool.ranges.iter().any(|range| range.contains(address)))
    }

    /// The pools for Services of this class in this namespace.
    pub(super) fn of(&self, class: Option<&str>, namespace: &str) -> impl Iterator<Item = &Pool> {
        let class = class.filter(|class| *class != CLASS).map(str::to_owned);
        let namespace = namespace.to_owned();
        self.list.iter().filter(move |pool| {
            let here = pool.namespaces.is_empty() || pool.namespaces.iter().any(|name| **name == *namespace);
            here && pool.class.as_deref() == class.as_deref()
        })
    }

    /// Whether there is an address of the family in any pool.
    pub(super) fn has(&self, family: Family) -> bool {
        self.list.iter().flat_map(|pool| &pool.ranges).any(|range| range.family() == family)
    }

    /// The networks that cover every pool and nothing else.
    pub fn cidrs(&self) -> Vec<Cidr> {
        self.list.iter().flat_map(|pool| &pool.ranges).flat_map(Range::cidrs).collect()
    }
}

fn parse(text: &str) -> Result<Pool, String> {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default().trim();
    let (name, range) = head.split_once('=').unwrap_or((UNNAMED, head));
    if let Some(why) = api::names::dns1123_label(name).first() {
        return Err(format!("{text}: pool name {name:?}: {why}"));
    }
    let range = Range::parse(range).map_err(|why| format!("{text}: {why}"))?;
    let mut pool = Pool { name: name.into(), ranges: vec![range], class: None, namespaces: Vec::new() };
    for part in parts {
        match part.trim().split_once('=') {
            Some(("class", class)) if api::names::qualified_name(class).is_empty() => {
                pool.class = Some(class).filter(|class| *class != CLASS).map(Into::into);
            }
            Some(("namespaces", names)) if names.split('+').all(|name| api::names::dns1123_label(name).is_empty()) => {
                pool.namespaces = names.split('+').map(Into::into).collect();
            }
            _ => return Err(format!("{text}: {part:?} is neither class=CLASS nor namespaces=NAME+NAME")),
        }
    }
    Ok(pool)
}
