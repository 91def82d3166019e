#!/bin/sh
# test_configurations.sh: the macros of the header's CONFIGURATION, alone and together, in six standards,
# with gcc and clang; which names a file gets from the header; several configurations in one program.
# Ends with 'configurations: N passed, N failed'. Builds at -O2 in C99 and at -O0 in C++11, without any
# macro, are run.sh's, and so are the symbols of the four main configurations.
#
# What keeps it short (under four minutes of one core):
# - The full library takes 0.2 s to check and up to 15 s to compile. So every combination of macros is
#   only checked, in every standard (-fsyntax-only). clang says all it has to say there. gcc says the rest
#   when it makes code: -Wunused-function, -Wuninitialized, -Wreturn-type, -Wstringop-overflow at any
#   level, -Warray-bounds from -O1, -Wstrict-aliasing from -O2 (measured with one fault for each).
# - TT_EMBED_STATIC, _NO_STDIO, _MALLOC and _ASSERT are independent of each other: 12 combinations hold
#   every three of them, and code is made once with the last two, once without. TT_EMBED_DECODE_ONLY makes
#   a program of its own, fifteen times smaller: code is made for each of its 18 choices of layout and
#   coding.
# - All files of a folder go to one command; a file has the name of its configuration.

cd "$(dirname "$0")/.." || exit 1
root=$(pwd)
tmp=${TMPDIR:-/tmp}/tt_embed_configurations.$$
(umask 077 && mkdir "$tmp") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

# From run.sh: lists of names, how checks are counted, what nm is asked.
of_run() { # of_run BEGINNING END: the lines from the one that begins so to the one that ends so
    awk -v begin="$1" -v end="$2" 'index($0, begin) == 1 { on = 1 } on { print }
        on && substr($0, length($0)) == end && (end != "}" || $0 == end || index($0, begin) == 1) { exit }' \
        tests/run.sh
}
for part in pass fail check defines_exactly needs_only lacks uses_double lacks_double; do
    eval "$(of_run "$part() " '}')"
    if ! command -v $part >/dev/null; then echo "run.sh has no function $part" && exit 1; fi
done
reading='' writing='' files='' memory='' warnings=''
for part in reading writing files '    memory' warnings; do eval "$(of_run "$part='" "'")"; done
for part in "$reading" "$writing" "$files" "$memory" "$warnings"; do
    if [ -z "$part" ]; then echo 'run.sh has not all of the lists' && exit 1; fi
done

compilers=
for cc in gcc clang g++ clang++; do
    if command -v $cc >/dev/null 2>&1; then
        compilers="$compilers $cc"
    else
        echo "$cc: skipped, it is not installed"
    fi
done
has() { case " $compilers " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
if ! has gcc && ! has clang; then echo 'configurations: no gcc and no clang' && exit 1; fi
c=gcc
has gcc || c=clang
is_cxx() { case $1 in *++) return 0 ;; *) return 1 ;; esac; }
cxx_of() { case $1 in gcc) echo g++ ;; *) echo clang++ ;; esac; }

# compile COMPILER STANDARD FLAGS..: c99 stands for c++11 as well, c11 for c++17, c17 for c++20.
compile() {
    cc=$1
    std=$2
    shift 2
    if is_cxx "$cc"; then
        case $std in *99) std='c++11' ;; *11) std='c++17' ;; *) std='c++20' ;; esac
        set -- -x c++ "$@"
    fi
    # shellcheck disable=SC2086
    "$cc" -std=$std $warnings -I"$root" -I"$root/tests" "$@"
}

# ---- one file for each configuration ----------------------------------------------------------------

# What a user writes before the include.
define() { # define MACROS..
    for macro in "$@"; do
        case $macro in
        MALLOC)
            cat <<'END'
#include <stddef.h>
void *own_malloc(size_t size);
void own_free(void *block);
#define TT_EMBED_MALLOC(size) own_malloc(size)
#define TT_EMBED_FREE(pointer) own_free(pointer)
END
            ;;
        ASSERT)
            echo 'void own_assert(const char *condition);'
            echo '#define TT_EMBED_ASSERT(condition) ((condition) ? (void)0 : own_assert(#condition))'
            ;;
        assert) printf '#include <assert.h>\n#define TT_EMBED_ASSERT(condition) assert(condition)\n' ;;
        LIMITS) printf '#define TTEI_SIZE_MAX 65535\n#define TTEI_SVD_SWEEPS 0\n' ;; # as tests lower them
        PER_*) echo "#define TT_EMBED_ONLY_LAYOUT TTE_$macro" ;;
        F32 | F16 | I8 | I4 | ENTROPY) echo "#define TT_EMBED_ONLY_CODING TTE_$macro" ;;
        *) echo "#define TT_EMBED_$macro" ;;
        esac
    done
}

