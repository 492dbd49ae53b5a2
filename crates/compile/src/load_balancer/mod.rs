//! Services of type LoadBalancer and pools of addresses in, addresses given and taken back out.
//!
//! The status of a Service is the truth: what it holds is never given anew, and a restart changes nothing. An address that
//! was given back is given again only after every node has applied a revision that does not programme it.

mod choose;
mod desk;
mod holders;
mod pending;
mod pools;
mod problem;
mod range;
mod share;
#[cfg(test)]
mod tests;

pub use desk::{Decision, Desk};
pub use holders::Holders;
pub use pending::problem;
pub use pools::{Pool, Pools};
pub use problem::Problem;
pub use range::Range;

use crate::snapshot::{Service, ServiceType};

/// Our own `spec.loadBalancerClass`; a Service without a class is ours too.
pub const CLASS: &str = "mainstay.dev/lb";
/// Annotation with the addresses that a Service wants, comma separated, at most one per family.
pub const ASKED: &str = "mainstay.dev/load-balancer-ips";
/// Annotation with a key: Services with the same one may share an address.
pub const SHARED: &str = "mainstay.dev/allow-shared-ip";
/// The finalizer that every implementation of load balancers uses (KEP-980).
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// Whether the Service has the type and a class that these pools serve.
pub fn is_ours(service: &Service, pools: &Pools) -> bool {
    service.service_type == ServiceType::LoadBalancer && pools.serve(service.load_balancer.class.as_deref())
}
