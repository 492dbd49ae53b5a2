//! Pairs of a certificate and a key in, PEM files out, and back.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{CredentialsError, Pair};

/// Loads a pair, if both its files are there.
pub(super) fn load(dir: &Path, name: &str) -> Result<Option<Pair>, CredentialsError> {
    let read = |extension: &str| {
        let path = dir.join(format!("{name}.{extension}"));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
        }
    };
    Ok(read("crt")?.zip(read("key")?).map(|(certificate, key)| Pair { certificate, key }))
}

/// Writes a pair so that a crash leaves either the old file or the new one; the key first, as `load` needs both.
pub(super) fn keep(dir: &Path, name: &str, pair: Pair) -> Result<Pair, CredentialsError> {
    for (extension, text) in [("key", &pair.key), ("crt", &pair.certificate)] {
        let path = dir.join(format!("{name}.{extension}"));
        let fresh = dir.join(format!("{name}.{extension}.new"));
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&fresh, &path)
        };
        write().map_err(|error| failed("write", &path, error))?;
    }
    Ok(pair)
}

/// Why a file could not be used.
pub(super) fn failed(verb: &'static str, path: &Path, error: std::io::Error) -> CredentialsError {
    CredentialsError::File { verb, path: path.into(), error }
}
