//! Files of an installation in; a Debian package out (deb(5): an ar archive of two tarballs), without Debian's tools.

use anyhow::{Context, Result};
use md5::{Digest, Md5};

use super::date::Date;
use super::payload::Entry;
use super::{Arch, Facts, archive};

/// Maintainer scripts and lists of the control archive, and whether each is a program.
const CONTROL: [(&str, bool); 4] = [("conffiles", false), ("postinst", true), ("prerm", true), ("postrm", true)];

/// The name that Debian gives the file.
pub(crate) fn file_name(facts: &Facts, arch: Arch) -> String {
    format!("mainstay_{}_{}.deb", facts.version, arch.debian())
}

/// The package.
pub(crate) fn package(payload: &[Entry], arch: Arch, facts: &Facts) -> Result<Vec<u8>> {
    let data = data(payload, facts)?;
    let control = control(&data, arch, facts)?;
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", archive::pack(&control, facts, true)?),
        ("data.tar.gz", archive::pack(&data, facts, true)?),
    ];
    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", facts.epoch, 0, 0, "100644", bytes.len());
        package.extend_from_slice(header.as_bytes());
        package.extend_from_slice(&bytes);
        if bytes.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    Ok(package)
}

/// Files where Debian wants them: below /usr, manual pages and changelog compressed, the licence as `copyright`.
fn data(payload: &[Entry], facts: &Facts) -> Result<Vec<Entry>> {
    let mut entries = vec![Entry::file("etc/default/mainstay", read("default")?)];
    for entry in payload {
        let mut entry = entry.clone();
        let name = entry.path.rsplit('/').next().unwrap_or_default().to_owned();
        match name.as_str() {
            "LICENSE" => continue,
            "CHANGELOG.md" => {
                entry.path = "share/doc/mainstay/CHANGELOG.md.gz".into();
                entry.bytes = archive::gzip(&entry.bytes)?;
            }
            "_mainstay" => entry.path = "share/zsh/vendor-completions/_mainstay".into(),
            name if name.ends_with(".1") => {
                entry.path.push_str(".gz");
                entry.bytes = archive::gzip(&entry.bytes)?;
            }
            _ => {}
        }
        entry.path = format!("usr/{}", entry.path);
        entries.push(entry);
    }
    let changelog = archive::gzip(changelog(facts).as_bytes())?;
    entries.push(Entry::file("usr/share/doc/mainstay/changelog.gz", changelog));
    let commit = format!("Built from commit {}.\n", facts.commit);
    let copyright = [read("copyright")?, commit.into_bytes()].concat();
    entries.push(Entry::file("usr/share/doc/mainstay/copyright", copyright));
    entries.push(Entry::file("usr/share/lintian/overrides/mainstay", read("lintian-overrides")?));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Debian's own changelog has a form of its own; ours is beside it.
fn changelog(facts: &Facts) -> String {
    let date = Date::of(facts.epoch).rfc5322();
    format!(
        "mainstay ({}) unstable; urgency=medium\n\n  * Built from commit {}. What is new: CHANGELOG.md.gz\n\n \
         -- Mainstay <packages@mainstay.dev>  {date}\n",
        facts.version, facts.commit
    )
}

/// The control archive: description, checksums, scripts.
fn control(data: &[Entry], arch: Arch, facts: &Facts) -> Result<Vec<Entry>> {
    let kib: u64 = data.iter().map(|entry| (entry.bytes.len() as u64).div_ceil(1024)).sum();
    let text = String::from_utf8(read("control")?).context("packaging/deb/control is no text")?;
    let text =
        text.replace("@VERSION@", &facts.version).replace("@ARCH@", arch.debian()).replace("@SIZE@", &kib.to_string());
    let sums: String = data
        .iter()
        .filter(|entry| !entry.path.starts_with("etc/"))
        .map(|entry| format!("{}  {}\n", super::hex(&Md5::digest(&entry.bytes)), entry.path))
        .collect();
    let mut entries = vec![Entry::file("control", text.into_bytes()), Entry::file("md5sums", sums.into_bytes())];
    for (name, program) in CONTROL {
        entries.push(Entry { path: name.to_owned(), bytes: read(name)?, program });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn read(name: &str) -> Result<Vec<u8>> {
    let path = super::root()?.join("packaging/deb").join(name);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{file_name, package};
    use crate::dist::payload::Entry;
    use crate::dist::{Arch, Facts};

    #[test]
    fn dpkg_reads_the_package_and_finds_every_file() {
        let facts = Facts { version: "9.8.7".into(), commit: "abc".into(), epoch: 1_700_000_000 };
        let program = Entry { path: "bin/mainstay".into(), bytes: b"#!/bin/sh\n".to_vec(), program: true };
        let payload = [
            program,
            Entry::file("share/doc/mainstay/CHANGELOG.md", b"news".to_vec()),
            Entry::file("share/doc/mainstay/LICENSE", b"licence".to_vec()),
            Entry::file("share/man/man1/mainstay.1", b".TH".to_vec()),
            Entry::file("share/zsh/site-functions/_mainstay", b"#compdef".to_vec()),
        ];
        let bytes = package(&payload, Arch::Aarch64, &facts).unwrap();
        assert_eq!(bytes, package(&payload, Arch::Aarch64, &facts).unwrap(), "the same bytes again");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(&facts, Arch::Aarch64));
        std::fs::write(&path, bytes).unwrap();
        let asked = |arguments: &[&str]| {
            let output = Command::new("dpkg-deb").args(arguments).arg(&path).output().expect("dpkg-deb runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let control = asked(&["--field"]);
        assert!(control.contains("Version: 9.8.7\n") && control.contains("Architecture: arm64\n"), "{control}");
        let left = control.split_whitespace().find(|word| word.starts_with('@') && word.ends_with('@'));
        assert_eq!(left, None, "a word was not replaced: {control}");
        let listed = asked(&["--contents"]);
        let files = [
            "./usr/bin/mainstay",
            "./etc/default/mainstay",
            "./usr/share/doc/mainstay/CHANGELOG.md.gz",
            "./usr/share/doc/mainstay/changelog.gz",
            "./usr/share/doc/mainstay/copyright",
            "./usr/share/man/man1/mainstay.1.gz",
            "./usr/share/zsh/vendor-completions/_mainstay",
        ];
        for file in files {
            assert!(listed.contains(file), "{file} is not in {listed}");
        }
        assert!(listed.contains("-rwxr-xr-x root/root"), "{listed}");
    }
}
