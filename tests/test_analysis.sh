#!/bin/sh
# test_analysis.sh: clang-tidy, cppcheck and gcc -fanalyzer on the header and on the examples; shellcheck on the scripts.
# Every finding is mended or stands in the list of exceptions below with the reason why it is no bug. Ends with
# 'test_analysis: N passed, N failed'.
#
# Written with the versions of Debian 12: clang-tidy 14, cppcheck 2.10, gcc 12, shellcheck 0.9. The header's bodies are
# analyzed once; the examples see its declarations only. gcc's analyzer takes vectors for integers of three bits and
# minutes for the writer: it gets the reader, as processors without vectors compile it.

cd "$(dirname "$0")/.." || exit 1
test_name=analysis
. tests/harness.sh
root=$(pwd)

# ---- exceptions: check | file | what the line holds | why it is no bug -------------------------------

cat >"$tmp/exceptions" <<'END'
clang-analyzer-core.NullDereference | tt_embed.h | a = TTEI_DOUBLES_OF(x + i), b | vectors are rotated only where they are kept
clang-analyzer-core.NullDereference | tt_embed.h | beta * right[(hi - 1) | a matrix is divided only where vectors are kept
clang-analyzer-core.DivideZero | tt_embed.h | ->s[i / n] * room->vt[i] | a core has a column
clang-analyzer-core.DivideZero | tt_embed.h | one->s[i / n] * one->vt[i] | the same
clang-analyzer-core.DivideZero | tt_embed.h | % c->sample | a sample has a row, as a table has
clang-analyzer-core.NullDereference | tt_embed.h | -old * pending[ | old is 0 until pending is set; analyzers do not follow floats
clang-analyzer-deadcode.DeadStores | tt_embed.h | now = left; | the initial value is for modes == 1, where the loop runs not at all
uninitvar | tt_embed.h | i = before_of[i] | a class's list reaches only rows that were put into it above
uninitvar | tt_embed.h | together[n++] = records[i] | the same
clang-analyzer-core.UndefinedBinaryOperatorResult | examples/tensor_files.h | hex_digit(s[0]) << 12 | where strings were parsed, all four were found to be digits
clang-analyzer-unix.Malloc | examples/tensor_files.h | block_unlink((block *)p - 1); | a block leaves the list before it is freed
clang-analyzer-core.NullDereference | tt_embed.h | return ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16) >> | a block of the index lies in the image
clang-analyzer-core.NullDereference | examples/tensor_files.h | to[0] = (unsigned char)(0xc0 | p >> 6) | room for the bytes is there, or nothing is put
clang-analyzer-core.NullDereference | examples/tensor_files.h | j->node[node].next = j->count; | without memory for a node there is a trouble, and the line above returns
clang-analyzer-core.NullDereference | examples/tensor_files.h | next < end && !is_blank(*next) | a row lies in the file, whose data are there
clang-analyzer-core.NullDereference | examples/tensor_files.h | v->data[begin] == '\n' || v->data[begin] | the same
clang-analyzer-core.NullDereference | examples/vocabulary.h | v->pool[v->used++] = (char)from[i]; | room is made above
clang-analyzer-core.NonNullParamChecker | examples/gpt2.h | strcmp((const char *)word.data, known[i]) | here a trouble ends the program
clang-analyzer-core.DivideZero | examples/gpt2.h | m->width % m->heads | the same, for a number below 1
clang-analyzer-core.NullDereference | examples/gpt2_demo.c | hex_digit(hex.data[0]) << 4 | the same, for what is no two digits
clang-analyzer-core.UndefinedBinaryOperatorResult | examples/gpt2_demo.c | hex_digit(hex.data[0]) << 4 | the same
clang-analyzer-core.uninitialized.ArraySubscript | examples/gpt2_demo.c | c->s->logit[best[i]] | the line above ends the program where i is found or more
bugprone-narrowing-conversions | examples/ttembed.c | ? c : '_'; | a char or an underscore
clang-analyzer-core.UndefinedBinaryOperatorResult | examples/gpt2.h | SIZE_MAX / sizeof(float) / cols | all members of a model are set, from zeros on
uninitvar | examples/gpt2.h | float top = x[0] | a vocabulary of no token is refused, so n is at least 1
uninitvar | examples/gpt2_demo.c | score[best[k - 1]] | entries below `found` have been written
va_end_missing | examples/ttembed.c | } | end_with does not return
-Wanalyzer-null-argument | examples/ttembed.c | memcpy(path, image, stem) | take() ends the program where there is no memory
-Wanalyzer-malloc-leak | examples/tensor_files.h | all.data | every block is in a list until it is given back
SC2148 | tests/harness.sh | # harness.sh: | is read by others, of whose shell it is
SC2013 | tests/run.sh | for code in $(cut | names without spaces
SC1122 | tests/test_demo.sh | END { | awk's END inside of a here-document, whose end is a line of END alone
END

# found NAME FINDINGS: a test, passed when nothing is left; findings are file:line:column: kind: text [check].
found() {
    sed "s#^$root/##; s#^$tmp/##; s#^\./##" "$2" | awk -v list="$tmp/exceptions" -v used="$tmp/used" -v root="$root" '
        BEGIN {
            while ((getline line <list) > 0) {
                if (split(line, part, / \| /) < 4) continue
                n++; check[n] = part[1]; file[n] = part[2]; text[n] = part[3]
            }
        }
        match($0, /^[^ :]+:[0-9]+:[0-9]+: (fatal )?(warning|error|note|style): .*\[[^ ]+\]$/) {
            split($0, at, ":")
            name = $NF; gsub(/[][]/, "", name)
            if (seen[at[1] at[2] name]++) next
            source = ""
            for (i = 0; i < at[2]; i++) if ((getline source <(root "/" at[1])) <= 0) break
            close(root "/" at[1])
            for (i = 1; i <= n; i++)
                if (check[i] == name && file[i] == at[1] && index(source, text[i]) > 0) {
                    print i >>used
                    next
                }
            print
            print "    " source
        }' >"$tmp/left"
    if [ -s "$tmp/left" ]; then
        failed=$((failed + 1))
        printf 'FAILED %s\n' "$1"
        sed 's/^/    /' "$tmp/left"
    else
        passed=$((passed + 1))
    fi
}
: >"$tmp/used"

# finds NAME FINDINGS CHECK: the tool works: it finds what is wrong with the file made for that.
finds() {
    if grep -q "\[$3[],]" "$2"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s: does not find a fault that is there\n' "$1"
        tail -n 5 "$2"
    fi
}
need() {
    command -v "$1" >/dev/null 2>&1 && return
    failed=$((failed + 1))
    printf 'FAILED %s is missing\n' "$1"
    return 1
}

cat >"$tmp/fault.c" <<'END'
#include <stdlib.h>
int fault(int n);
int fault(int n)
{
    int *p = NULL, *q = (int *)malloc(sizeof *q);
    if (q == NULL)
        return 0;
    if (n > 3)
        p = &n;
    return *p + *q;
}
END
printf '#!/bin/sh\nrm -r "$%s"/*\n' 1 >"$tmp/fault.sh"
printf '#define TT_EMBED_IMPLEMENTATION\n#include "tt_embed.h"\n' >"$tmp/full.c"
printf '#define TT_EMBED_DECODE_ONLY\n' | cat - "$tmp/full.c" >"$tmp/DECODE_ONLY.c"
{ # the system's headers want to know the processor
    printf '#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n#undef __x86_64__\n#undef __SSE2_MATH__\n'
    printf '#define TT_EMBED_READ_ONLY\n' | cat - "$tmp/full.c"
} >"$tmp/plain.c"
examples='ttembed gpt2_demo'
for name in $examples; do
    # The lines stay where they are.
    sed 's/^#define TT_EMBED_IMPLEMENTATION$//; s#"\.\./tt_embed.h"#"tt_embed.h"#' "examples/$name.c" >"$tmp/$name.c"
done
# of_file TOOL NAME: the findings in the log, by the names of the repository's files.
of_file() {
    sed "s#^$tmp/\(ttembed\|gpt2_demo\)#examples/\1#" "$tmp/log" >"$tmp/found"
    found "$1 $2" "$tmp/found"
}
begun=$(date +%s)
took() { # took NAME
    now=$(date +%s)
    printf '  %s: %d s\n' "$1" $((now - begun))
    begun=$now
}

# ---- shellcheck --------------------------------------------------------------------------------------

if need shellcheck; then
    # SC2086, SC2046: flags and lists of names are meant to split. SC2016: programs of awk are quoted. SC2030,
    # SC2031: a change that ends with its subshell is meant to. SC2154: run.sh's lists come by eval.
    shell='shellcheck -x -f gcc -e SC2016,SC2086,SC2046,SC2030,SC2031,SC2154'
    $shell "$tmp/fault.sh" >"$tmp/log"
    finds shellcheck "$tmp/log" SC2115
    for script in $(find . -path ./.git -prune -o -type f \( -name '*.sh' -o -path ./.ci/run \) -print | sort); do
        script=${script#./}
        $shell "$script" >"$tmp/log"
        found "shellcheck $script" "$tmp/log"
    done
    took shellcheck
fi

# ---- cppcheck ----------------------------------------------------------------------------------------

if need cppcheck; then
    cpp() { # cpp FILE FLAGS..
        file=$1
        shift
        cppcheck -q --std=c99 --enable=warning,performance,portability --error-exitcode=9 "$@" -I. -Iexamples \
            --template='{file}:{line}:{column}: warning: {message} [{id}]' "$file" >"$tmp/log" 2>&1
    }
    cpp "$tmp/fault.c"
    finds cppcheck "$tmp/log" memleak
    # The caller's scratch of floats is room for integers, too, by types that may alias.
    for name in full DECODE_ONLY $examples; do
        cpp "$tmp/$name.c" -D__unix__=1 -D__GNUC__=12 --suppress=invalidPointerCast
        of_file cppcheck $name
    done
    took cppcheck
fi

# ---- clang-tidy --------------------------------------------------------------------------------------

if need clang-tidy; then
    checks='-*,bugprone-*,cert-*,clang-analyzer-*,misc-*,performance-*,portability-*'
    # Sizes, strides and pointers follow each other in most functions of this kind.
    checks="$checks,-bugprone-easily-swappable-parameters"
    # Counts of symbols, modes and lanes times 2, 4 or 8 as an offset: far below the range of int.
    checks="$checks,-bugprone-implicit-widening-of-multiplication-result"
    # Messages to people may get lost; files are checked with ferror and fclose, lengths beforehand.
    checks="$checks,-cert-err33-c"
    # _POSIX_C_SOURCE and _FILE_OFFSET_BITS are asked for by the system.
    checks="$checks,-bugprone-reserved-identifier,-cert-dcl37-c,-cert-dcl51-cpp"
    # MAP_FAILED and SIG_ERR are the system's.
    checks="$checks,-performance-no-int-to-ptr"
    # Nested JSON and GGUF are read so, to a depth that is checked.
    checks="$checks,-misc-no-recursion"
    # An attribute's name and arguments: parentheses would be wrong.
    checks="$checks,-bugprone-macro-parentheses"
    # Bytes with a length, not strings.
    checks="$checks,-bugprone-not-null-terminated-result"
    tidy() { # tidy FILE: bodies that stand in headers, too
        clang-tidy --quiet --header-filter='.*' --checks="$checks" "$1" -- -std=c99 -I. -Iexamples \
            -Xclang -analyzer-opt-analyze-headers >"$tmp/log" 2>/dev/null
    }
    tidy "$tmp/fault.c"
    finds clang-tidy "$tmp/log" clang-analyzer-core.NullDereference
    for name in full DECODE_ONLY $examples; do
        tidy "$tmp/$name.c"
        of_file clang-tidy $name
    done
    took clang-tidy
fi

# ---- gcc -fanalyzer ----------------------------------------------------------------------------------

if need gcc; then
    analyze() { # analyze FILE FLAGS..
        file=$1
        shift
        gcc -std=c99 -fanalyzer -fdiagnostics-plain-output -fanalyzer-verbosity=0 "$@" -I. -Iexamples -S \
            -o "$tmp/code.s" "$file" >"$tmp/log" 2>&1
    }
    analyze "$tmp/fault.c"
    finds 'gcc -fanalyzer' "$tmp/log" -Wanalyzer-null-dereference
    # It loses sight of what memcpy copies into a variable from places it does not know: the header's vectors,
    # the examples' list of blocks. Valgrind and clang's memory of values see to such reads.
    memory=-Wno-analyzer-use-of-uninitialized-value
    for name in plain DECODE_ONLY $examples; do
        analyze "$tmp/$name.c" $memory
        of_file 'gcc -fanalyzer' $name
    done
    took 'gcc -fanalyzer'
fi

# An exception that nothing needs any more may go; other versions of the tools need others.
awk 'NR == FNR { used[$1] = 1; next } / \| .* \| / && ++n && !(n in used) { print "  not needed here: " $0 }' \
    "$tmp/used" "$tmp/exceptions"

finish
