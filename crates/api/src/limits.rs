//! Every limit of this crate in one place: what a client may send is bounded before it is worked on.

/// Deeper JSON than this is refused: no Kubernetes object needs a tenth of it, and recursion must end.
pub const DEPTH_MAX: usize = 100;

/// More operations than this in one JSON patch are refused, as in Kubernetes.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// What all `copy` operations of one JSON patch may add together, as in Kubernetes: copying an object into itself
/// doubles it, so that a few dozen operations would otherwise fill any memory.
pub const JSON_PATCH_COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// So many unknown or duplicate fields are told of, further ones are dropped in silence.
pub const FIELD_FAULTS_MAX: usize = 100;

/// A path in a message is cut after so many bytes: names are the client's and may be as long as its whole body.
pub const PATH_BYTES_MAX: usize = 512;
