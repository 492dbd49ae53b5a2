//! Many small messages at once: dumps that are not kept, requests of which some may fail, and notices until none is left.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::{DUMP_INTERRUPTED, NLMSG_DONE, NLMSG_ERROR, NLMSG_MIN_TYPE, Socket, Writer, limits, parse, refusal};
use crate::nl::{Error, Kind, Result};

/// What became of one of many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, without an answer.
    Done,
    /// The object, after the netlink header.
    Object(Box<[u8]>),
    /// There is no such object.
    Absent,
}

/// What [`Socket::listen`] left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Messages seen.
    pub messages: usize,
    /// True if the kernel dropped some before because nobody read them.
    pub lost: bool,
}

impl Socket {
    /// Sends a dump request and hands every message to `each`, without keeping any. What changes meanwhile may be seen
    /// twice or not at all.
    pub fn stream(&mut self, what: &str, message: Writer, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.start(what, message)?;
        let first = self.sequence;
        while let Some(length) = self.receive(what)? {
            for message in parse::messages(&self.buffer[..length]) {
                match message.kind {
                    _ if message.sequence != first => (),
                    NLMSG_ERROR | NLMSG_DONE => {
                        let interrupted = message.flags & DUMP_INTERRUPTED != 0;
                        return match refusal(what, &message) {
                            Some(error) => Err(error),
                            None if interrupted => Err(Error::interrupted(what)),
                            None => Ok(()),
                        };
                    }
                    kind if kind >= NLMSG_MIN_TYPE => each(message.payload),
                    _ => (),
                }
            }
        }
        Err(Error::lost(what))
    }

    /// Sends requests in one datagram and says what became of each. A request that fails with anything but "no such
    /// object" is an error of the whole, though the others were carried out.
    pub fn answers(&mut self, what: &str, mut messages: Writer) -> Result<Vec<Answer>> {
        messages.flag_last(crate::nl::message::ACK);
        let count = messages.count();
        self.start(what, messages)?;
        let first = self.sequence.wrapping_sub(count.saturating_sub(1));
        let mut answers = vec![Answer::Done; count as usize];
        let mut ended = false;
        while let Some(length) = self.receive(what)? {
            for message in parse::messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first);
                let Some(answer) = answers.get_mut(index as usize) else { continue };
                match message.kind {
                    NLMSG_ERROR => {
                        ended |= index + 1 == count;
                        match refusal(what, &message) {
                            None => (),
                            Some(error) if error.not_found() => *answer = Answer::Absent,
                            Some(error) => return Err(error),
                        }
                    }
                    kind if kind >= NLMSG_MIN_TYPE => *answer = Answer::Object(message.payload.into()),
                    _ => (),
                }
            }
        }
        if ended { Ok(answers) } else { Err(Error::lost(what)) }
    }

    /// Hands everything that is queued, as (type, payload), to `each`: at least all that was queued when this was called.
    /// Reads on while more comes, up to what the queue could have held then.
    pub fn listen(&mut self, what: &str, each: &mut dyn FnMut(u16, &[u8])) -> Result<Heard> {
        let mut heard = Heard::default();
        for _ in 0..limits::RECEIVE_BUFFER_BYTES / limits::NOTICE_BYTES_MIN {
            let length = match self.receive(what) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(heard),
                Err(error) if error.kind == Kind::Lost => {
                    heard.lost = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for message in parse::messages(&self.buffer[..length]) {
                heard.messages += 1;
                each(message.kind, message.payload);
            }
        }
        Ok(heard)
    }

    /// The descriptor, to wait for it beside others.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Another descriptor of the same socket, so that a second thread can wait while this one reads.
    pub fn waiter(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        self.fd.try_clone()
    }

    fn start(&mut self, what: &str, messages: Writer) -> Result<()> {
        if messages.len() > self.send_max {
            return Err(Error::too_large(what, messages.len(), self.send_max));
        }
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(messages.count());
        self.drain();
        self.send(what, &messages.into_sequenced(first), None)
    }
}

/// Waits until one of two descriptors has something to read or is closed at its other end: (first, second).
pub fn wait(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> std::io::Result<(bool, bool)> {
    let mut polled = [first, second].map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: the pointer and the count describe `polled`, which outlives the call.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
    if ready >= 0 {
        return Ok((polled[0].revents != 0, polled[1].revents != 0));
    }
    match std::io::Error::last_os_error() {
        error if error.kind() == std::io::ErrorKind::Interrupted => Ok((false, false)),
        error => Err(error),
    }
}
