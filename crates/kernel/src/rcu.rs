//! A moment in, the end of everything that the kernel had begun before it out.

/// `MEMBARRIER_CMD_GLOBAL` of linux/membarrier.h: returns after an RCU grace period.
const GLOBAL: libc::c_int = 1;

/// Waits for an RCU grace period (4 to 16 ms on an idle host; no processor time). A packet passes the hooks from
/// prerouting to the confirmation of its flow inside one RCU section, so every packet that a rule saw before this call
/// has its flow in the table when it returns.
///
/// Returns the system's error where the kernel cannot (no membarrier(2), or `nohz_full`); then nothing is proven.
pub fn grace_period() -> std::io::Result<()> {
    // SAFETY: membarrier(2) takes three integers and no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_grace_period_ends() {
        super::grace_period().unwrap_or_else(|error| panic!("membarrier: {error}"));
    }
}
