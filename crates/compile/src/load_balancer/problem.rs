//! Why a Service has no load-balancer address: what failed, which field asks for it, what to type next.

use std::fmt;
use std::net::IpAddr;

use api::object::ObjectKey;

use crate::snapshot::Family;

/// Why an address cannot be given.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// There are no pools at all.
    NoPool,
    /// No pool has addresses of this family.
    NoFamily(Family),
    /// Pools have addresses of this family, but none is for this Service's namespace or class.
    NotForYou(Family),
    /// Every address that it could have is taken.
    Exhausted {
        /// Family asked for.
        family: Family,
        /// Names of the pools.
        pools: Vec<Box<str>>,
        /// How many addresses they have.
        size: u128,
    },
    /// An address that is asked for is none.
    NotAnAddress(Asked),
    /// An address that is asked for has a family that the Service does not have.
    WrongFamily(Asked),
    /// Two addresses of one family are asked for.
    Twice(Asked),
    /// An address that is asked for is in no pool, or in none for this Service.
    Outside(Asked),
    /// An address that is asked for belongs to another Service.
    Taken {
        /// What was asked.
        asked: Asked,
        /// Whose it is.
        holder: ObjectKey,
        /// Why they cannot share it.
        obstacle: String,
    },
    /// An address was given back, and some node may still programme it.
    Leaving(IpAddr),
    /// `spec.loadBalancerClass` names somebody else.
    OtherClass(Box<str>),
}

/// An address that a Service asks for, and by which field.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// As written.
    pub text: Box<str>,
    /// Where it is written.
    pub field: &'static str,
}

impl Problem {
    /// The reason of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OtherClass(_) => "SyncLoadBalancerFailed",
            _ => "AllocationFailed",
        }
    }
}

fn example(family: Family) -> (&'static str, &'static str, &'static str) {
    match family {
        Family::V4 => ("IPv4", "ipFamilies has IPv4", "--lb-pool 10.99.0.0/24"),
        Family::V6 => ("IPv6", "ipFamilies has IPv6", "--lb-pool fd00:10:99::/120"),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool => write!(
                out,
                "no address: spec.type is LoadBalancer and there is no pool of addresses. Start with one: mainstay up \
                 --lb-pool 10.99.0.0/24"
            ),
            Self::NoFamily(family) => {
                let (name, field, flag) = example(*family);
                write!(out, "no {name} address: spec.{field} and no pool has any. Add one: mainstay up {flag}")
            }
            Self::NotForYou(family) => {
                let (name, _, flag) = example(*family);
                write!(
                    out,
                    "no {name} address: every pool with such addresses is for other namespaces or classes \
                     (metadata.namespace, spec.loadBalancerClass). Add one: mainstay up {flag}"
                )
            }
            Self::Exhausted { family, pools, size } => {
                let (name, _, flag) = example(*family);
                let pools = pools.join(", ");
                write!(
                    out,
                    "no {name} address: all {size} of pool {pools} are taken. Delete a Service of type LoadBalancer \
                     (kubectl get services -A) or add a pool: mainstay up {flag}"
                )
            }
            Self::NotAnAddress(asked) => {
                write!(out, "{asked} is no IP address. Write one, such as 10.99.0.7, or leave it out for any")
            }
            Self::WrongFamily(asked) => write!(
                out,
                "{asked} has a family that is not in spec.ipFamilies. Ask for an address of a family that is, or set \
                 spec.ipFamilyPolicy to PreferDualStack"
            ),
            Self::Twice(asked) => {
                write!(out, "{asked} is the second address of its family. Ask for one address per family")
            }
            Self::Outside(asked) => write!(
                out,
                "{asked} is in no pool that this Service may use. Ask for an address of a pool (mainstay status lists \
                 them), or add it: mainstay up --lb-pool {}",
                asked.text
            ),
            Self::Taken { asked, holder, obstacle } => write!(
                out,
                "{asked} belongs to Service {holder}, and {obstacle}. Ask for another address, or give both Services \
                 the same mainstay.dev/allow-shared-ip and different ports"
            ),
            Self::Leaving(address) => write!(
                out,
                "{address} was given back, and not every node has stopped serving its last Service. It is given as soon \
                 as they have; look at them: mainstay status"
            ),
            Self::OtherClass(class) => write!(
                out,
                "spec.loadBalancerClass {class:?} belongs to another implementation of load balancers: nothing is done \
                 here. For an address of this one create the Service without spec.loadBalancerClass"
            ),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.field, self.text)
    }
}
