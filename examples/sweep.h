/*
 * sweep.h - ttembed sweep: bytes and errors of a table at several ratios, beside what else one could do with it
 *
 * One train for the table at each ratio; the truncated SVD of the same bytes with factors of float16; int8 with a scale
 * for each row; blocks of 32 numbers of 4 bits with a scale of float16. A part of ttembed.c, of which it uses tables,
 * output and messages. C99 that is also C++11.
 */
#ifndef SWEEP_H
#define SWEEP_H

enum { SWEEP_MOST = 24 };

typedef struct {
    const char *method;
    double asked;    /* ratio; 0: there is none to choose */
    size_t bytes_of;
    double error;    /* of the table, relative; below 0: this ratio cannot be had */
} sweep_point;

/* Sums over all rows: of squares, of the squared errors of int8 and of 4 bits, and the columns' products. */
typedef struct {
    double square, int8, int4;
    double *gram;    /* dim x dim */
} sweep_sums;

static double point_ratio(const source *t, const sweep_point *p)
{
    return times_smaller(t->rows, t->dim, p->bytes_of);
}

static double rounded(double x, double scale, double least, double most)
{
    const double code = scale > 0.0 ? floor(x / scale + 0.5) : 0.0;
    return scale * (code < least ? least : code > most ? most : code);
}

/* int8 as many do it: the largest number of a row is 127; blocks as llama.cpp's Q4_0: the largest of 32 is -8. */
static void sweep_row(sweep_sums *s, const float *row, size_t dim)
{
    double largest = 0.0;
    size_t i, k;

    for (i = 0; i < dim; i++) {
        largest = fabs((double)row[i]) > largest ? fabs((double)row[i]) : largest;
        s->square += (double)row[i] * (double)row[i];
    }
    for (i = 0; i < dim; i++) {
        const double off = (double)row[i] - rounded((double)row[i], (double)(float)(largest / 127.0), -127.0, 127.0);
        s->int8 += off * off;
    }
    for (i = 0; i < dim; i += 32) {
        const size_t end = dim - i < 32 ? dim : i + 32;
        float most = 0.0f, scale;
        for (k = i; k < end; k++)
            most = (row[k] < 0.0f ? -row[k] : row[k]) > (most < 0.0f ? -most : most) ? row[k] : most;
        scale = half_to_float(float_to_half(most / -8.0f));
        for (k = i; k < end; k++) {
            const double sign = scale < 0.0f ? -1.0 : 1.0;
            const double off = (double)row[k] - sign * rounded(sign * (double)row[k], sign * (double)scale, -8.0, 7.0);
            s->int4 += off * off;
        }
    }
    for (i = 0; i < dim; i++) {
        const double x = (double)row[i];
        double *to = s->gram + i * dim;
        for (k = i; k < dim; k++)
            to[k] += x * (double)row[k];
    }
}

/* Reads the table once; the squares of its singular values come in place of the sums, the largest first. */
static double *sweep_sum(source *t, sweep_sums *s)
{
    const size_t dim = t->dim;
    float *rows = take_floats(BATCH, dim);
    double *values = (double *)take(dim, sizeof *values);
    void *work;
    size_t done, now, i, k;

    if (dim > 8192)
        fail("%s: rows of %zu numbers, expected at most 8192", t->path, dim);
    s->gram = (double *)take(dim * dim, sizeof *s->gram);
    memset(s->gram, 0, dim * dim * sizeof *s->gram);
    for (done = 0; done < t->rows; done += now) {
        now = t->rows - done < BATCH ? t->rows - done : BATCH;
        if (source_rows(t, done, now, rows) != 0)
            check(&t->why);
        for (i = 0; i < now; i++)
            sweep_row(s, rows + i * dim, dim);
        (void)bar_show(NULL, (double)done / (double)t->rows);
    }
    for (i = 0; i < dim; i++)
        for (k = 0; k < i; k++)
            s->gram[i * dim + k] = s->gram[k * dim + i];
    work = take(tte_svd_f64_work((int)dim, (int)dim), 1);
    if (tte_svd_f64((int)dim, (int)dim, s->gram, NULL, values, NULL, work) != TTE_OK)
        fail("%s: its singular values cannot be found", t->path);
    give(work);
    give(rows);
    return values;
}

/* What a drawing shows. */
typedef struct {
    const source *t;
    const sweep_point *p;
    size_t count;
} sweep_drawing;

