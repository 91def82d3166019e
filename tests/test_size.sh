#!/bin/sh
# test_size.sh: what the decoder costs on a microcontroller. Builds it at -Os for a Cortex-M4F and a
# Cortex-M0+, prints code sizes, stack and what it needs from outside, and checks them against the limits
# below. Needs arm-none-eabi-gcc. Ends with 'size: N passed, N failed'.

cd "$(dirname "$0")/.." || exit 1
root=$(pwd)
cc=${CROSS-arm-none-eabi-}gcc
if ! command -v "$cc" >/dev/null 2>&1; then
    echo "size: skipped, there is no $cc"
    exit 0
fi
tmp=${TMPDIR:-/tmp}/tt_embed_size.$$
(umask 077 && mkdir "$tmp") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

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

cat >"$tmp/unit.c" <<'END_C'
#define TT_EMBED_IMPLEMENTATION
#define TT_EMBED_DECODE_ONLY
#include "tt_embed.h"
END_C

build() { # build OBJECT FLAGS..: one decoder, every function in a section of its own
    out=$1
    shift
    rm -f "$tmp/$out.o" "$tmp/$out.ci"
    (cd "$tmp" && "$cc" -std=c99 -Os -mthumb -ffunction-sections -fdata-sections -fcallgraph-info=su \
        -Wall -Wextra -Werror $cpu "$@" -I"$root" -c unit.c -o "$out.o")
}

text_of() { "${CROSS-arm-none-eabi-}size" "$1" | awk 'NR == 2 { print $1 }'; }

# What an application links that calls tte_open and tte_lookup, without libgcc and libc.
linked() { # linked OBJECT
    "$cc" $cpu -mthumb -nostdlib -Wl,--gc-sections -Wl,-e,tte_open -Wl,-u,tte_lookup \
        -Wl,--unresolved-symbols=ignore-all "$tmp/$1.o" -o "$tmp/$1.elf" 2>/dev/null && text_of "$tmp/$1.elf"
}

# The deepest stack of every public function, from the compiler's call graph; a cycle or a call through a
# pointer would have no bound. What libgcc and libc take is not in it.
stacks() { # stacks OBJECT
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

allowed='memcpy|memset|memmove|__aeabi_f(add|sub|mul|cmp(eq|lt|le|ge|gt))|__aeabi_(u?i2f|f2u?iz|u?idiv|u?idivmod|lmul)'
reading=$(sed -n "/^reading='/,/'\$/p" tests/run.sh | grep -o 'tte_[a-z_0-9]*' | sort | tr '\n' ' ')

check_stack() { # check_stack OBJECT
    stacks "$1" >"$tmp/stacks"
    check "deepest stack: $(awk 'NR == 1 { print $2 }' "$tmp/stacks")" \
        "$(awk 'NR == 1 { print $1 }' "$tmp/stacks")" 512
    same "$name: no recursion, no unknown call" '' "$(grep -v '^[0-9]' "$tmp/stacks")"
}

measure() { # measure NAME LIMIT_F32 LIMIT_OTHER COMPILER_FLAGS..
    name=$1 f32=$2 others=$3
    shift 3
    cpu=$*
    echo "$name"
    build all || { failed=$((failed + 1)); return; }
    check 'everything' "$(text_of "$tmp/all.o")" 9216
    same "$name: data and bss" '0 0' "$("${CROSS-arm-none-eabi-}size" "$tmp/all.o" | awk 'NR == 2 { print $2, $3 }')"
    same "$name: public functions" "$reading" \
        "$("${CROSS-arm-none-eabi-}nm" "$tmp/all.o" | awk '$2 == "T" { print $3 }' | sort | tr '\n' ' ')"
    needs=$("${CROSS-arm-none-eabi-}nm" -u "$tmp/all.o" | awk '{ print $2 }')
    same "$name: needs from outside" '' "$(echo "$needs" | grep -Evx "$allowed")"
    echo "  needs $(echo $needs)"
    check_stack all
    for coding in F32 F16 I8 I4; do
        build token -DTT_EMBED_ONLY_LAYOUT=TTE_PER_TOKEN -DTT_EMBED_ONLY_CODING=TTE_$coding
        limit=$others
        if [ $coding = F32 ]; then limit=$f32; fi
        check "open and lookup, per token, $coding" "$(linked token)" "$limit"
        check_stack token
    done
    build table -DTT_EMBED_ONLY_CODING=TTE_ENTROPY
    check 'open and lookup, per table, ENTROPY' "$(linked table)" 4096
    build table -DTT_EMBED_ONLY_LAYOUT=TTE_PER_TABLE
    check_stack table
    printf '  %-46s %6d bytes\n' 'open and lookup, per table, any coding' "$(linked table)"
    printf '  %-46s %6d bytes\n' 'open and lookup, any image' "$(linked all)"
}

measure 'Cortex-M4F' 2560 2560 -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard
measure 'Cortex-M0+' 2560 2720 -mcpu=cortex-m0plus -mfloat-abi=soft

printf 'size: %s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
