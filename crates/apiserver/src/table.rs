//! Objects in, a `meta.k8s.io/v1` Table (what `kubectl get` prints) out.

use api::kind::{Column, Kind};
use api::status::Status;
use serde_json::{Value, json};

/// How much of each object a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    Nothing,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Parses `includeObject`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Status> {
        match text {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::Nothing),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Status::bad_request(format!(
                "unrecognized value of includeObject: {other:?}; use None, Metadata or Object"
            ))),
        }
    }
}

/// Columns of a kind that brings none.
const PLAIN: [Column; 1] =
    [Column { name: "Name", r#type: "string", format: "name", priority: 0, description: "Name of the object" }];

/// The `columnDefinitions` of a kind.
pub(crate) fn definitions(kind: &Kind) -> Value {
    let columns = match kind.rules.columns() {
        [] => &PLAIN[..],
        columns => columns,
    };
    let definition = |column: &Column| {
        json!({
            "name": column.name, "type": column.r#type, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    };
    columns.iter().map(definition).collect()
}

/// One row.
pub(crate) fn row(kind: &Kind, object: Value, include: Include, now_seconds: i64) -> Value {
    let cells = if kind.rules.columns().is_empty() {
        vec![object["metadata"]["name"].clone()]
    } else {
        kind.rules.cells(&object, now_seconds)
    };
    let object = match include {
        Include::Nothing => Value::Null,
        Include::Metadata => metadata(object),
        Include::Object => object,
    };
    json!({ "cells": cells, "object": object })
}

/// A Table at a revision. `definitions` is null in all but the first event of a watch.
pub(crate) fn table(definitions: Value, rows: Vec<Value>, list_meta: Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": definitions, "rows": rows,
    })
}

/// The `PartialObjectMetadata` of an object.
pub(crate) fn metadata(mut object: Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"].take() })
}

#[cfg(test)]
mod tests {
    use api::kinds;

    use super::*;

    #[test]
    fn rows_have_a_cell_per_column() {
        let object = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "x", "namespace": "default" },
        });
        for kind in kinds::ALL {
            let row = row(kind, object.clone(), Include::Metadata, 0);
            let columns = definitions(kind).as_array().map_or(0, Vec::len);
            assert_eq!(row["cells"].as_array().map_or(0, Vec::len), columns, "{}", kind.kind);
            assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
        }
    }

    #[test]
    fn include() {
        let object = json!({ "metadata": { "name": "x" }, "data": {} });
        assert!(row(&kinds::CONFIG_MAP, object.clone(), Include::Nothing, 0)["object"].is_null());
        assert_eq!(row(&kinds::CONFIG_MAP, object.clone(), Include::Object, 0)["object"], object);
        assert_eq!(Include::parse(Some("All")).unwrap_err().code, 400);
    }
}
