//! A number of Services in, a closed durable store that holds them and their slices out.

use std::path::Path;

use anyhow::Result;
use api::object::{ObjectKey, Revision};
use serde_json::Value;
use store::{Store, Txn};

use super::objects::{self, Shape};

/// Services per transaction: large enough that syncing the disk is not what filling takes, small enough to keep in mind.
const SERVICES_PER_WRITE: usize = 500;

/// Fills the store in `directory`, adds `more` (objects by table) and closes it. Returns its newest revision.
pub(super) async fn fill(directory: &Path, shape: Shape, more: Vec<(&'static str, Value)>) -> Result<Revision> {
    let store = Store::open_dir(directory)?;
    write(&store, |txn| put(txn, "namespaces", objects::namespace())).await?;
    for first in (0..shape.services).step_by(SERVICES_PER_WRITE) {
        let numbers = first..shape.services.min(first + SERVICES_PER_WRITE);
        write(&store, |txn| {
            for number in numbers {
                for (table, object) in objects::stored(number, shape) {
                    put(txn, table, object);
                }
            }
        })
        .await?;
    }
    write(&store, |txn| more.into_iter().for_each(|(table, object)| put(txn, table, object))).await?;
    Ok(store.revision())
}

async fn write(store: &Store, change: impl FnOnce(&mut Txn<'_>) + Send) -> Result<()> {
    let written = store.write(|txn| {
        change(txn);
        Ok::<(), std::convert::Infallible>(())
    });
    match written.await {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!("cannot fill the store: {error}.\nTry another disk: TMPDIR=DIR mainstay bench ..."),
    }
}

fn put(txn: &mut Txn<'_>, table: &'static str, mut object: Value) {
    object["metadata"]["resourceVersion"] = txn.next_revision().0.to_string().into();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let key = ObjectKey::new(text(&metadata["namespace"]), text(&metadata["name"]));
    txn.put(table, key, object.to_string().into());
}
