/* test_gpt2.c: what examples/gpt2.h sees of a model that writes, and the file it is kept in: texts side by side with
 * their caches against the plain forward pass, the sums against sums by hand, calibrations written, read, refused. */
#define TT_EMBED_DECODE_ONLY
#include "bodies.h"
#include "harness.h"
#include "gpt2_caught.h"

static model m;
static tokenizer tok;

enum { VOCAB = 4096, WIDTH = 128 };

/* ---- texts side by side ------------------------------------------------------------------------------- */

/* Any tokens, in lanes token by token, against each text in one piece. */
static void lanes_are_texts(void)
{
    enum { SIDE = 5, LENGTH = 40 };
    uint32_t ids[SIDE][LENGTH];
    state lanes = state_make(&m, SIDE, 1), plain = state_make(&m, 1, LENGTH);
    float *hidden = new_floats(SIDE * LENGTH * WIDTH), *p = new_floats(VOCAB), *q = new_floats(VOCAB);
    for (size_t at = 0; at < LENGTH; at++) {
        for (size_t i = 0; i < SIDE; i++) {
            ids[i][at] = (uint32_t)rng_int(0, VOCAB - 1);
            memcpy(lanes.x + i * WIDTH, m.wte + ids[i][at] * WIDTH, WIDTH * sizeof(float));
        }
        forward(&m, &lanes, at, 1);
        for (size_t i = 0; i < SIDE; i++)
            memcpy(hidden + (i * LENGTH + at) * WIDTH, lanes.x + i * WIDTH, WIDTH * sizeof(float));
    }
    for (size_t i = 0; i < SIDE; i++) {
        double worst = 0;
        for (size_t at = 0; at < LENGTH; at++)
            memcpy(plain.x + at * WIDTH, m.wte + ids[i][at] * WIDTH, WIDTH * sizeof(float));
        forward(&m, &plain, 0, LENGTH);
        CHECK_LE(distance(plain.x, hidden + i * LENGTH * WIDTH, LENGTH * WIDTH), 1e-5 * norm(plain.x, LENGTH * WIDTH));
        probabilities(&m, m.head, plain.x + (LENGTH - 1) * WIDTH, 1, p);
        probabilities(&m, m.head, hidden + (i * LENGTH + LENGTH - 1) * WIDTH, 1, q);
        for (size_t t = 0; t < VOCAB; t++)
            worst = fmax(worst, fabs((double)p[t] / (double)q[t] - 1)); /* 1e-4 of a probability: of a score */
        CHECK_LE(worst, 1e-4);
    }
    CHECK(distance(hidden, hidden + LENGTH * WIDTH, LENGTH * WIDTH) > 0.1 * norm(hidden, LENGTH * WIDTH));
    free(hidden), free(p), free(q);
    state_give(&lanes), state_give(&plain);
}

/* Scores that are divided by the number of their layer, or not by the root of a head's width, are those of queries that
 * are made smaller or larger. */
