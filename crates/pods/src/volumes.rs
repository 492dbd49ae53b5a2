//! Volumes of a Pod: its spec and the objects it refers to in, directories on the node and their places in containers out.

mod host_path;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume, VolumeMount};

use crate::environment;
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

/// Where a container sees its volumes. What comes from the API cannot be written, as in Kubernetes. `value` is the value of
/// a variable of the container; the error says which mount makes no sense with it.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    made: &BTreeMap<String, PathBuf>,
    value: impl Fn(&str) -> Option<String>,
) -> Result<Vec<message::Volume>, String> {
    let volumes: BTreeMap<_, _> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .map(|volume| (volume.name.as_str(), volume))
        .collect();
    let mut shown = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let (Some(source), Some(volume)) = (made.get(&mount.name), volumes.get(mount.name.as_str())) else { continue };
        let own = volume.host_path.is_none();
        let given = own && volume.empty_dir.is_none();
        let path = sub_path(mount, &value)?;
        shown.push(message::Volume {
            source: if path.is_some() { PathBuf::new() } else { source.clone() },
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only == Some(true) || given,
            owned: own,
            part: path.map(|path| message::Part { volume: source.clone(), path }),
        });
    }
    Ok(shown)
}

/// The part of its volume that a mount shows. The holder looks at it again, with the links that are there then.
fn sub_path(mount: &VolumeMount, value: impl Fn(&str) -> Option<String>) -> Result<Option<PathBuf>, String> {
    let (field, path) = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => ("subPath", path.clone()),
        (_, Some(text)) if !text.is_empty() => {
            let missing = RefCell::new(None);
            let known = |name: &str| {
                let found = value(name);
                if found.is_none() {
                    missing.replace(Some(name.to_owned()));
                }
                found
            };
            let path = environment::expand(text, known);
            if let Some(name) = missing.into_inner() {
                return Err(format!(
                    "subPathExpr {text:?}: missing value for \"{name}\": set it in env of the container"
                ));
            }
            ("subPathExpr", path)
        }
        _ => return Ok(None),
    };
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{path}`: {field} must be a relative path without '..'"));
    }
    Ok(Some(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mount: serde_json::Value) -> Result<message::Volume, String> {
        let pod = serde_json::json!({ "metadata": {}, "spec": {
            "containers": [{ "name": "c", "volumeMounts": [mount] }],
            "volumes": [{ "name": "e", "emptyDir": {} }, { "name": "h", "hostPath": { "path": "/srv" } },
                { "name": "c", "configMap": { "name": "c" } }],
        } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let made = ["e", "h", "c"].map(|name| (name.to_owned(), PathBuf::from("/v").join(name))).into();
        let value = |name: &str| match name {
            "POD" => Some("web-0".to_owned()),
            "UP" => Some("..".to_owned()),
            _ => None,
        };
        Ok(mounts(&pod, &pod.spec.as_ref().unwrap().containers[0], &made, value)?.remove(0))
    }

    #[test]
    fn a_path_of_the_host_is_never_given_away() {
        let mount = |name: &str| shown(serde_json::json!({ "name": name, "mountPath": "/m" })).unwrap();
        assert_eq!(["e", "h", "c"].map(|name| mount(name).owned), [true, false, true]);
        assert_eq!(["e", "h", "c"].map(|name| mount(name).read_only), [false, false, true]);
        assert_eq!((mount("h").source, mount("h").part), (PathBuf::from("/v/h"), None));
    }

    #[test]
    fn a_part_is_told_apart_from_its_volume() {
        let mount = |field: &str, path: &str| shown(serde_json::json!({ "name": "e", "mountPath": "/m", field: path }));
        let part = |path: &str| Some(message::Part { volume: "/v/e".into(), path: path.into() });
        let volume = mount("subPath", "a/$(POD)").unwrap();
        assert_eq!((volume.part, volume.source), (part("a/$(POD)"), PathBuf::new()));
        assert_eq!(mount("subPathExpr", "a/$(POD)").unwrap().part, part("a/web-0"));
        assert_eq!(mount("subPath", "").unwrap().part, None);
        for (field, path) in [("subPath", "a/../../b"), ("subPath", "/etc"), ("subPathExpr", "a/$(UP)")] {
            let error = mount(field, path).unwrap_err();
            assert!(error.contains("must be a relative path without '..'"), "{error}");
        }
        let error = mount("subPathExpr", "$(NONE)").unwrap_err();
        assert!(error.contains("missing value for \"NONE\""), "{error}");
    }
}
