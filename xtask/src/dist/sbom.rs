//! Cargo's resolved dependencies in; a CycloneDX 1.6 document out: every crate in the program, its licence, its checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::date::Date;
use super::{Arch, Facts};

/// The document for one architecture.
pub(crate) fn document(arch: Arch, facts: &Facts) -> Result<Vec<u8>> {
    let metadata = metadata(arch)?;
    let checksums = checksums(&std::fs::read_to_string(super::root()?.join("Cargo.lock"))?);
    let document = compose(&metadata, &checksums, arch, facts)?;
    Ok(serde_json::to_vec_pretty(&document)?)
}

fn metadata(arch: Arch) -> Result<Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(super::root()?)
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform", arch.triple()])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Cargo.lock's checksums by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
            line.map(|value| value.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) = (field("name"), field("version"), field("checksum")) {
            found.insert((name, version), checksum);
        }
    }
    found
}

fn compose(
    metadata: &Value,
    checksums: &BTreeMap<(String, String), String>,
    arch: Arch,
    facts: &Facts,
) -> Result<Value> {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let links = links(metadata);
    let root = packages.iter().find(|(_, package)| package["name"] == "mainstay").context("no package mainstay")?;
    let reached = reached(root.0, &links);
    let reference = |id: &str| packages.get(id).map(|package| purl(package)).unwrap_or_default();
    let mut components: Vec<Value> = reached
        .iter()
        .filter(|id| *id != root.0)
        .filter_map(|id| packages.get(id.as_str()))
        .map(|package| component(package, checksums))
        .collect();
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = reached
        .iter()
        .map(|id| {
            let mut on: Vec<String> = links.get(id.as_str()).into_iter().flatten().map(|id| reference(id)).collect();
            on.sort();
            json!({ "ref": reference(id), "dependsOn": on })
        })
        .collect();
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    let mut program = component(root.1, checksums);
    program["type"] = "application".into();
    program["properties"] = json!([
        { "name": "commit", "value": facts.commit },
        { "name": "target", "value": arch.triple() },
    ]);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "timestamp": Date::of(facts.epoch).rfc3339(), "component": program },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What each package needs in the program itself; what only its build or its tests need is left out.
fn links(metadata: &Value) -> BTreeMap<&str, Vec<&str>> {
    let normal = |dependency: &&Value| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
    list(&metadata["resolve"]["nodes"])
        .filter_map(|node| {
            let on = list(&node["deps"]).filter(normal).filter_map(|dependency| dependency["pkg"].as_str()).collect();
            Some((node["id"].as_str()?, on))
        })
        .collect()
}

fn reached(root: &str, links: &BTreeMap<&str, Vec<&str>>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        if reached.insert(id.to_owned()) {
            next.extend(links.get(id).into_iter().flatten());
        }
    }
    reached
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let purl = purl(package);
    let mut component = json!({
        "type": "library", "bom-ref": purl, "name": text("name"), "version": text("version"), "purl": purl,
    });
    if let Some(license) = package["license"].as_str() {
        // Some crates still write the old slash for "or".
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn purl(package: &Value) -> String {
    let text = |field: &str| package[field].as_str().unwrap_or_default();
    let place = if package["source"].is_null() { "generic" } else { "cargo" };
    format!("pkg:{place}/{}@{}", text("name"), text("version"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::{checksums, document};
    use crate::dist::{Arch, Facts};

    #[test]
    fn every_crate_in_the_program_is_named_with_licence_and_checksum_and_no_other() {
        let facts = Facts { version: "1".into(), commit: "abc".into(), epoch: 0 };
        let document: serde_json::Value =
            serde_json::from_slice(&document(Arch::X86_64, &facts).unwrap()).expect("JSON");
        let components = document["components"].as_array().unwrap();
        let find = |name: &str| components.iter().find(|component| component["name"] == name);
        let tokio = find("tokio").expect("tokio is in the program");
        assert_eq!(tokio["licenses"][0]["expression"], "MIT");
        assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert!(find("mainstay-store").is_some(), "our own crates are parts, too");
        assert!(find("proptest").is_none(), "what only tests need is no part");
        assert!(find("cc").is_none(), "what only the build needs is no part");
        assert_eq!(document["metadata"]["component"]["name"], "mainstay");
        assert!(components.iter().all(|component| component["licenses"].is_array()), "every part has a licence");
    }

    #[test]
    fn checksums_are_read() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\nchecksum = \"ff\"\n[[package]]\nname = \"b\"\n";
        assert_eq!(checksums(lock).into_iter().collect::<Vec<_>>(), [(("a".into(), "1".into()), "ff".into())]);
    }
}
