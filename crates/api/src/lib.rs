//! Kubernetes objects that Mainstay serves, and the rules they obey: JSON in, defaulted, validated, printed JSON out.
//!
//! Pure: no clock, randomness, I/O, async or hash-ordered containers. Start reading at [`kind`].

pub mod decode;
pub mod discovery;
pub mod field;
pub mod kind;
pub mod kinds;
pub mod limits;
pub mod managed;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
