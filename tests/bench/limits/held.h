/* Starting one program as erluv's default profile holds a worker: the steps of erluv-main/src/sys/forked.rs, sorted by
 * what they are for, by the least code. What it leaves out is what erluv has around them: policy, log, the second
 * process, and the ways that erluv goes where a step, or its wait for the exec, is not to be had. */
#ifndef HELD_H
#define HELD_H

#include "group.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* What a program is held by. */
enum { SESSION = 1, KEYRING = 2, GROUP = 4, USER = 8, SHORT = 16, FILTER = 32, EVERYTHING = 63 };

#define MOST_IDS 64
#define MOST_INSTRUCTIONS 4096
/* Exit status of a process that never came to its exec. */
#define FAILED 71

static struct {
    int what;
    pid_t self;
    int null;
    uid_t uid;
    gid_t gid;
    gid_t ids[MOST_IDS];
    int ids_count;
    /* What a process keeps permitted up to its exec, so that others of its user cannot look into our memory. */
    uint32_t shield;
    struct sock_fprog filter;
} hold;

/* What the new process finds in our memory, and leaves there. */
struct birth {
    char **arguments;
    struct pipes pipes;
    const char *failed;
    int error;
};

_Noreturn static void leave(struct birth *birth, const char *step) {
    birth->error = errno;
    birth->failed = step;
    _exit(FAILED);
}

/* Ends the new process where this does not hold. */
#define MUST(condition) \
    do { \
        if (!(condition)) leave(birth, #condition); \
    } while (0)

static int control(int option, unsigned long argument) { return prctl(option, argument, 0, 0, 0); }

static int set_capabilities(uint32_t permitted) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{.permitted = permitted}, {0}};
    return (int)syscall(SYS_capset, &header, sets);
}

static int get_capabilities(struct __user_cap_data_struct sets[2]) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capget, &header, sets);
}

/* By system calls of their own: those of the C library are for all threads. */
static int set_uids(uid_t id) { return (int)syscall(SYS_setresuid, id, id, id); }
static int set_gids(gid_t id) { return (int)syscall(SYS_setresgid, id, id, id); }

static int has_ids(void) {
    uid_t u[3];
    gid_t g[3], seen[MOST_IDS];
    if (getresuid(&u[0], &u[1], &u[2]) || getresgid(&g[0], &g[1], &g[2])) return 0;
    if (getgroups(MOST_IDS, seen) != hold.ids_count) return 0;
    /* The kernel gives them back in its own order: sorted, as hold.ids is. */
    if (memcmp(seen, hold.ids, (size_t)hold.ids_count * sizeof *seen)) return 0;
    return u[0] == hold.uid && u[1] == hold.uid && u[2] == hold.uid && g[0] == hold.gid && g[1] == hold.gid &&
           g[2] == hold.gid;
}

/* From our privileges to those of a worker. */
static void become_user(struct birth *birth) {
    MUST(!hold.shield || control(PR_SET_KEEPCAPS, 1) == 0);
    MUST(syscall(SYS_setgroups, hold.ids_count, hold.ids) == 0);
    MUST(set_gids(hold.gid) == 0);
    MUST(set_uids(hold.uid) == 0);
    MUST(set_capabilities(hold.shield) == 0);
    MUST(has_ids());
    MUST(set_uids(0) == -1);
    MUST(set_gids(0) == -1);
    struct __user_cap_data_struct sets[2];
    MUST(get_capabilities(sets) == 0);
    MUST(sets[0].permitted == hold.shield && sets[1].permitted == 0);
    MUST(sets[0].effective == 0 && sets[1].effective == 0 && sets[0].inheritable == 0 && sets[1].inheritable == 0);
}

static void keep_nothing_of_ours(struct birth *birth) {
    static const struct rlimit none = {0, 0};
    MUST(dup2(hold.null, 2) == 2);
    MUST(syscall(SYS_close_range, 3, ~0U, 0) == 0);
    struct sigaction standard = {.sa_handler = SIG_DFL};
    MUST(sigaction(SIGPIPE, &standard, NULL) == 0);
    umask(077);
    MUST(setrlimit(RLIMIT_CORE, &none) == 0);
}

/* After the change of ids, which takes both of the first back. */
static void be_closed(struct birth *birth) {
    char folder[PATH_MAX];
    MUST(control(PR_SET_DUMPABLE, 0) == 0);
    MUST(control(PR_SET_PDEATHSIG, SIGKILL) == 0);
    MUST(getppid() == hold.self);
    MUST(chdir("/") == 0);
    MUST(syscall(SYS_getcwd, folder, sizeof folder) > 0 && folder[0] == '/');
}

/* The first function of the new process. */
_Noreturn static void become_held(struct birth *birth) {
    static char *environment[] = {NULL};
    sigset_t none;
    sigemptyset(&none);
    MUST(dup2(birth->pipes.in[0], 0) == 0);
    MUST(dup2(birth->pipes.out[1], 1) == 1);
    if (hold.what & SHORT) keep_nothing_of_ours(birth);
    if (hold.what & SESSION) MUST(setsid() != -1);
    if (hold.what & KEYRING) MUST(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) != -1);
    if (hold.what & USER) become_user(birth);
    if (hold.what & SHORT) be_closed(birth);
    MUST(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    if (hold.what & FILTER) {
        MUST(control(PR_SET_NO_NEW_PRIVS, 1) == 0);
        MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &hold.filter) == 0);
    }
    execve(birth->arguments[0], birth->arguments, environment);
    leave(birth, birth->arguments[0]);
}