unit() { # unit FOLDER MACROS..: a file that holds the include alone
    name=$(shift && echo "$@" | tr ' ' '+')
    file=$tmp/$1/${name:-plain}.c
    shift
    { define "$@" && echo '#include "tt_embed.h"' && echo 'typedef int something_in_this_file;'; } >"$file"
}

mkdir "$tmp/declared" "$tmp/full" "$tmp/decoder" "$tmp/only" "$tmp/flags"
i=IMPLEMENTATION
for s in '' STATIC; do
    for n in '' NO_STDIO; do
        unit full $i $s $n
        unit full $i $s $n MALLOC ASSERT
        if [ -z "$s$n" ] || [ -n "$s" ] && [ -n "$n" ]; then
            unit full $i $s $n MALLOC
            unit full $i $s $n ASSERT
        fi
    done
    for layout in '' PER_TOKEN PER_TABLE; do
        for coding in '' F32 F16 I8 I4 ENTROPY; do
            if [ -z "$s" ]; then unit only $i DECODE_ONLY $layout $coding; fi
            unit decoder $i DECODE_ONLY $s $layout $coding
        done
    done
done
unit declared
unit declared NO_STDIO
for only in '' PER_TOKEN PER_TABLE F32 F16 I8 I4 ENTROPY; do
    unit declared DECODE_ONLY $only
    for m in NO_STDIO MALLOC ASSERT; do unit decoder $i DECODE_ONLY $only $m; done
done
unit decoder $i DECODE_ONLY NO_STDIO MALLOC
unit decoder $i DECODE_ONLY NO_STDIO ASSERT
unit decoder $i DECODE_ONLY MALLOC ASSERT
unit decoder $i DECODE_ONLY LIMITS
unit full $i LIMITS
unit full $i assert
unit flags $i assert
unit flags $i DECODE_ONLY

# The header again in the file that has the bodies, before them and after them.
for d in '' DECODE_ONLY; do
    folder=full
    if [ -n "$d" ]; then folder=decoder; fi
    {
        define $d && echo '#include "tt_embed.h"'
        define $i && printf '#include "tt_embed.h"\n#include "tt_embed.h"\n'
        printf '#undef TT_EMBED_IMPLEMENTATION\n#include "tt_embed.h"\n'
        echo 'const char *text(void); const char *text(void) { return tte_status_text(TTE_OK); }'
    } >"$tmp/$folder/again.c"
done

