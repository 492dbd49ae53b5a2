//! Turns decoded Deployments and ReplicaSets into defaulted, checked and printed ones.

mod deployment;
pub(super) mod label_selector;
mod replica_set;
mod template;

pub(super) use deployment::Deployment;
pub(super) use replica_set::ReplicaSet;

#[cfg(test)]
mod tests;
