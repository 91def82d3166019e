/* main.c: a token-embedding table in flash. Opens it where it lies, verifies it, looks up tokens, scores a
 * vector against the whole vocabulary; prints what each call costs, and compares all results with those of
 * the host. Exit status 0 when they agree. */
#define TT_EMBED_DECODE_ONLY
#include "../../tt_embed.h"

#include "board.h"
#include "cost.h"
#include "expected.h" /* written by expect.c */
#include "print.h"
#include "table.h"    /* written by ttembed c-array: the array table[] */

#include <string.h>

/* From the linker script. */
extern char reader_begin[], reader_end[], libraries_end[], flash_begin[], flash_end[], bss_begin[];

/* All the memory that the library needs; tte_scratch_len tells whether it is enough. */
enum { SCRATCH = 1024 };
static float scratch[SCRATCH];

static float row[EXPECTED_DIM];

typedef char expected_is_of_this_table[sizeof table == EXPECTED_BYTES ? 1 : -1];

static float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float magnitude(float x) { return x < 0 ? -x : x; }

/* ---- reports ------------------------------------------------------------------------------------ */

static void report_cost(const char *name, cost c)
{
    print(name);
    print(": ");
    print_number(c.clock);
    print(" instructions, ");
    print_number(c.stack);
    print(" bytes of stack\n");
}

static int report_failure(const char *what, const char *why)
{
    print("FAIL: ");
    print(what);
    print(": ");
    print(why);
    print("\n");
    return 1;
}

static void report_size(const char *before, size_t bytes, const char *after)
{
    print(before);
    print_number((uint32_t)bytes);
    print(after);
}

static void report_sizes(void)
{
    report_size("table: ", EXPECTED_VOCAB, " x ");
    report_size("", EXPECTED_DIM, ", ");
    report_size("", sizeof table, " bytes of flash\n");
    report_size("reader: ", (size_t)(reader_end - reader_begin), " bytes of flash, ");
    report_size("", (size_t)(libraries_end - reader_end), " of libgcc and libc\n");
    report_size("firmware: ", (size_t)(flash_end - flash_begin), " bytes of flash, ");
    report_size("", (size_t)((char *)stack_bottom - bss_begin), " of RAM without the stack\n");
}

/* ---- comparison with the host ------------------------------------------------------------------- */

/* The distance between two rows in ulps of the largest entry, that of the floats between its power of two
 * and the next. 1e9 for what is not finite. */
static float ulps_apart(const float *got, const uint32_t *expected_bits)
{
    uint32_t largest = 24u << 23;
    float ulp, worst = 0;
    size_t i;
    for (i = 0; i < EXPECTED_DIM; i++)
        if ((expected_bits[i] & 0x7fffffffu) > largest)
            largest = expected_bits[i] & 0x7fffffffu;
    ulp = float_of_bits((largest & 0x7f800000u) - (23u << 23));
    for (i = 0; i < EXPECTED_DIM; i++) {
        const float apart = magnitude(got[i] - float_of_bits(expected_bits[i])) / ulp;
        if (!(apart < 1e9f))
            return 1e9f;
        if (apart > worst)
            worst = apart;
    }
    return worst;
}

/* ---- the calls ---------------------------------------------------------------------------------- */

static int lookups(const tte_table *t)
{
    cost each, all = {0, 0};
    float worst = 0;
    size_t i;
    for (i = 0; i < EXPECTED_TOKENS; i++) {
        tte_status status;
        float apart;
        memset(row, 0, sizeof row);
        cost_begin(&each);
        status = tte_lookup(t, expected_tokens[i], row, scratch);
        cost_end(&each);
        if (status != TTE_OK)
            return report_failure("lookup", tte_status_text(status));
        all.clock += each.clock / EXPECTED_TOKENS;
        if (each.stack > all.stack)
            all.stack = each.stack;
        apart = ulps_apart(row, expected_rows + i * EXPECTED_DIM);
        if (apart > worst)
            worst = apart;
    }
    report_cost("lookup", all);
    print("rows: ");
    print_float(worst);
    print(" ulp from the host's\n");
    return worst <= 2 ? 0 : report_failure("lookup", "a row differs by more than 2 ulp from the host's");
}

static float vector[EXPECTED_DIM];

/* The scores of the vector against `SOME` tokens, the best among them. What a further token costs is what
 * top_k, which scores them all, takes beyond this. */
static int some_scores(const tte_table *t, uint32_t best, float score, uint32_t all)
{
    enum { SOME = EXPECTED_VOCAB < 64 ? EXPECTED_VOCAB : 64 };
    const uint32_t first = best < SOME ? 0 : best - SOME + 1;
    float scores[SOME];
    tte_status status;
    cost c;
    cost_begin(&c);
    status = tte_logits(t, vector, first, SOME, scores, scratch);
    cost_end(&c);
    if (status != TTE_OK)
        return report_failure("logits", tte_status_text(status));
    report_cost("logits", c);
    print("coefficient: ");
    print_float((float)(all - c.clock) / (float)(EXPECTED_VOCAB - SOME) / (float)EXPECTED_NUMBERS);
    print(" instructions\n");
    return memcmp(&scores[best - first], &score, sizeof score) == 0
               ? 0
               : report_failure("logits", "not the score that top_k gives");
}

static int scan(const tte_table *t)
{
    uint32_t best[EXPECTED_BEST];
    float scores[EXPECTED_BEST], apart = 0;
    int same = 1;
    tte_status status;
    cost c;
    size_t i;
    memcpy(vector, expected_vector, sizeof vector);
    cost_begin(&c);
    status = tte_top_k(t, vector, EXPECTED_BEST, best, scores, scratch);
    cost_end(&c);
    if (status != TTE_OK)
        return report_failure("top_k", tte_status_text(status));
    report_cost("top_k", c);
    for (i = 0; i < EXPECTED_BEST; i++) {
        const float difference = magnitude(scores[i] - float_of_bits(expected_scores[i]));
        same = same && best[i] == expected_best[i] && difference <= 1e-5f * scores[0];
        if (difference > apart)
            apart = difference;
        print("  token ");
        print_number(best[i]);
        print(", score ");
        print_float(scores[i]);
        print("\n");
    }
    print("scores: ");
    print_float(apart / scores[0] * 1e6f);
    print(" millionths from the host's\n");
    if (!same)
        return report_failure("top_k", "tokens or scores differ from the host's");
    return some_scores(t, best[0], scores[0], c.clock);
}

int main(void)
{
    tte_table t;
    tte_status status;
    cost c;
    int failed;

    report_sizes();
    cost_begin(&c);
    status = tte_open(&t, table, sizeof table);
    cost_end(&c);
    if (status != TTE_OK)
        return report_failure("open", tte_status_text(status));
    report_cost("open", c);
    cost_begin(&c);
    status = tte_verify(&t);
    cost_end(&c);
    if (status != TTE_OK)
        return report_failure("verify", tte_status_text(status));
    report_cost("verify", c);
    report_size("scratch: ", tte_scratch_len(&t) * sizeof *scratch, " bytes\n");
    if (tte_scratch_len(&t) > SCRATCH)
        return report_failure("scratch", "SCRATCH in main.c is too small for this table");
    failed = lookups(&t);
    failed |= scan(&t);
    if (!failed)
        print("PASS\n");
    return failed;
}
