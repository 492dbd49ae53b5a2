//! Objects in, snapshots and API writes out: the reflector, the drivers of sinks, and the controllers whose sink is the API.
//!
//! Every controller has the same shape: a pure step in `compile` decides on what is known, [`start`] wires it to the
//! watch that tells what to look at again, and every write is refused by the API if its object has changed meanwhile.

mod driver;
mod endpoints;
mod events;
mod feed;
mod fixtures;
mod follow;
mod garbage;
mod lease;
pub mod limits;
mod load_balancer;
mod mirrored;
mod namespaces;
mod programmed;
mod reflector;
pub mod remote;
mod work;
mod workloads;
mod world;
mod writer;

use std::net::IpAddr;
use std::sync::Arc;

use compile::load_balancer::Pools;
use contract::access::{Access, named};
use contract::applied::Applied;
use tokio::task::JoinSet;

pub use driver::{Backoff, Sink, SinkError, drive};
pub use events::Events;
pub use feed::{Feed, Publisher, Subscription, everything, feed};
pub use follow::{Follower, follow};
pub use lease::APPLIED_REVISION;
pub use reflector::{reflect, reflect_node};

use crate::world::{Queues, World};
use crate::writer::Writer;

/// What controllers must be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this node.
    pub node: String,
    /// Addresses of this node on which the API serves pods, primary family first.
    pub node_addresses: Vec<IpAddr>,
    /// Addresses by which others know this node, primary family first; they may change.
    pub host_addresses: tokio::sync::watch::Receiver<Vec<IpAddr>>,
    /// Pod ranges of this node, as text.
    pub pod_cidrs: Vec<String>,
    /// Port on which the API listens on the node addresses.
    pub api_port: u16,
    /// Cluster IP of `default/kubernetes`: the first address of the primary Service range.
    pub kubernetes_address: IpAddr,
    /// Cluster IPs of `kube-system/kube-dns`, primary family first; none for no such Service.
    pub dns_addresses: Vec<IpAddr>,
    /// Addresses for Services of type LoadBalancer.
    pub pools: Pools,
    /// Certificate authority for `kube-root-ca.crt`.
    pub ca_pem: String,
    /// Version shown in the Node.
    pub version: String,
}

/// Running controllers. Dropping this stops them.
pub struct Controllers {
    /// Where snapshots come from.
    pub feed: Feed,
    /// Where Events are handed in.
    pub events: Events,
    /// The tasks; none of them ends by itself.
    pub tasks: JoinSet<()>,
}

/// Starts the reflector and all controllers on the current runtime.
pub fn start(config: Config, access: Arc<dyn Access>, applied: Applied) -> Controllers {
    let config = Arc::new(config);
    let (publisher, feed) = feed();
    let world = World::new();
    let queues = Queues::default();
    let (events, notes) = Events::new();
    let writer = Writer { access: access.clone(), events: events.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(reflect(access.clone(), publisher));
    tasks.spawn(world::run(access.clone(), world.clone(), queues.clone()));
    tasks.spawn(events::run(named(&access, "mainstay-events"), notes));
    tasks.spawn(endpoints::run(
        feed.clone(),
        world.clone(),
        writer.named("mainstay-endpoints"),
        queues.services.clone(),
    ));
    tasks.spawn(namespaces::run(
        world.clone(),
        writer.named("mainstay-namespaces"),
        queues.namespaces.clone(),
        config.ca_pem.clone(),
    ));
    tasks.spawn(garbage::run(world.clone(), writer.named("mainstay-garbage-collector"), queues.garbage.clone()));
    let pools = config.pools.clone();
    let balancer = writer.named("mainstay-load-balancer");
    tasks.spawn(load_balancer::run(feed.clone(), balancer, applied.clone(), pools));
    tasks.spawn(workloads::run(world, writer.named("mainstay-workloads"), queues));
    tasks.spawn(fixtures::run(feed.clone(), named(&access, "mainstay-fixtures"), config.clone()));
    tasks.spawn(programmed::run(feed.clone(), named(&access, "mainstay-programmed"), applied.clone()));
    tasks.spawn(lease::run(named(&access, "mainstay-node"), applied, config));
    Controllers { feed, events, tasks }
}

#[cfg(test)]
mod tests;