for cc in $compilers; do
    for std in c99 c11 c17; do
        for folder in declared full decoder; do
            check "$cc, $std, $folder" compile $cc $std -fsyntax-only "$tmp/$folder"/*.c
        done
    done
done

# Flags that change what types, memory and macros are to the compiler.
for cc in $compilers; do
    for flags in -DNDEBUG -funsigned-char -fshort-enums -fno-strict-aliasing -fwrapv \
        '-O2 -D_FORTIFY_SOURCE=3' -fno-builtin -ffast-math -fopenmp '-m32 -msse2' '-D_GNU_SOURCE' \
        '-D_FILE_OFFSET_BITS=64'; do
        echo '#include <stdio.h>' >"$tmp/probe.c"
        if [ "$flags" = -fopenmp ]; then echo '#include <omp.h>' >"$tmp/probe.c"; fi
        # shellcheck disable=SC2086
        if compile $cc c99 $flags -fsyntax-only "$tmp/probe.c" >/dev/null 2>&1; then
            check "$cc $flags" compile $cc c17 $flags -fsyntax-only "$tmp/flags"/*.c
        else
            echo "$cc $flags: skipped, this compiler has no headers for it"
        fi
    done
done

# ---- what must be refused ----------------------------------------------------------------------------

# Every compiler stops at this #error.
refuses() { # refuses TEXT FILE
    for cc in $compilers; do
        if compile $cc c99 -fsyntax-only "$2" >"$tmp/said" 2>&1; then echo "$cc accepts it" && return 1; fi
        if ! grep -q "error: .*$1" "$tmp/said"; then cat "$tmp/said" && return 1; fi
    done
}

mkdir "$tmp/refused"
with_decoder='TT_EMBED_ONLY_LAYOUT and TT_EMBED_ONLY_CODING go with TT_EMBED_DECODE_ONLY'
for only in PER_TOKEN PER_TABLE F32 F16 I8 I4 ENTROPY; do
    for macros in "$only" "$i $only" "$i STATIC NO_STDIO $only"; do
        # shellcheck disable=SC2086
        unit refused $macros
        check "refused: $macros" refuses "$with_decoder" "$file"
    done
done
for one in MALLOC FREE; do
    {
        define $i MALLOC | sed "/define TT_EMBED_$one(/d"
        echo '#include "tt_embed.h"'
    } >"$tmp/refused/half.c"
    check "refused: without $one" refuses 'define both TT_EMBED_MALLOC and TT_EMBED_FREE, or neither' \
        "$tmp/refused/half.c"
done

# ---- code --------------------------------------------------------------------------------------------

full=$tmp/full/$i.c
mine=$tmp/full/$i+MALLOC+ASSERT.c
whole=$tmp/only/$i+DECODE_ONLY.c
for cc in $compilers; do
    if is_cxx $cc; then
        check "$cc -O2" compile $cc c17 -O2 -S -o "$tmp/code.s" "$mine"
    else
        check "$cc -O3" compile $cc c17 -O3 -S -o "$tmp/code.s" "$full"
    fi
    for flags in -O3 '-O3 -ffast-math' -Os; do
        # shellcheck disable=SC2086
        check "$cc $flags, decoder" compile $cc c11 $flags -c -o "$tmp/decoder.o" "$whole"
        if command -v nm >/dev/null 2>&1; then
            check "$cc $flags, decoder: no heap, no libm" needs_only "$tmp/decoder.o" $memory
        fi
        if command -v objdump >/dev/null 2>&1 && objdump -f "$tmp/decoder.o" | grep -q x86-64; then
            check "$cc $flags, decoder: no double" lacks_double "$tmp/decoder.o"
        fi
    done
    if [ $cc = g++ ]; then
        for file in "$tmp/only"/*.c; do
            check "g++ -O2, $(basename "$file" .c)" compile g++ c17 -O2 -S -o "$tmp/code.s" "$file"
        done
    fi
done

# Each decoder alone: everything is public that should be, and what it does not read is gone.
smaller() { # smaller OBJECT: by a tenth than the one that reads everything
    size "$tmp/whole.o" "$1" | awk '{ bytes[NR] = $1 } END { exit !(bytes[3] * 10 < bytes[2] * 9) }'
}
entropy='ttei_ans_symbol ttei_entropy_decode'
matrices='ttei_matrix_apply ttei_matrix_read'
has_symbols() { # has_symbols OBJECT NAMES..
    object=$1
    shift
    for name in "$@"; do nm "$object" | grep -qw "$name" || { echo "no $name" && return 1; }; done
}
if command -v nm >/dev/null 2>&1; then
    check 'decoder' compile $c c11 -O2 -c -o "$tmp/whole.o" "$whole"
    # shellcheck disable=SC2086
    check 'decoder: reads all' has_symbols "$tmp/whole.o" $entropy $matrices
    for file in "$tmp/only"/*.c; do
        object=${file%.c}.o
        config=$(basename "$file" .c | sed "s/$i+//")
        check "$config" compile $c c11 -O2 -c -o "$object" "$file"
        # shellcheck disable=SC2086
        check "$config: what is public" defines_exactly "$object" $reading
        # shellcheck disable=SC2086
        check "$config: no heap, no libm" needs_only "$object" $memory
        case $config in
        DECODE_ONLY) ;;
        *PER_TOKEN+ENTROPY) ;; # nothing is left to read; the units below try it
        *) check "$config: is smaller" smaller "$object" ;;
        esac
        case $config in *F32* | *F16* | *I8* | *I4*)
            # shellcheck disable=SC2086
            check "$config: no entropy decoder" lacks "$object" $entropy ;;
        esac
        # shellcheck disable=SC2086
        case $config in *PER_TOKEN*) check "$config: no matrices" lacks "$object" $matrices ;; esac
    done

    check 'own allocator and assertion' compile $c c11 -O0 -c -o "$tmp/mine.o" "$mine"
    # shellcheck disable=SC2086
    check 'own: what is public' defines_exactly "$tmp/mine.o" $reading $writing $files
    check 'own: they are called' has_symbols "$tmp/mine.o" own_malloc own_free own_assert
    check 'own: no other allocator' lacks "$tmp/mine.o" malloc calloc realloc free aligned_alloc
    check 'no assertion' compile $c c99 -O0 -DNDEBUG -c -o "$tmp/plain.o" "$tmp/full/$i+assert.c"
    check 'no assertion: default allocator' has_symbols "$tmp/plain.o" malloc free
    check 'no assertion: none is left' lacks "$tmp/plain.o" __assert_fail __assert_rtn own_malloc own_assert
else
    echo 'symbols: skipped, there is no nm'
fi

# ---- names that a file gets from the header ----------------------------------------------------------

cat >"$tmp/system.h" <<'END'
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
END

# Functions, variables, types and enumerators of file scope, from clang's syntax tree.
names() { # names COMPILER STANDARD FILE
    compile "$1" "$2" -fsyntax-only -Xclang -ast-dump "$3" | awk '
        match($0, /^[|` ]*[|`]-[A-Za-z]*Decl /) {
            kind = substr($0, 1, RLENGTH - 1); depth = index(kind, "-") / 2; sub(/.*-/, "", kind)
            if (depth > 3 || kind !~ /^(Function|Var|Typedef|TypeAlias|(CXX)?Record|Enum(Constant)?)Decl$/) next
            sub(/ \047.*/, "")
            sub(/ definition$/, "")
            if (kind ~ /RecordDecl$/ && $(NF - 1) !~ /^(struct|union|class)$/) next  # has no name
            print $NF
        }' | sort -u
}
macros() { # macros COMPILER STANDARD FILE
    compile "$1" "$2" -dM -E "$3" | awk '{ sub(/\(.*/, "", $2); print $2 }' | sort -u
}

