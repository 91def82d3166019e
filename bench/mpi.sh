#!/bin/sh
# mpi.sh: many ranks on this machine against one process with one thread. From anywhere:
#     sh bench/mpi.sh [RUNS [RANKS]]      RUNS of each, default 5, RANKS default 2
# Prints a table and writes bench/results/mpi.csv: two tables, each learnt whole and from a sample; seconds on the clock
# (medians; runs alternate), the gain, whether the gain counts, seconds of the processors, bytes sent, the most memory of
# a rank. The first row divides plain arithmetic in the same way: where that gains less than 1.9 with 2 ranks, something
# else ran, and no other gain counts. Exits with 1 when bytes differ or a gain that counts is below 1.85. Open MPI.
runs=${1:-5}
ranks=${2:-2}
cd "$(dirname "$0")" || exit 2
if ! command -v mpicc >/dev/null 2>&1 || ! command -v mpirun >/dev/null 2>&1; then
    echo 'mpi: left out, there is no mpicc or no mpirun'
    exit 0
fi
build=$(mktemp -d "${TMPDIR:-/tmp}/tt_embed_bench.XXXXXX") || exit 2
trap 'rm -rf "$build"' EXIT
trap 'exit 2' HUP INT TERM
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
    OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
flags=-O2
cc -O2 mpi_tables.c -o "$build/tables" -lm || exit 2
# shellcheck disable=SC2086
mpicc $flags ../examples/mpi_compress.c mpi_counts.c -o "$build/one" -lm &&
    mpicc $flags -fopenmp ../examples/mpi_compress.c mpi_counts.c -o "$build/many" -lm || exit 2
cat >"$build/plain.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    double sum = 0;
    long i, most = argc > 1 ? 1000000000L / atol(argv[1]) : 0;
    for (i = 1; i < most; i++) sum += 1.0 / (double)i;
    return printf("%g\n", sum) < 0;
}
END
cc -O2 "$build/plain.c" -o "$build/plain" || exit 2
"$build/tables" model "$build/model.f32" && "$build/tables" hashed "$build/hashed.f32" "$build/weights" || exit 2

now() { awk '{ print $1; exit }' /proc/uptime 2>/dev/null || date +%s; }
median() { sort -n "$1" | awk '{ x[NR] = $1 } END { print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2 }'; }
# clocked FILE RANKS PROGRAM ARGUMENTS..: the seconds of a run go to FILE.
clocked() {
    file=$1 count=$2
    shift 2
    start=$(now)
    mpirun -n "$count" "$@" >"$build/out" 2>&1 || { cat "$build/out" >&2; exit 2; }
    echo "$start $(now)" | awk '{ printf "%.2f\n", $2 - $1 }' >>"$file"
}
processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)
commit=$(git rev-parse --short --verify -q HEAD 2>/dev/null || echo 'no commit')
[ -z "$(git status --porcelain -- ../tt_embed.h ../examples/mpi_compress.c mpi.sh 2>/dev/null)" ] || commit="$commit with changes"
stamp="$processor | $(mpicc --version | head -n 1) | $(mpirun --version | head -n 1) | $flags -fopenmp | commit $commit"
{
    echo "# $stamp | $ranks ranks against one process with one thread, medians of $runs runs"
    echo 'what,ratio,seconds of one,seconds of all,gain,counts,processor seconds of one,processor seconds of all,bytes sent,MiB a rank'
} >"$build/csv"
quiet=1 status=0
# row NAME RATIO FILE ARGUMENTS..: FILE empty is plain arithmetic.
row() {
    name=$1 ratio=$2 table=$3
    shift 3
    rm -f "$build"/seconds* "$build"/counts*
    i=0
    while [ $i -lt "$runs" ]; do
        i=$((i + 1))
        if [ -z "$table" ]; then
            clocked "$build/seconds1" 1 "$build/plain" 1
            clocked "$build/seconds2" "$ranks" "$build/plain" "$ranks"
            continue
        fi
        MPI_COUNTS=$build/counts1 clocked "$build/seconds1" 1 "$build/one" "$table" "$build/1.tte" --force --ratio "$ratio" "$@"
        rm -f "$build/counts2"
        MPI_COUNTS=$build/counts2 clocked "$build/seconds2" "$ranks" "$build/many" "$table" "$build/2.tte" --force --ratio "$ratio" "$@"
        cmp -s "$build/1.tte" "$build/2.tte" || { echo "mpi: $name: the number of ranks changes the bytes" >&2; status=1; }
    done
    one=$(median "$build/seconds1") all=$(median "$build/seconds2")
    [ -n "$table" ] || quiet=$(echo "$one $all $ranks" | awk '{ print ($1 / $2 >= 0.95 * $3) ? 1 : 0 }')
    touch "$build/counts1" "$build/counts2"
    cpu=$(awk '{ sum += $4; n++ } END { if (n) printf "%.2f", sum / n }' "$build/counts1")
    awk -v name="$name" -v ratio="$ratio" -v one="$one" -v all="$all" -v quiet="$quiet" -v cpu="$cpu" '
        { sent += $2; sum += $4; if ($3 > most) most = $3 }
        END {
            printf "%s,%s,%.2f,%.2f,%.2f,%s,%s,", name, ratio, one, all, one / all, quiet ? "yes" : "no", cpu
            if (NR) printf "%.2f,%.0f,%.1f\n", sum, sent, most / 1048576
            else print ",,"
        }' "$build/counts2" >>"$build/csv"
    if [ -n "$table" ] && [ "$quiet" -eq 1 ] && [ "$ranks" -eq 2 ] && awk -v a="$one" -v b="$all" 'BEGIN { exit !(a / b < 1.85) }'; then
        echo "mpi: $name: a gain below 1.85" >&2
        status=1
    fi
}
row 'arithmetic alone' '' ''
row '50257 x 768' 16 "$build/model.f32" --dim 768
row '50257 x 768 from a sample of 16384' 16 "$build/model.f32" --dim 768 --sample 16384
row 'recommender 200000 x 128' 8 "$build/hashed.f32" --dim 128 --weights "$build/weights"
row 'recommender from a sample of 20000' 8 "$build/hashed.f32" --dim 128 --weights "$build/weights" --sample 20000
mkdir -p results && cp "$build/csv" results/mpi.csv
tr ',' '\t' <"$build/csv"
[ "$quiet" -eq 1 ] || echo 'mpi: other programs ran: no gain counts'
exit $status
