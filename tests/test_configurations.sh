#!/bin/sh
# test_configurations.sh: the macros of the header's CONFIGURATION, alone and together, in four standards and at five levels of
# optimization, with gcc and clang; which names a file gets from the header; several configurations in one program; that
# rows do not depend on flags; the decoder without a system. Ends with 'configurations: N passed, N failed'. Builds in C99
# and C++11 without any macro are run.sh's, and so are the symbols of the main configurations.
#
# What keeps it short: the full library takes a moment to check and long to compile. So every combination of macros is only
# checked, in every standard (-fsyntax-only). clang says all it has to say there; gcc says the rest when it makes code, which
# the full library has made at each level by some compiler, here or by run.sh, the readers by every one.

cd "$(dirname "$0")/.." || exit 1
test_name=configurations
. tests/harness.sh
root=$(pwd)
TEST_TMP=$tmp
export TEST_TMP

# From run.sh: lists of names, how checks are counted, what nm is asked.
of_run() { # of_run BEGINNING END: the lines from the one that begins so to the one that ends so
    awk -v begin="$1" -v end="$2" 'index($0, begin) == 1 { on = 1 } on { print }
        on && substr($0, length($0)) == end && (end != "}" || $0 == end || index($0, begin) == 1) { exit }' \
        tests/run.sh
}
for part in pass fail check needs_only lacks uses_double lacks_double; do
    eval "$(of_run "$part() " '}')"
    if ! command -v $part >/dev/null; then echo "run.sh has no function $part" && exit 1; fi
done
reading='' writing='' files='' memory='' warnings=''
for part in reading writing files memory warnings; do eval "$(of_run "$part='" "'")"; done
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

# compile COMPILER STANDARD FLAGS..: c99 stands for c++11 as well, c17 for c++20.
compile() {
    cc=$1
    std=$2
    shift 2
    case $cc in *++)
        case $std in *99) std='c++11' ;; *) std='c++20' ;; esac
        set -- -x c++ "$@"
        ;;
    esac
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

mkdir "$tmp/all" "$tmp/flags"
i=IMPLEMENTATION
for d in '' NO_STDIO READ_ONLY DECODE_ONLY; do
    unit all $d
    for s in '' STATIC; do
        unit all $i $s $d
        unit all $i $s $d MALLOC ASSERT
    done
    { # again in the file that has the bodies, before them and after them
        define $d && echo '#include "tt_embed.h"'
        define $i && printf '#include "tt_embed.h"\n#include "tt_embed.h"\n'
        printf '#undef TT_EMBED_IMPLEMENTATION\n#include "tt_embed.h"\n'
        echo 'const char *text(void); const char *text(void) { return tte_status_text(TTE_OK); }'
    } >"$tmp/all/again+$d.c"
