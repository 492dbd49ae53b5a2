//! Which addresses and ports are in use: stored objects in, the book that allocation asks out.

use std::sync::Arc;

use api::kind::Kind;
use api::kinds;
use api::status::Status;
use compile::allocate::Taken;
use store::{Record, Txn};

use crate::object::{parsed, table};
use crate::pipeline::{Book, Inner};

/// Reads the book from Services, ServiceCIDRs and IPAddresses.
pub(crate) fn read(list: impl Fn(&Kind) -> Result<Vec<Arc<Record>>, Status>) -> Result<Taken, Status> {
    let mut taken = Taken::default();
    // Services first: an IPAddress says something new only if its address is not a Service's.
    let books: [(&Kind, Book); 3] =
        [(&kinds::SERVICE, Taken::add), (&kinds::SERVICE_CIDR, Taken::put_network), (&kinds::IP_ADDRESS, Taken::claim)];
    for (kind, book) in books {
        for record in list(kind)? {
            book(&mut taken, &parsed(&record.body.bytes())?);
        }
    }
    Ok(taken)
}

/// Reads the book again if writes were forgotten that are in it (the disk was full): what they took is free.
pub(crate) fn refresh(inner: &Inner, txn: &Txn<'_>) -> Result<(), Status> {
    let mut life = inner.life();
    if *life != txn.life() {
        *inner.taken() = read(|kind| Ok(txn.scan(table(kind), None)))?;
        *life = txn.life();
    }
    Ok(())
}
