#!/bin/sh
# test_reader.sh: tests/reader.mjs, which is written from IMAGE FORMAT alone, reads images bit for bit as the library
# does: the golden ones, and one of a train for each row whose ranks need two bytes. Needs node, which NODE names.
# Ends with its own count.

cd "$(dirname "$0")/.." || exit 1
test_name=reader
. tests/harness.sh
node=${NODE:-node}
if ! command -v "$node" >/dev/null 2>&1; then
    echo "reader: skipped, there is no $node"
    echo 'test_reader: 0 passed, 0 failed'
    exit 0
fi
compare() { "$node" tests/reader.mjs --compare "$@" >"$tmp/out" 2>"$tmp/err"; }

# In the order of the list in golden.h.
images=$(sed -n '/golden\[GOLDEN_ALL\] = {/,/};/p' tests/golden.h | grep -o '"[a-z0-9-]*"' | tr -d '"' |
    sed 's#.*#tests/golden/&.tte#')
set -- tests/golden/*.tte
[ "$(echo "$images" | wc -l)" -eq $# ]
report $? 'every golden image is in the list'
# shellcheck disable=SC2086
compare $images tests/golden/rows.bin && grep -q "^reader: $(($# + 1)) passed, 0 failed\$" "$tmp/out"
report $? 'golden images'

# It notices what is wrong: the last row, a turned bit.
cp tests/golden/rows.bin "$tmp/rows"
printf '\001' | dd of="$tmp/rows" bs=1 seek=$(($(wc -c <"$tmp/rows") - 4)) conv=notrunc 2>"$tmp/err"
# shellcheck disable=SC2086
! compare $images "$tmp/rows" && [ "$(cat "$tmp/err")" = 'FAILED tests/golden/table-any.tte: row 149' ]
report $? 'a row that differs'
cp tests/golden/table.tte "$tmp/turned.tte"
printf '\001' | dd of="$tmp/turned.tte" bs=1 seek=1000 conv=notrunc 2>"$tmp/err"
! "$node" tests/reader.mjs "$tmp/turned.tte" 2>"$tmp/err" && grep -q 'checksum of section' "$tmp/err"
report $? 'a turned bit'

# shellcheck disable=SC2086
builds ttembed ${CFLAGS-} examples/ttembed.c
"$node" -e 'const row = Float32Array.from({length: 180000}, (_, i) => Math.sin(i * i % 9973) + Math.sin(i / 300 | 0) * Math.sin(i % 300));
    require("fs").writeFileSync(process.argv[1], Buffer.from(row.buffer))' "$tmp/table.raw" &&
    "$tmp/ttembed" compress "$tmp/table.raw" "$tmp/wide.tte" --dim 90000 --layout token --shape 300x300 --eps 0.1 \
        --coding i8 --quiet && "$tmp/ttembed" info "$tmp/wide.tte" >"$tmp/out" && grep -q '^index_bytes *12$' "$tmp/out" &&
    "$tmp/ttembed" export "$tmp/wide.tte" "$tmp/wide.npy" --quiet &&
    tail -c 720000 "$tmp/wide.npy" >"$tmp/rows" && compare "$tmp/wide.tte" "$tmp/rows"
report $? 'ranks of two bytes'
finish