done
unit all READ_ONLY DECODE_ONLY
unit all $i LIMITS
unit all $i DECODE_ONLY LIMITS
unit all $i assert
unit flags $i assert
unit flags $i DECODE_ONLY
for cc in $compilers; do
    for std in c99 c17; do check "$cc, $std" compile $cc $std -fsyntax-only "$tmp/all"/*.c; done
done

# Flags that change what types, memory and macros are to the compiler.
for cc in $compilers; do
    for flags in -DNDEBUG '-funsigned-char -fshort-enums' '-fno-strict-aliasing -fwrapv' '-O2 -D_FORTIFY_SOURCE=3' \
        -fno-builtin -ffast-math -fopenmp '-m32 -msse2' '-D_GNU_SOURCE -D_FILE_OFFSET_BITS=64'; do
        printf '#include <errno.h>\n#include <math.h>\n' >"$tmp/probe.c"
        if [ "$flags" = -fopenmp ]; then echo '#include <omp.h>' >"$tmp/probe.c"; fi
        if compile $cc c99 $flags -fsyntax-only "$tmp/probe.c" >/dev/null 2>&1; then
            check "$cc $flags" compile $cc c17 $flags -fsyntax-only "$tmp/flags"/*.c
        else
            echo "$cc $flags: skipped, this compiler has no headers for it"
        fi
    done
done

# Every compiler stops where the allocator is half of one.
refuses() { # refuses TEXT FILE
    for cc in $compilers; do
        if compile $cc c99 -fsyntax-only "$2" >"$tmp/said" 2>&1; then echo "$cc accepts it" && return 1; fi
        if ! grep -q "error: .*$1" "$tmp/said"; then cat "$tmp/said" && return 1; fi
    done
}
for one in MALLOC FREE; do
    { define $i MALLOC | sed "/define TT_EMBED_$one(/d" && echo '#include "tt_embed.h"'; } >"$tmp/half.c"
    check "refused: without $one" refuses 'define both TT_EMBED_MALLOC and TT_EMBED_FREE, or neither' "$tmp/half.c"
done

# ---- code --------------------------------------------------------------------------------------------

full=$tmp/all/$i.c
mine=$tmp/all/$i+MALLOC+ASSERT.c
decoder=$tmp/all/$i+DECODE_ONLY.c
for cc in $compilers; do
    for level in -O0 -O1 -O2 -O3 -Os; do
        case $cc$level in
        gcc-O[13s] | clang-O[3s] | g++-O2 | clang++-O2)
            check "$cc $level" compile $cc c17 $level -S -o "$tmp/code.s" "$full"
            ;;
        esac
        for only in READ_ONLY DECODE_ONLY; do
            file=$tmp/all/$i+$only.c object=$tmp/reader.o
            check "$cc $level, $only" compile $cc c99 $level -c -o "$object" "$file"
            if ! command -v nm >/dev/null 2>&1; then continue; fi
            check "$cc $level, $only: no heap, no libm" needs_only "$object" $memory
            if [ $only$level != DECODE_ONLY-O0 ] && [ $only != READ_ONLY ] && command -v objdump >/dev/null 2>&1 &&
                objdump -f "$object" | grep -q x86-64; then
                check "$cc $level, $only: no double" lacks_double "$object"
            fi
        done
    done
done

has_symbols() { # has_symbols OBJECT NAMES..
    object=$1
    shift
    for name in "$@"; do nm "$object" | grep -qw "$name" || { echo "no $name" && return 1; }; done
}
if command -v nm >/dev/null 2>&1; then
    check 'own allocator and assertion' compile $c c99 -O0 -c -o "$tmp/mine.o" "$mine"
    check 'own: they are called' has_symbols "$tmp/mine.o" own_malloc own_free own_assert
    check 'own: no other allocator' lacks "$tmp/mine.o" malloc calloc realloc free aligned_alloc
    check 'no assertion' compile $c c99 -O0 -DNDEBUG -c -o "$tmp/plain.o" "$tmp/all/$i+assert.c"
    check 'no assertion: default allocator' has_symbols "$tmp/plain.o" malloc free
    check 'no assertion: none is left' lacks "$tmp/plain.o" __assert_fail __assert_rtn own_malloc own_assert
else
    echo 'symbols: skipped, there is no nm'
fi

# ---- names that a file gets from the header ----------------------------------------------------------

for file in assert errno fcntl float limits math stddef stdint stdio stdlib string sys/file sys/stat sys/types unistd \
    $(echo '#include <immintrin.h>' | $c -fsyntax-only -x c - 2>/dev/null && echo immintrin); do
    echo "#include <$file.h>"
done >"$tmp/system.c"

# Functions, variables, types and enumerators of file scope, from clang's syntax tree; macros.
names() { # names COMPILER FILE
    compile "$1" gnu99 -fsyntax-only -Xclang -ast-dump "$2" | awk '
        match($0, /^[|` ]*[|`]-[A-Za-z]*Decl /) {
            kind = substr($0, 1, RLENGTH - 1); depth = index(kind, "-") / 2; sub(/.*-/, "", kind)
            if (depth > 3 || kind !~ /^(Function|Var|Typedef|TypeAlias|(CXX)?Record|Enum(Constant)?)Decl$/) next
            sub(/ \047.*/, "")
            sub(/ definition$/, "")
            if (kind ~ /RecordDecl$/ && $(NF - 1) !~ /^(struct|union|class)$/) next  # has no name
            if (kind == "EnumDecl" && $NF ~ /^(line|col):/) next                        # has none either
            print $NF
        }' | sort -u
}
macros() { compile "$1" gnu99 -dM -E "$2" | awk '{ sub(/\(.*/, "", $2); print $2 }' | sort -u; }