#if defined(__x86_64__)
static char stack[128 * 1024] __attribute__((aligned(4096)));

/* In our memory, on a stack of its own, while we stand still until its exec. */
static long clone_held(struct birth *birth, struct clone_args *args) {
    register struct birth *first __asm__("r12") = birth;
    register void (*function)(struct birth *) __asm__("r13") = become_held;
    long pid;
    args->flags |= CLONE_VM | CLONE_VFORK;
    args->stack = (uint64_t)(uintptr_t)stack;
    args->stack_size = sizeof stack;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(pid)
                     : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args), "r"(first), "r"(function)
                     : "rcx", "r11", "memory", "cc");
    if (pid < 0) errno = (int)-pid;
    return pid;
}
#else
/* By fork, as erluv does it here: a step that fails shows by the exit status alone. */
static long clone_held(struct birth *birth, struct clone_args *args) {
    long pid = syscall(SYS_clone3, args, sizeof *args);
    if (pid == 0) become_held(birth);
    return pid;
}
#endif

/* As start() of start.h does it, but held; in the control group with that folder, or in ours for -1. */
static void start_held_in(struct started *place, char **arguments, int group) {
    struct birth birth = {.arguments = arguments};
    sigset_t all, before;
    open_pipes(&birth.pipes);
    if (hold.what & USER) {
        /* So that the worker can open them by their names. */
        if (fchown(birth.pipes.in[0], hold.uid, hold.gid) || fchown(birth.pipes.out[1], hold.uid, hold.gid))
            fail("fchown");
    }
    place->group = -1;
    struct clone_args args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    if (group >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)group;
    }
    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, &before)) fail("sigprocmask");
    place->pid = (pid_t)clone_held(&birth, &args);
    int error = errno;
    if (sigprocmask(SIG_SETMASK, &before, NULL)) fail("sigprocmask");
    if (place->pid < 0) errno = error, fail("clone3");
    if (birth.failed) errno = birth.error, fail(birth.failed);
    /* The change of ids has left our memory as the host has it. */
    if (hold.what & USER && control(PR_SET_DUMPABLE, 0)) fail("PR_SET_DUMPABLE");
    keep_ours(place, &birth.pipes);
}

/* In a group that it has from take_group(). Returns 0. */
static int start_held(struct started *place, char **arguments) {
    int group = hold.what & GROUP ? take_group() : -1;
    start_held_in(place, arguments, group < 0 ? -1 : groups[group].folder);
    place->group = group;
    return 0;
}

static int compare_ids(const void *a, const void *b) {
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;
    return (x > y) - (x < y);
}

static void look_up(const char *user) {
    const struct passwd *entry = getpwnam(user);
    if (!entry) errno = ENOENT, fail(user);
    hold.uid = entry->pw_uid;
    hold.gid = entry->pw_gid;
    hold.ids_count = MOST_IDS;
    if (getgrouplist(user, hold.gid, hold.ids, &hold.ids_count) < 0) errno = E2BIG, fail("groups of the user");
    qsort(hold.ids, (size_t)hold.ids_count, sizeof *hold.ids, compare_ids);
}

/* The file has instructions as the kernel takes them. */
static void read_filter(const char *file) {
    static struct sock_filter instructions[MOST_INSTRUCTIONS];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, instructions, sizeof instructions);
    if (length < 0) fail(file);
    int whole = length > 0 && (size_t)length < sizeof instructions && (size_t)length % sizeof *instructions == 0;
    if (!whole) errno = EINVAL, fail(file);
    close(fd);
    hold.filter.len = (unsigned short)((size_t)length / sizeof *instructions);
    hold.filter.filter = instructions;
}

/* From now on programs are held. The arguments are FILTER, a file with the instructions of the filter; USER, whose they
 * are; and FOLDER, a group of the cgroup2 tree for theirs, or - where they have none. */
static void hold_by(int count, char **arguments) {
    struct __user_cap_data_struct sets[2];
    if (count != 3) errno = EINVAL, fail("FILTER USER FOLDER");
    hold.what = EVERYTHING;
    hold.self = getpid();
    read_filter(arguments[0]);
    look_up(arguments[1]);
    if (strcmp(arguments[2], "-")) make_groups_in(arguments[2]);
    else hold.what &= ~GROUP;
    hold.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (hold.null < 0) fail("/dev/null");
    if (get_capabilities(sets)) fail("capget");
    hold.shield = sets[0].permitted & 1U << CAP_SYS_CHROOT;
    /* Once, for all that are started, as erluv-main does it; behind the last one there is none. */
    for (unsigned long capability = 0; control(PR_CAPBSET_READ, capability) >= 0; capability++)
        if (control(PR_CAPBSET_DROP, capability)) fail("PR_CAPBSET_DROP");
    if (control(PR_SET_DUMPABLE, 0)) fail("PR_SET_DUMPABLE");
}

#endif