static void scores_are_scaled(void)
{
    enum { LENGTH = 20 };
    const float root = sqrtf((float)(WIDTH / m.heads));
    for (int how = 0; how < 2; how++) {
        model told = m, made = m;
        state a = state_make(&m, 1, LENGTH), b = state_make(&m, 1, LENGTH);
        layer each[4];
        CHECK(m.layers == 4 && m.by_root && !m.by_layer);
        if (how) told.by_layer = 1;
        else told.by_root = 0;
        made.each = each;
        for (size_t i = 0; i < 4; i++) {
            const float factor = how ? 1.0f / (float)(i + 1) : root;
            each[i] = m.each[i];
            each[i].qkv_w = (float *)test_copy(m.each[i].qkv_w, 3 * WIDTH * WIDTH * sizeof(float));
            each[i].qkv_b = (float *)test_copy(m.each[i].qkv_b, 3 * WIDTH * sizeof(float));
            for (size_t at = 0; at < 3 * WIDTH * WIDTH; at++)
                if (at % (3 * WIDTH) < WIDTH) each[i].qkv_w[at] *= factor;
            for (size_t at = 0; at < WIDTH; at++) each[i].qkv_b[at] *= factor;
        }
        for (size_t at = 0; at < LENGTH; at++) {
            memcpy(a.x + at * WIDTH, m.wte + (at * 101 + 7) * WIDTH, WIDTH * sizeof(float));
            memcpy(b.x + at * WIDTH, a.x + at * WIDTH, WIDTH * sizeof(float));
        }
        forward(&told, &a, 0, LENGTH);
        forward(&made, &b, 0, LENGTH);
        CHECK_LE(distance(a.x, b.x, LENGTH * WIDTH), 1e-5 * norm(b.x, LENGTH * WIDTH));
        for (size_t at = 0; at < LENGTH; at++)
            memcpy(b.x + at * WIDTH, m.wte + (at * 101 + 7) * WIDTH, WIDTH * sizeof(float));
        forward(&m, &b, 0, LENGTH);
        CHECK(distance(a.x, b.x, LENGTH * WIDTH) > 1e-3 * norm(b.x, LENGTH * WIDTH));
        for (size_t i = 0; i < 4; i++) free(each[i].qkv_w), free(each[i].qkv_b);
        state_give(&a), state_give(&b);
    }
}

/* ---- what a model does with its table ------------------------------------------------------------------ */

static double sum_of(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum;
}

static void text_is_counted(void)
{
    enum { LENGTH = 150 }; /* more than one group of rows, not a whole number of them */
    uint32_t ids[LENGTH];
    state s = state_make(&m, 1, LENGTH);
    float *p = new_floats(VOCAB);
    double moment = 0, mass = 0;
    usage u;
    for (size_t i = 0; i < LENGTH; i++) {
        ids[i] = (uint32_t)rng_int(0, 300);
        memcpy(s.x + i * WIDTH, m.wte + ids[i] * WIDTH, WIDTH * sizeof(float));
    }
    u = usage_of_text(&m, ids, LENGTH);
    forward(&m, &s, 0, LENGTH);
    for (size_t i = 0; i < LENGTH; i++) {
        float top = 0;
        double all = 0, own = 0;
        for (size_t t = 0; t < VOCAB; t++) {
            const double score = dot(s.x + i * WIDTH, m.head + t * WIDTH, WIDTH);
            if (t == 0) top = (float)score;
            all += exp(score - (double)top);
            if (t == ids[7]) own = exp(score - (double)top);
        }
        mass += own / all;
        moment += (double)s.x[i * WIDTH + 3] * (double)s.x[i * WIDTH + 90];
    }
    CHECK(u.tokens == LENGTH);
    CHECK_LE(fabs(u.mass[ids[7]] / mass - 1), 1e-4);
    CHECK_LE(fabs(u.moment[3 * WIDTH + 90] / moment - 1), 1e-4);
    CHECK_LE(fabs(u.moment[3 * WIDTH + 90] - u.moment[90 * WIDTH + 3]), 0);
    CHECK_LE(fabs(sum_of(u.mass, VOCAB) / (double)LENGTH - 1), 1e-5);
    CHECK_LE(fabs(sum_of(u.count, VOCAB) - (double)LENGTH), 0);
    CHECK(u.length == LENGTH / SAMPLE && memcmp(u.sample, ids, SAMPLE * u.length * sizeof *ids) == 0);
    usage_give(&u), state_give(&s), free(p);
}

