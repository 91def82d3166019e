#!/bin/sh
# run.sh: builds and runs every test that needs only a C compiler. Ends with 'N passed, N failed'.
#
#     sh tests/run.sh             all of them
#     sh tests/run.sh --quick     for the edit loop, in less than a minute on one core: the header in both languages,
#                                 and at small sizes the programs that share its bodies
#
# From the environment:
#   CC, CXX        compilers; default cc, and c++ where there is one
#   CFLAGS         added to every command of both, e.g. sanitizers
#   TEST_PARTS     which parts to run; default "header programs variants fuzz docs demo ttembed"
#   TEST_SMALL=1   small sizes in the test programs
#   TEST_ONLY      test programs to run, instead of all
#   TEST_SKIP      test programs to leave out
#   TEST_WRAPPER   a command to run the test programs under, e.g. valgrind, or qemu-aarch64 with a
#                  cross compiler as CC, CFLAGS=-static and TEST_PARTS=programs
#   TEST_SEED      the seed of the random cases; each program prints the one it used
#   TEST_COVERAGE=1  says which part of the header's lines ran, at the end; with gcc and gcovr

cd "$(dirname "$0")/.." || exit 1
quick=
if [ "$*" = --quick ]; then
    quick=1
elif [ $# -ne 0 ]; then
    echo "run.sh: $*: the only option is --quick" >&2
    exit 2
fi
root=$(pwd)
CC=${CC:-cc}
if [ -z "${CXX-}" ] && command -v c++ >/dev/null 2>&1; then CXX=c++; fi
CXX=${CXX-}
CFLAGS=${CFLAGS-}
if [ -n "${TEST_COVERAGE-}" ]; then CFLAGS="$CFLAGS --coverage"; fi
parts=${TEST_PARTS:-header programs variants fuzz docs demo ttembed}
warnings='-Wall -Wextra -pedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion -Werror'
if [ -n "$quick" ]; then
    parts=none
    TEST_SMALL=1
    export TEST_SMALL
elif [ -z "${TEST_PARTS-}${TEST_ONLY-}" ]; then
    echo 'all tests take about 10 minutes on one core; sh tests/run.sh --quick takes less than one'
fi
c99="-std=c99 $warnings"
cxx11="-x c++ -std=c++11 $warnings"
passed=0
failed=0

tmp=${TMPDIR:-/tmp}/tt_embed_tests.$$
(umask 077 && mkdir "$tmp") || exit 1
trap 'chmod -R u+w "$tmp" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
TEST_TMP=$tmp
TEST_STATUS_LOG=$tmp/statuses
export CC CXX CFLAGS TEST_TMP TEST_STATUS_LOG
: >"$TEST_STATUS_LOG"

# A test that hangs must end as a failure, where the system can see to that.
limit=
if command -v timeout >/dev/null 2>&1; then limit='timeout 1500'; fi

has_part() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

pass() { passed=$((passed + 1)); }
fail() { # fail NAME: shows what the log holds
    failed=$((failed + 1))
    printf 'FAILED %s\n' "$1"
    tail -n 40 "$tmp/log" | sed 's/^/    /'
}

# check NAME COMMAND..: one test, passed when the command ends with 0.
check() {
    check_name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then pass; else fail "$check_name"; fi
}

# program NAME COMMAND..: a program that ends with its own 'name: N passed, N failed'.
program() {
    name=$1
    shift
    $limit "$@" >"$tmp/out" 2>"$tmp/log" </dev/null
    status=$?
    counts=$(tr -d '\r' <"$tmp/out" | # some systems end lines with two bytes
        sed -n '$s/^[^ ]*: \([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed$/\1 \2/p')
    # shellcheck disable=SC2086
    set -- $counts
    if [ $# -ne 2 ] || [ $(($1 + $2)) -eq 0 ]; then
        echo "no result, exit status $status" >>"$tmp/log"
        fail "$name"
        return
    fi
    passed=$((passed + $1))
    failed=$((failed + $2))
    grep ' skipped' "$tmp/out"
    if [ "$2" -eq 0 ] && [ $status -ne 0 ]; then
        echo "all passed, yet exit status $status" >>"$tmp/log"
        fail "$name"
    elif [ "$2" -ne 0 ]; then
        grep ': seed [0-9]' "$tmp/out"
        sed 's/^/    /' "$tmp/log"
    fi
    printf '%s: %s passed, %s failed\n' "$name" "$1" "$2"
}

# ---- the header alone, in every configuration ------------------------------------------------

# Compiles a file that holds nothing but the include, under the macros given.
compile_header() { # compile_header OBJECT LANGUAGE MACROS..
    object=$1
    language=$2
    shift 2
    : >"$tmp/alone.c"
    for macro in "$@"; do echo "#define $macro" >>"$tmp/alone.c"; done
    printf '#include "tt_embed.h"\ntypedef int something_in_this_file;\n' >>"$tmp/alone.c"
    if [ "$language" = c ]; then
        $CC $c99 -O0 $CFLAGS -I"$root" -c -o "$object" "$tmp/alone.c"
    else
        $CXX $cxx11 -O0 $CFLAGS -I"$root" -c -o "$object" "$tmp/alone.c"
    fi
}

header_compiles_quickly() {
    for language in c ${CXX:+c++}; do
        check "$language: declarations" compile_header "$tmp/a.o" $language
        check "$language: bodies" compile_header "$tmp/a.o" $language TT_EMBED_IMPLEMENTATION
    done
}

header_compiles() {
    for language in c ${CXX:+c++}; do
        check "$language: declarations" compile_header "$tmp/a.o" $language
        for s in '' TT_EMBED_STATIC; do
            for d in '' TT_EMBED_NO_STDIO TT_EMBED_READ_ONLY TT_EMBED_DECODE_ONLY; do
                check "$language: $s $d" compile_header "$tmp/a.o" $language TT_EMBED_IMPLEMENTATION $s $d
            done
        done
    done
}

# ---- what nm says of the object files ----------------------------------------------------------

reading='tte_status_text tte_core_len tte_reconstruct_len tte_reconstruct tte_inner tte_from_f16 tte_from_bf16
    tte_open tte_verify tte_get_info tte_scratch_len tte_lookup tte_lookup_batch tte_inner_tokens tte_logits tte_top_k'
writing='tte_core_cap tte_decompose_work tte_decompose tte_svd_f32_work tte_svd_f32 tte_svd_f64_work
    tte_svd_f64 tte_compress tte_compress_rows tte_train tte_train_sample tte_count tte_fit tte_free tte_append tte_replace tte_merge
    tte_shrink'
files='tte_write tte_save tte_load'
memory='memcpy memset memmove memcmp bcmp strlen'

# Exactly these functions are public, and nothing is variable. (Functions in two versions have a resolver.)
defines_exactly() { # defines_exactly OBJECT NAMES..
    object=$1
    shift
    for name in "$@"; do echo "$name"; done | sort >"$tmp/want"
    nm "$object" | awk '$2 ~ /^[TWVi]$/ { sub(/^_/, "", $3); print $3 }' | grep -v '^ttei_.*\(resolver\)*$' |
        sort >"$tmp/got"
    diff "$tmp/want" "$tmp/got" || return 1
    if nm "$object" | grep ' [BbDdCGgSs] '; then
        echo 'a variable: the library keeps no state'
        return 1
    fi
}

# Nothing from outside but these (and what compilers add of their own, whose names begin with __).
needs_only() { # needs_only OBJECT NAMES..
    object=$1
    shift
    others=$(nm "$object" | awk '$1 == "U" { print $2 }' | grep -v '^_GLOBAL_OFFSET_TABLE_$' |
        sed 's/@.*//' | grep -v '^__')
    for name in $others; do
        case " $* " in
        *" $name "*) ;;
        *) echo "needs $name" && return 1 ;;
        esac
    done
}