added() { # added HOW COMPILER STANDARD FILE: the names that the file has beyond the system's headers
    "$1" "$2" "$3" "$tmp/system.c" >"$tmp/names0" || return 1
    { cat "$tmp/system.h" "$4"; } >"$tmp/names.c"
    "$1" "$2" "$3" "$tmp/names.c" >"$tmp/names1" || return 1
    comm -13 "$tmp/names0" "$tmp/names1" | grep -vx 'something_in_this_file\|own_[a-z]*\|__builtin_.*'
}
only_names() { # only_names HOW COMPILER STANDARD FILE PATTERN WITNESS: the witness must be among them
    added "$1" "$2" "$3" "$4" >"$tmp/added"
    grep -qx "$6" "$tmp/added" || { echo "$6 is not found" && return 1; }
    ! grep -Evx "$5" "$tmp/added"
}
declares_exactly() { # declares_exactly COMPILER FILE FUNCTIONS..: of all public names, these and types
    cc=$1
    file=$2
    shift 2
    added names "$cc" gnu99 "$file" | grep '^tte_' >"$tmp/added"
    sed -n '/^} tte_/s/} \(.*\);/\1/p; s/^typedef .*(\*\(tte_[a-z_]*\)).*/\1/p' tt_embed.h >"$tmp/types"
    grep -vxFf "$tmp/types" "$tmp/added" >"$tmp/got"
    printf '%s\n' "$@" | sort | diff - "$tmp/got"
}

