//! Kubeconfig files: which cluster, user and instance one means, and our own entries put into one beside everybody else's.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// What ours are called, in all three lists.
const NAME: &str = "mainstay";
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// A kubeconfig; null if the file is empty.
pub(crate) fn read(path: &Path) -> Result<Value> {
    let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > FILE_BYTES_MAX {
        bail!("{} is no kubeconfig: it has {length} bytes.\nChoose another: --kubeconfig PATH", path.display());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let config: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is not YAML.\nChoose another: --kubeconfig PATH", path.display()))?;
    if !config.is_object() || (config["clusters"].is_null() && config["kind"] != "Config") {
        bail!("{} is no kubeconfig: it has no clusters.\nChoose another: --kubeconfig PATH", path.display());
    }
    Ok(config)
}

/// Cluster and user of the current context; without one, the first of each.
pub(crate) fn current(config: &Value) -> (&Value, &Value) {
    let context = &named(config, "contexts", config["current-context"].as_str())["context"];
    let of = |list, name: &Value| &named(config, list, name.as_str())[list.trim_end_matches('s')];
    (of("clusters", &context["cluster"]), of("users", &context["user"]))
}

/// The entry of a list with this name; the first one without a name.
fn named<'a>(config: &'a Value, list: &str, name: Option<&str>) -> &'a Value {
    let entries = &config[list];
    let Some(name) = name.filter(|name| !name.is_empty()) else { return &entries[0] };
    entries.as_array().into_iter().flatten().find(|entry| entry["name"] == name).unwrap_or(&Value::Null)
}

/// The directory of the instance that the current context means: a cluster extension says so, which kubectl ignores.
pub(crate) fn instance_of(config: &Value) -> Option<PathBuf> {
    let extensions = current(config).0["extensions"].as_array();
    let ours = extensions.into_iter().flatten().find(|extension| extension["name"] == NAME)?;
    ours["extension"]["dataDir"].as_str().map(PathBuf::from)
}

/// The instance that `$KUBECONFIG` means, if its first file is one that we wrote into.
pub(crate) fn instance_of_environment() -> Option<PathBuf> {
    let paths = std::env::var_os("KUBECONFIG")?;
    let first = std::env::split_paths(&paths).next()?;
    instance_of(&read(&first).ok()?)
}

/// Says in a kubeconfig of ours whose it is.
pub(crate) fn with_instance(mut ours: Value, directory: &Path) -> Value {
    ours["clusters"][0]["cluster"]["extensions"] =
        json!([{ "name": NAME, "extension": { "dataDir": directory.to_string_lossy() } }]);
    ours
}

/// What ours becomes in a file that others use, too: their entries stay, ours replace those of our name. The current context
/// becomes ours if `switch` is set or there was none.
pub(crate) fn merged(theirs: Value, ours: &Value, switch: bool) -> Value {
    if !theirs.is_object() {
        return ours.clone();
    }
    let mut all = theirs;
    for list in ["clusters", "contexts", "users"] {
        let mut entries: Vec<Value> = match all[list].take() {
            Value::Array(entries) => entries.into_iter().filter(|entry| entry["name"] != NAME).collect(),
            _ => Vec::new(),
        };
        entries.extend(ours[list].as_array().cloned().unwrap_or_default());
        all[list] = entries.into();
    }
    if switch || all["current-context"].as_str().is_none_or(str::is_empty) {
        all["current-context"] = ours["current-context"].clone();
    }
    all
}

/// Puts ours into a file that others may use, following a link to it.
pub(crate) fn merge_into(path: &Path, ours: &Value, switch: bool) -> Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let theirs = if path.exists() { read(&path)? } else { Value::Null };
    write(&path, &merged(theirs, ours, switch)).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file that only its owner may read, replacing it at once.
pub(crate) fn write(path: &Path, config: &Value) -> io::Result<()> {
    let yaml = serde_saphyr::to_string(config).ok();
    // What does not come back as it was is written in the part of YAML that leaves no choice.
    let same = |text: &String| serde_saphyr::from_str::<Value>(text).is_ok_and(|read| read == *config);
    let text = yaml.filter(same).unwrap_or_else(|| format!("{config:#}\n"));
    let mut new = path.to_owned().into_os_string();
    new.push(".mainstay-new");
    let _ = fs::remove_file(&new);
    let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(&new)?;
    let done = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        let plain = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "mainstay",
            "clusters": [{ "name": "mainstay", "cluster": { "server": "https://127.0.0.1:6443" } }],
            "users": [{ "name": "mainstay", "user": { "client-key-data": "a".repeat(3000) } }],
            "contexts": [{ "name": "mainstay", "context": { "cluster": "mainstay", "user": "mainstay" } }],
        });
        with_instance(plain, Path::new("/tmp/a b"))
    }

    #[test]
    fn the_entries_of_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let theirs = "kind: Config\ncurrent-context: prod\nclusters:\n- {name: prod, cluster: {server: 'https://p'}}\n\
                      - {name: mainstay, cluster: {server: 'https://old'}}\ncontexts:\n- name: prod\n  context: {cluster: \
                      prod, user: admin}\nusers:\n- {name: admin, user: {token: '0123'}}\npreferences: {colors: true}\n";
        fs::write(&path, theirs).unwrap();
        merge_into(&path, &ours(), false).unwrap();
        let all = read(&path).unwrap();
        assert_eq!((all["clusters"].as_array().unwrap().len(), &all["users"][0]["user"]["token"]), (2, &json!("0123")));
        assert_eq!((instance_of(&all), current(&all).0["server"].as_str()), (None, Some("https://p")));
        assert_eq!(all["preferences"]["colors"], true);
        merge_into(&path, &ours(), true).unwrap();
        let all = read(&path).unwrap();
        assert_eq!(instance_of(&all), Some("/tmp/a b".into()));
        assert_eq!(current(&all).1["client-key-data"].as_str().unwrap().len(), 3000);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing stays beside it");
    }

    #[test]
    fn what_is_no_kubeconfig_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        for text in ["hello", "a: b\n", "- 1\n", "{", "\u{1}"] {
            fs::write(&path, text).unwrap();
            let refused = merge_into(&path, &ours(), true).unwrap_err();
            assert!(format!("{refused:#}").contains("--kubeconfig PATH"), "{refused:#}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "\n").unwrap();
        merge_into(&path, &ours(), false).unwrap();
        assert_eq!(instance_of(&read(&path).unwrap()), Some("/tmp/a b".into()));
    }
}
