//! `mainstay bench between`: two network namespaces that others connected in, the cost of connections between them out.
//!
//! The same measurement as `mainstay bench connect`, for whatever translates addresses there: `cargo xtask peers` uses it
//! to compare with kube-proxy.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::client;
use super::pair::Pair;

/// Flags of `mainstay bench between`.
#[derive(Args, Debug)]
pub(in crate::cli::bench) struct Flags {
    /// Network namespace of the client: a name that `ip netns` knows
    #[arg(long, value_name = "NAME")]
    client: String,
    /// Network namespace of the server
    #[arg(long, value_name = "NAME")]
    server: String,
    /// Where the server listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    serve: SocketAddr,
    /// Where the client connects to; may be repeated, and the ratios are to the first
    #[arg(long = "to", value_name = "NAME=ADDRESS:PORT", value_parser = way, required = true)]
    ways: Vec<(String, SocketAddr)>,
    /// How many connections of each kind are timed one by one
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = super::super::numbers::count())]
    samples: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(in crate::cli::bench) fn run(flags: &Flags) -> Result<()> {
    let pair = Pair::of(namespace(&flags.server)?, namespace(&flags.client)?);
    let addresses: Vec<SocketAddr> = flags.ways.iter().map(|(_, address)| *address).collect();
    let ways = pair.run(flags.serve, || client::measure(&addresses, flags.samples))?;
    let measured: Vec<_> = flags.ways.iter().map(|(name, _)| name.as_str()).zip(ways).collect();
    if flags.json {
        println!("{}", super::figures(&measured));
    } else {
        super::print(&measured);
    }
    Ok(())
}

fn namespace(name: &str) -> Result<OwnedFd> {
    let path = Path::new("/run/netns").join(name);
    let file = std::fs::File::open(&path).with_context(|| {
        format!("cannot open the network namespace {}.\nSee which there are: ip netns list", path.display())
    })?;
    Ok(file.into())
}

fn way(text: &str) -> Result<(String, SocketAddr)> {
    let (name, address) = text.split_once('=').ok_or_else(|| anyhow!("it is not NAME=ADDRESS:PORT"))?;
    Ok((name.to_owned(), address.parse()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_way_is_a_name_and_an_address() {
        assert_eq!(super::way("a=10.0.0.1:80").unwrap(), ("a".to_owned(), "10.0.0.1:80".parse().unwrap()));
        for wrong in ["a", "a=b", "a=10.0.0.1"] {
            assert!(super::way(wrong).is_err(), "{wrong}");
        }
    }
}
