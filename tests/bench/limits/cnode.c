/* cnode: the least that a C-node can do. Its standard input is a connection to an Erlang node after the handshake,
 * without atom cache and fragments, so that each frame is four bytes of length and a body (OTP document "Distribution
 * Protocol"). It takes binaries that processes send to any name here, REG_SEND, and answers by SEND to the sender. The
 * first byte of a binary says what to do:
 *
 *   s PROGRAM NUL             start it with two pipes, wait for its end, answer <<"e", Status:32>>
 *   b PROGRAM NUL             the same, which also answers <<"b">> once it has begun
 *   o PROGRAM NUL ARG NUL ... start it and send what it writes as binaries of up to 64 KiB, then <<>>
 *   w PROGRAM NUL ARG NUL ... the same with a window, so many bytes at most that are not acknowledged
 *   a LENGTH:32               acknowledge so many of those that went to this process
 *   c PROGRAM NUL             start it for the next; answer <<"k">>
 *   t 64 bytes                through that program's pipes and back: answer them
 *   r BYTES                   answer them
 *   i PROGRAM NUL ARG NUL ... start it for what follows, with a long pipe for its input; answer <<"k">>
 *   f BYTES                   into that program's input, as they come; no answer
 *   e                         end its input, and answer what it writes then
 *   d BYTES                   count and drop them; no answer
 *   q                         answer the count, <<Count:64>>, which begins at 0 again
 *   h PROGRAM NUL             start one that idles; answer <<"k">>
 *   l                         kill the last of those and wait for its end; answer <<"k">>
 *
 * With the arguments of held.h, what `s`, `b`, `o`, `w` and `h` start is held as a worker of erluv is; without, by nothing.
 *
 * It trusts the node: a limit to compare with, not a program to run anywhere else. */
#include "idle.h"
#include "frame.h"

#include <poll.h>

#define NODE 0
#define PIECE 65536
#define PREFIX 512
#define MOST 64
#define INPUT (256 * 1024)
#define OUTPUT (256 * 1024)
#define LONG_PIPE (256 * 1024)
#define WINDOW (360 * 1024)

/* A place for each program that runs: one that is waited for, or one whose output is sent. */
struct work {
    struct started started;
    struct caller caller;
    int sends;
    /* How many bytes more may be sent, where there is a window; without, what no program writes. */
    uint64_t credit;
};

static struct work works[MOST];
static struct started talker, eater;
static uint64_t dropped;
/* From the start of a page, as erluv has it: to copy to an address 1 to 31 bytes further into its page than the source
 * takes some processors many times as long. */
static unsigned char input[INPUT] __attribute__((aligned(4096))), output[OUTPUT] __attribute__((aligned(4096)));
static size_t have, ready;
/* Bytes of a binary that are still to come and go to a descriptor as they do, or nowhere for -1. */
static uint64_t passing;
static int passing_to;

static void write_all(int fd, const unsigned char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail("write");
        bytes += n;
        length -= (size_t)n;
    }
}

static void read_all(int fd, unsigned char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = read(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) fail("read");
        bytes += n;
        length -= (size_t)n;
    }
}

static void flush_answers(void) {
    write_all(NODE, output, ready);
    ready = 0;
}

/* Answers go out together, before the next wait. */
static void answer(const struct caller *caller, const void *bytes, size_t length) {
    if (ready + PREFIX + length > OUTPUT) flush_answers();
    ready += prefix(output + ready, caller, length);
    memcpy(output + ready, bytes, length);
    ready += length;
}

static struct work *free_work(void) {
    for (int i = 0; i < MOST; i++)
        if (works[i].started.pid == 0) return &works[i];
    fail("more programs at once than there are places");
    return NULL;
}

/* Splits texts that each end with a NUL. */
static void arguments_of(unsigned char *bytes, size_t length, char **arguments, size_t most) {
    size_t count = 0;
    for (size_t at = 0; at < length && count + 1 < most; at += strlen((char *)bytes + at) + 1)
        arguments[count++] = (char *)bytes + at;
    arguments[count] = NULL;
}