added() { # added HOW COMPILER FILE: the names that the file has beyond the system's headers
    "$1" "$2" "$tmp/system.c" >"$tmp/names0" || return 1
    cat "$tmp/system.c" "$3" >"$tmp/names.c"
    "$1" "$2" "$tmp/names.c" >"$tmp/names1" || return 1
    comm -13 "$tmp/names0" "$tmp/names1" | grep -vx 'something_in_this_file\|own_[a-z]*\|__builtin_.*'
}
only_names() { # only_names HOW COMPILER FILE PATTERN WITNESS: the witness must be among them
    added "$1" "$2" "$3" >"$tmp/added"
    grep -qx "$5" "$tmp/added" || { echo "$5 is not found" && return 1; }
    ! grep -Evx "$4" "$tmp/added"
}
declares_exactly() { # declares_exactly FILE FUNCTIONS..: of all public names, these and types
    file=$1
    shift
    added names clang "$file" | grep '^tte_' >"$tmp/added"
    sed -n '/^} tte_/s/} \(.*\);/\1/p; s/^typedef .*(\*\(tte_[a-z_]*\)).*/\1/p' tt_embed.h >"$tmp/types"
    grep -vxFf "$tmp/types" "$tmp/added" >"$tmp/got"
    printf '%s\n' "$@" | sort | diff - "$tmp/got"
}

for cc in clang clang++; do
    has $cc || continue
    for file in plain DECODE_ONLY $i $i+STATIC+NO_STDIO+MALLOC+ASSERT $i+READ_ONLY $i+DECODE_ONLY; do
        private='' witness=tte_open
        case $file in $i*) private='|ttei_[a-z0-9_]*|TTEI_[A-Z0-9_]*' witness=ttei_get32 ;; esac
        check "$cc, names: $file" only_names names $cc "$tmp/all/$file.c" "(tte_[a-z0-9_]*|TTE_[A-Z0-9_]*)$private" $witness
    done
done
if has clang; then
    check 'declared exactly' declares_exactly "$tmp/all/plain.c" $reading $writing $files
    check 'declared exactly: no stdio' declares_exactly "$tmp/all/NO_STDIO.c" $reading $writing
    check 'declared exactly: reader' declares_exactly "$tmp/all/READ_ONLY.c" $reading
fi
for cc in $compilers; do
    for file in plain $i+LIMITS $i+STATIC+NO_STDIO+MALLOC+ASSERT $i+READ_ONLY $i+DECODE_ONLY; do
        check "$cc, macros: $file" \
            only_names macros $cc "$tmp/all/$file.c" '(TTE_[A-Z_]*|TT_EMBED_[A-Z_]*|TTEI_IMPLEMENTED)' TTE_MAX_MODES
    done
done

# ---- several configurations in one program -----------------------------------------------------------

# The bodies with a counted heap and assertions, in C++ where there is one; and private copies: one that compresses, the
# reader, the decoder. All read the golden images, from tables which the bodies have opened, too.
cat >"$tmp/unit.h" <<'END'
#include "tt_embed.h"
#include <stdlib.h>
typedef struct { tte_status opened, looked_up; size_t table_size; } unit_result;
typedef unit_result unit_fn(const tte_table *view, const void *data, size_t size, float *rows);
#ifdef __cplusplus
extern "C" {
#endif
extern unit_fn unit_STATIC, unit_READ_ONLY, unit_DECODE_ONLY;
#ifdef __cplusplus
}
#endif
#ifdef UNIT
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
#endif
END
cat >"$tmp/main.c" <<'END'
#include "counted_heap.h"
static unsigned long asserted, untrue;
#define TT_EMBED_ASSERT(condition) (asserted++, (void)((condition) || untrue++))
#define TT_EMBED_IMPLEMENTATION
#include "unit.h"
#include "bytes.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