# A function that a configuration must have taken out is not there, in any form.
lacks() { # lacks OBJECT NAMES..
    object=$1
    shift
    for name in "$@"; do
        if nm "$object" | grep -w "$name"; then return 1; fi
    done
}

# Arithmetic on doubles, by the names of x86-64's instructions.
uses_double() { # uses_double OBJECT
    objdump -d "$1" | grep -E '[[:space:]]v?(add|sub|mul|div|sqrt|u?comi|cvtt?[a-z0-9]*2)[sp]d[[:space:]]'
}
lacks_double() { ! uses_double "$1"; }

plain() { # plain OBJECT MACRO: without the sanitizers, whose own symbols would be in the way
    (CFLAGS=-O1 && compile_header "$1" c TT_EMBED_IMPLEMENTATION $2)
}

# What a shared object exports are the public functions.
exports_exactly() { # exports_exactly NAMES..
    (CFLAGS='-O1 -fPIC' && compile_header "$tmp/pic.o" c TT_EMBED_IMPLEMENTATION) &&
        $CC -shared -o "$tmp/shared.so" "$tmp/pic.o" -lm || return 1
    printf '%s\n' "$@" | sort >"$tmp/want"
    nm -D --defined-only "$tmp/shared.so" | awk '{ print $3 }' | grep -v '^_' | sort | diff "$tmp/want" -
}

