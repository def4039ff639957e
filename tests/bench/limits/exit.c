/* Ends at once with status 0, without a C library: what is left of a start is the kernel's and the runner's cost. */
#include "nothing.h"

void _start(void) {
    for (;;) call1(CALL_EXIT, 0);
}
