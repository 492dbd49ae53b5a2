//! An architecture in, a static program for it out: Rust's musl target, musl's headers for the C parts, Rust's own linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Facts;

/// An architecture that releases are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            other => bail!("there are no releases for {other:?}.\nGive one of: --target x86_64, --target aarch64"),
        }
    }

    /// As in the names of files and of `uname -m`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian names it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As Rust names it.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Whether a program for it runs on this machine as it is.
    pub(crate) fn is_native(self) -> bool {
        std::env::consts::ARCH == self.name()
    }
}

/// The linker's work: equal functions once, and relocations in the short form.
const LINK: &str = "-C link-arg=--icf=all -C link-arg=-zpack-relative-relocs";
/// C code is compiled against musl's headers, whatever the compiler was built for. AES-GCM for AVX-512 is left out.
const C_FLAGS: &str = "-U_FORTIFY_SOURCE -DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX";

/// Builds the program.
pub(crate) fn binary(arch: Arch, facts: &Facts) -> Result<PathBuf> {
    let root = super::root()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |given| root.join(given));
    let triple = arch.triple();
    need_rust(triple)?;
    let (compiler, c_flags) = c_compiler(arch, &target)?;
    let variable = triple.to_uppercase().replace('-', "_");
    let lower = triple.replace('-', "_");
    // Paths of this machine would make two builders' programs differ, and tell strangers about it.
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    let remap = format!("--remap-path-prefix={}=/mainstay --remap-path-prefix={home}=/cargo", root.display());
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&root)
        .args(["build", "--locked", "--profile", "packaged", "--bin", "mainstay", "--target", triple])
        .env(format!("CC_{lower}"), compiler)
        .env(format!("CFLAGS_{lower}"), format!("{c_flags} -ffile-prefix-map={home}=/cargo"))
        .env(format!("CARGO_TARGET_{variable}_LINKER"), "rust-lld")
        .env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), format!("{LINK} {remap}"))
        .env("MAINSTAY_COMMIT", &facts.commit)
        .env("SOURCE_DATE_EPOCH", facts.epoch.to_string())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the build for {triple} failed: {status}");
    }
    Ok(target.join(triple).join("packaged/mainstay"))
}

/// Looks for Rust's library for the target, so that its absence is one line and not a screen of errors.
fn need_rust(triple: &str) -> Result<()> {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output()?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !output.status.success() || !directory.is_dir() {
        bail!("Rust's library for {triple} is missing.\nType: rustup target add {triple}");
    }
    Ok(())
}

/// A C compiler that makes objects for musl, and its flags.
fn c_compiler(arch: Arch, target: &Path) -> Result<(&'static str, String)> {
    if arch == Arch::X86_64 && arch.is_native() {
        need_program("musl-gcc", "musl-tools")?;
        return Ok(("musl-gcc", C_FLAGS.to_owned()));
    }
    let (compiler, package) = match arch {
        Arch::X86_64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
        Arch::Aarch64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    };
    need_program(compiler, package)?;
    let own = Command::new(compiler).arg("-print-file-name=include").output()?;
    let own = String::from_utf8_lossy(&own.stdout).trim().to_owned();
    let headers = musl_headers(arch, target)?;
    // Calls of libgcc for atomics would need libgcc; inline ones do not.
    let inline = if arch == Arch::Aarch64 { " -mno-outline-atomics" } else { "" };
    Ok((compiler, format!("{C_FLAGS}{inline} -nostdinc -isystem {} -isystem {own}", headers.display())))
}

fn need_program(program: &str, package: &str) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("{program} is missing.\nType: apt-get install {package} (or: sh scripts/setup.sh dist)"),
    }
}

/// musl's headers for a foreign architecture, out of Debian's package of it. Where that architecture is not known to this
/// machine's apt, a private set of lists is used: nothing outside the target directory changes.
fn musl_headers(arch: Arch, target: &Path) -> Result<PathBuf> {
    let include = format!("usr/include/{}-linux-musl", arch.name());
    let system = Path::new("/").join(&include);
    if system.is_dir() {
        return Ok(system);
    }
    let place = target.join(format!("musl-{}", arch.name()));
    if !place.join(&include).is_dir() {
        eprintln!("xtask: musl's headers for {} from Debian's package musl-dev", arch.name());
        let script = include_str!("musl-headers.sh");
        let status = Command::new("sh").args(["-c", script, "sh", arch.debian()]).arg(&place).status()?;
        if !status.success() {
            bail!("musl-dev for {} could not be fetched: {status}.\nType: apt-get install musl-dev:{0}", arch.debian());
        }
    }
    Ok(place.join(include))
}

#[cfg(test)]
mod tests {
    use super::Arch;

    #[test]
    fn architectures_go_by_both_names() {
        assert_eq!(Arch::parse("arm64").unwrap(), Arch::Aarch64);
        assert_eq!(Arch::parse("x86_64").unwrap().debian(), "amd64");
        let refused = Arch::parse("riscv64").unwrap_err().to_string();
        assert!(refused.contains("riscv64") && refused.contains("--target"), "{refused}");
    }
}
