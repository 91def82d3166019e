#!/bin/sh
# Measurements. From anywhere:
#     sh bench/run.sh                     every part
#     sh bench/run.sh error read          some of them, see `all` below
#     sh bench/run.sh error my.npy        of tables of your own, in any format that ttembed reads
#     sh bench/run.sh language gpt2 --text FILE --windows 0
#                                         of a model of your own, a GPT-2 folder, and of a whole text
# Prints tables and writes bench/results/NAME.csv and NAME.svg. Needs a C compiler; LAPACK, tmglib, OpenMP,
# gnuplot and a compiler for microcontrollers are used where they are; what is not there is left out with one line,
# and results of an earlier run stay. CC chooses the compiler, BLAS the libraries, say BLAS='-llapack -lblas'.
# BENCH_MODELS names a folder with all-mpnet-base-v2/model.safetensors and gemma-3-270m.gguf, whose tables are
# measured, too; BENCH_ALL=1 adds effort 9 of large tables. `gemma` fetches that model into BENCH_MODELS, and what it
# needs of Python. Exits with 1 when a part reports a missed bound.
all='accuracy error language read costs speed training threads rates mpi size gemma figures'

# Parts, tables and what is for language apart; "$@" keeps the tables.
parts='' language='' option=''
for argument; do
    shift
    case $argument in
    /*) path=$argument ;;
    *) path=$PWD/$argument ;;
    esac
    if [ "$option" = --text ]; then
        language="$language --text '$path'" option=''
    elif [ "$option" = --windows ]; then
        language="$language --windows '$argument'" option=''
    elif [ "$argument" = --text ] || [ "$argument" = --windows ]; then
        option=$argument
    elif [ -d "$argument" ]; then
        language="$language '$path'"
    elif [ -f "$argument" ]; then
        set -- "$@" "$path"
    else
        case " $all " in
        *" $argument "*) parts="$parts $argument" ;;
        *)
            echo "run.sh: no part '$argument' and no such file; there are: $all" >&2
            exit 2
            ;;
        esac
    fi
done
if [ -n "$option" ]; then
    echo "run.sh: $option: needs something behind it" >&2
    exit 2
fi
[ -n "$parts" ] || parts=$all

cd "$(dirname "$0")" || exit 2
mpnet=${BENCH_MODELS:+$BENCH_MODELS/all-mpnet-base-v2/model.safetensors}
gemma=${BENCH_MODELS:+$BENCH_MODELS/gemma-3-270m.gguf}
if [ $# -eq 0 ]; then
    set -- null ../examples/tiny-gpt2/model.safetensors
    for file in ../../shared/data/glove-50k.npy "$mpnet" "$gemma"; do
        if [ -f "$file" ]; then
            set -- "$@" "$file"
        else
            left_out="${left_out-} ${file:-a table of BENCH_MODELS}"
        fi
    done
fi
[ -f "$mpnet" ] || mpnet=''
[ -f "$gemma" ] || gemma=''
case $language in
*--text*) ;;
*)
    for file in ../../shared/text/*.txt; do
        [ ! -f "$file" ] || language="$language --text '$PWD/$file'"
    done
    ;;
esac
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
    case $blas in
    *Prescott*) # what OpenBLAS takes for a processor that is newer than itself
        if [ -z "${OPENBLAS_CORETYPE-}" ] && grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
            export OPENBLAS_CORETYPE=Haswell
            blas=$(identify "$libraries")
        fi
        ;;
    esac
fi

processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)
[ -n "$processor" ] || processor=$(sysctl -n machdep.cpu.brand_string 2>/dev/null || uname -m)
compiler=$($cc --version 2>/dev/null | head -n 1)
commit=$(git rev-parse --short --verify -q HEAD 2>/dev/null || echo 'no commit')
[ -z "$(git status --porcelain -- ../tt_embed.h ./*.c ./*.h run.sh 2>/dev/null)" ] ||
    commit="$commit with changes"

# size: of the decoder on microcontrollers, by the test that holds it to its limits.
size() {
    if ! command -v arm-none-eabi-gcc >/dev/null 2>&1; then
        echo 'size: left out, there is no arm-none-eabi-gcc'
        return
    fi
    sh ../tests/test_size.sh >"$build/size"
    missed=$?
    cat "$build/size"
    {
        echo "# $(arm-none-eabi-gcc --version | head -n 1) | -Os | commit $commit | bytes of the decoder, without libgcc and libc"
        echo 'processor,what,bytes,limit'
        awk '/^Cortex/ { processor = $1 }
            / bytes/ {
                what = $0
                sub(/^(FAILED)? +/, "", what)
                sub(/  +[0-9]+ bytes.*/, "", what)
                gsub(/,/, "", what)
                match($0, /[0-9]+ bytes/)
                bytes = substr($0, RSTART, RLENGTH) + 0
                limit = match($0, /limit [0-9]+/) ? substr($0, RSTART + 6, RLENGTH - 6) : ""
                print processor "," what "," bytes "," limit
            }' "$build/size"
    } >results/size.csv
    return $missed
}

