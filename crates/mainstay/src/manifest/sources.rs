//! A file, a folder, a URL or `-` in, the texts found there with their names out.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::fetch;

/// What names standard input.
pub(crate) const STDIN: &str = "-";
/// Largest manifest; the largest that is in use (a custom resource's definition) has a few hundred KiB.
pub(super) const BYTES_MAX: u64 = 16 << 20;
/// Largest number of files of a folder.
const FILES_MAX: usize = 10_000;
/// How deep folders may lie in one another.
const DEPTH_MAX: usize = 64;

/// Every text that a source names, in order.
pub(super) fn texts(source: &str, recursive: bool) -> Result<Vec<(String, String)>> {
    if source == STDIN {
        let text = limited(std::io::stdin().lock()).context("cannot read manifests from standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    if let Some(scheme) = scheme(source) {
        if !["http", "https"].contains(&scheme.as_str()) {
            bail!(
                "cannot use {source}: {scheme}:// is not fetched.\nGive an http:// or https:// URL, or a path: -f FILE"
            );
        }
        return Ok(vec![(source.to_owned(), fetch::get(source)?)]);
    }
    let path = Path::new(source);
    let next =
        || format!("cannot use {source}.\nGive a readable file of manifests, a folder of them, a URL, or -: -f FILE");
    if !std::fs::metadata(path).with_context(next)?.is_dir() {
        return Ok(vec![(source.to_owned(), file(path).with_context(next)?)]);
    }
    let mut files = Vec::new();
    folder(path, recursive, 0, &mut files).with_context(next)?;
    if files.is_empty() {
        let deeper = if recursive { "" } else { ", or look into the folders below it, too: -R" };
        bail!("{source} holds no manifests: no *.yaml, *.yml or *.json.\nName another folder{deeper}");
    }
    let text = |path: PathBuf| {
        let name = path.display().to_string();
        let text = file(&path).with_context(|| format!("cannot use {name}.\nMake it readable, or move it away"))?;
        Ok((name, text))
    };
    files.into_iter().map(text).collect()
}

/// What stands before `://`, in small letters; none if the source is a path.
fn scheme(source: &str) -> Option<String> {
    let (scheme, _) = source.split_once("://")?;
    let known = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(known);
    is_scheme.then(|| scheme.to_ascii_lowercase())
}

/// The manifests of a folder in the order of their names.
fn folder(path: &Path, recursive: bool, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    if depth > DEPTH_MAX {
        bail!("{} lies more than {DEPTH_MAX} folders deep", path.display());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            // A link back up would never end.
            if recursive && !path.is_symlink() {
                folder(&path, recursive, depth + 1, files)?;
            }
            continue;
        }
        if path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|ours| end == *ours)) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            bail!("more than {FILES_MAX} manifests");
        }
    }
    Ok(())
}

fn file(path: &Path) -> Result<String> {
    limited(std::fs::File::open(path)?)
}

/// All of a stream as text, if it is not too large.
fn limited(stream: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    stream.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    text(bytes)
}

/// Bytes of a manifest as text.
pub(super) fn text(bytes: Vec<u8>) -> Result<String> {
    if bytes.len() as u64 > BYTES_MAX {
        bail!("it is larger than {} MiB", BYTES_MAX >> 20);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => bail!("it is not text (not UTF-8)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_only_manifests() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(home.path().join(name), name).unwrap();
        std::fs::create_dir_all(home.path().join("sub/deep")).unwrap();
        ["b.yaml", "a.yml", "c.json", "README.md", "sub/d.yaml", "sub/deep/e.yaml"].into_iter().for_each(write);
        std::os::unix::fs::symlink("..", home.path().join("sub/up")).unwrap();
        let read = |recursive| -> Vec<String> {
            let texts = texts(&home.path().display().to_string(), recursive).unwrap();
            texts.into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(read(false), ["a.yml", "b.yaml", "c.json"]);
        assert_eq!(read(true), ["a.yml", "b.yaml", "c.json", "sub/d.yaml", "sub/deep/e.yaml"]);
    }

    #[test]
    fn what_cannot_be_read_says_what_to_type() {
        let home = tempfile::tempdir().unwrap();
        let empty = home.path().display().to_string();
        let binary = home.path().join("x.yaml");
        std::fs::write(&binary, b"\xff\xfe").unwrap();
        let large = home.path().join("y.yaml");
        std::fs::File::create(&large).unwrap().set_len(BYTES_MAX + 1).unwrap();
        let below = home.path().join("below");
        std::fs::create_dir(&below).unwrap();
        for (source, expected) in [
            ("/no/such", "cannot use /no/such: No such file"),
            (binary.to_str().unwrap(), "not UTF-8"),
            (large.to_str().unwrap(), "larger than 16 MiB"),
            (below.to_str().unwrap(), "no *.yaml, *.yml or *.json"),
            (&empty, "not UTF-8"),
            ("file:///etc/hostname", "file:// is not fetched"),
            ("FTP://host.example/x", "ftp:// is not fetched"),
            ("HTTP://127.0.0.1:99999/x", "99999 is no port"),
            ("./x://y", "No such file"),
        ] {
            let said = crate::report(&texts(source, false).unwrap_err());
            assert!(said.contains(expected) && said.contains('\n'), "{source}: {said}");
        }
    }
}
