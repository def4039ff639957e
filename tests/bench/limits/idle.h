/* Programs that idle beside those that are timed, each held as those are. We keep no descriptor for them: it would be
 * copied and closed again by each start to come, and erluv-main has none for a worker that runs, either. */
#ifndef IDLE_H
#define IDLE_H

#include "held.h"

#include <sys/wait.h>

#define MOST_IDLE 4096

static pid_t idle[MOST_IDLE];
static int idle_count;

static void path_of_idle_group(char *path, int number) {
    snprintf(path, PATH_MAX, "%s/idle%d", groups_folder, number);
}

/* Its folder, open. */
static int make_idle_group(int number) {
    char path[PATH_MAX];
    path_of_idle_group(path, number);
    return make_folder(path);
}

/* Its program has been waited for. */
static void remove_idle_group(int number) {
    char path[PATH_MAX];
    path_of_idle_group(path, number);
    for (int looks = 0; rmdir(path); looks++) {
        if (errno != EBUSY || looks == MOST_LOOKS) fail(path);
        sched_yield();
    }
}

/* The last one that was started. */
static void end_idle(void) {
    pid_t pid = idle[--idle_count];
    if (kill(pid, SIGKILL)) fail("kill");
    if (waitpid(pid, NULL, 0) != pid) fail("waitpid");
    if (hold.what & GROUP) remove_idle_group(idle_count);
}

static void end_all_idle(void) {
    while (idle_count > 0) end_idle();
}

static void start_idle(char *program) {
    char *arguments[] = {program, NULL};
    struct started place;
    static int ends;
    if (idle_count == MOST_IDLE) errno = ENOSPC, fail("programs that idle");
    /* Whatever ends us: nobody else would end them. */
    if (!ends++ && atexit(end_all_idle)) fail("atexit");
    if (hold.what) {
        int group = hold.what & GROUP ? make_idle_group(idle_count) : -1;
        start_held_in(&place, arguments, group);
        if (group >= 0) close(group);
    } else {
        errno = start(&place, arguments);
        if (errno) fail(program);
    }
    close(place.in);
    close(place.out);
    idle[idle_count++] = place.pid;
}

#endif
