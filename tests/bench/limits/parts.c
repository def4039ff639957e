/* parts PROGRAM COUNT FILTER USER FOLDER: what each of the promises to a worker costs by itself, beside a start that
 * makes none: two pipes, a process in our memory (vfork), exec and wait. Starts the program COUNT times in each way,
 * one at a time, in turns of the ways, and prints a table in Markdown. `p50` is of a start and its end; the mean has
 * all, and so what the kernel does later on its own account, where all runs on one core. The arguments are those of
 * held.h. */
#include "held.h"
#include "timing.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define TURNS 10
/* Starts before each turn that do not count: they have what the kernel has left to do of the way before. */
#define BEFORE 100

/* How posix_spawn makes them: without promises, the second in a process that has put the filter in force before. */
enum { SPAWNED = -1, INHERITED = -2 };

static const struct {
    const char *title;
    int what;
} ways[] = {
    {"nothing", 0},
    {"a session", SESSION},
    {"a session keyring", KEYRING},
    {"a control group", GROUP},
    {"user, groups, capabilities, and the look whether they hold", USER},
    {"closed descriptors, signals, umask, limits, tracing, folder", SHORT},
    {"no_new_privs and the filter", FILTER},
    {"all of it", EVERYTHING},
    {"posix_spawn, nothing", SPAWNED},
    {"posix_spawn below a filter that is in force already", INHERITED},
};
#define WAYS ((int)(sizeof ways / sizeof *ways))

/* All but the group, where there are none. */
static int possible;

/* Microseconds, and where the whole of a way is added up. */
struct way {
    double *took;
    double sum;
};

static void start_and_wait(char *program, int way) {
    char *arguments[] = {program, NULL};
    struct started place;
    int status;
    errno = way < 0 ? start(&place, arguments) : start_held(&place, arguments);
    if (errno) fail(program);
    if (waitpid(place.pid, &status, 0) != place.pid) fail("waitpid");
    if (status) errno = ECANCELED, fail(program);
    finish(&place);
    give_group(place.group);
}

static void turn(struct way *way, int what, char *program, int from, int to) {
    hold.what = what & possible;
    for (int i = 0; i < BEFORE; i++) start_and_wait(program, what);
    double before = now();
    for (int i = from; i < to; i++) {
        double begun = now();
        start_and_wait(program, what);
        way->took[i] = now() - begun;
    }
    way->sum += now() - before;
}

/* For good, so in a process of its own; the figures are in memory that it shares. */
static void inherited_turn(struct way *way, char *program, int from, int to) {
    int status;
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (control(PR_SET_NO_NEW_PRIVS, 1)) fail("no_new_privs");
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &hold.filter)) fail("seccomp");
        turn(way, INHERITED, program, from, to);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid) fail("waitpid");
    if (status) errno = ECANCELED, fail("the process below a filter");
}

static void measure(struct way *all, char *program, int count) {
    for (int i = 0; i < TURNS; i++)
        for (int w = 0; w < WAYS; w++) {
            int from = (int)((long)count * i / TURNS), to = (int)((long)count * (i + 1) / TURNS);
            if (ways[w].what == INHERITED) inherited_turn(&all[w], program, from, to);
            else turn(&all[w], ways[w].what, program, from, to);
        }
}

static void print(struct way *all, int count) {
    double base = 0, mean_base = 0;
    printf("| a start with | p50, µs | more | mean, µs | more |\n|---|---|---|---|---|\n");
    for (int w = 0; w < WAYS; w++) {
        qsort(all[w].took, (size_t)count, sizeof *all[w].took, compare);
        double middle = all[w].took[count / 2], mean = all[w].sum / count;
        if (ways[w].what == 0 || ways[w].what == SPAWNED) base = middle, mean_base = mean;
        const char *without = ways[w].what > 0 && ways[w].what & ~possible ? " (HERE WITHOUT a group)" : "";
        printf("| %s%s | %.1f | %.1f | %.1f | %.1f |\n", ways[w].title, without, middle, middle - base, mean,
               mean - mean_base);
    }
}

int main(int argc, char **argv) {
    int count = argc == 6 ? atoi(argv[2]) : 0;
    if (count < TURNS) {
        fprintf(stderr, "usage: parts PROGRAM COUNT FILTER USER FOLDER, COUNT at least %d\n", TURNS);
        return 1;
    }
    hold_by(3, argv + 3);
    possible = hold.what;
    size_t of_one = (size_t)count * sizeof(double), length = WAYS * (sizeof(struct way) + of_one);
    struct way *all = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) fail("mmap");
    for (int w = 0; w < WAYS; w++) all[w].took = (double *)(void *)&all[WAYS] + (size_t)w * (size_t)count;
    measure(all, argv[1], count);
    print(all, count);
    return 0;
}