static int put_svg(void *user, FILE *out)
{
    static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7"};
    static const char *const methods[] = {"one train", "SVD float16", "int8 rows", "4-bit blocks"};
    const sweep_drawing *d = (const sweep_drawing *)user;
    const source *t = d->t;
    const sweep_point *p = d->p;
    const size_t count = d->count;
    double left = 1e9, right = 1.0, top = 0.0;
    size_t i, m;
    int tick;

    for (i = 0; i < count; i++)
        if (p[i].error >= 0.0) {
            const double ratio = point_ratio(t, &p[i]);
            left = ratio < left ? ratio : left;
            right = ratio > right ? ratio : right;
            top = p[i].error > top ? p[i].error : top;
        }
    right = right > 1.01 * left ? right : 1.01 * left;
    top = top > 0.0 ? top * 1.05 : 1.0;
#define SWEEP_X(ratio) (70.0 + 500.0 * log((ratio) / left) / log(right / left))
#define SWEEP_Y(error) (330.0 - 290.0 * (error) / top)
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 400\" font-family=\"sans-serif\" "
            "font-size=\"13\">\n<rect width=\"640\" height=\"400\" fill=\"white\"/>\n"
            "<path d=\"M70 40V330H580\" fill=\"none\" stroke=\"black\"/>\n"
            "<text x=\"325\" y=\"372\" text-anchor=\"middle\">times smaller than float32</text>\n"
            "<text x=\"18\" y=\"185\" text-anchor=\"middle\" transform=\"rotate(-90 18 185)\">relative error</text>\n");
    for (tick = 0; tick <= 4; tick++)
        fprintf(out, "<text x=\"64\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n<path d=\"M70 %.1fH580\" stroke=\"#ddd\"/>\n",
                SWEEP_Y(top * tick / 4.0) + 4.0, top * tick / 4.0, SWEEP_Y(top * tick / 4.0));
    for (i = 0; i < count; i++)
        if (p[i].asked > 0.0 && p[i].error >= 0.0 && strcmp(p[i].method, methods[0]) == 0)
            fprintf(out, "<text x=\"%.1f\" y=\"348\" text-anchor=\"middle\">%g</text>\n",
                    SWEEP_X(point_ratio(t, &p[i])), p[i].asked);
    for (m = 0; m < 4; m++) {
        int points = 0;
        fprintf(out, "<text x=\"%u\" y=\"24\" fill=\"%s\">%s</text>\n", (unsigned)(80 + 130 * m), colours[m], methods[m]);
        for (i = 0; i < count; i++)
            if (p[i].error >= 0.0 && strcmp(p[i].method, methods[m]) == 0) {
                const double ratio = point_ratio(t, &p[i]);
                fprintf(out, "%s%.1f %.1f", points++ ? "L" : "<path fill=\"none\" stroke-width=\"2\" d=\"M", SWEEP_X(ratio),
                        SWEEP_Y(p[i].error));
            }
        if (points)
            fprintf(out, "\" stroke=\"%s\"/>\n", colours[m]);
        for (i = 0; i < count; i++)
            if (p[i].error >= 0.0 && strcmp(p[i].method, methods[m]) == 0)
                fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
                        SWEEP_X(point_ratio(t, &p[i])), SWEEP_Y(p[i].error), colours[m]);
    }
    fprintf(out, "</svg>\n");
    return ferror(out) ? -1 : 0;
}

static void sweep_print(const source *t, const sweep_point *p, size_t count, int as_json)
{
    const double dense = (double)t->rows * (double)t->dim * 4.0;
    size_t i;

    if (as_json) {
        printf("{\n  \"file\": ");
        put_json_string(stdout, t->path);
        printf(",\n  \"tensor\": ");
        put_json_string(stdout, t->t ? t->t->name : "");
        printf(",\n  \"vocab\": %zu,\n  \"dim\": %zu,\n  \"points\": [", t->rows, t->dim);
    } else {
        printf("%s: %s%s%s x %s, %s bytes as float32\n\n  ratio          bytes   error  method\n", t->path, t->t ? t->t->name : "",
               t->t ? ": " : "", commas(t->rows), commas(t->dim), commas((uint64_t)dense));
    }
    for (i = 0; i < count; i++)
        if (as_json && p[i].error >= 0.0)
            printf("%s\n    {\"method\": \"%s\", \"ratio\": %.6g, \"bytes\": %zu, \"rel_error\": %.6g}", i ? "," : "", p[i].method,
                   point_ratio(t, &p[i]), p[i].bytes_of, p[i].error);
        else if (as_json)
            printf("%s\n    {\"method\": \"%s\", \"ratio\": %.6g, \"bytes\": null, \"possible_bytes\": %zu}", i ? "," : "", p[i].method,
                   p[i].asked, p[i].bytes_of);
        else if (p[i].error >= 0.0)
            printf("%7.2f %14s  %.4f  %s\n", point_ratio(t, &p[i]), commas(p[i].bytes_of), p[i].error, p[i].method);
        else
            printf("%7.2f              -       -  %s: the least is %s bytes\n", p[i].asked, p[i].method, commas(p[i].bytes_of));
    if (as_json)
        printf("\n  ]\n}\n");
}

