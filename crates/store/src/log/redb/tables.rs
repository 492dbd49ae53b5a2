//! The tables in the file: a database in, its format, revision and rows out.
//!
//! Table `objects` maps (table, namespace, name) to (revision, created, body); table `meta` holds the format version and
//! the last revision. The key is a tuple, so redb keeps it in our order and no name needs escaping.

use std::io;

use api::object::{ObjectKey, Revision};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::place::engine;
use crate::Record;

/// Format that this program writes, and the newest it reads.
pub const FORMAT: u64 = 1;

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const OBJECTS: TableDefinition<ObjectId<'static>, Stored<'static>> = TableDefinition::new("objects");

/// Table, namespace, name.
type ObjectId<'a> = (&'a str, &'a str, &'a str);

/// Revision, revision of creation, body.
type Stored<'a> = (u64, u64, &'a [u8]);

/// A row as it lies in the file.
pub(super) struct Row {
    pub(super) table: String,
    pub(super) key: ObjectKey,
    pub(super) revision: Revision,
    pub(super) created: Revision,
    pub(super) body: Bytes,
}

impl Row {
    /// What is wrong with the numbers of a row in a log at `last`.
    pub(super) fn fault(&self, last: Revision) -> Option<String> {
        let Self { table, key, revision, created, .. } = self;
        let wrong = *revision > last || created > revision || revision.0 == 0;
        wrong.then(|| format!("{table} {key} has revision {revision}, created {created}, in a log at {last}"))
    }
}

/// The format version; none in a database without tables.
pub(super) fn format(database: &Database) -> io::Result<Option<u64>> {
    let read = database.begin_read().map_err(engine)?;
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(engine(error)),
    };
    let format = meta.get("format").map_err(engine)?.map(|value| value.value());
    format.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no format version"))
}

/// The revision of the last change.
pub(super) fn revision(database: &Database) -> io::Result<Revision> {
    let read = database.begin_read().map_err(engine)?;
    let meta = read.open_table(META).map_err(engine)?;
    Ok(Revision(meta.get("revision").map_err(engine)?.map_or(0, |value| value.value())))
}

/// Tables of an empty log.
pub(super) fn create(database: &Database) -> io::Result<()> {
    let write = database.begin_write().map_err(engine)?;
    write.open_table(OBJECTS).map_err(engine)?;
    let mut meta = write.open_table(META).map_err(engine)?;
    meta.insert("format", FORMAT).map_err(engine)?;
    meta.insert("revision", 0).map_err(engine)?;
    drop(meta);
    write.commit().map_err(engine)
}

/// Gives every row, in key order.
pub(super) fn rows(database: &Database, mut give: impl FnMut(Row) -> io::Result<()>) -> io::Result<()> {
    let read = database.begin_read().map_err(engine)?;
    for row in read.open_table(OBJECTS).map_err(engine)?.iter().map_err(engine)? {
        let (key, value) = row.map_err(engine)?;
        let ((table, namespace, name), (revision, created, body)) = (key.value(), value.value());
        give(Row {
            table: table.to_owned(),
            key: ObjectKey::new(namespace, name),
            revision: Revision(revision),
            created: Revision(created),
            body: Bytes::copy_from_slice(body),
        })?;
    }
    Ok(())
}

/// Puts objects into an empty log in one transaction, and sets its revision.
pub(super) fn fill(database: &Database, revision: Revision, objects: &[(String, Record)]) -> io::Result<()> {
    let write = database.begin_write().map_err(engine)?;
    let mut rows = write.open_table(OBJECTS).map_err(engine)?;
    for (table, record) in objects {
        let key = (table.as_str(), &*record.key.namespace, &*record.key.name);
        rows.insert(key, (record.revision.0, record.created.0, &*record.body.bytes())).map_err(engine)?;
    }
    drop(rows);
    write.open_table(META).map_err(engine)?.insert("revision", revision.0).map_err(engine)?;
    write.commit().map_err(engine)
}
