//! A `hostPath` volume: its source in, a checked path of the host out, made first where its type says so.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks the path against the type that is asked for.
pub(super) fn prepare(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = Path::new(&source.path);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("hostPath.path {:?} must be absolute and must not contain '..'", source.path));
    }
    let wanted = source.type_.as_deref().unwrap_or_default();
    let made = match wanted {
        "DirectoryOrCreate" => fs::create_dir_all(path),
        "FileOrCreate" => fs::File::options().append(true).create(true).open(path).map(drop),
        _ => Ok(()),
    };
    made.map_err(|error| format!("hostPath.path {:?} cannot be made: {error}", source.path))?;
    let found = fs::metadata(path).map_err(|error| {
        format!("hostPath.path {:?}: {error}; make it, or set hostPath.type: DirectoryOrCreate", source.path)
    })?;
    let kind = found.file_type();
    let (fits, what) = match wanted {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (kind.is_dir(), "a directory"),
        "File" | "FileOrCreate" => (kind.is_file(), "a file"),
        "Socket" => (kind.is_socket(), "a socket file"),
        "CharDevice" => (kind.is_char_device(), "a character device"),
        "BlockDevice" => (kind.is_block_device(), "a block device"),
        other => return Err(format!("hostPath.type {other:?} is not known")),
    };
    if fits { Ok(path.to_owned()) } else { Err(format!("hostPath type check failed: {} is not {what}", source.path)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path, wanted: &str) -> Result<PathBuf, String> {
        let (path, type_) = (path.to_string_lossy().into_owned(), Some(wanted.to_owned()));
        prepare(&HostPathVolumeSource { path, type_ })
    }

    #[test]
    fn the_type_is_checked_and_made_where_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let (new, file) = (directory.path().join("a/b"), directory.path().join("file"));
        assert!(check(&new, "").unwrap_err().contains("DirectoryOrCreate"));
        assert_eq!(check(&new, "DirectoryOrCreate").unwrap(), new);
        assert!(check(&new, "File").unwrap_err().contains("is not a file"));
        assert_eq!(check(&file, "FileOrCreate").unwrap(), file);
        assert!(check(&file, "Directory").unwrap_err().contains("is not a directory"));
        assert!(check(Path::new("relative"), "").is_err() && check(Path::new("/tmp/../etc"), "").is_err());
        assert!(check(&file, "Pipe").unwrap_err().contains("not known"));
    }
}
