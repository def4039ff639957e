/* Sleeps until a signal ends it, without a C library: a worker that costs as little as one can. */
#include "nothing.h"

void _start(void) {
    for (;;) call1(CALL_WAIT, 0);
}
