//! What each list refuses. The default one follows what container engines refuse today to containers without
//! privileges; where they look at a capability, so does this.

use libc::c_long;

/// Numbers of capabilities(7).
const DAC_READ_SEARCH: u32 = 2;
const SYS_MODULE: u32 = 16;
#[cfg(target_arch = "x86_64")]
const SYS_RAWIO: u32 = 17;
const SYS_PACCT: u32 = 20;
pub(super) const SYS_ADMIN: u32 = 21;
const SYS_BOOT: u32 = 22;
const SYS_TIME: u32 = 25;
const SYS_TTY_CONFIG: u32 = 26;
const SYSLOG: u32 = 34;

/// Calls that are refused, unless the worker has a capability by which the kernel would let it.
pub(super) struct Refused {
    pub(super) calls: &'static [c_long],
    pub(super) unless: Option<u32>,
}

const fn always(calls: &'static [c_long]) -> Refused {
    Refused { calls, unless: None }
}

const fn unless(capability: u32, calls: &'static [c_long]) -> Refused {
    Refused { calls, unless: Some(capability) }
}

/// Views of the file system and of the host: mounts and namespaces.
const MOUNTS: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_setns,
    libc::SYS_unshare,
];

/// What administers the host or its kernel, and what ordinary programs do not use and attackers do.
pub(super) const DEFAULT: &[Refused] = &[
    // The kernel's own code and state.
    unless(SYS_MODULE, &[libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module]),
    unless(SYS_BOOT, &[libc::SYS_reboot, libc::SYS_kexec_load]),
    #[cfg(not(target_arch = "x86"))]
    unless(SYS_BOOT, &[libc::SYS_kexec_file_load]),
    #[cfg(target_arch = "x86_64")]
    unless(SYS_RAWIO, &[libc::SYS_iopl, libc::SYS_ioperm]),
    unless(SYSLOG, &[libc::SYS_syslog]),
    unless(SYS_PACCT, &[libc::SYS_acct]),
    unless(SYS_TIME, &[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime]),
    unless(SYS_TTY_CONFIG, &[libc::SYS_vhangup]),
    // Those, names of the host, quotas, swap.
    unless(SYS_ADMIN, MOUNTS),
    unless(
        SYS_ADMIN,
        &[
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_fanotify_init,
            libc::SYS_lookup_dcookie,
            // Programs in the kernel, and its counters.
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
        ],
    ),
    unless(DAC_READ_SEARCH, &[libc::SYS_open_by_handle_at]),
    // Keys are not kept apart by namespaces.
    always(&[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key]),
    // Great parts of the kernel that are seldom used, and often the way in.
    always(&[
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_nfsservctl,
        libc::SYS_remap_file_pages,
    ]),
    #[cfg(target_arch = "x86_64")]
    always(&[libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs, libc::SYS__sysctl]),
];

/// No network, no look into other processes; socketpair(2) stays, which reaches no one else.
pub(super) const STRICT: &[Refused] = &[
    always(&[
        libc::SYS_socket,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
    ]),
    always(&[
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_process_mrelease,
        libc::SYS_kcmp,
        libc::SYS_pidfd_getfd,
    ]),
    // What the default list leaves to who has a capability.
    always(MOUNTS),
    always(&[
        libc::SYS_chroot,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
    ]),
    // Memory of other nodes, and of others.
    always(&[libc::SYS_move_pages, libc::SYS_migrate_pages]),
];

/// open_tree_attr(2), Linux 6.15.
const OPEN_TREE_ATTR: c_long = 467;
