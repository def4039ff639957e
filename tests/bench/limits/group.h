/* Control groups for programs, one for each that runs; once it is empty it is the next one's, as in erluv-main. */
#ifndef GROUP_H
#define GROUP_H

#include "start.h"

#include <limits.h>
#include <sched.h>
#include <sys/stat.h>

#define MOST_GROUPS 256
/* A group is empty when its last process is reaped, or right after. */
#define MOST_LOOKS 100000

static struct {
    int folder;
    int events;
} groups[MOST_GROUPS];
static int groups_made;
static int spare_groups[MOST_GROUPS], spares;
static char groups_folder[PATH_MAX - 32];
/* A process that is forked off removes nothing at its end. */
static pid_t groups_owner;

static void path_of_group(char *path, int group) {
    snprintf(path, PATH_MAX, "%s/w%d", groups_folder, group);
}

static void remove_groups(void) {
    char path[PATH_MAX];
    if (getpid() != groups_owner) return;
    for (int group = 0; group < groups_made; group++) {
        path_of_group(path, group);
        if (rmdir(path)) perror(path);
    }
    if (rmdir(groups_folder)) perror(groups_folder);
}

/* Below this folder of a cgroup2 tree. */
static void make_groups_in(const char *base) {
    groups_owner = getpid();
    int length = snprintf(groups_folder, sizeof groups_folder, "%s/held.%d", base, groups_owner);
    if (length < 0 || (size_t)length >= sizeof groups_folder) errno = ENAMETOOLONG, fail(base);
    if (mkdir(groups_folder, 0711)) fail(groups_folder);
    if (atexit(remove_groups)) fail("atexit");
}

static int make_folder(const char *path) {
    if (mkdir(path, 0711)) fail(path);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) fail(path);
    return folder;
}

/* The number of a group in which nothing lives. */
static int take_group(void) {
    char path[PATH_MAX];
    if (spares > 0) return spare_groups[--spares];
    if (groups_made == MOST_GROUPS) errno = ENOSPC, fail("control groups");
    path_of_group(path, groups_made);
    int folder = make_folder(path), group = groups_made++;
    int events = openat(folder, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (events < 0) fail(path);
    groups[group].folder = folder;
    groups[group].events = events;
    return group;
}

static int is_empty(int group) {
    char text[64];
    ssize_t length = pread(groups[group].events, text, sizeof text - 1, 0);
    if (length < 0) fail("cgroup.events");
    text[length] = 0;
    return strstr(text, "populated 0\n") != NULL;
}

/* The program in it has been waited for; what it has started has to be gone, too. Nothing for -1, which is no group. */
static void give_group(int group) {
    if (group < 0) return;
    for (int looks = 0; !is_empty(group); looks++) {
        if (looks == MOST_LOOKS) errno = EBUSY, fail("control group of a program that has ended");
        sched_yield();
    }
    spare_groups[spares++] = group;
}

#endif
