//! Starting: a Pod's network, files and volumes once, then each container with its program, environment and probes.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use api::kinds::CONFIG_MAP;
use api::object::ObjectKey;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::container::{Ended, State, pull_delay_ms};
use super::probe::{self, Target, Which};
use super::security;
use super::worker::{Worker, addresses_of, now_ms};
use crate::holder::message::{Root, Spawn};
use crate::images::{self, Image};
use crate::references::References;
use crate::{environment, name_files, network, volumes};

/// How long a container waits whose configuration is incomplete.
const CONFIG_RETRY_MS: i64 = 5_000;

impl Worker {
    pub(super) fn host_network(&self) -> bool {
        self.spec().host_network == Some(true) || self.built_in()
    }

    /// Whether part of this program plays the Pod: it serves on the node's addresses in the pods' ranges.
    fn built_in(&self) -> bool {
        let built_ins = &self.node.built_ins;
        let built_in = |image: &Option<String>| built_ins.iter().any(|known| Some(known.image()) == image.as_deref());
        self.spec().containers.iter().any(|container| built_in(&container.image))
    }

    /// Gives the Pod its addresses, its network and its files; all of it repeats harmlessly.
    pub(super) async fn set_up(&mut self) -> Result<(), String> {
        let replaced = self.node.client.replaced();
        let addresses = match (self.built_in(), self.host_network()) {
            (true, _) => self.node.config.node_addresses.clone(),
            (false, true) => self.node.host_addresses(),
            (false, false) => self.address()?,
        };
        let node = self.node.clone();
        let (uid, directory, network) = (self.uid.clone(), self.directory(), !self.host_network());
        let (pod, given) = (self.pod.clone(), addresses.clone());
        let done = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            fs::create_dir_all(directory.join("etc"))?;
            for (path, text) in name_files::files(&pod, &given, &node.config.names) {
                write_if_other(&directory.join(&path[1..]), &text)?;
            }
            if network {
                let netns = node.client.pod_netns(&uid)?;
                network::connect(node.netns.as_fd(), netns.as_fd(), &uid, &given, &node.config.node_addresses)?;
            }
            Ok(())
        });
        done.await.map_err(|error| error.to_string())?.map_err(|error| format!("set up the pod's network: {error}"))?;
        (self.addresses, self.set_up_at) = (addresses, replaced);
        Ok(())
    }

    /// The Pod's addresses: those it has, else new ones.
    fn address(&self) -> Result<Vec<IpAddr>, String> {
        let mut all = self.node.lock_addresses();
        let old = addresses_of(&self.pod);
        if !old.is_empty() && all.keep(&self.uid, &old) {
            return Ok(old);
        }
        all.allocate(&self.uid).ok_or_else(|| {
            let ranges: Vec<_> = self.node.config.pod_ranges.iter().map(ToString::to_string).collect();
            let ranges = ranges.join(",");
            format!("no free pod address in {ranges}: delete pods, or start with a larger --pod-cidr")
        })
    }

    /// Starts a container (again) or notes why it cannot be started.
    pub(super) async fn start(&mut self, index: usize) {
        let container = self.slots[index].spec.clone();
        let name = container.name.clone();
        let image = match self.pull(index, &container).await {
            Some(Image::BuiltIn(image)) => return self.start_built_in(index, &image).await,
            Some(image) => image,
            None => return,
        };
        self.tell_not_enforced(&container).await;
        let spawn = match self.prepare(index, &container, image).await {
            Ok(spawn) => spawn,
            Err(why) => {
                self.event("Warning", Some(&name), "Failed", &format!("Error: {why}")).await;
                let until_ms = now_ms() + CONFIG_RETRY_MS;
                self.slots[index].state =
                    State::Waiting { reason: "CreateContainerConfigError", message: why, until_ms };
                return;
            }
        };
        self.event("Normal", Some(&name), "Created", &format!("Container created: {name}")).await;
        match self.spawn(spawn).await {
            Ok(()) => {
                self.running(index);
                self.event("Normal", Some(&name), "Started", &format!("Container started: {name}")).await;
                self.post_start(index, &container).await;
            }
            Err(why) => {
                self.event("Warning", Some(&name), "Failed", &format!("Error: {why}")).await;
                let (now, policy) = (now_ms(), self.restart_policy());
                let attempt = self.slots[index].attempt;
                let (reason, message) = ("StartError".to_owned(), why);
                let ended = Ended { code: 128, reason, message, started_ms: now, ended_ms: now, attempt };
                self.slots[index].end(ended, &policy);
            }
        }
    }

    /// Has the holder start a container. A pod in which nothing runs lost its network with the last holder.
    async fn spawn(&mut self, spawn: Spawn) -> Result<(), String> {
        loop {
            let replaced = self.node.client.replaced();
            if self.set_up_at != replaced {
                self.set_up().await?;
            }
            let (client, spawn) = (self.node.client.clone(), spawn.clone());
            let started = tokio::task::spawn_blocking(move || client.spawn(spawn)).await;
            match started.map_err(|error| error.to_string())? {
                Err(_) if self.node.client.replaced() != replaced => {}
                done => return done.map_err(|error| error.to_string()),
            }
        }
    }

    /// Says in an Event what of the container's rights and limits does not hold here: Pods that a controller makes have
    /// nobody who reads warnings.
    async fn tell_not_enforced(&mut self, container: &Container) {
        for text in crate::enforced::container(&self.spec(), container, &self.node.abilities) {
            self.event("Warning", Some(&container.name), "NotEnforced", &text).await;
        }
    }

    fn running(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.state = State::Running { since_ms: now_ms() };
        (slot.ready, slot.started) = (false, false);
        self.probe(index);
        if self.slots[index].spec.startup_probe.is_none() {
            self.note_started(index);
        }
    }

    /// "Pulls" the image: finds what its name means.
    async fn pull(&mut self, index: usize, container: &Container) -> Option<Image> {
        let image = container.image.clone().unwrap_or_default();
        let aliases = self.aliases().await;
        let names: Vec<_> = self.node.built_ins.iter().map(|known| known.image().to_owned()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        match images::resolve(&image, &aliases, &names) {
            Ok(found) => {
                self.slots[index].pull_failures = 0;
                let message = format!("Container image \"{image}\" already present on machine");
                self.event("Normal", Some(&container.name), "Pulled", &message).await;
                Some(found)
            }
            Err(why) => {
                let failures = self.slots[index].pull_failures;
                self.slots[index].pull_failures = failures.saturating_add(1);
                let message = format!("Failed to pull image \"{image}\": {why}");
                // Told ever more rarely: it is tried every few seconds, for ever.
                if failures.count_ones() <= 1 {
                    self.event("Warning", Some(&container.name), "Failed", &message).await;
                }
                let until_ms = now_ms() + pull_delay_ms(failures);
                self.slots[index].state = if failures == 0 {
                    State::Waiting { reason: "ErrImagePull", message: why, until_ms }
                } else {
                    let message = format!("Back-off pulling image \"{image}\": {why}");
                    State::Waiting { reason: "ImagePullBackOff", message, until_ms }
                };
                None
            }
        }
    }

    async fn aliases(&self) -> BTreeMap<String, String> {
        let key = ObjectKey::new(images::ALIASES.0, images::ALIASES.1);
        let Ok(object) = self.node.access.get(&CONFIG_MAP, &key).await else { return BTreeMap::new() };
        let map: Result<k8s_openapi::api::core::v1::ConfigMap, _> = serde_json::from_slice(&object.json);
        images::aliases(&map.ok().and_then(|map| map.data).unwrap_or_default())
    }

    /// Everything the holder needs to start a container.
    async fn prepare(&self, index: usize, container: &Container, image: Image) -> Result<Spawn, String> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let security = security::of(&self.pod, container, image.user(), &passwd)?;
        let references = References::load(self.node.access.as_ref(), &self.pod).await;
        let host = self.node.host_addresses();
        let env = environment::of(&self.pod, container, &self.addresses, &host, &references)?;
        let directory = self.directory();
        let made = volumes::prepare(&self.pod, &directory.join("volumes"), &references, self.node.on_host)?;
        let value = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let expanded = |texts: &Option<Vec<String>>| -> Vec<String> {
            texts.iter().flatten().map(|text| environment::expand(text, value)).collect()
        };
        let command = expanded(&container.command);
        let mut argv = match image {
            Image::Program(program) if command.is_empty() => program,
            _ => command,
        };
        argv.extend(expanded(&container.args));
        let mounts = volumes::mounts(&self.pod, container, &made, value)?;
        if argv.is_empty() {
            return Err(
                "image mainstay/host needs a command: set command: [\"PROGRAM\", ...] in the container".to_owned()
            );
        }
        let logs = directory.join(&container.name);
        fs::create_dir_all(&logs).map_err(|error| format!("create {}: {error}", logs.display()))?;
        let attempt = self.slots[index].attempt;
        remove_old_logs(&logs, attempt);
        let files = ["resolv.conf", "hosts", "hostname", "nsswitch.conf"];
        let file = |name: &str| (Path::new("/etc").join(name), directory.join("etc").join(name));
        Ok(Spawn {
            pod: self.uid.clone(),
            container: container.name.clone(),
            attempt,
            argv,
            env,
            cwd: container.working_dir.clone().unwrap_or_default(),
            hostname: name_files::hostname(&self.pod),
            host_network: self.host_network(),
            stdin: container.stdin == Some(true),
            stdin_once: container.stdin_once == Some(true),
            tty: container.tty == Some(true),
            log: logs.join(format!("{attempt}.log")),
            root: Root {
                files: files.into_iter().map(file).collect(),
                hide: self.node.directory.parent().map(Path::to_owned).into_iter().collect(),
                volumes: mounts,
            },
            security,
            limits: security::limits(container),
        })
    }

    async fn start_built_in(&mut self, index: usize, image: &str) {
        let Some(part) = self.node.built_ins.iter().find(|known| known.image() == image).cloned() else { return };
        let name = self.slots[index].spec.name.clone();
        match part.start().await {
            Ok(()) => {
                self.slots[index].built_in = Some(image.to_owned());
                self.running(index);
                self.event("Normal", Some(&name), "Started", &format!("Container started: {name}")).await;
            }
            Err(why) => {
                self.event("Warning", Some(&name), "Failed", &format!("Error: {why}")).await;
                let until_ms = now_ms() + CONFIG_RETRY_MS;
                self.slots[index].state = State::Waiting { reason: "RunContainerError", message: why, until_ms };
            }
        }
    }

    /// Starts the probes of a running container unless they run already; also after an adoption.
    pub(super) fn probe(&mut self, index: usize) {
        let slot = &self.slots[index];
        if !slot.running() || self.probes.contains_key(&slot.spec.name) {
            return;
        }
        let (started, wait) = watch::channel(slot.started);
        let target = Target {
            node: self.node.clone(),
            uid: self.uid.clone(),
            address: self.addresses.first().copied(),
            container: Arc::new(slot.spec.clone()),
            attempt: slot.attempt,
        };
        let mut tasks = JoinSet::new();
        let all = [
            (Which::Startup, slot.spec.startup_probe.clone().filter(|_| !slot.started)),
            (Which::Liveness, slot.spec.liveness_probe.clone()),
            (Which::Readiness, slot.spec.readiness_probe.clone()),
        ];
        for (which, probe) in all {
            if let Some(probe) = probe {
                tasks.spawn(probe::run(which, probe, target.clone(), wait.clone(), self.verdicts.clone()));
            }
        }
        let name = slot.spec.name.clone();
        let begun = slot.spec.startup_probe.is_none();
        self.probes.insert(name, (tasks, started));
        if begun {
            self.note_started(index);
        }
    }
}

/// Writes a file that running pods may be reading: one that is as it should be is left alone.
fn write_if_other(path: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text)?;
    // The container's user reads it, whatever this process's umask.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Keeps the log of the run before the coming one.
fn remove_old_logs(logs: &Path, attempt: u32) {
    let Some(old) = attempt.checked_sub(2) else { return };
    for file in crate::log_files::all(&logs.join(format!("{old}.log"))) {
        let _ = fs::remove_file(file);
    }
}
