//! A kubeconfig in, the recordings of `crates/mainstay/tests/e2e/golden` out: what kubectl prints against that API server.

#[path = "../../crates/mainstay/tests/e2e/golden/mask.rs"]
mod mask;
#[path = "../../crates/mainstay/tests/e2e/golden/runner.rs"]
mod runner;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use runner::Shown;

/// Records every section, or only those named.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some((kubeconfig, only)) = arguments.split_first() else {
        bail!("which API server?\nType: cargo xtask golden KUBECONFIG [SECTION...]");
    };
    let kubeconfig = std::path::absolute(kubeconfig)?;
    let directory = runner::directory().join("recorded");
    std::fs::create_dir_all(&directory)?;
    for section in runner::script() {
        if !only.is_empty() && !only.contains(&section.name) {
            continue;
        }
        let (shown, failed) = runner::run(&section, &kubeconfig);
        if let Some(why) = failed {
            bail!("section {}: {why}", section.name);
        }
        let file = directory.join(section.name.clone() + ".txt");
        std::fs::write(&file, format(&shown)).with_context(|| format!("cannot write {}", file.display()))?;
        let bound = section.steps.iter().filter(|step| step.minor.is_some()).count();
        println!("{}: {} commands, {bound} of them compared only with this kubectl", section.name, shown.len());
    }
    std::fs::write(directory.join("versions.yaml"), versions(&kubeconfig)?)?;
    Ok(())
}

fn versions(kubeconfig: &Path) -> Result<String> {
    let output =
        Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig).args(["version", "-o", "yaml"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter(|line| line.contains("ersion:") || line.contains("inor:"))
        .map(|line| format!("{line}\n"))
        .collect())
}

/// A transcript as it is kept: each command after `$ `, then what it printed.
fn format(shown: &[Shown]) -> String {
    shown.iter().map(|one| format!("$ {}\n{}\n", one.command, one.text)).collect()
}
