//! Image names: what a manifest says and the aliases in, what to run out. Pure.

use std::collections::BTreeMap;

use crate::holder;
use crate::holder::root::PROGRAMS;

/// Images that are always there.
pub const CATALOGUE: [&str; 3] = ["mainstay/echo", "mainstay/client", "mainstay/host"];
/// Namespace and name of the ConfigMap with aliases.
pub const ALIASES: (&str, &str) = ("kube-system", "mainstay-image-aliases");

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A program with its first arguments; empty for `mainstay/host`, where the manifest names the program.
    Program(Vec<String>),
    /// A part of Mainstay of this image name.
    BuiltIn(String),
}

/// User and group of the images with a program of ours, which need no rights.
const UNPRIVILEGED: u32 = 65_532;

impl Image {
    /// The user (and group) that the image runs as unless the manifest names one: ours as an ordinary one, a program of
    /// the host as root, since nothing is known of it.
    pub fn user(&self) -> u32 {
        match self {
            Self::Program(program) if program.is_empty() => 0,
            _ => UNPRIVILEGED,
        }
    }
}

/// The aliases in the data of their ConfigMap. A value is NAME=IMAGE, since a key cannot hold the `/` and `:` of a name;
/// anything else says nothing.
pub fn aliases(data: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let pairs = data.values().filter_map(|alias| alias.split_once('='));
    pairs.map(|(name, image)| (name.trim().to_owned(), image.trim().to_owned())).collect()
}

/// Finds an image; the error is the message of `ErrImagePull`.
pub fn resolve(image: &str, aliases: &BTreeMap<String, String>, built_in: &[&str]) -> Result<Image, String> {
    let untagged = |name: &str| {
        let name = name.split('@').next().unwrap_or_default();
        match name.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => before.to_owned(),
            _ => name.to_owned(),
        }
    };
    let target = aliases.get(image).or_else(|| aliases.get(&untagged(image))).map_or(image, String::as_str);
    let name = untagged(target);
    let name = name.strip_prefix("docker.io/").unwrap_or(&name);
    let program = format!("{PROGRAMS}/{}", holder::PROGRAM);
    let guest = |role: &str| Ok(Image::Program(vec![program.clone(), "guest".to_owned(), role.to_owned()]));
    match name {
        "mainstay/echo" => guest("echo"),
        "mainstay/client" => guest("client"),
        "mainstay/host" => Ok(Image::Program(Vec::new())),
        name if built_in.contains(&name) => Ok(Image::BuiltIn(name.to_owned())),
        _ => Err(format!(
            "image \"{image}\" does not exist here: the process runtime has {}; give the name a meaning with: mainstay image \
             alias {}=mainstay/echo",
            CATALOGUE.join(", "),
            untagged(image)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_read_from_the_value() {
        let data =
            [("reg.io_nginx_stable", "reg.io/nginx:stable=mainstay/echo"), ("app", "app=mainstay/client"), ("x", "y")];
        let aliases = aliases(&data.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert_eq!(aliases.len(), 2);
        assert!(resolve("reg.io/nginx:stable", &aliases, &[]).is_ok());
        assert!(resolve("reg.io/nginx:other", &aliases, &[]).is_err());
        assert_ne!(resolve("app:2", &aliases, &[]), resolve("reg.io/nginx:stable", &aliases, &[]));
    }

    #[test]
    fn names_tags_registries_and_aliases() {
        let aliases = BTreeMap::from([("my-app-image".to_owned(), "mainstay/echo".to_owned())]);
        let find = |image: &str| resolve(image, &aliases, &["mainstay/dns"]);
        let echo = find("mainstay/echo").unwrap();
        assert_eq!(echo, Image::Program(["/run/mainstay/bin/mainstay", "guest", "echo"].map(String::from).into()));
        for same in ["my-app-image", "my-app-image:1.2", "docker.io/mainstay/echo:latest", "mainstay/echo@sha256:0"] {
            assert_eq!(find(same).as_ref(), Ok(&echo), "{same}");
        }
        assert_eq!(find("mainstay/dns"), Ok(Image::BuiltIn("mainstay/dns".into())));
        let refused = find("localhost:5000/nginx:1").unwrap_err();
        assert!(refused.ends_with("mainstay image alias localhost:5000/nginx=mainstay/echo"), "{refused}");
    }
}
