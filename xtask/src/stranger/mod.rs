//! `cargo xtask stranger`: a clean Debian or Ubuntu with systemd and nothing else in; an hour of a stranger's life on it,
//! replayed step by step, out: install, demo, host mode, broken things, a reboot, a power cut, removal. Before and after,
//! everything that the machine holds is written down and compared. Needs root, mmdebstrap and systemd-nspawn.

mod guest;
mod network;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::dist;
use guest::Guest;
use network::Network;

/// What the chore was told.
#[derive(Debug)]
pub(crate) struct Options {
    suite: String,
    mirror: String,
    /// Where `cargo xtask dist` put its files.
    dist: PathBuf,
    /// Only steps whose names contain this.
    only: Option<String>,
    keep: bool,
}

impl Options {
    /// Reads the arguments after the chore's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            suite: "bookworm".into(),
            mirror: "http://deb.debian.org/debian".into(),
            dist: dist::root()?.join("target/dist"),
            only: None,
            keep: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().with_context(|| format!("{argument} needs a value.\nType: {}", crate::USAGE));
            match argument.as_str() {
                "--suite" => options.suite.clone_from(value()?),
                "--mirror" => options.mirror.clone_from(value()?),
                "--dist" => options.dist = std::path::absolute(value()?)?,
                "--only" => options.only = Some(value()?.clone()),
                "--keep" => options.keep = true,
                other => bail!("unknown argument {other:?}.\nType: {}", crate::USAGE),
            }
        }
        Ok(options)
    }
}

/// What happens between two steps on the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Continue,
    /// A neighbour on the LAN asks the node port, by both families.
    AskFromLan,
    /// The machine is told to boot again.
    Reboot,
    /// The machine ends in the middle of whatever it does.
    PowerCut,
}

/// A step: its name, its script, and what happens after it.
type Step = (&'static str, &'static str, Then);

const STEPS: &[Step] = &[
    ("tarball: install, demo as root and as a user, uninstall", include_str!("steps/tarball.sh"), Then::Continue),
    ("package: install, host mode by systemd", include_str!("steps/package.sh"), Then::Continue),
    ("host: Services from this host, from pods, from the LAN", include_str!("steps/host.sh"), Then::AskFromLan),
    ("upgrade: restart under load", include_str!("steps/upgrade.sh"), Then::Continue),
    ("break: kill -9 of server and holder under load", include_str!("steps/break.sh"), Then::Reboot),
    ("reboot: pods, addresses and rules are back", include_str!("steps/rebooted.sh"), Then::Continue),
    ("power cut: in the middle of writes", include_str!("steps/writes.sh"), Then::PowerCut),
    ("power cut: every acknowledged write is there", include_str!("steps/written.sh"), Then::Continue),
    ("package: removed without a trace", include_str!("steps/remove.sh"), Then::Continue),
];

/// Plays every step; fails when one fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = dist::root()?.join("target/stranger");
    let root = place.join("root");
    let image = image(&place, options)?;
    unpack(&image, &root)?;
    bring(&options.dist, &root)?;
    let mut network = Network::make(0)?;
    let mut guest = Guest::boot(&root, &network.namespace())?;
    println!("{} {} with systemd is up", if options.suite.is_empty() { "a root" } else { "clean" }, options.suite);
    let mut failed = 0;
    for (number, (name, script, then)) in STEPS.iter().enumerate() {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let began = Instant::now();
        let outcome = guest.run(script, *then == Then::PowerCut)?;
        let verdict = if outcome.success { "ok  " } else { "FAIL" };
        println!("{verdict} {name} ({:.1} s)", began.elapsed().as_secs_f32());
        outcome.lines.iter().for_each(|line| println!("     {line}"));
        failed += usize::from(!outcome.success);
        if *then == Then::AskFromLan {
            for url in ["http://192.0.2.10:30080/", "http://[2001:db8::10]:30080/"] {
                let answer = network.ask(url);
                failed += usize::from(answer.is_err());
                println!("     {}: {url} from the LAN: {answer:?}", if answer.is_ok() { "ok" } else { "FAIL" });
            }
        }
        if matches!(then, Then::Reboot | Then::PowerCut) {
            guest.end(*then == Then::Reboot)?;
            // A kernel that boots has forgotten its links, addresses and rules.
            drop(std::mem::replace(&mut network, Network::make(number + 1)?));
            guest = Guest::boot(&root, &network.namespace())?;
        }
    }
    if options.keep {
        println!("the machine is kept: nsenter --target {} --all. End it: kill {}", guest.leader(), guest.leader());
        guest.keep();
        network.keep();
    }
    if failed > 0 {
        bail!("{failed} of the steps failed");
    }
    Ok(())
}