static void start_work(const struct caller *caller, unsigned char *bytes, size_t length, int sends, uint64_t credit) {
    char *arguments[16];
    arguments_of(bytes, length, arguments, 16);
    struct work *work = free_work();
    errno = hold.what ? start_held(&work->started, arguments) : start(&work->started, arguments);
    if (errno) fail(arguments[0]);
    work->caller = *caller;
    work->sends = sends;
    work->credit = credit;
}

/* Whoever asks knows of the start when it is a fact, and not when the program ends: the answer does not wait. */
static void begin_work(const struct caller *caller, unsigned char *bytes, size_t length) {
    start_work(caller, bytes, length, 0, 0);
    answer(caller, "b", 1);
    flush_answers();
}

static void acknowledge(const struct caller *caller, uint32_t length) {
    for (struct work *work = works; work < works + MOST; work++)
        if (work->started.pid && work->sends && work->caller.length == caller->length &&
            memcmp(work->caller.pid, caller->pid, caller->length) == 0)
            work->credit += length;
}

/* Of a program whose pipes are closed. */
static void await_end(struct started *started) {
    if (waitpid(started->pid, NULL, 0) != started->pid) fail("waitpid");
    started->pid = 0;
}

static void start_eater(const struct caller *caller, unsigned char *bytes, size_t length) {
    char *arguments[16];
    arguments_of(bytes, length, arguments, 16);
    errno = start(&eater, arguments);
    if (errno) fail(arguments[0]);
    if (fcntl(eater.in, F_SETPIPE_SZ, LONG_PIPE) < 0) fail("F_SETPIPE_SZ");
    answer(caller, "k", 1);
}

static void end_eater(const struct caller *caller) {
    char text[256];
    close(eater.in);
    ssize_t n = read(eater.out, text, sizeof text);
    if (n < 0) fail("read");
    close(eater.out);
    await_end(&eater);
    answer(caller, text, (size_t)n);
}

static void start_talker(const struct caller *caller, unsigned char *bytes, size_t length) {
    char *arguments[16];
    arguments_of(bytes, length, arguments, 16);
    if (talker.pid) {
        close(talker.in);
        close(talker.out);
        await_end(&talker);
    }
    errno = start(&talker, arguments);
    if (errno) fail(arguments[0]);
    answer(caller, "k", 1);
}

static void start_sleeper(const struct caller *caller, unsigned char *bytes, size_t length) {
    char *arguments[16];
    arguments_of(bytes, length, arguments, 16);
    start_idle(arguments[0]);
    answer(caller, "k", 1);
}

static void command(const struct caller *caller, unsigned char *bytes, size_t length) {
    unsigned char echo[64], count[8];
    switch (bytes[0]) {
    case 's': start_work(caller, bytes + 1, length - 1, 0, 0); break;
    case 'b': begin_work(caller, bytes + 1, length - 1); break;
    case 'o': start_work(caller, bytes + 1, length - 1, 1, UINT64_MAX / 2); break;
    case 'w': start_work(caller, bytes + 1, length - 1, 1, WINDOW); break;
    case 'a': acknowledge(caller, get32(bytes + 1)); break;
    case 'c': start_talker(caller, bytes + 1, length - 1); break;
    case 't':
        write_all(talker.in, bytes + 1, sizeof echo);
        read_all(talker.out, echo, sizeof echo);
        answer(caller, echo, sizeof echo);
        break;
    case 'r': answer(caller, bytes + 1, length - 1); break;
    case 'i': start_eater(caller, bytes + 1, length - 1); break;
    case 'e': end_eater(caller); break;
    case 'h': start_sleeper(caller, bytes + 1, length - 1); break;
    case 'l':
        end_idle();
        answer(caller, "k", 1);
        break;
    case 'q':
        put32(count, (uint32_t)(dropped >> 32));
        put32(count + 4, (uint32_t)dropped);
        dropped = 0;
        answer(caller, count, sizeof count);
        break;
    default: fprintf(stderr, "cnode: command %d\n", bytes[0]); exit(1);
    }
}

