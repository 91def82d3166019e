# figures.gp: the figures of README.md, from the tables in results. From this folder: gnuplot figures.gp,
# or with tables elsewhere: gnuplot -e "results='FOLDER'" figures.gp. Needs gnuplot 5.2 or later.
#
# There is no background, and the colours are of middle lightness: each has three times the luminance of
# black or more, and is three times darker than white, so that a figure reads on light and dark pages.

if (!exists("results")) results = 'results'
set datafile separator ','
set datafile missing ''
set encoding utf8

ink = '#7d8590'
blue = '#2f81f7'; orange = '#d9730d'; green = '#2a9d4a'; red = '#e5484d'; violet = '#a371f7'; pink = '#d6409f'
set border 3 lc rgb ink
set tics nomirror out scale 0.6 textcolor rgb ink
set xlabel textcolor rgb ink
set ylabel textcolor rgb ink
set title textcolor rgb ink
set grid y lc rgb ink lw 0.4 dt (1, 5)
unset key

canvas(name, wide, high) = sprintf("set terminal svg noenhanced size %d,%d font 'Helvetica,Arial,sans-serif,14'; \
set output '%s/%s.svg'", wide, high, results, name)

# A row's number where the row is meant, else a gap. The rows of one method follow each other.
only(meant, number) = meant ? number : NaN
is(column, text) = (strcol(column) eq text)

# Parts of a plot command: the rows that a condition picks as a line or as points, and one with a text beside it.
line(name, meant, x, y, look) = sprintf("'%s/%s.csv' using (only(%s, %s)):(%s) with %s, ", \
    results, name, meant, x, y, look)
text(name, meant, x, y, words, look) = sprintf("'%s/%s.csv' using (only(%s, %s)):(%s):('%s') with labels %s, ", \
    results, name, meant, x, y, words, look)

# ---- bytes against error ----------------------------------------------------------------------------------

# Columns of `error_NAME`: method, asked, bytes, ratio, columns, error, bound. The tables that are there.
file(t) = sprintf('error_%s', t)
curve(t, method, colour, width) = line(file(t), sprintf("is(1, '%s')", method), '$4', '$6', \
    sprintf("linespoints lc rgb '%s' lw %g pt 7 ps 0.45", colour, width))
named(t, method, asked, colour, words, at) = text(file(t), sprintf("is(1, '%s') && $2 == %g", method, asked), \
    '$4', '$6', words, sprintf("%s tc rgb '%s'", at, colour))
dot(t, method, colour, words, at) = line(file(t), sprintf("is(1, '%s')", method), '$4', '$6', \
    sprintf("points lc rgb '%s' pt 5 ps 0.6", colour)) \
    .text(file(t), sprintf("is(1, '%s')", method), '$4', '$6', words, sprintf("%s tc rgb '%s'", at, colour))

eval canvas('error', 980, 470)
set multiplot layout 1,2 margins 0.07,0.985,0.14,0.91 spacing 0.08
set logscale xy
set xrange [3.3:70]
set yrange [0.003:1.3]
set xtics (4, 6, 8, 12, 16, 24, 38.4)
set ytics (0.003, 0.01, 0.03, 0.1, 0.3, 1)
set xlabel 'times smaller than float32, every byte counted'
do for [k = 1:2] {
    t = word('glove-50k all-mpnet-base-v2', k)
    if (system(sprintf("test -f %s/error_%s.csv && echo y", results, t)) eq '') { t = 'tiny-gpt2' }
    set title (t eq 'glove-50k' ? 'GloVe, 50,257 × 100' : t eq 'tiny-gpt2' ? "The demo's table, 4096 × 128" : 'mpnet, 30,527 × 768')
    set ylabel (k == 1 ? 'relative error of the table' : '')
    eval 'plot ' \
        .line(file(t), "is(1, 'table')", '$4', '$7', sprintf("lines lc rgb '%s' lw 1 dt (6, 4)", ink)) \
        .curve(t, 'trains I4', violet, 1.2) \
        .curve(t, 'SVD int8', red, 1.2) \
        .curve(t, 'PQ', pink, 1.2) \
        .curve(t, 'table', blue, 3) \
        .named(t, 'table', 16, blue, 'one train for the table', 'left offset 1,-1.3') \
        .named(t, 'PQ', 38.4, pink, 'PQ', 'left offset 0.7,0') \
        .named(t, 'SVD int8', 38.4, red, 'SVD', 'left offset 0.7,0') \
        .named(t, 'trains I4', 16, violet, 'train per token', 'left offset -3,1') \
        .dot(t, '8-bit blocks', orange, '8-bit', 'center offset 0,0.8') \
        .dot(t, '4-bit blocks', orange, '4-bit blocks', 'right offset -0.7,0') \
        .dot(t, '3-bit blocks', orange, '3', 'right offset -0.7,0') \
        .dot(t, '2-bit blocks', orange, '2', 'right offset -0.7,0')
}
unset multiplot

# ---- bytes against perplexity -----------------------------------------------------------------------------

