//! The part of a Service that load-balancer addresses are decided on.

use std::net::IpAddr;

use super::Protocol;

/// What a Service asks of a load balancer, and what it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadBalancer {
    /// `spec.loadBalancerClass`.
    pub class: Option<Box<str>>,
    /// Addresses asked for, as text: the annotation `mainstay.dev/load-balancer-ips`, else `spec.loadBalancerIP`.
    pub asked: Vec<Box<str>>,
    /// Whether `asked` comes from the annotation.
    pub asked_by_annotation: bool,
    /// Annotation `mainstay.dev/allow-shared-ip`, unless empty.
    pub share_key: Option<Box<str>>,
    /// `ipFamilyPolicy: RequireDualStack`.
    pub every_family: bool,
    /// The finalizer `service.kubernetes.io/load-balancer-cleanup` is present.
    pub finalizer: bool,
    /// `spec.healthCheckNodePort`, 0 if none.
    pub health_check_port: u16,
    /// `status.loadBalancer.ingress`, whoever wrote it.
    pub ingress: Vec<Ingress>,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingress {
    /// Address; none if the entry is a name or cannot be read.
    pub address: Option<IpAddr>,
    /// `ipMode: Proxy`: traffic must reach the load balancer itself, so nodes programme nothing.
    pub proxy: bool,
    /// Ports that the entry lists.
    pub ports: Vec<(Protocol, u16)>,
}

impl LoadBalancer {
    /// Addresses that the status names.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ingress.iter().filter_map(|ingress| ingress.address)
    }
}
