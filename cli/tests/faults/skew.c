/* Preloaded into a worker: its clock is SKEW_SECONDS ahead of the machine's. What measures durations stays true. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    long answer = syscall(SYS_clock_gettime, clock, now);
    if (answer == 0 && clock == CLOCK_REALTIME) {
        const char *skew = getenv("SKEW_SECONDS");
        now->tv_sec += skew ? atol(skew) : 0;
    }
    return (int)answer;
}
