/* spawn PROGRAM COUNT AT_ONCE [HELD...]: starts the program COUNT times with two pipes and waits for each end, AT_ONCE
 * of them running at a time, and does nothing else. Prints `p50=MICROSECONDS p99=MICROSECONDS` of a start with its end
 * where AT_ONCE is 1, else `rate=PER_SECOND`. With the arguments of held.h each is held as a worker of erluv is. */
#include "held.h"
#include "timing.h"

#include <sys/wait.h>

#define MOST 256

static struct started running[MOST];

static void begin(struct started *place, char *program) {
    char *arguments[] = {program, NULL};
    errno = hold.what ? start_held(place, arguments) : start(place, arguments);
    if (errno) fail(program);
}

/* Waits for the end of one, and returns its place. */
static struct started *end_one(void) {
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0) fail("waitpid");
    if (status != 0) {
        fprintf(stderr, "a program has ended with status %d\n", status);
        exit(1);
    }
    struct started *place = running;
    while (place->pid != pid) place++;
    finish(place);
    give_group(place->group);
    return place;
}

static void one_by_one(char *program, int count) {
    double *took = calloc((size_t)count, sizeof *took);
    if (!took) fail("calloc");
    for (int i = 0; i < count; i++) {
        double before = now();
        begin(&running[0], program);
        end_one();
        took[i] = now() - before;
    }
    qsort(took, (size_t)count, sizeof *took, compare);
    printf("p50=%.2f p99=%.2f\n", took[count / 2], took[count * 99 / 100]);
    free(took);
}

static void at_once(char *program, int count, int most) {
    double before = now();
    int begun = 0;
    while (begun < most) begin(&running[begun++], program);
    for (int ended = 0; ended < count; ended++) {
        struct started *place = end_one();
        if (begun < count) begin(place, program), begun++;
    }
    printf("rate=%.2f\n", count / (now() - before) * 1e6);
}

int main(int argc, char **argv) {
    int count = argc >= 4 ? atoi(argv[2]) : 0, most = argc >= 4 ? atoi(argv[3]) : 0;
    if (count < 1 || most < 1 || most > MOST || most > count) {
        fprintf(stderr, "usage: spawn PROGRAM COUNT AT_ONCE [FILTER USER FOLDER]\n");
        return 1;
    }
    if (argc > 4) hold_by(argc - 4, argv + 4);
    if (most == 1) one_by_one(argv[1], count);
    else at_once(argv[1], count, most);
    return 0;
}
