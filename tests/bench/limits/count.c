/* count BYTES: as `wc -c`, in reads of 16 KiB as coreutils has them, but it also stops after BYTES. For those who
 * cannot end a program's input without losing its output: Erlang's ports. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char buffer[16384];
    unsigned long long wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 0, count = 0;
    while (count < wanted) {
        ssize_t n = read(0, buffer, sizeof buffer);
        if (n <= 0) break;
        count += (unsigned long long)n;
    }
    printf("%llu\n", count);
    return 0;
}