/* Takes what is whole from the start of the input; of a binary to be dropped or passed on, each part as it comes. */
static void take_input(void) {
    size_t at = 0;
    struct caller caller;
    for (;;) {
        if (passing > 0) {
            size_t now = have - at < passing ? have - at : (size_t)passing;
            if (passing_to >= 0) write_all(passing_to, input + at, now);
            at += now;
            passing -= now;
        }
        size_t left = have - at;
        if (left < 4) break;
        size_t whole = 4 + (size_t)get32(input + at);
        if (whole == 4) {
            /* A tick asks for a sign of life. */
            static const unsigned char tick[4];
            flush_answers();
            write_all(NODE, tick, 4);
            at += 4;
            continue;
        }
        if (left < whole && left < PREFIX) break;
        size_t length = 0;
        unsigned char *binary = binary_of(input + at, &caller, &length);
        if (binary && length > 0 && (binary[0] == 'd' || binary[0] == 'f')) {
            if (binary[0] == 'd') dropped += length - 1;
            passing = length - 1;
            passing_to = binary[0] == 'd' ? -1 : eater.in;
            at = (size_t)(binary + 1 - input);
            continue;
        }
        if (whole > INPUT) fprintf(stderr, "cnode: a frame of %zu bytes\n", whole), exit(1);
        if (left < whole) break;
        if (binary && length > 0) command(&caller, binary, length);
        at += whole;
    }
    memmove(input, input + at, have - at);
    have -= at;
}

/* Sends what a program has written. Returns 0 at the end of its output. */
static int pump(struct work *work) {
    static unsigned char frame[PREFIX + PIECE];
    /* The prefix has the same length for each piece: it goes right before the data, all of it in one write. */
    size_t head = prefix(frame, &work->caller, 0);
    unsigned char *data = frame + PREFIX;
    ssize_t n = read(work->started.out, data, work->credit < PIECE ? (size_t)work->credit : PIECE);
    if (n < 0) fail("read");
    work->credit -= (uint64_t)n;
    prefix(data - head, &work->caller, (size_t)n);
    write_all(NODE, data - head, head + (size_t)n);
    return n > 0;
}

static void ended(struct work *work, int status) {
    unsigned char told[5] = {'e'};
    finish(&work->started);
    give_group(work->started.group);
    put32(told + 1, (uint32_t)status);
    answer(&work->caller, told, sizeof told);
}

/* One after the other by its number: asked for any, the kernel walks past all that idle. */
static void look_for_ends(void) {
    int status;
    for (struct work *work = works; work < works + MOST; work++) {
        pid_t pid = work->started.pid;
        if (pid && !work->sends && waitpid(pid, &status, WNOHANG) == pid) ended(work, status);
    }
}

static void child_ended(int number) { (void)number; }

static void wait_for_work(const sigset_t *open) {
    struct pollfd polled[MOST + 1] = {{.fd = NODE, .events = POLLIN}};
    struct work *of[MOST + 1] = {NULL};
    nfds_t count = 1;
    for (int i = 0; i < MOST; i++)
        if (works[i].started.pid && works[i].sends && works[i].credit > 0) {
            of[count] = &works[i];
            polled[count++] = (struct pollfd){.fd = works[i].started.out, .events = POLLIN};
        }
    if (ppoll(polled, count, NULL, open) < 0) {
        if (errno != EINTR) fail("ppoll");
        look_for_ends();
        return;
    }
    if (polled[0].revents) {
        ssize_t n = read(NODE, input + have, INPUT - have);
        if (n == 0) exit(0);
        if (n < 0) fail("read");
        have += (size_t)n;
        take_input();
    }
    for (nfds_t i = 1; i < count; i++)
        if (polled[i].revents && !pump(of[i])) {
            close(of[i]->started.in);
            close(of[i]->started.out);
            await_end(&of[i]->started);
            give_group(of[i]->started.group);
        }
}

int main(int argc, char **argv) {
    if (argc > 1) hold_by(argc - 1, argv + 1);
    /* The end of a program interrupts ppoll, and nothing else. */
    struct sigaction action = {.sa_handler = child_ended};
    sigset_t blocked, open;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &open);
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        wait_for_work(&open);
        flush_answers();
    }
}
