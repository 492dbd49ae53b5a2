//! Turns a defaulted Service, the configured ranges and what is taken into the same Service with its addresses and ports.
//!
//! Order of a write, all inside the write transaction:
//! - create: `default`, [`allocate`] (old is none), `prepare_create`, `validate`, store, [`Taken::add`] of the new Service;
//! - update: `default`, [`allocate`], `prepare_update`, `validate`, store, [`Taken::remove`] of the old and [`Taken::add`] of the new;
//! - delete: store, [`Taken::remove`].
//!
//! [`allocate`] itself restores what an update does not mention (`api::kinds::service::carry_over`). It changes only `new`, so a
//! write that fails later has nothing to give back; what an update releases becomes free when the caller removes the old Service.

use api::field::FieldErrors;
use api::kinds::{SERVICE, read, service};
use api::status::Status;
use serde_json::{Value, json};

mod addresses;
mod draw;
mod families;
mod networks;
mod ports;
mod ranges;
mod taken;

use draw::Draw;
pub use networks::{cidrs, may_go};
pub use ranges::{Cidr, CidrError, Ranges};
pub use taken::{Taken, addresses as held_addresses};

/// Fills `clusterIP`, `clusterIPs`, `ipFamilies`, `ipFamilyPolicy`, node ports and `healthCheckNodePort` of `new`.
///
/// `old` is the stored Service of an update. `seed` decides which free addresses and ports are taken: same input, same result.
/// With `dry_run` an explicit address is checked for its range only and a missing one becomes the range's base address.
pub fn allocate(
    new: &mut Value,
    old: Option<&Value>,
    ranges: &Ranges,
    taken: &Taken,
    seed: u64,
    dry_run: bool,
) -> Result<(), Status> {
    match old {
        Some(old) => service::carry_over(new, old),
        None => {
            // Only the singular field is repaired on create: who knows the plural one must set both.
            let ip = read::text(new, "/spec/clusterIP").to_owned();
            if !ip.is_empty() && read::list(new, "/spec/clusterIPs").is_empty() {
                read::put(new, "/spec/clusterIPs", json!([ip]));
            }
        }
    }
    let mut draw = Draw::new(seed);
    let settled = families::settled(new, old);
    if !settled {
        families::fill(new, old, ranges)?;
        addresses::fill(new, old, ranges, taken, &mut draw, dry_run)?;
    }
    ports::fill(new, old, ranges, taken, &mut draw)
}

/// 422 with these field errors.
fn invalid(service: &Value, errors: &FieldErrors) -> Status {
    Status::invalid(&SERVICE, read::text(service, "/metadata/name"), errors)
}

/// 422 with one `Invalid value` error.
fn invalid_field(service: &Value, field: &str, value: impl Into<Value>, why: &str) -> Status {
    let mut errors = FieldErrors::default();
    errors.invalid(field, value, why);
    invalid(service, &errors)
}

#[cfg(test)]
mod tests;
