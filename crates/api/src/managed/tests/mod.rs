//! Objects and writes in, owners and merged objects out.
