//! Turns decoded Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and ControllerRevisions into defaulted, checked
//! and printed ones.

mod amount;
mod controller_revision;
mod daemon_set;
mod deployment;
mod job;
pub(super) mod label_selector;
mod replica_set;
mod replication_controller;
mod stateful_set;
mod template;

pub(super) use controller_revision::ControllerRevision;
pub(super) use daemon_set::DaemonSet;
pub(super) use deployment::Deployment;
pub(super) use job::Job;
pub(super) use replica_set::ReplicaSet;
pub(super) use replication_controller::ReplicationController;
pub(super) use stateful_set::StatefulSet;

#[cfg(test)]
mod tests;
