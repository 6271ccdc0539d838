//! Restricts the calling process, and all that it starts later. It is done before any code of the artifact runs, and while the process has one
//! thread, because landlock and seccomp apply to the calling thread and to those that it starts.

use crate::task::{Bounds, Enforced};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::{error::Error, io, path::Path};

type Failed = Box<dyn Error + Send + Sync>;

/// What the loader, libc and the standard library read.
const READABLE: [&str; 9] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/proc/self",
];

/// Restricts this process. `copy` is the artifact.
pub(crate) fn enter(bounds: &Bounds, copy: &Path) -> Result<Enforced, Failed> {
    no_core_dump()?;
    if let Some(bytes) = bounds.memory {
        // RLIMIT_AS would count what allocators and thread stacks only reserve.
        let limit = Some(bytes);
        setrlimit(
            Resource::Data,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    if !bounds.sandbox {
        return Ok(Enforced::NotAsked);
    }
    let files = match bounds.without_landlock {
        true => Enforced::Not,
        false => restrict_files(bounds, copy)?,
    };
    if files == Enforced::Not && !bounds.best_effort {
        return Err("this kernel has no landlock (Linux 5.13, and enabled in its list of security modules)".into());
    }
    restrict_system_calls()?;
    Ok(files)
}

fn no_core_dump() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    // With 0 the kernel writes no file, but still starts the collector of core dumps, if there is one; with 1 it does neither.
    let current = Some(limit.maximum.map_or(1, |most| most.min(1)));
    Ok(setrlimit(Resource::Core, Rlimit { current, ..limit })?)
}

fn restrict_files(bounds: &Bounds, copy: &Path) -> Result<Enforced, Failed> {
    let read: BitFlags<AccessFs> = AccessFs::from_read(ABI::V1);
    let copy = copy.canonicalize().unwrap_or_else(|_| copy.to_owned());
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules([&copy], read))?
        .add_rules(path_beneath_rules(&bounds.readable, read))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not,
    })
}

/// What no plugin does by accident: it ends the process.
const FATAL: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_open_by_handle_at,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// What libc, the loader and the standard library use. Any other system call does not exist for the process.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_arch_prctl,
    libc::SYS_clone,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_prctl,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_times,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_kill,
    libc::SYS_tgkill,
];

/// From `fcntl.h` and `ioctls.h`.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;
const FIOSETOWN: i64 = 0x8901;
const SIOCSPGRP: i64 = 0x8902;
const TIOCSTI: i64 = 0x5412;

/// A rule for each of these commands, which are the second argument.
fn command_is(commands: &[i64]) -> Result<Vec<SeccompRule>, Failed> {
    let rule = |command: &i64| {
        let condition = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command.cast_unsigned())?;
        SeccompRule::new(vec![condition])
    };
    Ok(commands.iter().map(rule).collect::<Result<_, _>>()?)
}

fn restrict_system_calls() -> Result<(), Failed> {
    let own = u64::from(std::process::id());
    let clone_thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let when = |condition| Ok::<_, Failed>(vec![SeccompRule::new(vec![condition?])?]);
    let argument = |op, value| SeccompCondition::new(0, SeccompCmpArgLen::Qword, op, value);
    let mut fatal: Vec<_> = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    // A new process, and not a thread.
    fatal.push((libc::SYS_clone, when(argument(SeccompCmpOp::MaskedEq(clone_thread), 0))?));
    for signalling in [libc::SYS_kill, libc::SYS_tgkill] {
        fatal.push((signalling, when(argument(SeccompCmpOp::Ne, own))?));
    }
    // The limits of another process: with them one can end it.
    let of_another = vec![argument(SeccompCmpOp::Ne, 0)?, argument(SeccompCmpOp::Ne, own)?];
    fatal.push((libc::SYS_prlimit64, vec![SeccompRule::new(of_another)?]));
    // Signals by way of a descriptor, and input for a terminal.
    fatal.push((
        libc::SYS_fcntl,
        command_is(&[libc::F_SETOWN, F_SETSIG, F_SETOWN_EX].map(i64::from))?,
    ));
    fatal.push((libc::SYS_ioctl, command_is(&[FIOSETOWN, SIOCSPGRP, TIOCSTI])?));
    install(fatal, SeccompAction::Allow, SeccompAction::KillProcess)?;
    // libc answers `clone3` that does not exist with `clone`.
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let mut allowed: Vec<_> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Limits may be read and not set.
    let sets_nothing = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    allowed.push((libc::SYS_prlimit64, vec![SeccompRule::new(vec![sets_nothing])?]));
    // Memory that is shared and has no file does not count against the limit, so there is none.
    let (shared, anonymous) = (libc::MAP_SHARED.cast_unsigned(), libc::MAP_ANONYMOUS.cast_unsigned());
    let mask = u64::from(shared | anonymous);
    let kinds = [0, shared, anonymous].map(|kind| {
        let condition = SeccompCondition::new(3, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), kind.into())?;
        SeccompRule::new(vec![condition])
    });
    allowed.push((libc::SYS_mmap, kinds.into_iter().collect::<Result<_, _>>()?));
    install(allowed, no_such_call, SeccompAction::Allow)
}

/// The kernel takes the strictest answer of all filters.
fn install(
    rules: Vec<(libc::c_long, Vec<SeccompRule>)>,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<(), Failed> {
    let filter = SeccompFilter::new(rules.into_iter().collect(), otherwise, action, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