cp "$tmp/system.h" "$tmp/system.c"
public='(tte_[a-z0-9_]*|TTE_[A-Z0-9_]*)'
kept='(TTE_[A-Z_]*|TT_EMBED_[A-Z_]*|TTEI_IMPLEMENTED)'
for cc in clang clang++; do
    has $cc || continue
    for file in "$tmp/declared"/*.c; do
        check "$cc, names declared: $(basename "$file" .c)" \
            only_names names $cc gnu99 "$file" "$public" tte_open
    done
    for file in "$full" "$mine" "$whole" "$tmp/full/$i+STATIC+NO_STDIO.c" \
        "$tmp/decoder/$i+DECODE_ONLY+STATIC.c" "$tmp/decoder/$i+DECODE_ONLY+PER_TABLE+ENTROPY.c"; do
        check "$cc, names: $(basename "$file" .c)" \
            only_names names $cc gnu99 "$file" "$public|ttei_[a-z0-9_]*" ttei_get32
    done
done
if has clang; then
    # shellcheck disable=SC2086
    check 'declared exactly' declares_exactly clang "$tmp/declared/plain.c" $reading $writing $files
    # shellcheck disable=SC2086
    check 'declared exactly: no stdio' declares_exactly clang "$tmp/declared/NO_STDIO.c" $reading $writing
    # shellcheck disable=SC2086
    check 'declared exactly: decoder' declares_exactly clang "$tmp/declared/DECODE_ONLY.c" $reading
fi
for cc in $compilers; do
    check "$cc, macros declared" only_names macros $cc gnu99 "$tmp/declared/plain.c" "$kept" TTE_MAX_MODES
    for file in "$full" "$whole" "$tmp/full/$i+LIMITS.c" "$tmp/full/$i+STATIC+NO_STDIO+MALLOC+ASSERT.c" \
        "$tmp/decoder/$i+DECODE_ONLY+PER_TABLE+ENTROPY.c" "$tmp/decoder/$i+DECODE_ONLY+PER_TOKEN.c"; do
        check "$cc, macros: $(basename "$file" .c)" \
            only_names macros $cc gnu99 "$file" "$kept" TTEI_IMPLEMENTED
    done
done

# ---- several configurations in one program -----------------------------------------------------------

# The bodies with a counted heap and assertions; a file in C++ that uses them; a private copy that
# compresses; and a private decoder of every kind. All read the golden images, from tables which the
# bodies have opened, too.
cat >"$tmp/units.h" <<'END'
typedef struct { tte_status opened, looked_up; size_t table_size; } unit_result;
typedef unit_result unit_fn(const tte_table *view, const void *data, size_t size, float *rows);
END
cat >"$tmp/unit.h" <<'END'
#include "tt_embed.h"
#include <stdlib.h>
#include "units.h"
unit_result UNIT(const tte_table *view, const void *data, size_t size, float *rows);
unit_result UNIT(const tte_table *view, const void *data, size_t size, float *rows)
{
    unit_result r;
    tte_table t;
    r.table_size = sizeof t;
    r.opened = tte_open(&t, data, size);
    r.looked_up = TTE_OK;
    if (r.opened == TTE_OK) {
        float *scratch = (float *)malloc((tte_scratch_len(&t) + tte_scratch_len(view) + 1) * sizeof *scratch);
        for (size_t i = 0; i < t.vocab && r.looked_up == TTE_OK; i++)
            r.looked_up = tte_lookup(i % 2 ? view : &t, (uint32_t)i, rows + i * (size_t)t.dim, scratch);
        free(scratch);
    }
    return r;
}
END
cat >"$tmp/copy.c" <<'END'
#define TT_EMBED_STATIC
#define TT_EMBED_NO_STDIO
#define TT_EMBED_IMPLEMENTATION
#include "tt_embed.h"
tte_status compress_in_copy(const float *table, size_t vocab, size_t dim, const tte_options *o, tte_image *out);
tte_status compress_in_copy(const float *table, size_t vocab, size_t dim, const tte_options *o, tte_image *out)
{
    return tte_compress(table, vocab, dim, o, out);
}
END
cat >"$tmp/main.c" <<'END'
#include "counted_heap.h"
static unsigned long asserted, untrue;
#define TT_EMBED_ASSERT(condition) (asserted++, (void)((condition) || untrue++))
#define TT_EMBED_IMPLEMENTATION
#include "tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"
#include "units.h"
#ifdef __cplusplus
extern "C" {
#endif
unit_fn UNITS;
tte_status compress_in_copy(const float *table, size_t vocab, size_t dim, const tte_options *o, tte_image *out);
tte_status row_of_second_unit(const tte_image *image, uint32_t token, float *row, float *scratch);
#ifdef __cplusplus
}
#endif

static const struct { unit_fn *run; const char *name; } units[] = {LIST};

/* Names tell what a unit reads: ENTROPY alone means one train for the table. */
static int is_read(const char *name, const tte_table *t)
{
    static const char *const layouts[2] = {"_PER_TOKEN", "_PER_TABLE"};
    static const char *const codings[5] = {"_F32", "_F16", "_I8", "_I4", "_ENTROPY"};
    int reads_layout = strstr(name, "_PER_") == NULL || strstr(name, layouts[t->layout]) != NULL;
    int reads_coding = strstr(name, codings[t->coding]) != NULL;
    for (int i = 0, named = 0; i < 5; i++) {
        named += strstr(name, codings[i]) != NULL;
        if (i == 4 && named == 0)
            reads_coding = 1;
    }
    return reads_layout && reads_coding;
}

