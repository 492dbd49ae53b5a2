//! `--publish` as text in, addresses to listen on out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Result, bail};

use super::bind;

/// What `--publish` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice(Vec<IpAddr>);

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "on" => Ok(Self(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])),
            "off" => Ok(Self(Vec::new())),
            _ => {
                let parse = |part: &str| {
                    part.trim().trim_matches(['[', ']']).parse::<IpAddr>().map_err(|_| {
                        format!("{part:?} is neither on, off nor an IP address. For example: --publish=192.0.2.10")
                    })
                };
                let mut addresses = text.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
                addresses.sort_unstable();
                addresses.dedup();
                Ok(Self(addresses))
            }
        }
    }
}

impl Choice {
    /// The addresses, after trying that this host has them; none if nothing is published.
    pub(crate) fn addresses(&self) -> Result<Vec<IpAddr>> {
        for address in self.0.iter().filter(|address| !address.is_loopback()) {
            if let Err(error) = std::net::UdpSocket::bind((*address, 0)) {
                refuse(*address, &error)?;
            }
            if !address.is_loopback() {
                eprintln!(
                    "note: --publish={address} opens node ports and load-balancer ports to whoever reaches {address}"
                );
            }
        }
        Ok(self.0.clone())
    }
}

fn refuse(address: IpAddr, error: &io::Error) -> Result<()> {
    let why =
        if bind::is_absent(error) { "this host does not have that address".to_owned() } else { error.to_string() };
    bail!(
        "cannot publish ports on {address}: {why}.\nGive an address that `ip address` shows, or leave the flag out: \
         --publish=on uses 127.0.0.1 and ::1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_off_and_addresses() {
        let of = |text: &str| text.parse::<Choice>().map(|choice| choice.0.iter().map(ToString::to_string).collect());
        let texts =
            |list: &[&str]| -> Result<Vec<String>, String> { Ok(list.iter().map(ToString::to_string).collect()) };
        assert_eq!(of("on"), texts(&["127.0.0.1", "::1"]));
        assert_eq!(of("off"), texts(&[]));
        assert_eq!(of("[::1], 127.0.0.2,::1"), texts(&["127.0.0.2", "::1"]));
        for wrong in ["", "yes", "localhost", "127.0.0.1:80", "10.0.0.0/8", "127.0.0.1,,"] {
            assert!(of(wrong).unwrap_err().contains("neither on, off nor an IP address"), "{wrong}");
        }
        let absent = Choice(vec!["203.0.113.77".parse().unwrap()]).addresses().unwrap_err().to_string();
        assert!(absent.contains("this host does not have that address") && absent.contains('\n'), "{absent}");
    }
}
