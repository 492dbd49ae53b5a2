//! Turns a Service's ports into ports with node ports, explicit or free, plus the health-check port of local load balancers.

use std::collections::{BTreeMap, BTreeSet};

use api::kinds::{read, service};
use api::status::Status;
use serde_json::Value;

use super::draw::Draw;
use super::invalid_field;
use super::ranges::{Ranges, pick_port};
use super::taken::Taken;

const HEALTH: &str = "/spec/healthCheckNodePort";

/// One write's view of the node ports: what is taken, and what this write has taken so far.
struct Ports<'a> {
    ranges: &'a Ranges,
    taken: &'a Taken,
    draw: &'a mut Draw,
    ours: BTreeSet<u16>,
}

pub(super) fn fill(
    new: &mut Value,
    old: Option<&Value>,
    ranges: &Ranges,
    taken: &Taken,
    draw: &mut Draw,
) -> Result<(), Status> {
    let mut ports = Ports { ranges, taken, draw, ours: BTreeSet::new() };
    if service::holds_node_ports(new) {
        match old {
            None => ports.create(new)?,
            Some(old) => ports.update(new, old)?,
        }
    }
    let needed = old.is_some_and(service::needs_health_check);
    if service::needs_health_check(new) && !needed { ports.health_check(new) } else { Ok(()) }
}

impl Ports<'_> {
    /// Entries with the same `port` share one number (TCP and UDP 53 under one node port), an explicit one if any has it.
    fn create(&mut self, new: &mut Value) -> Result<(), Status> {
        let allocates = service::allocates_node_ports(new);
        let asked: Vec<_> =
            read::list(new, "/spec/ports").iter().map(|port| (port_of(port), node_port(port))).collect();
        let mut shared: BTreeMap<i64, i64> = BTreeMap::new();
        for (i, (port, given)) in asked.iter().enumerate() {
            if *given == 0 && !allocates {
                continue;
            }
            let number = match shared.get(port) {
                None => {
                    let wanted = asked.iter().find(|(other, number)| other == port && *number != 0);
                    let number = match wanted {
                        Some((_, number)) => self.explicit(new, i, *number)?,
                        None => self.free("nodePort")?,
                    };
                    shared.insert(*port, number);
                    number
                }
                Some(number) if *given == 0 || given == number => *number,
                Some(_) => self.explicit(new, i, *given)?,
            };
            read::put(new, &format!("/spec/ports/{i}/nodePort"), number);
        }
        Ok(())
    }

    /// Numbers that the Service already has stay its own; each entry without a number gets a fresh one.
    /// The same number twice for one protocol passes here and is refused by validation as a duplicate.
    fn update(&mut self, new: &mut Value, old: &Value) -> Result<(), Status> {
        let allocates = service::allocates_node_ports(new);
        let kept: Vec<_> = match service::holds_node_ports(old) {
            true => read::list(old, "/spec/ports").iter().map(node_port).collect(),
            false => Vec::new(),
        };
        let asked: Vec<_> = read::list(new, "/spec/ports").iter().map(node_port).collect();
        let mut seen = BTreeSet::new();
        for (i, given) in asked.into_iter().enumerate() {
            if given == 0 && allocates {
                let number = self.free("nodePort")?;
                read::put(new, &format!("/spec/ports/{i}/nodePort"), number);
            } else if given != 0 && !kept.contains(&given) && seen.insert(given) {
                self.explicit(new, i, given)?;
            }
        }
        Ok(())
    }

    fn health_check(&mut self, new: &mut Value) -> Result<(), Status> {
        let number = match read::int(new, HEALTH).unwrap_or(0) {
            0 => self.free("HealthCheck NodePort 0")?,
            number => {
                let why = |why| {
                    Status::internal(format!("failed to allocate requested HealthCheck NodePort {number}: {why}"))
                };
                self.refusal(number).map_or(Ok(number), |refusal| Err(why(refusal)))?
            }
        };
        read::put(new, HEALTH, number);
        Ok(())
    }

    fn explicit(&mut self, new: &Value, i: usize, number: i64) -> Result<i64, Status> {
        match self.refusal(number) {
            None => Ok(number),
            Some(why) => Err(invalid_field(new, &format!("spec.ports[{i}].nodePort"), number, &why)),
        }
    }

    /// Why a number cannot be had, or none, and then it is taken.
    fn refusal(&mut self, number: i64) -> Option<String> {
        let range = &self.ranges.node_ports;
        let Some(port) = u16::try_from(number).ok().filter(|port| range.contains(port)) else {
            let (low, high) = (range.start(), range.end());
            let text = format!("provided port is not in the valid range. The range of valid ports is {low}-{high}");
            return Some(text);
        };
        if let Some(owner) = self.taken.port(port) {
            return Some(format!("provided port is already allocated (by {owner})"));
        }
        (!self.ours.insert(port)).then(|| "provided port is already allocated".to_owned())
    }

    fn free(&mut self, what: &str) -> Result<i64, Status> {
        let is_taken = |port: u16| self.taken.port(port).is_some() || self.ours.contains(&port);
        let full = || Status::internal(format!("failed to allocate a {what}: range is full"));
        let port = pick_port(&self.ranges.node_ports, self.draw, is_taken).ok_or_else(full)?;
        self.ours.insert(port);
        Ok(i64::from(port))
    }
}

fn port_of(port: &Value) -> i64 {
    read::int(port, "/port").unwrap_or(0)
}

fn node_port(port: &Value) -> i64 {
    read::int(port, "/nodePort").unwrap_or(0)
}