static void writing_is_counted(void)
{
    const uint32_t opener = opening_token(&tok);
    usage u = usage_of_writing(&m, opener, 1000), again = usage_of_writing(&m, opener, 1000);
    CHECK(opener == VOCAB - 1 && u.tokens == 1024 && u.length == 16);
    CHECK_LE(fabs(sum_of(u.mass, VOCAB) / 1024 - 1), 1e-5);
    CHECK_LE(fabs(sum_of(u.count, VOCAB) - sum_of(u.mass, VOCAB) - (double)LANES), 1e-6);
    CHECK(u.count[opener] >= (double)LANES && u.sample[0] == opener && u.sample[u.length] == opener);
    CHECK(memcmp(u.sample + 1, u.sample + u.length + 1, 15 * sizeof *u.sample) != 0); /* not one text twice */
    CHECK(memcmp(u.moment, again.moment, WIDTH * WIDTH * sizeof(double)) == 0);
    CHECK(memcmp(u.mass, again.mass, VOCAB * sizeof(double)) == 0);
    usage_give(&u), usage_give(&again);
}

/* A token is drawn as often as its probability says. */
static void draws_are_fair(void)
{
    static const float p[4] = {0.5f, 0.0f, 0.375f, 0.125f};
    uint64_t seed = 7;
    int drawn[4] = {0, 0, 0, 0};
    for (int i = 0; i < 8000; i++) drawn[draw_token(p, 4, &seed)]++;
    CHECK(drawn[1] == 0);
    for (int i = 0; i < 4; i++) /* five standard deviations */
        CHECK_LE(fabs(drawn[i] - 8000 * (double)p[i]), 5 * sqrt(8000 * (double)p[i] * (1 - (double)p[i])));
}

/* Tied: both parts; with another head, which is not compressed, only reading counts. */
static void calibration_follows_the_head(void)
{
    usage u = usage_of_writing(&m, opening_token(&tok), 512);
    model apart = m;
    double mixture = 0, none = 1;
    calibration tied = calibrate(&m, &u, &mixture), untied;
    double trace = 0;
    apart.head = (float *)test_copy(m.wte, VOCAB * WIDTH * sizeof(float));
    untied = calibrate(&apart, &u, &none);
    CHECK(mixture > 0.3 && mixture < 0.7 && !(none > 0) && tied.metric != NULL && untied.metric == NULL);
    for (size_t i = 0; i < WIDTH; i++) trace += (double)tied.metric[i * (WIDTH + 1)];
    CHECK_LE(fabs(trace / (double)WIDTH - 1), 1e-5);
    CHECK(untied.row_weight[VOCAB - 1] > tied.row_weight[VOCAB - 1]); /* read, and hardly ever predicted */
    for (size_t i = 0; i < VOCAB; i++) CHECK(tied.row_weight[i] > 0 && untied.row_weight[i] > 0);
    free(apart.head);
    calibration_give(&tied), calibration_give(&untied), usage_give(&u);
}

/* ---- the file ---------------------------------------------------------------------------------------- */

static const char *const about[] = {"made_by", "a \"test\"\\\n", "tokens", "9", NULL};

static bytes file_made(const calibration *c, const char *path)
{
    trouble t = {""};
    bytes data;
    calibration_file what = {c, 3, 2, about};
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && put_calibration(&what, file) == 0 && fclose(file) == 0);
    data = read_file(&t, path);
    CHECK(data.data != NULL && !t.text[0]);
    (void)remove(path);
    return data;
}

static int refused(bytes data, size_t vocab, size_t dim, const char *word)
{
    trouble t = {""};
    calibration c = {NULL, NULL};
    why[0] = 0;
    if (setjmp(after_fail) == 0) {
        c = calibration_parse(&t, "a.safetensors", data.data, data.size, vocab, dim);
        calibration_give(&c);
        return 0;
    }
    if (strstr(why, "a.safetensors: ") == why && strstr(why, word) != NULL) return 1;
    fprintf(stderr, "    %s\n", why);
    return 0;
}