static void units_read_their_own(void)
{
    float *rows = new_floats(GOLDEN_ROWS);
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        tte_image image = {NULL, 0};
        tte_table t;
        float *want, *scratch;
        image.data = golden_bytes(kind, &image.size);
        t = open_image(&image);
        want = lookup_all(&t);
        scratch = new_scratch(&t);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            unit_result r = units[u].run(&t, image.data, image.size, rows);
            CHECK(r.table_size == sizeof t);
            if (!is_read(units[u].name, &t)) {
                if (!CHECK_STATUS(r.opened, TTE_ERR_VERSION))
                    fprintf(stderr, "    %s, image %d\n", units[u].name, kind);
                continue;
            }
            CHECK_STATUS(r.opened, TTE_OK);
            CHECK_STATUS(r.looked_up, TTE_OK);
            if (!CHECK(memcmp(rows, want, GOLDEN_ROWS * sizeof *rows) == 0))
                fprintf(stderr, "    %s, image %d\n", units[u].name, kind);
        }
        CHECK_STATUS(row_of_second_unit(&image, 5, rows, scratch), TTE_OK);
        CHECK(memcmp(rows, want + 5 * GOLDEN_DIM, GOLDEN_DIM * sizeof *rows) == 0);
        free(want), free(scratch), free(image.data);
    }
    free(rows);
}

static void copies_compress_alike(void)
{
    float *table = golden_table();
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        tte_options options = golden_options(kind);
        tte_image a = {NULL, 0}, b = {NULL, 0};
        CHECK_STATUS(tte_compress(table, GOLDEN_VOCAB, GOLDEN_DIM, &options, &a), TTE_OK);
        CHECK_STATUS(compress_in_copy(table, GOLDEN_VOCAB, GOLDEN_DIM, &options, &b), TTE_OK);
#ifdef ONE_COMPILER
        CHECK(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
#endif
        tte_free(&a);
        CHECK(heap.live == 0);
        free(b.data); /* the copy has malloc */
    }
    CHECK(heap.requests > 0);
    CHECK(asserted > 0 && untrue == 0);
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "units");
    RUN(units_read_their_own);
    RUN(copies_compress_alike);
    return test_end();
}
END

ends_well() { # ends_well PROGRAM..
    "$@" >"$tmp/out" 2>&1 </dev/null || { cat "$tmp/out" && return 1; }
    grep -q '^[a-z]*: [1-9][0-9]* passed, 0 failed$' "$tmp/out"
}

objects='' list='' declared=''
for file in "$tmp/only"/*.c; do
    name=read_$(basename "$file" .c | sed "s/$i+DECODE_ONLY//; s/+/_/g")
    {
        sed '/include/,$d' "$file"
        printf '#define TT_EMBED_STATIC\n#define UNIT %s\n#include "unit.h"\n' "$name"
    } >"$tmp/$name.c"
    check "unit $name" compile $c c11 -O1 -I"$tmp" -c -o "$tmp/$name.o" "$tmp/$name.c"
    objects="$objects $tmp/$name.o"
    list="$list{$name, \"$name\"},"
    declared="$declared${declared:+, }$name"
done
sed -i "s/LIST/$list/; s/UNITS/$declared/" "$tmp/main.c"
check 'unit copy' compile $c c11 -O0 -c -o "$tmp/copy.o" "$tmp/copy.c"
check 'unit main' compile $c c99 -O0 -DONE_COMPILER -I"$tmp" -c -o "$tmp/main.o" "$tmp/main.c"
user=$(cxx_of $c)
has "$user" || user=$c
check 'unit in C++' compile "$user" c99 -O1 -c -o "$tmp/user.o" tests/second_unit.c
# shellcheck disable=SC2086
check 'units: link' $user -o "$tmp/units" "$tmp/main.o" "$tmp/copy.o" "$tmp/user.o" $objects -lm
check 'units' ends_well "$tmp/units"
if has clang++; then
    check 'units: main of clang++' compile clang++ c17 -O0 -I"$tmp" -c -o "$tmp/main.o" "$tmp/main.c"
    # shellcheck disable=SC2086
    check 'units: link with it' clang++ -o "$tmp/units" "$tmp/main.o" "$tmp/copy.o" "$tmp/user.o" $objects -lm
    check 'units, clang++ and others' ends_well "$tmp/units"
fi

# ---- images and rows do not depend on flags ----------------------------------------------------------

cat >"$tmp/images.c" <<'END'
#define TT_EMBED_IMPLEMENTATION
#include "tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

static void golden_rows(void)
{
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        tte_image image = {NULL, 0};
        tte_table t;
        float *rows;
        image.data = golden_bytes(kind, &image.size);
        t = open_image(&image);
        rows = lookup_all(&t);
#ifdef __FAST_MATH__
        {   /* sums may be taken in another order */
            float *table = golden_table();
            errors e = measure(table, rows, GOLDEN_VOCAB, GOLDEN_DIM);
            tte_info info = get_info(&t);
            CHECK_LE(fabs(e.whole - info.rel_error), 1e-5);
            free(table);
        }
