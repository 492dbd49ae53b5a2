//! `mainstay image`: other names for the built-in images, kept as a ConfigMap so that they live with the cluster.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::{InstanceFlags, hint};

/// Flags of `mainstay image`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let NAME mean one of mainstay/echo, mainstay/client, mainstay/host: NAME=IMAGE
    Alias {
        /// For example my-app-image=mainstay/echo
        #[arg(value_name = "NAME=IMAGE")]
        alias: String,
        #[command(flatten)]
        instance: InstanceFlags,
    },
    /// Take another name of an image away
    Unalias {
        /// The name, as mainstay image ls shows it
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        instance: InstanceFlags,
    },
    /// List the images and their other names
    Ls {
        #[command(flatten)]
        instance: InstanceFlags,
    },
}

const PATH: &str = "/api/v1/namespaces/kube-system/configmaps";
const NAME: &str = "mainstay-image-aliases";
const BUILT_IN: [(&str, &str); 3] = [
    ("mainstay/echo", "answers HTTP, TCP and UDP with its pod, node, namespace and the client's address"),
    ("mainstay/client", "waits; curl, dig, nc for kubectl exec"),
    ("mainstay/host", "a program of this host: command and args of the container"),
];

/// Runs the subcommand.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    match &flags.action {
        Action::Alias { alias, instance } => {
            let (name, target) = parse(alias)?;
            let client = instance.client()?;
            let data = json!({ "data": { key_of(name): format!("{name}={target}") } });
            let answer = client.merge(&format!("{PATH}/{NAME}"), &data).await?;
            if answer.code == 404 {
                let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME } });
                object["data"] = data["data"].clone();
                client.post(PATH, &object).await?.ok().context("cannot store the alias")?;
            } else {
                answer.ok().context("cannot store the alias")?;
            }
            println!("{name} now means {target}");
        }
        Action::Unalias { name, instance } => unalias(&instance.client()?, name).await?,
        Action::Ls { instance } => {
            let client = instance.client()?;
            for (image, what) in BUILT_IN {
                println!("{image:<20} {what}");
            }
            let answer = client.get(&format!("{PATH}/{NAME}")).await?;
            if answer.code != 404 {
                let object = answer.ok()?;
                for alias in object["data"].as_object().into_iter().flatten().filter_map(|(_, alias)| alias.as_str()) {
                    println!("{}", alias.replacen('=', " means ", 1));
                }
            }
        }
    }
    Ok(())
}

async fn unalias(client: &Client, name: &str) -> Result<()> {
    let answer = client.get(&format!("{PATH}/{NAME}")).await?;
    let aliases = if answer.code == 404 { Value::Null } else { answer.ok()? };
    let Some(key) = key_in(&aliases["data"], name) else {
        bail!("{name:?} is no other name of an image.\nSee which there are: mainstay image ls{}", hint::same());
    };
    let data = json!({ "data": { key: null } });
    client.merge(&format!("{PATH}/{NAME}"), &data).await?.ok().context("cannot take the alias away")?;
    println!("{name} means nothing any more");
    Ok(())
}

/// The key under which an alias is kept.
fn key_in<'a>(data: &'a Value, name: &str) -> Option<&'a str> {
    let is_name =
        |alias: &Value| alias.as_str().and_then(|alias| alias.split_once('=')).is_some_and(|(own, _)| own == name);
    data.as_object()?.iter().find(|(_, alias)| is_name(alias)).map(|(key, _)| key.as_str())
}

/// The built-in image that a name means already, with or without registry and tag.
fn built_in(name: &str) -> Option<&'static str> {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.split(['@', ':']).next().unwrap_or_default();
    BUILT_IN.iter().map(|(image, _)| *image).find(|image| *image == name)
}

fn parse(alias: &str) -> Result<(&str, &str)> {
    let Some((name, target)) = alias.split_once('=') else {
        bail!("{alias:?} is not NAME=IMAGE.\nFor example: mainstay image alias my-app-image=mainstay/echo");
    };
    if !BUILT_IN.iter().any(|(image, _)| *image == target) {
        let images = BUILT_IN.map(|(image, _)| image).join(", ");
        bail!(
            "there is no image {target:?}: the images are {images}.\nFor example: mainstay image alias {name}=mainstay/echo"
        );
    }
    if name.is_empty() || name.len() > 200 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:@".contains(c)) {
        bail!("{name:?} cannot be the name of an image.\nFor example: mainstay image alias my-app-image=mainstay/echo");
    }
    if let Some(image) = built_in(name) {
        bail!(
            "{name:?} is the built-in image {image} and keeps its meaning.\nName another one. For example: mainstay image alias \
             my-app-image={target}"
        );
    }
    Ok((name, target))
}

/// A ConfigMap key holds only letters, digits, `-`, `_` and `.`; image names also `/`, `:` and `@`. The alias itself is
/// in the value, so that two names that map to one key cannot be confused silently: the later one replaces the earlier.
fn key_of(name: &str) -> String {
    name.chars().map(|c| if "/:@".contains(c) { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_checked() {
        assert_eq!(parse("my-app-image=mainstay/echo").unwrap(), ("my-app-image", "mainstay/echo"));
        for wrong in [
            "my-app-image",
            "x=nginx",
            "=mainstay/echo",
            "a b=mainstay/echo",
            "mainstay/echo=mainstay/client",
            "docker.io/mainstay/client:1=mainstay/echo",
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("For example"), "{error}");
        }
        let kept = json!({ "reg.io_nginx_stable": "reg.io/nginx:stable=mainstay/echo", "x": "y" });
        assert_eq!(key_in(&kept, "reg.io/nginx:stable"), Some("reg.io_nginx_stable"));
        assert_eq!((key_in(&kept, "x"), key_in(&Value::Null, "x")), (None, None));
        assert_eq!(key_of("reg.io/nginx:stable"), "reg.io_nginx_stable");
    }
}