# Columns of `perplexity`: text, method, asked, bytes, ratio, error, perplexity twice, times dense broken, kept.
# The last text of the table is drawn: a held-out book where there was one.
book = system(sprintf("awk -F, '!/^#/ { text = $1 } END { print text }' %s/perplexity.csv", results))
meant(method) = sprintf("is(1, '%s') && is(2, '%s')", book, method)
curve(method, tie, colour, width) = line('perplexity', meant(method), '$5', sprintf('$%d', 9 + tie), \
    sprintf("linespoints lc rgb '%s' lw %g pt 7 ps 0.45", colour, width))
named(method, tie, asked, colour, words, at) = text('perplexity', meant(method).sprintf(' && $3 == %g', asked), \
    '$5', sprintf('$%d', 9 + tie), words, sprintf("%s tc rgb '%s'", at, colour))
dot(method, tie, colour, words, at) = line('perplexity', meant(method), '$5', sprintf('$%d', 9 + tie), \
    sprintf("points lc rgb '%s' pt 5 ps 0.6", colour)) \
    .text('perplexity', meant(method), '$5', sprintf('$%d', 9 + tie), words, sprintf("%s tc rgb '%s'", at, colour))

eval canvas('perplexity', 980, 470)
set multiplot layout 1,2 margins 0.07,0.985,0.14,0.91 spacing 0.08
set yrange [0.9:5]
set ytics (1, 1.1, 1.25, 1.5, 2, 3, 4, 5)
do for [tie = 0:1] {
    set title (tie == 0 ? 'tie broken: rows from the smaller table' : 'tie kept: rows and scores from it')
    set ylabel (tie == 0 ? 'perplexity, times that of the dense table' : '')
    eval 'plot ' \
        .curve('trains I4', tie, violet, 1.2) \
        .curve('SVD int8', tie, red, 1.2) \
        .curve('PQ', tie, pink, 1.2) \
        .curve('table', tie, blue, 1.6) \
        .curve('table calibrated', tie, blue, 3) \
        .named('table calibrated', tie, 38.4, blue, 'calibrated', 'left offset 0.6,0') \
        .named('table', tie, 38.4, blue, 'one train', 'left offset 0.6,0') \
        .named('PQ', tie, 16, pink, 'PQ', 'left offset 0.7,0') \
        .named('SVD int8', tie, 16, red, 'SVD', 'left offset 0.9,0') \
        .named('trains I4', tie, 8, violet, 'train per token', 'center offset 4,0.8') \
        .dot('8-bit blocks', tie, orange, '8-bit', 'center offset 0,-0.9') \
        .dot('4-bit blocks', tie, orange, '4-bit blocks', 'center offset -1,-0.9') \
        .dot('3-bit blocks', tie, orange, '3', 'center offset 0,0.8') \
        .dot('2-bit blocks', tie, orange, '2', 'center offset 0,0.8')
}
unset multiplot

# ---- bytes against the loss of Gemma 3 270m -------------------------------------------------------------------

# Columns of `gemma`: text, method, asked, bytes, ratio, error, nats above dense, its standard error.
if (system(sprintf("test -f %s/gemma.csv && echo y", results)) eq '') { exit }
least = 0.002                                   # what is below shows there: differences of a few thousandths say nothing
nats = sprintf('($7 > %g ? $7 : %g)', least, least)
meant(t, method) = sprintf("is(1, '%s') && is(2, '%s')", t, method)
curve(t, method, colour, width) = line('gemma', meant(t, method), '$5', nats, \
    sprintf("linespoints lc rgb '%s' lw %g pt 7 ps 0.45", colour, width))
named(t, method, asked, colour, words, at) = text('gemma', meant(t, method).sprintf(' && $3 == %g', asked), \
    '$5', nats, words, sprintf("%s tc rgb '%s'", at, colour))
dot(t, method, colour, words, at) = line('gemma', meant(t, method), '$5', nats, \
    sprintf("points lc rgb '%s' pt 5 ps 0.6", colour)) \
    .text('gemma', meant(t, method), '$5', nats, words, sprintf("%s tc rgb '%s'", at, colour))

eval canvas('gemma', 980, 470)
set multiplot layout 1,2 margins 0.07,0.985,0.14,0.91 spacing 0.08
set xrange [5:50]
set yrange [0.6 * least:5]
set xtics (6, 8, 12, 16, 24, 38.4)
set ytics (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
do for [k = 1:2] {
    t = word('book fortunes', k)
    set title (k == 1 ? 'Gemma 3 270m reads a book' : 'sayings and quotations')
    set ylabel (k == 1 ? 'loss above the dense table, nats a token' : '')
    eval 'plot ' \
        .curve(t, 'table', blue, 1.6) \
        .curve(t, 'table calibrated', blue, 3) \
        .curve(t, 'table calibrated other', green, 1.6) \
        .named(t, 'table', 16, blue, 'one train', 'right offset -0.7,0.5') \
        .named(t, 'table calibrated', 38.4, blue, 'calibrated by itself', 'right offset -1,0.4') \
        .named(t, 'table calibrated other', 16, green, 'and by a part of the book', 'left offset 1,-0.6') \
        .dot(t, 'llama.cpp q4_0', orange, 'Q4_0', 'left offset 0.7,0') \
        .dot(t, 'llama.cpp iq4_nl', red, 'IQ4_NL', 'left offset 0.7,-0.3') \
        .dot(t, 'llama.cpp q5_0', violet, 'Q5_0', 'left offset 0.7,0')
}
unset multiplot
