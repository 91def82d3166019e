#!/bin/sh
# Measurements. From anywhere:
#     sh bench/run.sh                     every part
#     sh bench/run.sh accuracy speed      some of: accuracy rate read speed threads
#     sh bench/run.sh rate my.npy         with a table of your own, .npy or .safetensors
# Prints tables and writes bench/results/NAME.csv. Needs a C compiler; LAPACK, tmglib and OpenMP are
# used where they can be linked. CC chooses the compiler, BLAS the libraries, say
# BLAS='-llapack -lblas'. Exits with 1 when a part reports a missed bound.

# Parts and files apart; "$@" keeps the files.
parts=''
for argument; do
    shift
    case $argument in
    /*.npy | /*.safetensors) set -- "$@" "$argument" ;;
    *.npy | *.safetensors) set -- "$@" "$PWD/$argument" ;;
    *) parts="$parts $argument" ;;
    esac
done
[ -n "$parts" ] || parts='accuracy rate read speed threads'

cd "$(dirname "$0")" || exit 2
if [ $# -eq 0 ]; then
    set -- null ../examples/tiny-gpt2/model.safetensors
    for file in ../../shared/data/*.npy; do
        [ ! -f "$file" ] || set -- "$@" "$file"
    done
fi
cc=${CC:-cc}
flags=-O2
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

build=$(mktemp -d "${TMPDIR:-/tmp}/tt_embed_bench.XXXXXX") || exit 2
trap 'rm -rf "$build"' EXIT
trap 'exit 2' HUP INT TERM

# links SYMBOL LIBRARIES: can a program that calls SYMBOL be linked?
links() {
    echo "void $1(void); int main(void) { $1(); return 0; }" >"$build/probe.c"
    # shellcheck disable=SC2086
    $cc "$build/probe.c" -o "$build/probe" $2 -lm >/dev/null 2>&1
}

# identify LIBRARIES: the name of the BLAS that these load, which the linker's names do not tell:
# where a distribution offers alternatives, -lblas may well be OpenBLAS.
identify() {
    cat >"$build/probe.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
void sgesdd_(void);
int main(int argc, char **argv)
{
    const char *const names[] = {"openblas_get_config", "openblas_get_corename"};
    int i;
    if (argc > 9) sgesdd_();  /* never, but the libraries stay */
    for (i = 0; i < 2; i++) {
        char *(*says)(void);
        void *symbol = dlsym(RTLD_DEFAULT, names[i]);
        if (symbol == NULL) return 1;
        memcpy(&says, &symbol, sizeof says);
        printf("%s%s", i > 0 ? " for " : "", strtok(says(), " "));
        if (i == 0) printf(" %s", strtok(NULL, " "));
    }
    return argv == NULL;
}
END
    # shellcheck disable=SC2086
    if { $cc "$build/probe.c" -o "$build/probe" $1 || $cc "$build/probe.c" -o "$build/probe" $1 -ldl
    } >/dev/null 2>&1 && "$build/probe"; then
        return
    fi
    echo "LAPACK by $1"
}

defines='' libraries='' blas='no LAPACK'
for try in ${BLAS:+"$BLAS"} -lopenblas '-llapack -lblas'; do
    links sgesdd_ "$try" || continue
    defines=-DBENCH_LAPACK libraries=$try
    break
done
if [ -n "$libraries" ]; then
    for try in "$libraries" "-ltmglib $libraries"; do
        links dlatms_ "$try" || continue
        defines="$defines -DBENCH_TMGLIB" libraries=$try
        break
    done
    blas=$(identify "$libraries")
fi

processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)
[ -n "$processor" ] || processor=$(sysctl -n machdep.cpu.brand_string 2>/dev/null || uname -m)
compiler=$($cc --version 2>/dev/null | head -n 1)
commit=$(git rev-parse --short --verify -q HEAD 2>/dev/null || echo 'no commit')
[ -z "$(git status --porcelain -- ../tt_embed.h ./*.c ./*.h run.sh 2>/dev/null)" ] ||
    commit="$commit with changes"

status=0
mkdir -p results
for part in $parts; do
    extra=''
    case $part in
    accuracy | rate | read | speed) ;;
    threads)
        extra=-fopenmp
        if ! links omp_get_max_threads "$extra"; then
            echo "threads: left out, $cc links no OpenMP"
            continue
        fi
        ;;
    *)
        echo "run.sh: no part '$part'; there are: accuracy rate read speed threads" >&2
        exit 2
        ;;
    esac
    stamp="$processor | $compiler | $flags${extra:+ $extra} | commit $commit | $blas"
    # shellcheck disable=SC2086
    $cc $flags $extra $defines "$part.c" -o "$build/$part" $libraries -lm || exit 2
    "$build/$part" results "$stamp" "$@" || status=1
done
exit $status
