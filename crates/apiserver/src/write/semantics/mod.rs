//! Rows of the reference on Services and endpoints as data in, what the API answers compared: the YAML files beside this one.
//!
//! A case is a row and its steps. A step is one request and what must come of it:
//! - `create`, `put` (read, change, write back), `replace` (a manifest without a version), `merge`, `strategic`, `status`
//!   or `delete`, with the spec (or the whole object, for kinds without one) to lay over; null removes;
//! - `name` (web), `kind` (services), `meta` (laid over metadata), `dry: true`;
//! - `is`: what the answer's spec (object) then holds, null for nothing; `@ip4`, `@ip6`, `@nodePort` stand for what is
//!   allocated, `@same` for what was there before the request; `statusIs` for the status;
//! - `causes`: 422 with exactly these fields and messages; `fails`: code, reason and message. A `*` ends a prefix;
//! - `warns`: exactly these warnings; none when absent.

mod case;
mod run;

use run::check;

macro_rules! rows {
    ($($test:ident: $file:literal,)*) => {$(
        #[tokio::test]
        async fn $test() {
            check(include_str!($file)).await;
        }
    )*};
}

rows! {
    r1_2_type_and_ports: "fields_ports.yaml",
    r1_2_other_fields: "fields_other.yaml",
    r1_2_status_and_names: "fields_status.yaml",
    r1_3_surprises: "surprises.yaml",
    r1_3_warnings: "warnings.yaml",
    r1_4_families_on_create: "families_create.yaml",
    r1_4_families_on_update: "families_update.yaml",
    r1_5_addresses: "addresses.yaml",
    r1_6_node_ports: "node_ports.yaml",
    r1_7_type_changes: "type_changes.yaml",
    r1_11_annotations: "annotations.yaml",
    r2_1_slices: "slices.yaml",
    r2_3_endpoints: "endpoints.yaml",
}
