//! Services as nftables data: fixed rules (`rules`), maps and sets (`state`), and what to change (`programmer`).

pub mod account;
mod balance;
pub mod expr;
pub mod flows;
mod held;
mod ids;
pub mod interpret;
mod jhash;
mod programmer;
pub mod rules;
pub mod state;
pub mod text;
pub mod trace;
pub mod words;

pub use programmer::{EncodedLen, Plan, Programmer};
