/* System calls of programs without a C library: one that takes no argument worth mentioning is all they need. */
#if defined(__x86_64__)
static inline long call1(long number, long argument) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(argument) : "rcx", "r11", "memory");
    return result;
}
#define CALL_EXIT 231  /* exit_group */
#define CALL_WAIT 34   /* pause: its argument is ignored */
#elif defined(__aarch64__)
static inline long call1(long number, long argument) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = argument;
    register long x1 __asm__("x1") = 0;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#define CALL_EXIT 94   /* exit_group */
#define CALL_WAIT 73   /* ppoll of no descriptor, without an end: there is no pause */
#else
#error "write call1 for this machine"
#endif
