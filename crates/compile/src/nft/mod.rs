//! Services as nftables data: fixed rules (`rules`), maps and sets (`state`), and what to change (`diff`).

pub mod expr;
pub mod rules;
pub mod state;
pub mod text;
