//! How the crates that do I/O meet: traits and plain values, no logic.

pub mod access;
pub mod advice;
pub mod applied;
pub mod dial;
pub mod streams;
