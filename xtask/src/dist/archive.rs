//! Files in; a tarball out that is the same bytes for the same files: sorted, owned by root, at one time, at one level.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Context, Result};

use super::Facts;
use super::payload::Entry;

/// Packs files and the directories above them. Directories are packed only if `with_directories` says so for them.
pub(crate) fn pack(entries: &[Entry], facts: &Facts, dot: bool) -> Result<Vec<u8>> {
    let name = |path: &str| if dot { format!("./{path}") } else { path.to_owned() };
    let mut packed = tar::Builder::new(Vec::new());
    let mut made = BTreeSet::new();
    if dot {
        add(&mut packed, "./", tar::EntryType::Directory, 0o755, &[], facts)?;
    }
    for entry in entries {
        for (end, _) in entry.path.match_indices('/') {
            let directory = &entry.path[..end];
            if made.insert(directory) {
                add(&mut packed, &format!("{}/", name(directory)), tar::EntryType::Directory, 0o755, &[], facts)?;
            }
        }
        add(&mut packed, &name(&entry.path), tar::EntryType::Regular, entry.mode(), &entry.bytes, facts)?;
    }
    gzip(&packed.into_inner()?)
}

/// The tarball of a release: one directory with the prefix's layout and the installer beside it.
pub(crate) fn tarball(name: &str, payload: &[Entry], facts: &Facts) -> Result<Vec<u8>> {
    let installer = super::root()?.join("packaging/install.sh");
    let bytes = std::fs::read(&installer).with_context(|| format!("cannot read {}", installer.display()))?;
    let mut entries = payload.to_vec();
    entries.push(Entry { path: "install.sh".into(), bytes, program: true });
    for entry in &mut entries {
        entry.path = format!("{name}/{}", entry.path);
    }
    pack(&entries, facts, false)
}

fn add(
    packed: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
    facts: &Facts,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    // `set_path` would drop a leading "./", which dpkg's archives have.
    let field = &mut header.as_old_mut().name;
    let slot = field.get_mut(..name.len()).with_context(|| format!("{name} is too long for a tar header"))?;
    slot.copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(facts.epoch);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_cksum();
    packed.append(&header, bytes).with_context(|| format!("cannot pack {name}"))
}

/// Compresses without a time or name of its own.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::pack;
    use crate::dist::Facts;
    use crate::dist::payload::Entry;

    #[test]
    fn packing_twice_gives_the_same_bytes_and_every_file_comes_back() {
        let facts = Facts { version: "1.0.0".into(), commit: "abc".into(), epoch: 1_700_000_000 };
        let program = Entry { path: "usr/bin/x".into(), bytes: b"run".to_vec(), program: true };
        let entries = [program, Entry::file("usr/share/doc/x/README", b"read".to_vec())];
        let packed = pack(&entries, &facts, true).unwrap();
        assert_eq!(packed, pack(&entries, &facts, true).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 1_700_000_000));
            seen.push((String::from_utf8_lossy(&entry.path_bytes()).into_owned(), header.mode().unwrap(), text));
        }
        let names: Vec<&str> = seen.iter().map(|(name, _, _)| name.as_str()).collect();
        let expected =
            ["./", "./usr/", "./usr/bin/", "./usr/bin/x", "./usr/share/", "./usr/share/doc/", "./usr/share/doc/x/"];
        assert_eq!(names[..7], expected);
        assert_eq!(seen[3], ("./usr/bin/x".into(), 0o755, "run".into()));
        assert_eq!(seen[7], ("./usr/share/doc/x/README".into(), 0o644, "read".into()));
    }

    #[test]
    fn a_name_that_does_not_fit_is_an_error() {
        let facts = Facts { version: "1".into(), commit: "a".into(), epoch: 0 };
        let long = Entry::file(&"x".repeat(101), Vec::new());
        assert!(pack(&[long], &facts, false).unwrap_err().to_string().contains("too long"));
    }
}