header_symbols() {
    if ! command -v nm >/dev/null 2>&1; then
        echo 'symbols: skipped, there is no nm'
        return
    fi
    check 'nm: build' plain "$tmp/full.o" ''
    check 'nm: all functions' defines_exactly "$tmp/full.o" $reading $writing $files
    check 'nm: never prints, exits or aborts' lacks "$tmp/full.o" \
        printf fprintf vfprintf puts putchar fputs perror exit _exit abort rand srand signal
    check 'nm: shared object' exports_exactly $reading $writing $files
    check 'nm: build without stdio' plain "$tmp/nostdio.o" TT_EMBED_NO_STDIO
    check 'nm: no files' defines_exactly "$tmp/nostdio.o" $reading $writing
    check 'nm: no stdio' lacks "$tmp/nostdio.o" fopen fread fwrite fclose open write rename remove
    for only in READ_ONLY DECODE_ONLY; do
        check "nm: build $only" plain "$tmp/$only.o" TT_EMBED_$only
        check "nm: $only: reading only" defines_exactly "$tmp/$only.o" $reading
        check "nm: $only: no heap, no files, no libm" needs_only "$tmp/$only.o" $memory
    done
    if command -v objdump >/dev/null 2>&1 && objdump -f "$tmp/full.o" | grep -q x86-64; then
        check 'objdump: double arithmetic is recognized' uses_double "$tmp/full.o"
        check 'objdump: DECODE_ONLY has none' lacks_double "$tmp/DECODE_ONLY.o"
    fi
    check 'nm: build static' plain "$tmp/static.o" TT_EMBED_STATIC
    check 'nm: nothing public' defines_exactly "$tmp/static.o"
}

# ---- what the header adds to a file -------------------------------------------------------------

# Its macros begin with TTE_ or TT_EMBED_; private ones are gone at its end.
macros_are_prefixed() {
    for file in errno fcntl float limits math stddef stdint stdio stdlib string sys/file sys/stat sys/types unistd \
        $(echo '#include <immintrin.h>' | $CC -E - >/dev/null 2>&1 && echo immintrin); do
        echo "#include <$file.h>"
    done >"$tmp/without.c"
    { # vector units: <immintrin.h> and <arm_neon.h> bring names of the compiler's own
        printf '#if defined(__x86_64__)\n#include <immintrin.h>\n#elif defined(__ARM_NEON)\n'
        printf '#include <arm_neon.h>\n#endif\n'
    } >>"$tmp/without.c"
    { cat "$tmp/without.c" && printf '#define TT_EMBED_IMPLEMENTATION\n#include "tt_embed.h"\n'; } >"$tmp/with.c"
    for file in without with; do
        $CC -std=c99 -dM -E -I"$root" "$tmp/$file.c" >"$tmp/macros" || return 1
        awk '{ print $2 }' "$tmp/macros" | sort >"$tmp/$file.macros"
    done
    grep -q '^TTE_MAX_MODES$' "$tmp/with.macros" || return 1
    ! comm -13 "$tmp/without.macros" "$tmp/with.macros" | sed 's/(.*//' | grep -v '^TTE_' | grep -v '^TT_EMBED_' |
        grep -v '^TTEI_IMPLEMENTED$'
}

# Two files with a private copy each, a third with the bodies and a fourth that uses them, in one program; the
# header under another name.
units_link() { # units_link LANGUAGE
    cp tt_embed.h "$tmp/another_name.h"
    for unit in one two three four; do
        case $unit in
        one | two) printf '#define TT_EMBED_STATIC\n#define TT_EMBED_IMPLEMENTATION\n' ;;
        three) echo '#define TT_EMBED_IMPLEMENTATION' ;;
        esac >"$tmp/$unit.c"
        cat >>"$tmp/$unit.c" <<END
#include "another_name.h"
int unit_$unit(void);
int unit_$unit(void) { return tte_status_text(TTE_OK) != NULL && tte_svd_f32_work(2, 2) > 0; }
END
    done
    cat >>"$tmp/four.c" <<'END'
int unit_one(void);
int unit_two(void);
int unit_three(void);
int main(void) { return unit_one() && unit_two() && unit_three() && unit_four() ? 0 : 1; }
END
    compiler="$CC $c99"
    if [ "$1" != c ]; then compiler="$CXX $cxx11"; fi
    $compiler $CFLAGS -o "$tmp/units" "$tmp/one.c" "$tmp/two.c" "$tmp/three.c" "$tmp/four.c" -lm && "$tmp/units"
}

