//! Volumes of a Pod: its spec and the objects it refers to in, directories on the node and their places in containers out.

mod host_path;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use crate::holder::message;
use crate::references::References;

/// Makes every volume below `directory`; the error says which volume cannot be had.
/// `on_host` says that paths of the host may be shown.
pub fn prepare(
    pod: &Pod,
    directory: &Path,
    references: &References,
    on_host: bool,
) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut made = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if volume.projected.is_some() {
            // The service account token that admission adds elsewhere: nothing here authenticates by it.
            continue;
        }
        if let Some(source) = volume.host_path.as_ref().filter(|_| on_host) {
            let path = host_path::prepare(source).map_err(|why| format!("volume {:?}: {why}", volume.name))?;
            made.insert(volume.name.clone(), path);
            continue;
        }
        let at = directory.join(&volume.name);
        let io = |error: io::Error| format!("volume {:?}: {error}", volume.name);
        let files = contents(volume, references).map_err(|why| format!("volume {:?}: {why}", volume.name))?;
        fs::create_dir_all(&at).map_err(io)?;
        // Whatever this process's umask: the data directory keeps others out, and the container's user must get in.
        set_mode(&at, if volume.empty_dir.is_some() { 0o777 } else { 0o755 }).map_err(io)?;
        for (name, content, mode) in files {
            if name.starts_with('/') || name.split('/').any(|part| part == "..") {
                return Err(format!("volume {:?}: path {name:?} leads out of the volume", volume.name));
            }
            let file = at.join(name);
            let put = |()| fs::write(&file, content).and_then(|()| set_mode(&file, mode));
            file.parent().map_or(Ok(()), fs::create_dir_all).and_then(put).map_err(io)?;
        }
        made.insert(volume.name.clone(), at);
    }
    Ok(made)
}

/// A file of a volume: path, content, mode.
type Content = (String, Vec<u8>, u32);

fn contents(volume: &Volume, references: &References) -> Result<Vec<Content>, String> {
    if volume.empty_dir.is_some() {
        return Ok(Vec::new());
    }
    let (all, items, mode) = if let Some(source) = &volume.config_map {
        let all = references.all("ConfigMap", &source.name, source.optional.unwrap_or(false))?;
        (all, &source.items, source.default_mode)
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        (references.all("Secret", name, source.optional.unwrap_or(false))?, &source.items, source.default_mode)
    } else if volume.host_path.is_some() {
        return Err(
            "hostPath volumes exist in host mode only: start with mainstay up --host, or use an emptyDir".to_owned()
        );
    } else {
        return Err("only emptyDir, configMap and secret volumes are supported; use one of these".to_owned());
    };
    Ok(select(all, items, bits(mode).unwrap_or(0o644)))
}

fn select(all: BTreeMap<String, Vec<u8>>, items: &Option<Vec<KeyToPath>>, mode: u32) -> Vec<Content> {
    match items {
        None => all.into_iter().map(|(path, content)| (path, content, mode)).collect(),
        Some(items) => {
            let one = |item: &KeyToPath| {
                Some((item.path.clone(), all.get(&item.key)?.clone(), bits(item.mode).unwrap_or(mode)))
            };
            items.iter().filter_map(one).collect()
        }
    }
}

/// The permission bits of a mode in a manifest.
fn bits(mode: Option<i32>) -> Option<u32> {
    mode.and_then(|mode| u32::try_from(mode).ok()).map(|mode| mode & 0o777)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Where a container sees its volumes. What comes from the API cannot be written, as in Kubernetes.
pub fn mounts(pod: &Pod, container: &Container, made: &BTreeMap<String, PathBuf>) -> Vec<message::Volume> {
    let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let api = |volume: &Volume| volume.empty_dir.is_none() && volume.host_path.is_none();
    let given = |name: &str| volumes().any(|volume| volume.name == name && api(volume));
    let mounts = container.volume_mounts.iter().flatten();
    let shown = mounts.filter_map(|mount| {
        let source = made.get(&mount.name)?;
        Some(message::Volume {
            source: mount.sub_path.as_ref().map_or_else(|| source.clone(), |below| source.join(below)),
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only == Some(true) || given(&mount.name),
        })
    });
    shown.collect()
}
