/* Starting one program with pipes for its standard input and output, by posix_spawn: glibc's has vfork semantics. */
#ifndef START_H
#define START_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A running program: our ends of its pipes, and the number of its control group where it has one, else -1. */
struct started {
    pid_t pid;
    int in;
    int out;
    int group;
};

/* Both ends of a program's pipes, the one to read from first. */
struct pipes {
    int in[2];
    int out[2];
};

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void open_pipes(struct pipes *pipes) {
    if (pipe2(pipes->in, O_CLOEXEC) || pipe2(pipes->out, O_CLOEXEC)) fail("pipe2");
}

/* Leaves us with our ends. */
static void keep_ours(struct started *place, const struct pipes *pipes) {
    close(pipes->in[0]);
    close(pipes->out[1]);
    place->in = pipes->in[1];
    place->out = pipes->out[0];
}

/* Starts arguments[0], an absolute path, with an empty environment and all signals as they are at first. Returns 0, or
 * what posix_spawn says. */
static int start(struct started *place, char **arguments) {
    static char *environment[] = {NULL};
    struct pipes pipes;
    open_pipes(&pipes);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes.in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, pipes.out[1], 1);
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawn(&place->pid, arguments[0], &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    keep_ours(place, &pipes);
    place->group = -1;
    if (error) {
        close(place->in);
        close(place->out);
        place->pid = 0;
    }
    return error;
}

/* After the program's end: takes what it has written, which must be nothing, and closes its pipes. */
static void finish(struct started *place) {
    char byte;
    if (read(place->out, &byte, 1) != 0) {
        errno = EIO;
        fail("output of a program that writes none");
    }
    close(place->in);
    close(place->out);
    place->pid = 0;
}

#endif
