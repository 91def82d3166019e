/* mpi_tables.c: the tables of mpi.sh, raw float32, always the same ones.
 *
 *     mpi_tables model FILE           50,257 x 768 with a spectrum that decays, as `costs` has it
 *     mpi_tables hashed FILE WEIGHTS  a recommender's table, 200,000 hashed ids x 128
 *
 * Of the recommender: ids are hashed to rows, so popular ones lie anywhere. The row with the k-th most visits has
 * 2e6 / k^1.05 + 1 of them, which are its weight. A row begins as small noise and is drawn towards its place, in few
 * directions, the more visits it has had.
 */
#include "bench.h"

enum { HASHED = 200000, WIDE = 128, VOCAB = 50257, DIM = 768 };

static void write_all(const char *path, const float *numbers, size_t count)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(numbers, sizeof *numbers, count, file) != count || fclose(file) != 0)
        bench_stop(path, "cannot be written");
}

int main(int argc, char **argv)
{
    float *table;
    FILE *weights;
    uint64_t state = 22;
    size_t i, j;
    if (argc == 3 && strcmp(argv[1], "model") == 0) {
        table = bench_spectrum_table(VOCAB, DIM);
        write_all(argv[2], table, (size_t)VOCAB * DIM);
        free(table);
        return 0;
    }
    if (argc != 4 || strcmp(argv[1], "hashed") != 0) bench_stop("mpi_tables", "expected model FILE or hashed FILE WEIGHTS");
    table = bench_spectrum_table(HASHED, WIDE);
    weights = fopen(argv[3], "w");
    if (weights == NULL) bench_stop(argv[3], "cannot be written");
    for (i = 0; i < HASHED; i++) {
        const size_t popular = 1 + i * 2654435761u % HASHED;  /* an odd prime: every rank comes once */
        const double visits = floor(2e6 / pow((double)popular, 1.05)) + 1, learnt = visits / (visits + 50);
        for (j = 0; j < WIDE; j++)
            table[i * WIDE + j] = (float)(learnt * (double)table[i * WIDE + j] + 0.02 * bench_gaussian(&state));
        fprintf(weights, "%.0f\n", visits);
    }
    if (fclose(weights) != 0) bench_stop(argv[3], "cannot be written");
    write_all(argv[2], table, (size_t)HASHED * WIDE);
    free(table);
    return 0;
}
