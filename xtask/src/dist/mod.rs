//! `cargo xtask dist`: the workspace in; what a stranger downloads out, in `target/dist`: for each architecture a tarball, a
//! Debian package and an SBOM, and one SHA256SUMS. Two runs on one commit give the same bytes.

mod archive;
mod build;
mod date;
mod deb;
mod facts;
mod payload;
mod sbom;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

pub(crate) use build::Arch;
pub(crate) use facts::Facts;

/// What the chore was told.
#[derive(Debug)]
pub(crate) struct Options {
    targets: Vec<Arch>,
    /// A program that was built before, instead of building one (for tests of the packaging).
    binary: Option<PathBuf>,
    pub(crate) out: PathBuf,
}

impl Options {
    /// Reads the arguments after the chore's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { targets: Vec::new(), binary: None, out: root()?.join("target/dist") };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().with_context(|| format!("{argument} needs a value.\nType: {}", crate::USAGE));
            match argument.as_str() {
                "--target" => options.targets.push(Arch::parse(value()?)?),
                "--binary" => options.binary = Some(value()?.into()),
                "--out" => options.out = std::path::absolute(value()?)?,
                other => bail!("unknown argument {other:?}.\nType: {}", crate::USAGE),
            }
        }
        if options.targets.is_empty() {
            options.targets = vec![Arch::X86_64, Arch::Aarch64];
        }
        if options.binary.is_some() && options.targets.len() != 1 {
            bail!("--binary is a program of one architecture.\nAdd: --target x86_64 or --target aarch64");
        }
        Ok(options)
    }
}

/// The workspace.
pub(crate) fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?.to_owned())
}

/// Builds and packs everything; prints what was made.
pub(crate) fn run(options: &Options) -> Result<()> {
    let facts = Facts::gather()?;
    std::fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    for arch in &options.targets {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => build::binary(*arch, &facts)?,
        };
        let payload = payload::collect(&binary, *arch)?;
        let name = format!("mainstay-{}-linux-{}", facts.version, arch.name());
        write(&options.out.join(format!("{name}.tar.gz")), &archive::tarball(&name, &payload, &facts)?)?;
        write(&options.out.join(deb::file_name(&facts, *arch)), &deb::package(&payload, *arch, &facts)?)?;
        write(&options.out.join(format!("{name}.cdx.json")), &sbom::document(*arch, &facts)?)?;
    }
    write(&options.out.join("SHA256SUMS"), sums(&options.out)?.as_bytes())
}

/// A line for each file of the directory, in the form that `sha256sum --check` reads.
fn sums(out: &Path) -> Result<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && name.starts_with("mainstay") {
            names.push(name);
        }
    }
    names.sort();
    let line = |name: String| Ok(format!("{}  {name}\n", hex(&Sha256::digest(std::fs::read(out.join(&name))?))));
    names.into_iter().map(line).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    #[expect(clippy::cast_precision_loss, reason = "a size to look at")]
    let size = bytes.len() as f64 / 1048576.0;
    println!("{size:7.1} MiB  {}", path.display());
    Ok(())
}