#else
        check_golden_rows(kind, rows);
#endif
        free(rows), free(image.data);
    }
}

#ifndef TT_EMBED_DECODE_ONLY
static void images(void)
{
    float *table = golden_table();
    FILE *file = fopen(IMAGES, "wb");
    for (int kind = 0; kind < GOLDEN_ALL && CHECK(file != NULL); kind++) {
        tte_options options = golden_options(kind);
        tte_image image = make_image(table, GOLDEN_VOCAB, GOLDEN_DIM, &options);
        CHECK(fwrite(image.data, 1, image.size, file) == image.size);
        free(image.data);
    }
    CHECK(file != NULL && fclose(file) == 0);
    free(table);
}
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "images");
    RUN(golden_rows);
#ifndef TT_EMBED_DECODE_ONLY
    RUN(images);
#endif
    return test_end();
}
END
rows_and_images() { # rows_and_images COMPILER NAME FLAGS..
    cc=$1
    name=$2
    shift 2
    compile "$cc" c99 "$@" -w -DIMAGES="\"$tmp/$name\"" -o "$tmp/images" "$tmp/images.c" -lm &&
        ends_well "$tmp/images"
}
for cc in gcc clang; do
    has $cc || continue
    check "$cc -O1: images" rows_and_images $cc usual -O1
    flags='-fshort-enums -funsigned-char -fno-strict-aliasing -fwrapv -DNDEBUG -U_FORTIFY_SOURCE
        -D_FORTIFY_SOURCE=3 -fstack-protector-strong -ftrapv'
    # shellcheck disable=SC2086
    check "$cc, other flags: images" rows_and_images $cc unusual -O1 $flags
    check "$cc, other flags: the same images" cmp "$tmp/usual" "$tmp/unusual"
    for flags in -fshort-enums -funsigned-char '-O3 -ffast-math' -Os; do
        # shellcheck disable=SC2086
        check "$cc $flags: decoder's rows" rows_and_images $cc none -DTT_EMBED_DECODE_ONLY $flags
    done
done

# ---- without a system --------------------------------------------------------------------------------

# The decoder asks for nothing but the compiler's own headers and these three functions.
mkdir "$tmp/bare"
cat >"$tmp/bare/string.h" <<'END'
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
#ifdef __cplusplus
}
#endif
END
bare() { # bare COMPILER FLAGS..
    cc=$1
    shift
    set -- -ffreestanding -isystem "$tmp/bare" -isystem "$("$cc" -print-file-name=include)" "$@"
    case $cc in clang*) set -- -isystem "$(clang -print-resource-dir)/include" "$@" ;; esac
    compile "$cc" c99 -nostdinc "$@" -O2 -c -o "$tmp/bare.o" "$whole" &&
        if command -v nm >/dev/null 2>&1; then
            needs_only "$tmp/bare.o" memcpy memmove memset memcmp
        fi
}
for cc in gcc clang; do
    has $cc || continue
    check "$cc, bare" bare $cc
    if [ "$(uname -m)" = x86_64 ]; then check "$cc, bare, 32 bits" bare $cc -m32 -msse2; fi
done
if has clang; then
    for target in i386 arm-none-eabi riscv32 riscv64 wasm32 powerpc mips sparc; do
        if clang -target $target -x c -fsyntax-only /dev/null 2>/dev/null; then
            check "clang, bare, $target" bare clang -target $target -fsyntax-only
        fi
    done
fi

printf 'configurations: %s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
