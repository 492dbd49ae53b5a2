//! Seccomp: a classic BPF program in, a filter on the calling thread and everything it executes out.

use std::io;

pub use libc::sock_filter as Instruction;

/// Installs a filter on the calling thread, for ever. Needs `no_new_privs` or CAP_SYS_ADMIN in the own user namespace.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::other("a seccomp filter has at most 65535 steps"))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel only reads the live program of the length given; the filter cannot endanger memory.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0 as libc::c_ulong, &raw const filter)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
