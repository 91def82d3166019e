#!/bin/sh
# test_size.sh: what the reader costs on a microcontroller. Builds it at -Os for a Cortex-M4F and a
# Cortex-M0+, prints code sizes, stack and what it needs from outside, and checks them against the limits
# below. Needs arm-none-eabi-gcc. Ends with 'test_size: N passed, N failed'.

cd "$(dirname "$0")/.." || exit 1
root=$(pwd)
tools=${CROSS-arm-none-eabi-}
cc=${tools}gcc
if ! command -v "$cc" >/dev/null 2>&1; then
    echo "size: skipped, there is no $cc"
    exit 0
fi
test_name=size
. tests/harness.sh

# check NAME VALUE LIMIT: at most that many bytes.
check() {
    if [ -n "$2" ] && [ "$2" -le "$3" ]; then
        passed=$((passed + 1))
        printf '  %-46s %6d bytes (limit %d)\n' "$1" "$2" "$3"
    else
        failed=$((failed + 1))
        printf 'FAILED %-45s %6s bytes, limit %d\n' "$1" "${2:-no}" "$3"
    fi
}

# same NAME WANTED FOUND: equal texts.
same() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s: wanted "%s", found "%s"\n' "$1" "$2" "$3"
    fi
}

build() { # build NAME MACRO: the reader, every function in a section of its own
    printf '#define TT_EMBED_IMPLEMENTATION\n#define %s\n#include "tt_embed.h"\n' "$2" >"$tmp/unit.c"
    # shellcheck disable=SC2086
    (cd "$tmp" && "$cc" -std=c99 -Os -mthumb -ffunction-sections -fdata-sections -fcallgraph-info=su \
        -Wall -Wextra -Werror $cpu -I"$root" -c unit.c -o "$1.o")
}

text_of() { "${tools}size" "$1" | awk 'NR == 2 { print $1 }'; }

# Bytes that an application links which calls these functions, without libgcc and libc.
linked() { # linked NAME FUNCTIONS..
    object=$tmp/$1.o
    shift
    # shellcheck disable=SC2086,SC2046
    "$cc" $cpu -mthumb -nostdlib -Wl,--gc-sections -Wl,-e,tte_open $(printf ' -Wl,-u,%s' "$@") \
        -Wl,--unresolved-symbols=ignore-all "$object" -o "$tmp/linked.elf" 2>/dev/null && text_of "$tmp/linked.elf"
}

# The deepest stack of every public function, from the compiler's call graph; a cycle or a call through a
# pointer would have no bound. What libgcc and libc take is not in it.
stacks() { # stacks NAME
    awk -F'"' '
        function deepest(f,    i, n, callee, most, d) {
            if (open[f]) { print "cycle", f; exit }
            if (f in depth) return depth[f]
            open[f] = 1
            n = split(calls[f], callee, "\n")
            for (i = 1; i <= n; i++) if (callee[i] != "") { d = deepest(callee[i]); if (d > most) most = d }
            open[f] = 0
            return depth[f] = own[f] + most
        }
        /^node:/ { own[$2] = match($4, /[0-9]+ bytes/) ? substr($4, RSTART) + 0 : 0
                   if ($4 ~ /dynamic/) print "dynamic", $2 }
        /^edge:/ { calls[$2] = calls[$2] "\n" $4; if ($4 ~ /indirect/) print "indirect", $2 }
        END { for (f in own) if (f ~ /^tte_/) print deepest(f), f }' "$tmp/$1.ci" | sort -rn
}

# All public functions of the reading side, as the header declares them.
printf '#include "tt_embed.h"\n' >"$tmp/api.c"
reading=$("$cc" -E -P -DTT_EMBED_DECODE_ONLY -I"$root" "$tmp/api.c" | grep -o '\<tte_[a-z0-9_]*(' | tr -d '(' |
    sort | tr '\n' ' ')
allowed='memcpy|memset|memmove|memcmp|__aeabi_f(add|sub|mul|div|cmp(eq|lt|le|ge|gt))|__aeabi_(u?i2f|ul2f|f2u?iz|f2ulz)'
allowed="$allowed|__aeabi_(u?idiv|u?idivmod|uldivmod|lmul|llsr|llsl)"

# What holds of every reader: no state, nothing of the writer, no heap, no double, no recursion.
sound() { # sound NAME
    same "$1: data and bss" '0 0' "$("${tools}size" "$tmp/$1.o" | awk 'NR == 2 { print $2, $3 }')"
    same "$1: public functions" "$reading" \
        "$("${tools}nm" "$tmp/$1.o" | awk '$2 == "T" { print $3 }' | sort | tr '\n' ' ')"
    stacks "$1" >"$tmp/stacks"
    same "$1: no recursion, no unknown call" '' "$(grep -v '^[0-9]' "$tmp/stacks")"
}

measure() { # measure PROCESSOR LIMITS COMPILER_FLAGS..: of lookup, of all that scores too, of everything, of stack
    echo "$1"
    limit_lookup=$2 limit_scores=$3 limit_all=$4 limit_stack=$5
    shift 5
    cpu=$*
    if ! build decoder TT_EMBED_DECODE_ONLY || ! build reader TT_EMBED_READ_ONLY; then
        failed=$((failed + 1))
        return
    fi
    check 'open and lookup' "$(linked decoder tte_lookup)" "$limit_lookup"
    check 'open, lookup, logits and top-k' "$(linked decoder tte_lookup tte_logits tte_top_k)" \
        "$limit_scores"
    check 'everything' "$(text_of "$tmp/decoder.o")" "$limit_all"
    sound decoder
    check "deepest stack: $(awk 'NR == 1 { print $2 }' "$tmp/stacks")" \
        "$(awk 'NR == 1 { print $1 }' "$tmp/stacks")" "$limit_stack"
    needs=$("${tools}nm" -u "$tmp/decoder.o" | awk '{ print $2 }')
    same 'decoder: needs from outside' '' "$(echo "$needs" | grep -Evx "$allowed")"
    echo "  needs $(echo "$needs" | tr '\n' ' ')"
    sound reader
    printf '  %-46s %6d bytes\n' 'open, lookup, logits and top-k, READ_ONLY' \
        "$(linked reader tte_lookup tte_logits tte_top_k)"
    printf '  %-46s %6d bytes\n' 'deepest stack, READ_ONLY' "$(awk 'NR == 1 { print $1 }' "$tmp/stacks")"
    same 'reader: no heap, no files' '' \
        "$("${tools}nm" -u "$tmp/reader.o" | grep -Ew 'malloc|calloc|realloc|free|fopen|fread|fwrite|printf')"
}

measure 'Cortex-M4F' 6656 8192 12288 512 -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard
measure 'Cortex-M0+' 7168 8960 12288 576 -mcpu=cortex-m0plus -mfloat-abi=soft

finish
