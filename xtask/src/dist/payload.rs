//! A built program in; every file that an installation has out, by its path below the prefix.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Arch;

/// A file of an installation.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Path below the prefix (`/usr`, `/usr/local`, `~/.local`).
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Whether it is a program.
    pub(crate) program: bool,
}

impl Entry {
    pub(crate) fn file(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), bytes, program: false }
    }

    /// Permissions.
    pub(crate) fn mode(&self) -> u32 {
        if self.program { 0o755 } else { 0o644 }
    }
}

/// Where each shell looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/mainstay"),
    ("fish", "share/fish/vendor_completions.d/mainstay.fish"),
    ("zsh", "share/zsh/site-functions/_mainstay"),
];

/// The program, what it writes about itself, and the files of `packaging`. Sorted by path.
pub(crate) fn collect(binary: &Path, arch: Arch) -> Result<Vec<Entry>> {
    let root = super::root()?;
    let read = |path: &str| std::fs::read(root.join(path)).with_context(|| format!("cannot read {path}"));
    let bytes = std::fs::read(binary).with_context(|| format!("there is no program {}", binary.display()))?;
    let mut entries = vec![Entry { path: "bin/mainstay".into(), bytes, program: true }];
    for (shell, path) in COMPLETIONS {
        entries.push(Entry::file(path, run(binary, arch, &["completions", shell])?));
    }
    entries.extend(manual(binary, arch)?);
    for document in ["README.md", "CHANGELOG.md", "LICENSE"] {
        entries.push(Entry::file(&format!("share/doc/mainstay/{document}"), read(document)?));
    }
    entries.push(Entry::file("lib/systemd/system/mainstay.service", read("packaging/mainstay.service")?));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Every page of the manual.
fn manual(binary: &Path, arch: Arch) -> Result<Vec<Entry>> {
    let directory = tempfile::tempdir()?;
    let place = directory.path().to_string_lossy().into_owned();
    run(binary, arch, &["man", &place])?;
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(directory.path())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        pages.push(Entry::file(&format!("share/man/man1/{name}"), std::fs::read(entry.path())?));
    }
    if pages.is_empty() {
        bail!("{} wrote no manual pages", binary.display());
    }
    Ok(pages)
}

/// What the program prints. One for another architecture is run by qemu.
fn run(binary: &Path, arch: Arch, arguments: &[&str]) -> Result<Vec<u8>> {
    let emulator = format!("qemu-{}-static", arch.name());
    let mut command = if arch.is_native() {
        Command::new(binary)
    } else {
        let mut command = Command::new(&emulator);
        command.arg(binary);
        command
    };
    let output = command.args(arguments).output().with_context(|| {
        format!(
            "cannot run {}.\nA foreign program needs an emulator: apt-get install qemu-user-static",
            binary.display()
        )
    })?;
    if !output.status.success() {
        bail!("{} {}: {}", binary.display(), arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
