/* bars.h: what a measuring program promises. Bars are added while it measures and reported at its end.
 * Include it behind bench.h.
 */
#ifndef BENCH_BARS_H
#define BENCH_BARS_H

static struct {
    char table[64];
    const char *what;
    double at, value, limit;
} bars[64];
static size_t bar_count;

/* `value`, at the ratio `at` or 0, is to be at most `limit`; NaN is a miss. */
static inline void bar_add(const char *table, const char *what, double at, double value, double limit)
{
    if (bar_count == BENCH_COUNT(bars)) bench_stop("bars", "too many");
    snprintf(bars[bar_count].table, sizeof bars[bar_count].table, "%.63s", table);
    bars[bar_count].what = what;
    bars[bar_count].at = at;
    bars[bar_count].value = value;
    bars[bar_count].limit = limit;
    bar_count++;
}

/* Prints all bars of the program and returns how many were missed. */
static inline int bars_report(const char *program)
{
    size_t i;
    int missed = 0;
    for (i = 0; i < bar_count; i++) {
        int met = bars[i].value <= bars[i].limit;
        char at[32] = "";
        if (bars[i].at > 0) snprintf(at, sizeof at, "at %.3gx", bars[i].at);
        printf("%-6s  %-18s %-8s %10.6g, at most %-8.6g  %s\n", met ? "met" : "MISSED",
               bars[i].table, at, bars[i].value, bars[i].limit, bars[i].what);
        missed += !met;
    }
    fflush(stdout);
    if (missed > 0) fprintf(stderr, "%s: %d bars missed\n", program, missed);
    return missed;
}

#endif
