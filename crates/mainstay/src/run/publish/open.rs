//! Numbers to try in, open sockets and the reason for the number they have out.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::bind::{self, Socket};
use super::wanted::Id;

/// An open port.
pub(super) struct Opened {
    /// The sockets and where they listen.
    pub(super) sockets: Vec<(Socket, SocketAddr)>,
    /// The number that they have.
    pub(super) number: u16,
    /// Why that is not the cluster's number.
    pub(super) why: Option<String>,
}

/// Opens the first number that can be had; `anywhere` allows any that is free after those.
pub(super) fn open(addresses: &[IpAddr], id: &Id, numbers: &[u16], anywhere: bool) -> Result<Opened, String> {
    let mut why = None;
    for number in numbers {
        match bind::at(addresses, id.udp, *number) {
            Ok(sockets) => {
                let kept = || format!("{} was not to be had at an earlier start, and the number stays", id.port);
                let why = (*number != id.port).then(|| why.unwrap_or_else(kept));
                return opened(sockets, why);
            }
            Err(error) if *number == id.port => why = Some(reason(id.port, &error)),
            // A number of our choice tells nobody anything.
            Err(_) => {}
        }
    }
    if !anywhere {
        return Err(why.unwrap_or_else(|| "there is no number to try".to_owned()));
    }
    match bind::anywhere(addresses, id.udp) {
        Ok(sockets) => opened(sockets, why),
        Err(error) => Err(format!("no free port: {error}")),
    }
}

fn opened(sockets: Vec<Socket>, why: Option<String>) -> Result<Opened, String> {
    let addressed = sockets.into_iter().map(|socket| socket.address().map(|address| (socket, address)));
    let sockets = addressed.collect::<io::Result<Vec<_>>>().map_err(|error| error.to_string())?;
    let number = sockets.first().map(|(_, address)| address.port()).ok_or("no address to listen on")?;
    Ok(Opened { sockets, number, why })
}

fn reason(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} is in use on this host"),
        io::ErrorKind::PermissionDenied => format!("port {port} of this host is for root only"),
        io::ErrorKind::AddrNotAvailable => "this host does not have the address".to_owned(),
        _ => format!("port {port}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wanted::Source;
    use super::*;

    #[tokio::test]
    async fn a_taken_number_is_replaced_with_a_reason_or_refused() {
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = theirs.local_addr().unwrap().port();
        let id = Id { source: Source::NodePort, udp: false, port: taken };
        let addresses = ["127.0.0.1".parse().unwrap()];
        let in_use = format!("port {taken} is in use on this host");
        assert_eq!(open(&addresses, &id, &[taken], false).err(), Some(in_use.clone()));
        let elsewhere = open(&addresses, &id, &[taken], true).unwrap();
        assert!(elsewhere.number != taken && elsewhere.why == Some(in_use));
        let kept = elsewhere.number;
        drop(elsewhere);
        let again = open(&addresses, &id, &[kept, taken], true).unwrap();
        assert!(again.number == kept && again.why.unwrap().contains("the number stays"));
        drop(theirs);
        let own = open(&addresses, &id, &[taken], false).unwrap();
        assert_eq!((own.number, own.why), (taken, None));
    }
}