if [ -n "$quick" ]; then header_compiles_quickly; fi
if has_part header; then
    before=$((passed + failed))
    header_compiles
    header_symbols
    if echo | $CC -dM -E - >/dev/null 2>&1; then
        check 'prefixes of macros' macros_are_prefixed
    else
        echo "macros: skipped, $CC does not list them"
    fi
    for language in c ${CXX:+c++}; do check "$language: units in one program" units_link $language; done
    printf 'header: %s checks of configurations and symbols\n' $((passed + failed - before))
fi
if [ -z "$CXX" ]; then echo 'C++: skipped, there is no C++ compiler'; fi

# ---- the test programs ---------------------------------------------------------------------------

# The header's bodies take seconds to compile, most of what a stage of tests takes. So they are compiled once
# for all programs that are built alike and get them from bodies.h. (TT_EMBED_STATIC cannot be linked; the
# reader alone is compiled sooner than shared.)
takes_bodies() { # takes_bodies SOURCE
    case $CFLAGS in *TT_EMBED_STATIC*) return 1 ;; esac
    grep -q '^#include ".*bodies.h"' "$1" && ! grep -q '^#define TT_EMBED_[DR][A-Z]*_ONLY' "$1"
}
build() { # build COMPILER AND FLAGS -- PROGRAM SOURCES..
    command=
    while [ "$1" != -- ]; do command="$command $1" && shift; done
    out=$tmp/$2
    shift 2
    if takes_bodies "$1"; then
        object=$tmp/bodies$(printf '%s' "$command" | cksum | tr ' ' _).o
        if [ ! -f "$object" ]; then $command -c -o "$object" tests/bodies.c || return 1; fi
        case $command in *' -x c++ '*) set -- "$@" -x none ;; esac
        set -- -DTEST_LINKED "$@" "$object"
    fi
    $command -o "$out" "$@" -lm
}
build_c() { build $CC $c99 $how $CFLAGS -- "$@"; }
build_cxx() { build $CXX $cxx11 $how $CFLAGS -- "$@"; }

# build_and_run LABEL COMPILER TEST ARGUMENTS..
build_and_run() {
    label=$1
    compiler=$2
    test_name=$3
    shift 3
    threads=
    if grep -q '<pthread.h>' "tests/$test_name.c"; then threads=-pthread; fi
    units=$(sed -n 's/^ \* Linked with: //p' "tests/$test_name.c" | sed 's,[a-z_]*\.c,tests/&,g')
    if $compiler "$test_name" "tests/$test_name.c" $units $threads >"$tmp/log" 2>&1; then
        binary=$tmp/$test_name
        if [ ! -f "$binary" ]; then binary=$binary.exe; fi # as compilers for Windows name it
        program "$label $test_name" ${TEST_WRAPPER-} "$binary" "$@"
    else
        fail "$label $test_name: build"
    fi
}

all_tests=${TEST_ONLY:-$(cd tests && printf '%s\n' test_*.c | sed 's/\.c$//')}
for t in ${TEST_SKIP-}; do all_tests=$(printf '%s\n' $all_tests | grep -vx "$t"); done

if [ -n "$quick" ]; then
    how=-O1
    for t in $all_tests; do
        if takes_bodies "tests/$t.c"; then build_and_run quick build_c $t ${TEST_SEED-}; fi
    done
elif has_part programs; then
    how=-O2
    for t in $all_tests; do build_and_run C99 build_c $t ${TEST_SEED-}; done
fi

# The same programs in other clothes, at small sizes: as C++ and unoptimized, with the compiler's
# loose arithmetic (under which only the refusal of NaN and infinity is promised; eigenvectors are tried,
# since without them compression never ended), with all that the processor has (where multiply and add
# could be fused, differently in each loop), with threads.
if has_part variants; then
    small=${TEST_SMALL-}
    TEST_SMALL=1
    export TEST_SMALL
    how=-O0
    if [ -n "$CXX" ]; then
        for t in $all_tests; do build_and_run C++ build_cxx $t; done
    fi
    how='-O1 -ffast-math'
    for t in $(cd tests && grep -l 'RUN[A-Z_]*(not_finite)' test_*.c); do
        build_and_run fast-math build_c "${t%.c}" 1 not_finite
    done
    build_and_run fast-math build_c test_svd 1 divided
    how='-O3 -march=native'
    echo 'int main(void) { return 0; }' >"$tmp/empty.c"
    if $CC $CFLAGS $how -o "$tmp/empty" "$tmp/empty.c" >/dev/null 2>&1; then
        for t in test_reading test_table; do build_and_run native build_c $t; done
    else
        echo "native: skipped, $CC does not know $how"
    fi
    how='-O1 -fopenmp'
    printf '#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n' >"$tmp/empty.c"
    if $CC $CFLAGS -fopenmp -o "$tmp/empty" "$tmp/empty.c" >/dev/null 2>&1; then
        OMP_NUM_THREADS=3
        export OMP_NUM_THREADS
        for t in test_table test_reading test_threads; do
            build_and_run OpenMP build_c $t
        done
        unset OMP_NUM_THREADS
    else
        echo "OpenMP: skipped, $CC cannot link it"
    fi
    TEST_SMALL=$small