static void units_read_alike(void)
{
    static unit_fn *const units[] = {unit_STATIC, unit_READ_ONLY, unit_DECODE_ONLY};
    float *rows = new_floats(GOLDEN_MOST);
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        tte_image image = {NULL, 0};
        tte_table t;
        float *want;
        image.data = golden_bytes(kind, &image.size);
        t = open_image(&image);
        want = lookup_all(&t);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            unit_result r = units[u](&t, image.data, image.size, rows);
            CHECK(r.table_size == sizeof t);
            CHECK_STATUS(r.opened, TTE_OK);
            CHECK_STATUS(r.looked_up, TTE_OK);
            if (!CHECK(same_floats(rows, want, golden_numbers(kind))))
                fprintf(stderr, "    unit %d, %s\n", (int)u, golden[kind].name);
        }
        free(want), free(image.data);
    }
    free(rows);
}

static void assertions_hold(void)
{
    for (int kind = 0; kind < GOLDEN_TRAINED; kind++) {
        float *table = golden_table(kind);
        tte_options options = golden_options(kind);
        tte_image image;
        options.effort = options.effort > 1 ? 2 : options.effort;
        image = make_image(table, golden_rows(kind), (size_t)golden[kind].dim, &options);
        free(table), free(image.data);
    }
    CHECK(heap.requests > 0 && heap.live == 0);
    CHECK(asserted > 0 && untrue == 0);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "units");
    RUN(units_read_alike);
    RUN(assertions_hold);
    return test_end();
}
END
ends_well() { # ends_well PROGRAM..
    "$@" >"$tmp/out" 2>&1 </dev/null || { cat "$tmp/out" && return 1; }
    grep -q '^[a-z_]*: [1-9][0-9]* passed, 0 failed$' "$tmp/out"
}
for one in STATIC READ_ONLY DECODE_ONLY; do
    { define $i STATIC $one | sort -u && printf '#define UNIT unit_%s\n#include "unit.h"\n' $one; } >"$tmp/$one.c"
    check "unit $one" compile $c c99 -O1 -I"$tmp" -c -o "$tmp/$one.o" "$tmp/$one.c"
done
for cc in $c g++ clang++; do
    has $cc || continue
    check "units, main of $cc" compile $cc c99 -O1 -I"$tmp" -c -o "$tmp/main.o" "$tmp/main.c"
    check "units, link with $cc" $cc -o "$tmp/units" "$tmp/main.o" "$tmp/STATIC.o" "$tmp/READ_ONLY.o" \
        "$tmp/DECODE_ONLY.o" -lm
    check "units, $cc" ends_well "$tmp/units"
done

# ---- rows do not depend on flags ------------------------------------------------------------------------

rows() { # rows COMPILER FLAGS..
    cc=$1
    shift
    compile "$cc" c99 "$@" -w -o "$tmp/rows" tests/test_machines.c -lm && ends_well "$tmp/rows"
}
for cc in gcc clang; do
    has $cc || continue
    odd='-fshort-enums -funsigned-char -fno-strict-aliasing -fwrapv -DNDEBUG -fstack-protector-strong -ftrapv'
    for only in READ_ONLY DECODE_ONLY; do
        for flags in "$odd" -O0 -O3 -Os; do check "$cc $flags: rows, $only" rows $cc -DTT_EMBED_$only $flags; done
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
    compile "$cc" c99 -nostdinc "$@" -O2 -c -o "$tmp/bare.o" "$decoder" &&
        if command -v nm >/dev/null 2>&1; then needs_only "$tmp/bare.o" memcpy memmove memset memcmp; fi
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
