//! Where [`contract::advice::Advice`] is asked: answers to writes in, their warnings added; rows of Tables with its cells out.

use api::kind::Kind;
use contract::advice::Written;
use serde_json::Value;

use crate::ask::Ask;
use crate::object::parsed;
use crate::pipeline::Api;
use crate::table::{self, Include};
use crate::write::Outcome;

/// Adds what is to be said about an object that a client wrote. Subresources are written by controllers: nobody reads
/// warnings there.
pub(crate) async fn warn(api: &Api, ask: &Ask, outcome: &mut Outcome) {
    let Some(advice) = api.advice().filter(|_| ask.subresource.is_empty() && !outcome.gone) else { return };
    let Ok(object) = parsed(&outcome.object.json) else { return };
    let dry_run = ask.query.all("dryRun").iter().any(|value| value == "All");
    let revision = if dry_run { api.store().revision() } else { outcome.object.revision };
    let written = Written { object: &object, revision, dry_run, began: ask.began };
    outcome.warnings.extend(advice.warnings(ask.kind, &written).await);
}

/// A row of a Table, with the cells that only the advice knows.
pub(crate) fn row(api: &Api, kind: &'static Kind, object: Value, include: Include) -> Value {
    let known = api.advice().map(|advice| advice.cells(kind, &object)).unwrap_or_default();
    let mut row = table::row(kind, object, include, api.now_seconds());
    for (name, value) in known {
        let column = kind.rules.columns().iter().position(|column| column.name == name);
        if let Some(cell) = column.and_then(|column| row["cells"].get_mut(column)) {
            *cell = value;
        }
    }
    row
}
