//! The system calls of a container: its capabilities in, a filter that refuses what reaches beyond it out.
//!
//! What is refused is what container runtimes refuse by default: mounts, namespaces, keys, modules, clocks, BPF,
//! io_uring and the like, each unless the capability that stands for it was given. Programs of another architecture
//! (32-bit ones) find no system call at all.

use std::io;

use kernel::seccomp::Instruction;
use rustix::thread::CapabilitySet;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// Not in every C library's list.
const KEXEC_FILE_LOAD: i64 = if cfg!(target_arch = "x86_64") { 320 } else { 294 };
/// Numbers from here on are system calls of x86-64's 32-bit variant.
const X32: u32 = 0x4000_0000;
/// Sockets to the hypervisor.
const VSOCK: u32 = 40;
/// The CLONE_NEW* flags of clone.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const HAS_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in what a filter sees of a call.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// Low half of the first argument (little-endian).
const FIRST_ARGUMENT: u32 = 16;

/// Refused unless the container has one of the capabilities.
const REFUSED: &[(CapabilitySet, &[i64])] = &[
    (
        CapabilitySet::empty(),
        &[
            libc::SYS_add_key,
            libc::SYS_keyctl,
            libc::SYS_request_key,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_nfsservctl,
        ],
    ),
    (
        CapabilitySet::SYS_ADMIN,
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_quotactl,
            libc::SYS_fanotify_init,
        ],
    ),
    (CapabilitySet::SYS_ADMIN.union(CapabilitySet::BPF), &[libc::SYS_bpf]),
    (CapabilitySet::SYS_ADMIN.union(CapabilitySet::PERFMON), &[libc::SYS_perf_event_open]),
    (CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYSLOG), &[libc::SYS_syslog]),
    (CapabilitySet::SYS_BOOT, &[libc::SYS_reboot, libc::SYS_kexec_load, KEXEC_FILE_LOAD]),
    (CapabilitySet::SYS_MODULE, &[libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module]),
    (CapabilitySet::SYS_PACCT, &[libc::SYS_acct]),
    (CapabilitySet::SYS_TIME, &[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime]),
    (CapabilitySet::SYS_TTY_CONFIG, &[libc::SYS_vhangup]),
    (CapabilitySet::DAC_READ_SEARCH, &[libc::SYS_open_by_handle_at]),
    (CapabilitySet::SYS_PTRACE, &[libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd]),
    #[cfg(target_arch = "x86_64")]
    (CapabilitySet::SYS_RAWIO, &[libc::SYS_iopl, libc::SYS_ioperm]),
];

/// Installs the filter of a container with these capabilities on the calling thread.
pub(super) fn install(capabilities: u64) -> io::Result<()> {
    kernel::seccomp::install(&program(CapabilitySet::from_bits_retain(capabilities)))
}

fn program(capabilities: CapabilitySet) -> Vec<Instruction> {
    let step = |code, k, jt, jf| Instruction { code, jt, jf, k };
    let fails = |errno: i32| step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0);
    let allow = step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    let mut all = vec![step(LOAD, ARCH, 0, 0), step(EQUAL, ARCHITECTURE, 1, 0), fails(libc::ENOSYS)];
    all.push(step(LOAD, NUMBER, 0, 0));
    if cfg!(target_arch = "x86_64") {
        all.extend([step(AT_LEAST, X32, 0, 1), fails(libc::ENOSYS)]);
    }
    let refused = REFUSED.iter().filter(|(unless, _)| !capabilities.intersects(*unless));
    for number in refused.flat_map(|(_, calls)| calls.iter()) {
        all.extend([step(EQUAL, *number as u32, 0, 1), fails(libc::EPERM)]);
    }
    if !capabilities.contains(CapabilitySet::SYS_ADMIN) {
        // Its flags are in memory, which a filter cannot read; programs then use clone, whose flags it can.
        all.extend([step(EQUAL, libc::SYS_clone3 as u32, 0, 1), fails(libc::ENOSYS)]);
        all.push(step(EQUAL, libc::SYS_clone as u32, 0, 4));
        all.extend([step(LOAD, FIRST_ARGUMENT, 0, 0), step(HAS_BITS, NAMESPACES, 0, 1), fails(libc::EPERM), allow]);
    }
    all.push(step(EQUAL, libc::SYS_socket as u32, 0, 3));
    all.extend([step(LOAD, FIRST_ARGUMENT, 0, 0), step(EQUAL, VSOCK, 0, 1), fails(libc::EPERM), allow]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter on a call: what the kernel would do.
    fn verdict(program: &[Instruction], arch: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            let hit = match step.code {
                LOAD => {
                    loaded = match step.k {
                        NUMBER => number,
                        ARCH => arch,
                        _ => argument,
                    };
                    at += 1;
                    continue;
                }
                RETURN => return step.k,
                EQUAL => loaded == step.k,
                AT_LEAST => loaded >= step.k,
                _ => loaded & step.k != 0,
            };
            at += 1 + usize::from(if hit { step.jt } else { step.jf });
        }
    }

    #[test]
    fn refuses_what_reaches_out_and_nothing_else() {
        let allow = libc::SECCOMP_RET_ALLOW;
        let errno = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
        let plain = program(CapabilitySet::from_bits_retain(super::super::security::KEPT));
        let ask = |number: i64, argument| verdict(&plain, ARCHITECTURE, number as u32, argument);
        for number in [libc::SYS_mount, libc::SYS_setns, libc::SYS_keyctl, libc::SYS_bpf, libc::SYS_reboot] {
            assert_eq!(ask(number, 0), errno(libc::EPERM), "{number}");
        }
        for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_setresuid, libc::SYS_ptrace, libc::SYS_socket] {
            assert_eq!(ask(number, 2), allow, "{number}");
        }
        assert_eq!(ask(libc::SYS_clone3, 0), errno(libc::ENOSYS));
        assert_eq!(ask(libc::SYS_clone, libc::SIGCHLD as u32), allow);
        assert_eq!(ask(libc::SYS_clone, libc::CLONE_NEWUSER as u32), errno(libc::EPERM));
        assert_eq!(ask(libc::SYS_socket, VSOCK), errno(libc::EPERM));
        assert_eq!(verdict(&plain, 0x4000_0003, 4, 0), errno(libc::ENOSYS), "a 32-bit program");
    }

    #[test]
    fn a_capability_gives_its_calls_back() {
        let admin = program(CapabilitySet::SYS_ADMIN);
        for number in [libc::SYS_mount, libc::SYS_unshare, libc::SYS_clone3, libc::SYS_bpf] {
            assert_eq!(verdict(&admin, ARCHITECTURE, number as u32, 0), libc::SECCOMP_RET_ALLOW, "{number}");
        }
        assert_ne!(verdict(&admin, ARCHITECTURE, libc::SYS_init_module as u32, 0), libc::SECCOMP_RET_ALLOW);
    }
}
