/* relay: the least that a second process between a node and a C-node costs. Its standard input is the connection to the
 * node; its arguments are a program and that program's arguments, which has one end of a socket pair as its standard input
 * in place of the connection. Bytes go both ways as they come, and nothing is looked at: no policy, no buffer.
 *
 * It ends when either side does. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NODE 0
#define PIECE 65536

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Returns 0 at the end of what comes. */
static int pass(int from, int to) {
    static unsigned char bytes[PIECE] __attribute__((aligned(4096)));
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n < 0 && errno != EINTR && errno != ECONNRESET) fail("read");
    for (ssize_t at = 0; at < n;) {
        ssize_t written = write(to, bytes + at, (size_t)(n - at));
        if (written < 0 && errno != EINTR) fail("write");
        if (written > 0) at += written;
    }
    return n > 0 || (n < 0 && errno == EINTR);
}

static int start_apart(char **arguments) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) fail("socketpair");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (dup2(ends[1], NODE) < 0) fail("dup2");
        execv(arguments[0], arguments);
        fail(arguments[0]);
    }
    close(ends[1]);
    return ends[0];
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int apart = start_apart(argv + 1);
    struct pollfd both[2] = {{.fd = NODE, .events = POLLIN}, {.fd = apart, .events = POLLIN}};
    for (;;) {
        if (poll(both, 2, -1) < 0) {
            if (errno == EINTR) continue;
            fail("poll");
        }
        if (both[0].revents && !pass(NODE, apart)) return 0;
        if (both[1].revents && !pass(apart, NODE)) return 0;
    }
}
