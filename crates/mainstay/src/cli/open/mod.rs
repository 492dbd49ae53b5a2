//! `mainstay open svc/NAME`: a Service in, the URL at which it answers on this host out, once it does.

mod browser;
mod lease;
mod place;
mod url;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::explain::{Target, finding_text, parse, text_of};
use super::{InstanceFlags, duration, hint};
use crate::exit::Exit;
use place::Place;
use wait::Outcome;

/// Flags of `mainstay open`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 fine, 1 error, 2 something is wrong with the Service, 3 usage, 4 not reachable, 5 time-out.\n\
    Examples:\n  mainstay open svc/web\n  mainstay open shop/web --port admin\n  curl \"$(mainstay open svc/web --once)\""
)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// svc/NAME or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    what: String,
    /// Namespace of a name without one
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// Name or number of the Service's port [default: the first that speaks HTTP, else the first]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// How long to wait until the Service answers
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
    /// Only print; never start a browser
    #[arg(long)]
    no_browser: bool,
    /// For a Service without a port on this host: print the kubectl line that leads to it, and end
    #[arg(long)]
    print: bool,
    /// For scripts: print and end. A port that was opened for it closes 15 seconds later
    #[arg(long, conflicts_with = "print")]
    once: bool,
}

/// Runs the subcommand; its exit code says what was found.
pub(crate) async fn run(flags: &Flags) -> Result<ExitCode> {
    let target = match parse(&flags.what, &flags.namespace) {
        Ok(target) if target.kind == "services" => target,
        Ok(_) => return Ok(usage("only Services can be opened.\nFor a pod: kubectl port-forward pod/NAME 8080:80")),
        Err(_) => return Ok(usage(&format!("{:?} names no Service.\nType: mainstay open svc/NAME", flags.what))),
    };
    let client = flags.instance.client()?;
    let service = wait::service(&client, &target).await?;
    if service["spec"]["type"] == "ExternalName" {
        return alias(flags, &service);
    }
    let port = place::port(&service, flags.port.as_deref())?;
    if flags.print {
        let status = client.get("/mainstay/status").await?.ok()?;
        if let Some(Place::Nowhere | Place::Headless) = place::place(&service, &status, &target, &port) {
            return forward(&target, &port);
        }
    }
    match wait::answering(&client, &target, &port, flags.timeout).await? {
        Outcome::Ready(place) => show(flags, &client, &target, &port, place).await,
        Outcome::Wrong(answer) => {
            eprint!("{}", wrong(&answer));
            Ok(ExitCode::from(Exit::Findings))
        }
        Outcome::TimedOut(why) => {
            eprintln!(
                "mainstay: {}/{} does not answer after {}: {why}.\nLook: mainstay explain {0}/{1}{}, or wait longer: --timeout {}s",
                target.namespace,
                target.name,
                duration::text(flags.timeout),
                hint::same(),
                flags.timeout.as_secs().saturating_mul(4).max(60)
            );
            Ok(ExitCode::from(Exit::TimedOut))
        }
    }
}

/// Prints the kubectl line that leads to a port.
fn forward(target: &Target, port: &place::Port) -> Result<ExitCode> {
    if port.udp {
        bail!(
            "kubectl port-forward carries no UDP, and port {} speaks it.\nType: mainstay open {}/{} --port {0}{}",
            port.number,
            target.namespace,
            target.name,
            hint::same()
        );
    }
    println!("{}", place::forward(target, port));
    Ok(ExitCode::from(Exit::Fine))
}

fn usage(why: &str) -> ExitCode {
    eprintln!("mainstay: {why}");
    ExitCode::from(Exit::Usage)
}

/// A Service of type ExternalName lives elsewhere.
fn alias(flags: &Flags, service: &Value) -> Result<ExitCode> {
    let host = text_of(&service["spec"], "externalName");
    let port = place::port(service, flags.port.as_deref()).ok();
    let number = port.as_ref().map_or(80, |port| port.number);
    let url = url::of(host, number, port.as_ref());
    eprintln!("an alias: pods that look this Service up are led to {host}");
    println!("{}", url.text);
    Ok(ExitCode::from(Exit::Fine))
}

/// Prints where the Service is, and stays while a temporary port is open.
async fn show(flags: &Flags, client: &Client, target: &Target, port: &place::Port, place: Place) -> Result<ExitCode> {
    let at = match &place {
        Place::Here(at) => *at,
        Place::Nowhere if flags.print => return forward(target, port),
        Place::Nowhere => lease::ask(client, target, port).await?,
        Place::Headless => bail!(
            "{}/{} is headless: it has no address that a port of this host could lead to.\nType: {}",
            target.namespace,
            target.name,
            place::forward(target, port)
        ),
    };
    let url = url::of(&at.host(), at.port(), Some(port));
    println!("{}", url.text);
    if port.udp {
        eprintln!("note: this port speaks UDP");
    }
    if !flags.no_browser && !flags.once && url.browsable {
        browser::open(&url.text);
    }
    if matches!(place, Place::Nowhere) && flags.once {
        eprintln!("{}/{} has no port of its own on this host: this one closes in 15 s", target.namespace, target.name);
    } else if matches!(place, Place::Nowhere) {
        eprintln!(
            "{}/{} has no port of its own on this host: this one stays open until Ctrl-C",
            target.namespace, target.name
        );
        lease::keep(client, target, port, at).await?;
    }
    Ok(ExitCode::from(Exit::Fine))
}

/// The first failing step and what is wrong there.
fn wrong(answer: &Value) -> String {
    let list = |field: &str| answer[field].as_array().map_or(&[][..], Vec::as_slice);
    let mut out = String::new();
    if let Some(step) = list("steps").iter().find(|step| text_of(step, "verdict") == "FAIL") {
        out.push_str(&format!("{}: {}\n", text_of(step, "step"), text_of(step, "text")));
    }
    let first = text_of(answer, "first");
    if let Some(finding) = list("findings").iter().find(|finding| text_of(finding, "code") == first) {
        out.push_str(finding_text(finding).trim_start_matches('\n'));
    }
    out
}