static void run_sweep(const request *r)
{
    const char *text = given(r, O_RATIOS) ? r->option[O_RATIOS] : "4,6,8,12,16,24,38.4";
    const char *c;
    char *next;
    sweep_sums s = {0.0, 0.0, 0.0, NULL};
    sweep_point p[2 * SWEEP_MOST + 2];
    double ratios[SWEEP_MOST], *values;
    size_t count = 0, asked = 0, i, rank, k;
    source t;
    tte_options o;

    for (c = text; *c; c = *next == ',' ? next + 1 : next) {
        const double ratio = strtod(c, &next);
        if (next == c || (*next && *next != ',') || !(ratio > 1.0 && ratio <= 1e6) || asked == SWEEP_MOST)
            misused("--ratios %s: expected up to %d numbers above 1, as in 4,8,16", text, SWEEP_MOST);
        ratios[asked++] = ratio;
    }
    if (!asked)
        misused("--ratios: expected up to %d numbers above 1, as in 4,8,16", SWEEP_MOST);
    if (given(r, O_SVG))
        check_output(r, r->option[O_SVG]);
    t = table_open(r, r->argument[0], 0);
    o = read_options(r, t.first, t.rows, t.whole, t.dim);
    bar_start(given(r, O_QUIET), given(r, O_VERBOSE), t.rows);
    values = sweep_sum(&t, &s);
    for (i = 0; i < asked; i++) {
        tte_image image = {NULL, 0};
        tte_table view;
        tte_info info;
        sweep_point *train = &p[count++], *svd;
        tte_status status;
        o.ratio = (float)ratios[i];
        status = tte_compress_rows(source_rows, &t, t.rows, t.dim, &o, &image);
        check(&t.why);
        train->method = "one train";
        train->asked = ratios[i];
        train->bytes_of = image.size;
        train->error = -1.0;
        if (status == TTE_ERR_BUDGET && image.size)
            continue;
        if (status != TTE_OK || tte_open(&view, image.data, image.size) != TTE_OK)
            check_made(status, &image, t.rows, t.dim, t.path);
        (void)tte_get_info(&view, &info);
        train->error = info.rel_error;
        svd = &p[count];
        *svd = *train;
        svd->method = "SVD float16";
        rank = image.size / (2 * (t.rows + t.dim));
        rank = rank < t.dim ? rank : t.dim;
        svd->bytes_of = 2 * rank * (t.rows + t.dim);
        for (svd->error = 0.0, k = rank; k < t.dim; k++)
            svd->error += values[k];
        svd->error = s.square > 0.0 ? sqrt(svd->error / s.square) : 0.0;
        count += rank > 0;
        tte_free(&image);
    }
    bar_clear();
    p[count].method = "int8 rows";
    p[count].bytes_of = t.rows * (t.dim + 4);
    p[count].error = s.square > 0.0 ? sqrt(s.int8 / s.square) : 0.0;
    p[count++].asked = 0.0;
    p[count].method = "4-bit blocks";
    p[count].bytes_of = t.rows * ((t.dim + 31) / 32 * 18);
    p[count].error = s.square > 0.0 ? sqrt(s.int4 / s.square) : 0.0;
    p[count++].asked = 0.0;
    if (given(r, O_SVG)) {
        sweep_drawing drawing;
        drawing.t = &t;
        drawing.p = p;
        drawing.count = count;
        save(r, r->option[O_SVG], put_svg, &drawing);
    }
    sweep_print(&t, p, count, given(r, O_JSON));
    give(values);
    give(s.gram);
    source_close(&t);
}

#endif /* SWEEP_H */
