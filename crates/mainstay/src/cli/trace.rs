//! `mainstay trace`: a sender and a receiver in, which element of the kernel's maps decides about the packet, and why,
//! out.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use api::object::ObjectKey;
use clap::Args;
use compile::service_table::Config;
use serde_json::Value;

use super::{InstanceFlags, Output};
use crate::exit::Exit;
use crate::run::trace::{Asked, From, Seen, protocol};

/// Flags of `mainstay trace`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 fine, 1 error, 3 usage, 4 not reachable.\n\
    Examples:\n  mainstay trace pod/client 10.96.0.10:80\n  mainstay trace host '[fd00:96::10]:53/udp'\n  \
    mainstay trace 203.0.113.7 192.0.2.1:443 -o json")]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Who sends: an address, pod/NAME, NAMESPACE/pod/NAME, or host
    #[arg(value_name = "SRC")]
    source: String,
    /// To whom: ADDRESS:PORT, of a Service or any other; tcp unless /udp or /sctp follows
    #[arg(value_name = "DST:PORT[/PROTO]")]
    destination: String,
    /// Namespace of a pod without one
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// Read the kernel of this network, without an instance that knows names (on a node: as root)
    #[arg(long)]
    here: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the subcommand.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    let asked = parse(&flags.source, &flags.destination, &flags.namespace).map_err(|why| Exit::Usage.error(why))?;
    let mut answer = if flags.here { here(&asked)? } else { ask(flags, &asked).await? };
    let text = answer.as_object_mut().and_then(|answer| answer.remove("text")).unwrap_or_default();
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
        Output::Text => print!("{}", text.as_str().unwrap_or_default()),
    }
    Ok(())
}

async fn ask(flags: &Flags, asked: &Asked) -> Result<Value> {
    let answer = flags.instance.client()?.post("/mainstay/trace", &asked.to_json()).await?;
    if let (404, From::Pod(key)) = (answer.code, &asked.from) {
        let ObjectKey { namespace, name } = key;
        bail!(
            "there is no pod {name} in namespace {namespace}: not found.\nSee what there is: kubectl get pods -n {namespace}"
        );
    }
    answer.ok().context("cannot follow the packet.\nSee whether the instance is well: mainstay status")
}

fn here(asked: &Asked) -> Result<Value> {
    let source = match &asked.from {
        From::Host => None,
        From::Address(address) => Some(*address),
        From::Pod(key) => {
            return Err(Exit::Usage.error(format!(
                "pod {key} is not known here: --here reads a kernel, which knows addresses.\nName its address: kubectl get pod {} \
                 -n {} -o wide",
                key.name, key.namespace
            )));
        }
    };
    let config = Config::default();
    let seen = Seen::here(&config, source, asked.to).context(
        "cannot read the kernel's rules.\nRun it as root on a node, or ask an instance: mainstay trace without --here",
    )?;
    Ok(seen.answer(asked, &config, None))
}

/// Reads SRC and DST:PORT[/PROTO].
fn parse(source: &str, destination: &str, namespace: &str) -> Result<Asked, String> {
    let (address, name) = destination.rsplit_once('/').unwrap_or((destination, "tcp"));
    let protocol = protocol(name).ok_or_else(|| {
        format!("{name:?} is no transport protocol: a packet is followed as tcp, udp or sctp.\nFor example: 10.96.0.10:80/udp")
    })?;
    let to: SocketAddr = address.parse().map_err(|_| {
        format!(
            "{address:?} is no ADDRESS:PORT: names are not looked up, and a port is needed.\nSee the address: kubectl get svc; for \
             example: 10.96.0.10:80 or '[fd00:96::10]:80'"
        )
    })?;
    let parts: Vec<&str> = source.split('/').collect();
    let from = match parts.as_slice() {
        ["host"] => From::Host,
        ["pod" | "pods" | "po", name] if !name.is_empty() => From::Pod(ObjectKey::new(namespace, *name)),
        [namespace, "pod" | "pods" | "po", name] if !namespace.is_empty() && !name.is_empty() => {
            From::Pod(ObjectKey::new(*namespace, *name))
        }
        _ => From::Address(source.parse::<IpAddr>().map_err(|_| {
            format!("{source:?} sends nothing: it is no address, pod/NAME or host.\nFor example: mainstay trace pod/client {destination}")
        })?),
    };
    if let From::Address(from) = from
        && from.is_ipv4() != to.is_ipv4()
    {
        return Err(format!(
            "{from} cannot send to {}: the one is IPv4, the other IPv6.\nName a sender of the same family, or: host",
            to.ip()
        ));
    }
    Ok(Asked { from, to, protocol })
}

#[cfg(test)]
mod tests {
    use compile::snapshot::Protocol;

    use super::*;

    #[test]
    fn senders_and_receivers_are_read_and_what_is_neither_is_told() {
        for (source, destination, from, to, protocol) in [
            ("host", "10.96.0.1:80", From::Host, "10.96.0.1:80", Protocol::Tcp),
            ("10.0.0.1", "10.96.0.1:53/udp", From::Address([10, 0, 0, 1].into()), "10.96.0.1:53", Protocol::Udp),
            ("pod/a", "[fd96::1]:9/SCTP", From::Pod(ObjectKey::new("here", "a")), "[fd96::1]:9", Protocol::Sctp),
            ("shop/pod/a", "10.96.0.1:80/tcp", From::Pod(ObjectKey::new("shop", "a")), "10.96.0.1:80", Protocol::Tcp),
        ] {
            let asked = Asked { from, to: to.parse().unwrap(), protocol };
            assert_eq!(parse(source, destination, "here"), Ok(asked), "{source} {destination}");
        }
        for (source, destination, why) in [
            ("host", "10.96.0.1", "no ADDRESS:PORT"),
            ("host", "web:80", "no ADDRESS:PORT"),
            ("host", "10.96.0.1:80/icmp", "no transport protocol"),
            ("svc/web", "10.96.0.1:80", "sends nothing"),
            ("pod/", "10.96.0.1:80", "sends nothing"),
            ("10.0.0.1", "[fd96::1]:80", "the one is IPv4"),
        ] {
            let error = parse(source, destination, "here").unwrap_err();
            assert!(error.contains(why) && error.contains('\n'), "{error}");
        }
    }
}
