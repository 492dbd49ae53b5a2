//! Pinned versions in, built peers outside the repository out: etcd, kube-apiserver and kube-proxy, by the Go module registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What is compared with. Nothing else names a version.
pub(super) const KUBERNETES: &str = "1.36.3";
/// The store of its API server.
pub(super) const ETCD: &str = "3.6.8";
const GO: &str = "1.26.0";

/// Modules that Kubernetes keeps in its own repository; its go.mod names them without a version.
const STAGED: [&str; 33] = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
    "streaming",
];

/// Programs and the packages they are built from.
const PROGRAMS: [(&str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
];

/// The built peers.
pub(super) struct Peers {
    directory: PathBuf,
}

impl Peers {
    /// Those in `directory`; what is missing there, or of another version, is built.
    pub(super) fn find_or_build(directory: &Path) -> Result<Self> {
        let peers = Self { directory: directory.to_owned() };
        for (name, package) in PROGRAMS {
            if !peers.is_pinned(name)? {
                peers.build(name, package)?;
            }
            if !peers.is_pinned(name)? {
                bail!("{} is not of the pinned version after it was built", peers.program(name).display());
            }
        }
        Ok(peers)
    }

    /// Path of a program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    /// Whether a program is there and its build information names the pinned version.
    fn is_pinned(&self, name: &str) -> Result<bool> {
        let program = self.program(name);
        if !program.exists() {
            return Ok(false);
        }
        let output = go(&self.directory).args(["version", "-m"]).arg(&program).output().context("cannot run go")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(names(&text, "k8s.io/kubernetes", KUBERNETES) || names(&text, "go.etcd.io/etcd/server/v3", ETCD))
    }

    fn build(&self, name: &str, package: &str) -> Result<()> {
        eprintln!("xtask: building {name} in {} (minutes, once)", self.directory.display());
        let module = self.directory.join("module");
        std::fs::create_dir_all(&module).with_context(|| format!("cannot make {}", module.display()))?;
        std::fs::write(module.join("go.mod"), go_mod())?;
        std::fs::write(module.join("tools.go"), tools_go())?;
        succeed(go(&module).args(["mod", "tidy"]))?;
        // Programs whose build information has no version of their own are told theirs.
        let version = format!("-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}");
        let program = self.program(name);
        succeed(go(&module).args(["build", "-trimpath", "-ldflags", &version, "-o"]).arg(&program).arg(package))
    }
}

fn names(text: &str, module: &str, version: &str) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.windows(2).any(|pair| pair[0] == module && pair[1].strip_prefix('v') == Some(version))
    })
}

fn go(directory: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(directory).env("CGO_ENABLED", "0").env_remove("GOFLAGS");
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run go.\nInstall it: https://go.dev/dl")?;
    if !status.success() {
        bail!("{command:?} ended with {status}.\nThe Go module registry must be reachable: see go env GOPROXY");
    }
    Ok(())
}

fn go_mod() -> String {
    let staged = format!("v0.{}", KUBERNETES.split_once('.').map_or("", |(_, rest)| rest));
    let replaced: String = STAGED.iter().map(|name| format!("\tk8s.io/{name} => k8s.io/{name} {staged}\n")).collect();
    format!(
        "module peers\n\ngo {GO}\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v{ETCD}\n\tk8s.io/kubernetes v{KUBERNETES}\n)\n\n\
         replace (\n{replaced})\n"
    )
}

fn tools_go() -> String {
    let imports = ["go.etcd.io/etcd/server/v3/etcdmain", "k8s.io/kubernetes/cmd/kube-apiserver/app"];
    let imports = imports.iter().chain(&["k8s.io/kubernetes/cmd/kube-proxy/app"]);
    let imports: String = imports.map(|package| format!("\t_ \"{package}\"\n")).collect();
    format!("package peers\n\nimport (\n{imports})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_pins_every_version() {
        let text = go_mod();
        assert!(
            text.contains("k8s.io/kubernetes v1.36.3") && text.contains("k8s.io/api => k8s.io/api v0.36.3"),
            "{text}"
        );
        assert!(!text.contains("v0.0.0"));
        let built =
            "kube-proxy: go1.26\n\tpath\tk8s.io/kubernetes/cmd/kube-proxy\n\tdep\tk8s.io/kubernetes\tv1.36.3\th1:x\n";
        assert!(names(built, "k8s.io/kubernetes", "1.36.3") && !names(built, "k8s.io/kubernetes", "1.36.2"));
    }
}