/// A root file system with systemd and the tools of an ordinary server, made once and kept as a tarball.
fn image(place: &Path, options: &Options) -> Result<PathBuf> {
    let image = place.join(format!("{}.tar", options.suite));
    if image.is_file() {
        return Ok(image);
    }
    std::fs::create_dir_all(place)?;
    println!("making a clean {} from {}", options.suite, options.mirror);
    let half = place.join(format!("{}.half.tar", options.suite));
    let status = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase"])
        .arg("--include=systemd-sysv,dbus,udev,iproute2,nftables,curl,procps,ca-certificates,kmod")
        .arg(&options.suite)
        .arg(&half)
        .arg(&options.mirror)
        .status()
        .context("cannot start mmdebstrap.\nType: apt-get install mmdebstrap systemd-container")?;
    if !status.success() {
        bail!("mmdebstrap {} failed: {status}.\nAnother one: --suite NAME --mirror URL", options.suite);
    }
    std::fs::rename(half, &image)?;
    Ok(image)
}

fn unpack(image: &Path, root: &Path) -> Result<()> {
    if root.exists() {
        std::fs::remove_dir_all(root).with_context(|| format!("{} is still in use", root.display()))?;
    }
    std::fs::create_dir_all(root)?;
    let status = Command::new("tar").arg("-C").arg(root).arg("-xf").arg(image).status()?;
    if !status.success() {
        bail!("cannot unpack {}: {status}", image.display());
    }
    // systemd makes an identity of its own for an empty one.
    std::fs::write(root.join("etc/machine-id"), "")?;
    std::fs::write(root.join("etc/hostname"), "stranger\n")?;
    Ok(())
}

/// Puts what a stranger downloads into /root, a stock kubectl on the PATH, and the scripts' helpers beside.
fn bring(dist: &Path, root: &Path) -> Result<()> {
    let home = root.join("root");
    let mut brought = 0;
    for entry in
        std::fs::read_dir(dist).with_context(|| format!("there is no {}.\nType: cargo xtask dist", dist.display()))?
    {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.ends_with(&format!("linux-{}.tar.gz", std::env::consts::ARCH))
            || name.ends_with(&format!("_{}.deb", native().debian()))
            || name == "SHA256SUMS";
        if ours {
            std::fs::copy(entry.path(), home.join(name))?;
            brought += 1;
        }
    }
    if brought != 3 {
        bail!(
            "{} does not hold a release for this machine.\nType: cargo xtask dist --target {}",
            dist.display(),
            std::env::consts::ARCH
        );
    }
    let kubectl = Command::new("sh").args(["-c", "command -v kubectl"]).output()?;
    let kubectl = PathBuf::from(String::from_utf8_lossy(&kubectl.stdout).trim());
    let kubectl = kubectl.canonicalize().context("there is no kubectl on PATH.\nType: sh scripts/setup.sh test")?;
    std::fs::copy(&kubectl, root.join("usr/local/bin/kubectl"))?;
    let helpers = home.join("stranger");
    std::fs::create_dir_all(&helpers)?;
    std::fs::write(helpers.join("lib.sh"), include_str!("steps/lib.sh"))?;
    std::fs::write(helpers.join("dump.sh"), include_str!("steps/dump.sh"))?;
    std::fs::write(helpers.join("web.yaml"), include_str!("steps/web.yaml"))?;
    Ok(())
}

fn native() -> dist::Arch {
    if dist::Arch::Aarch64.is_native() { dist::Arch::Aarch64 } else { dist::Arch::X86_64 }
}
