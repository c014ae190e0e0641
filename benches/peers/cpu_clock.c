/* Makes a process's clocks tick with its own CPU time, so that one thread on a shared machine does not look slow while
 * it is descheduled. Build: cc -O2 -shared -fPIC -o cpu_clock.so cpu_clock.c; use: LD_PRELOAD=./cpu_clock.so COMMAND.
 * Only for runs of one thread: with several, their times would add up. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int is_wall = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
    long failed = syscall(SYS_clock_gettime, is_wall ? CLOCK_PROCESS_CPUTIME_ID : clock, out);
    if (!failed && is_wall) out->tv_sec += 1700000000; /* far from the epoch, as wall clocks are */
    return (int)failed;
}
