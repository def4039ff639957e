/* spawn PROGRAM COUNT AT_ONCE SLEEPER IDLE [HELD...]: starts the program COUNT times with two pipes and waits for each
 * end, AT_ONCE of them running at a time, and does nothing else, while the sleeper idles IDLE times. Prints
 * `p50=MICROSECONDS p99=MICROSECONDS` of a start with its end where AT_ONCE is 1, else `rate=PER_SECOND`. With the
 * arguments of held.h each is held as a worker of erluv is. */
#include "idle.h"
#include "timing.h"

#define MOST 256

static struct started running[MOST];

static void begin(struct started *place, char *program) {
    char *arguments[] = {program, NULL};
    errno = hold.what ? start_held(place, arguments) : start(place, arguments);
    if (errno) fail(program);
}

/* By its number: asked for the end of any, the kernel walks past all that idle. */
static void await_end(struct started *place) {
    int status;
    if (waitpid(place->pid, &status, 0) != place->pid) fail("waitpid");
    if (status != 0) {
        fprintf(stderr, "a program has ended with status %d\n", status);
        exit(1);
    }
    finish(place);
    give_group(place->group);
}

static void one_by_one(char *program, int count) {
    double *took = calloc((size_t)count, sizeof *took);
    if (!took) fail("calloc");
    for (int i = 0; i < count; i++) {
        double before = now();
        begin(&running[0], program);
        await_end(&running[0]);
        took[i] = now() - before;
    }
    qsort(took, (size_t)count, sizeof *took, compare);
    printf("p50=%.2f p99=%.2f\n", took[count / 2], took[count * 99 / 100]);
    free(took);
}

/* Waits for the one that was started first: in a row of the same programs, one that has ended before it waits a moment. */
static void at_once(char *program, int count, int most) {
    double before = now();
    int begun = 0;
    while (begun < most) begin(&running[begun++], program);
    for (int ended = 0; ended < count; ended++) {
        struct started *place = &running[ended % most];
        await_end(place);
        if (begun < count) begin(place, program), begun++;
    }
    printf("rate=%.2f\n", count / (now() - before) * 1e6);
}

int main(int argc, char **argv) {
    int enough = argc >= 6, count = enough ? atoi(argv[2]) : 0, most = enough ? atoi(argv[3]) : 0;
    if (count < 1 || most < 1 || most > MOST || most > count) {
        fprintf(stderr, "usage: spawn PROGRAM COUNT AT_ONCE SLEEPER IDLE [FILTER USER FOLDER]\n");
        return 1;
    }
    if (argc > 6) hold_by(argc - 6, argv + 6);
    for (int i = 0; i < atoi(argv[5]); i++) start_idle(argv[4]);
    if (most == 1) one_by_one(argv[1], count);
    else at_once(argv[1], count, most);
    return 0;
}