static void files_come_back(void)
{
    static float weights[3] = {1.0f, 2.5f, 1e-20f}, metric[4] = {2.0f, -0.5f, -0.5f, 1.0f};
    const char *base = getenv("TEST_TMP");
    char path[1200];
    snprintf(path, sizeof path, "%s/calibration.safetensors", base != NULL && *base != 0 ? base : ".");
    for (int with = 1; with <= 3; with++) {
        calibration c = {NULL, NULL}, back;
        trouble t = {""};
        bytes data;
        if (with & 1) c.row_weight = weights;
        if (with & 2) c.metric = metric;
        data = file_made(&c, path);
        back = calibration_parse(&t, "a", data.data, data.size, 3, 2);
        CHECK((back.row_weight != NULL) == (c.row_weight != NULL) && (back.metric != NULL) == (c.metric != NULL));
        if (back.row_weight != NULL) CHECK(memcmp(back.row_weight, weights, sizeof weights) == 0);
        if (back.metric != NULL) CHECK(memcmp(back.metric, metric, sizeof metric) == 0);
        CHECK(data.size % 4 == 0 && get64(data.data) % 8 == 0);
        calibration_give(&back);
        CHECK(!(with & 1) || refused(data, 4, 2, "row_weight: shape [3], and the table's vocabulary needs [4]"));
        CHECK(!(with & 2) || refused(data, 3, 3, "metric: shape [2 x 2], and the table's width needs [3 x 3]"));
        for (size_t size = 0; size < data.size; size += 1 + size / 40) {
            bytes part = data;
            part.size = size;
            CHECK(refused(part, 3, 2, ""));
        }
        give(data.data);
    }
}

static void bad_files_are_refused(void)
{
    static const struct { int at; uint32_t bits; const char *word; } bad[] = { /* the metric's four, then the weights */
        {4, 0x00000000u, "row_weight: number 0 is not above 0"}, {5, 0xbf800000u, "number 1 is not above 0"},
        {6, 0x7f800000u, "row_weight: number 2 is not finite"}, {4, 0x7fc00000u, "row_weight: number 0 is not finite"},
        {1, 0x7fc00000u, "metric: number 1 is not finite"}, {2, 0xbf000800u, "metric: not symmetric, at row 1, column 0"}};
    float weights[3] = {1, 2, 3}, metric[4] = {2.0f, -0.5f, -0.5f, 1.0f};
    const calibration c = {weights, metric};
    const char *base = getenv("TEST_TMP");
    char path[1200];
    bytes data;
    unsigned char *numbers;
    snprintf(path, sizeof path, "%s/calibration.safetensors", base != NULL && *base != 0 ? base : ".");
    data = file_made(&c, path);
    numbers = data.data + data.size - 28;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        unsigned char kept[4];
        memcpy(kept, numbers + 4 * bad[k].at, 4);
        put_number(numbers + 4 * bad[k].at, 4, bad[k].bits);
        CHECK(refused(data, 3, 2, bad[k].word));
        memcpy(numbers + 4 * bad[k].at, kept, 4);
    }
    put_number(numbers + 8, 4, 0xbf000080u); /* 7.6e-6: symmetric to rounding */
    CHECK(!refused(data, 3, 2, ""));
    memcpy(strstr((char *)data.data + 8, "F32"), "I32", 3);
    CHECK(refused(data, 3, 2, "metric: dtype I32, expected F32"));
    give(data.data);
    data = read_file(&first_trouble, "examples/tiny-gpt2/model.safetensors");
    CHECK(refused(data, VOCAB, WIDTH, "no calibration: neither"));
    give(data.data);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_gpt2");
    if (setjmp(after_fail) != 0) {
        fprintf(stderr, "test_gpt2: %s\n", why);
        return 1;
    }
    m = model_load("examples/tiny-gpt2");
    tok = tokenizer_load("examples/tiny-gpt2", m.vocab);
    RUN(lanes_are_texts);
    RUN(scores_are_scaled);
    RUN(text_is_counted);
    RUN(writing_is_counted);
    RUN(draws_are_fair);
    RUN(calibration_follows_the_head);
    RUN(files_come_back);
    RUN(bad_files_are_refused);
    give_all();
    return test_end();
}