# gemma: loss of a real model against bytes, by gemma.py, in a virtual environment beside the model.
gemma() {
    book=$PWD/../../shared/text/wizard-of-oz.txt fortunes=/usr/share/games/fortunes
    python=${BENCH_MODELS-}/python
    if [ -z "${BENCH_MODELS-}" ]; then
        echo 'gemma: left out, BENCH_MODELS names no folder for the model'
        return
    fi
    set --
    [ ! -f "$book" ] || set -- --text "book=$book:166039:206039" --other "$book:0:40000"
    if [ -f "$fortunes/literature" ]; then
        cat "$fortunes/literature" "$fortunes/wisdom" >"$build/fortunes"
        set -- "$@" --text "fortunes=$build/fortunes"
    fi
    if [ $# -eq 0 ]; then
        echo "gemma: left out, there is no text: Debian's package fortunes has one"
        return
    fi
    if ! { [ -x "$python/bin/python" ] || python3 -m venv "$python"; } >/dev/null 2>&1 ||
        ! "$python/bin/python" -m pip install -q numpy torch transformers gguf accelerate ../examples/python >"$build/pip" 2>&1; then
        echo 'gemma: left out, pip does not install numpy, torch, transformers, gguf, accelerate and examples/python'
        return
    fi
    OMP_NUM_THREADS=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) "$python/bin/python" gemma.py "$BENCH_MODELS" \
        results/gemma.csv --head "$processor | $compiler | commit $commit" "$@"
}

# figures: from the tables of all parts, of this run or an earlier one.
figures() {
    if command -v gnuplot >/dev/null 2>&1; then
        gnuplot figures.gp
    else
        echo 'figures: left as they are, there is no gnuplot'
    fi
}

openmp=''
if links omp_get_max_threads -fopenmp; then openmp=-fopenmp; fi

# measure PART FLAGS..: builds a program and runs it; "$tables" and $language hold its arguments, quoted.
measure() {
    part=$1
    shift
    stamp="$processor | $compiler | $flags${*:+ $*} | commit $commit | $blas"
    # shellcheck disable=SC2086
    $cc $flags "$@" $defines "$part.c" -o "$build/$part" $libraries -lm || return
    case $part in
    language) eval "set -- $language" ;;
    error) eval "set -- $tables" ;;
    training) set -- ${gemma:+"$gemma"} ;;
    *) set -- ${mpnet:+"$mpnet"} ;;
    esac
    case $part in
    error | language) OMP_NUM_THREADS=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) ;;
    *) OMP_NUM_THREADS=1 ;;
    esac
    if [ "$part" != error ]; then
        "$build/$part" results "$stamp" "$@"
        return
    fi
    missed=0
    for table; do "$build/error" results "$stamp" "$table" || missed=1; done
    [ -z "${left_out-}" ] || echo "error: left out, not there:$left_out"
    return $missed
}

tables=''
for table; do tables="$tables '$table'"; done
status=0
mkdir -p results
for part in $parts; do
    case $part in
    error | costs | language)
        # shellcheck disable=SC2086
        measure "$part" $openmp
        ;;
    threads)
        if [ -n "$openmp" ]; then
            measure threads -fopenmp
        else
            echo "threads: left out, $cc links no OpenMP"
        fi
        ;;
    mpi) sh mpi.sh ;;
    size) size ;;
    gemma) gemma ;;
    figures) figures ;;
    *) measure "$part" ;;
    esac || status=1
done
exit $status