fi

# Two seconds of each fuzzer's own generator; tests/fuzz/README.md has the long runs. Where the compiler counts the
# blocks that run, the work of each call is bounded, too.
counts_work() { # counts_work FLAG
    $CC -c -o "$tmp/work.o" tests/fuzz/work.c && echo 'extern unsigned long long fuzz_work;
        int main(void) { return fuzz_work == 0; }' >"$tmp/empty.c" &&
        $CC $CFLAGS "$1" -o "$tmp/empty" "$tmp/empty.c" "$tmp/work.o" && "$tmp/empty"
}
if has_part fuzz; then
    counts=
    for flag in -fsanitize-coverage=edge,trace-pc -fsanitize-coverage=trace-pc; do
        if [ -z "$counts" ] && counts_work $flag >/dev/null 2>&1; then counts="-DFUZZ_WORK $flag"; fi
    done
    if [ -z "$counts" ]; then echo "work: skipped, $CC does not count blocks"; fi
    how="-O2 $counts"
    for f in tests/fuzz/fuzz_*.c; do
        name=$(basename "$f" .c)
        if build_c "$name" "$f" ${counts:+"$tmp/work.o"} >"$tmp/log" 2>&1; then
            program "fuzz $name" "$tmp/$name" ${TEST_SEED-}
            sed -n 's/^fuzz_[a-z0-9]*: [0-9]* inputs/    &/p' "$tmp/out"
        else
            fail "fuzz $name: build"
        fi
    done
fi

# Every status of the enum has been produced by a test above.
every_status_was_seen() {
    sed -n '/^typedef enum tte_status/,/^}/s/^ *\(TTE_[A-Z_]*\).*/\1/p' tt_embed.h | sort -u >"$tmp/codes"
    [ "$(wc -l <"$tmp/codes")" -eq 14 ] || return 1
    cut -d ' ' -f 1 "$TEST_STATUS_LOG" | sort -u >"$tmp/seen"
    comm -23 "$tmp/codes" "$tmp/seen" | sed 's/^/no test produces /'
    [ -z "$(comm -23 "$tmp/codes" "$tmp/seen")" ]
}
if has_part programs && [ -z "${TEST_ONLY-}" ]; then
    check 'every status is produced' every_status_was_seen
    for code in $(cut -d ' ' -f 1 "$TEST_STATUS_LOG" | sort -u); do
        printf '  %s: %s\n' "$code" "$(sed -n "s/^$code //p" "$TEST_STATUS_LOG" | sort -u | tr '\n' ' ')"
    done
fi

# ---- examples ------------------------------------------------------------------------------------

if has_part docs; then program 'documentation' sh tests/test_docs.sh; fi
if has_part demo; then program 'demo' sh tests/test_demo.sh; fi
if has_part ttembed; then
    program 'ttembed' sh tests/test_ttembed.sh
    program 'files' sh tests/test_files.sh
fi

# Of lines that several programs have in their own copies, those count that ran in one of them.
coverage() {
    gcovr -r "$root" --object-directory "$tmp" -f tt_embed.h --print-summary -o "$tmp/coverage" "$tmp" >"$tmp/log" 2>&1 &&
        sed -n 's/^\(lines\|branches\): /    tt_embed.h, \1 that ran: /p' "$tmp/log" | grep . &&
        sed -n 's/^tt_embed\.h .*% */    tt_embed.h, lines that did not: /p' "$tmp/coverage"
}
if [ -n "${TEST_COVERAGE-}" ]; then
    if coverage; then pass; else fail 'coverage'; fi
fi

if [ $((passed + failed)) -eq 0 ]; then
    echo 'nothing ran'
    failed=1
fi
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
