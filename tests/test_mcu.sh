#!/bin/sh
# test_mcu.sh: the firmware of examples/mcu on both of its boards under qemu-system-arm: tables of both
# layouts agree with the host; damaged ones, and wrong expectations, make it fail; its README and costs.csv
# tell of this header. Ends with 'test_mcu: N passed, N failed'.

cd "$(dirname "$0")/.." || exit 1
test_name=mcu
. tests/harness.sh
root=$(pwd)
CROSS=${CROSS:-arm-none-eabi-}

for program in "${CROSS}gcc" qemu-system-arm; do
    if ! command -v $program >/dev/null 2>&1; then
        echo "firmware: skipped, there is no $program"
        exit 0
    fi
done
if ! echo '#include <string.h>' | "${CROSS}gcc" -E - >/dev/null 2>&1; then
    echo "firmware: skipped, ${CROSS}gcc has no newlib"
    exit 0
fi

# The example is copied, so that nothing is written beside it.
mkdir "$tmp/examples" || exit 1
ln -s "$root/tt_embed.h" "$tmp/tt_embed.h"
ln -s "$root"/examples/*.h "$root/examples/ttembed.c" "$root/examples/tiny-gpt2" "$tmp/examples"
mkdir "$tmp/examples/mcu"
cp "$root"/examples/mcu/*.* "$tmp/examples/mcu"
OUT=$tmp/made
export CC CROSS OUT
unset FLASH MODEL OPT

limit=
if command -v timeout >/dev/null 2>&1; then limit='timeout 120'; fi
mcu() { $limit sh "$tmp/examples/mcu/mcu.sh" "$@" >"$tmp/out" 2>&1; }

# ---- what must work -----------------------------------------------------------------------------

# What the last run cost is within a third of what costs.csv says.
near_costs() { # near_costs BOARD LAYOUT CODING RATIO
    awk -F, -v key="$1,$2,$3,$4" '
        FNR == NR && $1 "," $3 "," $4 "," $5 == key && $2 == "-Os" {
            want["reader"] = $8; want["scratch"] = $10; want["lookup:"] = $14; want["logits:"] = $15
            want["top_k:"] = $16; want["coefficient"] = $17
            found++
        }
        FNR == NR { next }
        FNR == 1 { FS = " "; $0 = $0 }
        $1 == "reader:" { got["reader"] = $2 }
        $1 == "scratch:" { got["scratch"] = $2 }
        $1 == "coefficient:" { got["coefficient"] = $2 }
        /bytes of stack/ { got[$1] = $2 }
        END {
            for (what in want)
                if (!(got[what] < want[what] * 4 / 3 && got[what] > want[what] * 2 / 3)) {
                    print "costs.csv:", key, what, want[what] ", now", got[what]
                    wrong++
                }
            exit wrong > 0 || found != 1
        }' "$tmp/examples/mcu/costs.csv" "$tmp/said" >>"$tmp/out"
}

# Every call's cost is printed and it ends with PASS; the table has the size that was made.
said_all() { # said_all BYTES
    grep -q "^table: 4096 x 128, $(($1)) bytes of flash\$" "$tmp/said" &&
        [ "$(grep -c '^[a-z_]*: [1-9][0-9]* instructions, [1-9][0-9]* bytes of stack$' "$tmp/said")" -eq 5 ] &&
        grep -q '^coefficient: [0-9.]* instructions$' "$tmp/said" &&
        [ "$(grep -c '^  token [0-9]*, score [0-9.]*$' "$tmp/said")" -eq 5 ] &&
        grep -q '^rows: 0.000 ulp' "$tmp/said" && [ "$(tail -n 1 "$tmp/said")" = PASS ]
}

agrees() { # agrees RATIO LAYOUT [CODING]: on both boards
    setting="per $2 ${3-} $1x"
    mcu table --ratio "$1" --layout "$2" ${3:+--coding "$3"}
    report $? "$setting: table"
    bytes=$(wc -c <"$OUT/table.tte")
    for board in mps2-an386 microbit; do
        mcu build $board && ! grep 'warning:' "$tmp/out" && mcu run $board && cp "$tmp/out" "$tmp/said" &&
            said_all "$bytes" && { [ -n "${OPT-}" ] || near_costs $board "$2" "${3:-trellis}" "$1"; }
        report $? "$setting: $board ${OPT-}"
    done
}

# The microbit's own flash holds what is 16 times smaller.
agrees 38.4 table
agrees 16 token i4
agrees 16 token i8
agrees 16 table

# No heap, no stdio, no arithmetic in double.
"${CROSS}nm" "$OUT/microbit.elf" >"$tmp/out"
grep -q ' T tte_top_k$' "$tmp/out" && grep -q ' memcpy$' "$tmp/out" &&
    ! grep -E ' (malloc|_?sbrk|printf|_?write|__aeabi_d[a-z0-9]*|__aeabi_f2d)$' "$tmp/out"
report $? 'nm microbit.elf'

# One that is 8 times smaller does not fit beside the code, and the linker says by how much.
mcu table --ratio 8 && ! mcu build microbit && grep -q "FLASH' overflowed by [0-9]* bytes" "$tmp/out"
report $? 'a table too large for the microbit'
FLASH=1048576
export FLASH
agrees 8 table
OPT=-O2
export OPT
agrees 8 token i8
agrees 8 table
unset OPT FLASH

# ---- what must fail -------------------------------------------------------------------------------

# fails NAME MESSAGE: the firmware as it lies in OUT, on both boards
fails() {
    for board in mps2-an386 microbit; do
        mcu build $board && { mcu run $board; [ $? -eq 1 ]; } && grep -q "^FAIL: $2" "$tmp/out" &&
            ! grep -q PASS "$tmp/out"
        report $? "$1: $board"
    done
}

# Adds 1 to the first number of a line.
raise() { # raise FILE LINE
    awk -v line="$2" '
        NR == line { n = $0 + 0; sub(/[0-9]+/, (n + 1) % 256) }
        { print }' "$OUT/$1" >"$OUT/raised" && mv "$OUT/raised" "$OUT/$1"
}

mcu table --ratio 38.4
report $? 'the table to damage'
mkdir "$tmp/good" && cp "$OUT"/* "$tmp/good"
first=$(grep -n 'const unsigned char table' "$OUT/table.h" | cut -d : -f 1)

raise table.h $((first + 2))
fails 'a damaged header' 'open: checksum'
cp "$tmp/good/table.h" "$OUT"
raise table.h $((first + 1500))
fails 'a damaged record' 'verify: checksum'
cp "$tmp/good/table.h" "$OUT"

# One entry becomes about a quarter.
awk '/expected_rows/ { line = NR + 20 }
    NR == line { sub(/0x..../, "0x3e80") }
    { print }' "$tmp/good/expected.h" >"$OUT/expected.h"
fails 'a wrong row' "lookup: a row differs"
awk '/expected_best/ { sub(/\{/, "{1") } { print }' "$tmp/good/expected.h" >"$OUT/expected.h"
fails 'a wrong best token' 'top_k: tokens or scores differ'
cp "$tmp/good/expected.h" "$OUT"

# What is expected of another table does not compile.
sed 's/EXPECTED_BYTES = /&1/' "$tmp/good/expected.h" >"$OUT/expected.h"
! mcu build microbit && grep -q expected_is_of_this_table "$tmp/out"
report $? 'expected.h of another table'
cp "$tmp/good/expected.h" "$OUT"

# Scratch that is too small is noticed before it is used.
sed 's/SCRATCH = 1024/SCRATCH = 128/' examples/mcu/main.c >"$tmp/examples/mcu/main.c"
fails 'too little scratch' 'scratch: '
cp examples/mcu/main.c "$tmp/examples/mcu"

# A fault ends the firmware, with a status of its own.
echo 'int main(void) { __builtin_trap(); }' >"$tmp/examples/mcu/main.c"
for board in mps2-an386 microbit; do
    mcu build $board && { mcu run $board; [ $? -eq 2 ]; }
    report $? "a fault: $board"
done
cp examples/mcu/main.c "$tmp/examples/mcu"

# What cannot be done is refused in one line.
refuses() { # refuses NAME COMMAND..
    name=$1
    shift
    ! "$@" >"$tmp/out" 2>&1 && [ "$(wc -l <"$tmp/out")" -eq 1 ]
    report $? "$name"
}
builds patch_file tests/patch_file.c
"$tmp/patch_file" "$OUT/table.tte" "$tmp/damaged.tte" set 20000 ffffffff
refuses 'expect: a damaged image' "$OUT/expect" "$tmp/damaged.tte" "$tmp/damaged.h"
[ ! -e "$tmp/damaged.h" ]
report $? 'expect: nothing written'
"$OUT/expect" "$OUT/table.tte" "$tmp/again.h" >"$tmp/out" 2>&1 && cmp "$tmp/again.h" "$OUT/expected.h"
report $? 'expect: the same again'
refuses 'mcu.sh: an unknown board' sh examples/mcu/mcu.sh build nothing
refuses 'mcu.sh: no setting' sh "$tmp/examples/mcu/mcu.sh" table --layout token --ratio 38.4
refuses 'mcu.sh: no table' sh "$tmp/examples/mcu/mcu.sh" build microbit

# ---- the README: its code compiles, its table is that of costs.csv -------------------------------

awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' examples/mcu/README.md >"$tmp/readme.c"
grep -q tte_lookup "$tmp/readme.c" && "${CROSS}gcc" -std=c99 -Wall -Wextra -Werror -mthumb -mcpu=cortex-m0 -Os \
    -I"$root" -I"$tmp/good" -c -o "$tmp/readme.o" "$tmp/readme.c" >"$tmp/out" 2>&1
report $? 'the code in README.md'

mcu readme && cmp "$tmp/examples/mcu/README.md" examples/mcu/README.md >"$tmp/out" 2>&1
report $? 'README.md and costs.csv'
finish
