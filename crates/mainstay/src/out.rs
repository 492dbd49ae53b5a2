//! What the program says in, bytes on standard output and standard error out; a reader who has gone never ends the program.
//!
//! The macros have the names of the standard library's and stand in front of them in the whole crate, because those panic
//! when a pipe is closed or a disk is full. Here the first error of standard output is remembered, what follows is written
//! nowhere, and [`end`] turns it into an exit code. Errors of standard error are nobody's to hear.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, StdoutLock, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::exit::Exit;

/// As the standard library's, without its panic.
macro_rules! print {
    ($($text:tt)*) => { $crate::out::say(format_args!($($text)*)) };
}

/// As the standard library's, without its panic.
macro_rules! println {
    () => { $crate::out::say(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::say(format_args!("{}\n", format_args!($($text)*))) };
}

/// As the standard library's, without its panic.
macro_rules! eprint {
    ($($text:tt)*) => { $crate::out::tell(format_args!($($text)*)) };
}

/// As the standard library's, without its panic.
macro_rules! eprintln {
    () => { $crate::out::tell(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::tell(format_args!("{}\n", format_args!($($text)*))) };
}

/// The first error of standard output.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

fn lost() -> MutexGuard<'static, Option<io::Error>> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints to standard output: what `print!` and `println!` do.
pub(crate) fn say(text: Arguments<'_>) {
    put(|out| out.write_fmt(text));
}

/// Prints to standard error: what `eprint!` and `eprintln!` do.
pub(crate) fn tell(text: Arguments<'_>) {
    // Who does not listen any more misses what is said; there is no other place to say it.
    let _ = io::stderr().lock().write_fmt(text);
}

/// Writes bytes to standard output at once; false when nothing more arrives there, as in `mainstay logs | head`.
pub(crate) fn write(bytes: &[u8]) -> bool {
    put(|out| out.write_all(bytes).and_then(|()| out.flush()))
}

/// Notes an error of standard output that was met elsewhere.
pub(crate) fn lose(error: io::Error) {
    lost().get_or_insert(error);
}

fn put(write: impl FnOnce(&mut StdoutLock<'static>) -> io::Result<()>) -> bool {
    let mut lost = lost();
    if lost.is_none() {
        *lost = write(&mut io::stdout().lock()).err();
    }
    lost.is_none()
}

/// The last thing before the program ends: the code it would have had, or that of an error if what it said did not arrive.
pub(crate) fn end(code: ExitCode) -> ExitCode {
    put(|out| out.flush());
    match lost().as_ref().and_then(complaint) {
        None => code,
        Some(why) => {
            eprintln!("{why}");
            Exit::Error.into()
        }
    }
}

/// What is said about an error of standard output; nothing when the reader has seen enough.
fn complaint(error: &io::Error) -> Option<String> {
    let next = "Not all of the output is there. Free some space, or send it elsewhere: mainstay ... >FILE";
    (error.kind() != ErrorKind::BrokenPipe)
        .then(|| format!("mainstay: cannot write to standard output: {error}.\n{next}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_left_is_no_error_and_a_full_disk_is_one() {
        assert_eq!(complaint(&ErrorKind::BrokenPipe.into()), None);
        let full = complaint(&ErrorKind::StorageFull.into()).unwrap();
        assert!(full.starts_with("mainstay: cannot write to standard output: ") && full.lines().count() == 2, "{full}");
    }
}
