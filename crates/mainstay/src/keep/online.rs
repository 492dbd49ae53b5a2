//! Checks and saves that the server does for a command: a request under `/mainstay/store/` in, what came of it out.

use std::path::Path;

use anyhow::{Context, Result, bail};
use api::status::Status;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use store::{Store, durable};

use super::{Checked, Saved, check, save};
use crate::cli::client::Client;
use crate::config::DataDir;

/// How the names of saves begin that wait in `run` for their clients.
const SAVE: &str = "save-";

/// Answers a request, if it is one of these.
pub(crate) fn work(
    store: &Store,
    data_dir: &Path,
    method: &str,
    path: &str,
    body: &Value,
) -> Option<BoxFuture<'static, Result<Value, Status>>> {
    let store = store.clone();
    match (method, path) {
        ("POST", "/mainstay/store/check") => Some(Box::pin(async move {
            let checked = check::online(&store).await.map_err(|error| Status::internal(error.to_string()))?;
            Ok(json!(checked))
        })),
        ("POST", "/mainstay/store/save") => {
            let (data_dir, keys) = (data_dir.to_owned(), body["keys"] == true);
            Some(Box::pin(async move {
                let saved = tokio::task::spawn_blocking(move || save_here(&store, &data_dir, keys)).await;
                let saved = saved.map_err(|error| Status::internal(format!("the save was not finished: {error}")))?;
                saved.map_err(|error| Status::internal(format!("{error:#}")))
            }))
        }
        _ => None,
    }
}

/// Writes into the data directory alone: a client of the API may not choose what the server overwrites.
fn save_here(store: &Store, data_dir: &Path, keys: bool) -> Result<Value> {
    let data_dir = DataDir::choose(Some(data_dir))?;
    let directory = data_dir.path().join("run");
    let file = directory.join(format!("{SAVE}{}-{}", store.revision(), jiff::Timestamp::now().as_nanosecond()));
    let saved = save::online(store, &data_dir, &file, keys)?;
    Ok(json!({ "file": file, "saved": saved }))
}

/// Removes the saves whose clients never came for them; there may be keys in them.
pub(super) fn sweep(data_dir: &DataDir) {
    let Ok(entries) = std::fs::read_dir(data_dir.path().join("run")) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(SAVE.as_bytes())) {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a save that nobody came for cannot be removed");
        }
    }
}

/// Has the server check its store.
pub(crate) async fn check(client: &Client) -> Result<Checked> {
    let answer = client.post("/mainstay/store/check", &json!({})).await?.ok()?;
    serde_json::from_value(answer).context("the server's answer is not understood; is it another version?")
}

/// Has the server save its store, and moves the save to `file`.
pub(crate) async fn save(client: &Client, data_dir: &DataDir, file: &Path, keys: bool) -> Result<Saved> {
    let answer = client.post("/mainstay/store/save", &json!({ "keys": keys })).await?.ok()?;
    // Whoever answers may be another user: nothing but a save of this directory is moved by its word.
    let name = Path::new(answer["file"].as_str().unwrap_or_default()).file_name().unwrap_or_default();
    let made = data_dir.path().join("run").join(name);
    let regular = std::fs::symlink_metadata(&made).is_ok_and(|found| found.is_file());
    if !regular || !name.as_encoded_bytes().starts_with(SAVE.as_bytes()) {
        bail!(
            "the server answered with {made:?}, which is no save of {}.\nIs it another program's? Look: mainstay ls",
            data_dir.path().display()
        );
    }
    let moved = match std::fs::rename(&made, file) {
        Ok(()) => durable::sync_parent(file),
        Err(_) => copy(&made, file),
    };
    let removed = std::fs::remove_file(&made);
    moved.with_context(|| {
        format!("cannot write the save {}.\nChoose a place that you may write, with space", file.display())
    })?;
    drop(removed);
    serde_json::from_value(answer["saved"].clone()).context("the server's answer is not understood")
}

/// To another file system: whole or not at all.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let copied = std::fs::copy(from, part)
        .and_then(|_| std::fs::File::open(part)?.sync_all())
        .and_then(|()| durable::rename(part, to));
    if copied.is_err() {
        let _ = std::fs::remove_file(part);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_that_nobody_came_for_go_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::choose(Some(directory.path())).unwrap();
        sweep(&data_dir);
        data_dir.create().unwrap();
        let run = directory.path().join("run");
        for name in ["save-7-1795", "save-9-1796.part", "resolv.conf", "my-save-7"] {
            std::fs::write(run.join(name), "").unwrap();
        }
        sweep(&data_dir);
        let mut left: Vec<_> = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["my-save-7", "resolv.conf"]);
    }
}
