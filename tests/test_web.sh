#!/bin/sh
# test_web.sh: the reader as WebAssembly, built by examples/web/build.sh: its size, under node, and with the page around
# it in headless Chromium (web.py). Needs clang and lld, node, chromium and chromedriver, and from an index of packages
# pytest, selenium and axe-core. Ends with its own count. From the environment:
#   PYTHON       the interpreter; default /usr/bin/python3, or python3
#   PYTHON_VENV  an environment to use and to keep; default a new one. What it has is not installed again
#   SCREENSHOT   write a picture of the page there: SCREENSHOT=examples/web/screenshot.png sh tests/test_web.sh

cd "$(dirname "$0")/.." || exit 1
test_name=web
. tests/harness.sh
root=$(pwd)

skip() {
    echo "web: skipped, $1"
    echo 'test_web: 0 passed, 0 failed'
    exit 0
}
CLANG=${CLANG:-clang}
for program in "$CLANG" wasm-ld node chromium chromedriver; do
    command -v "$program" >/dev/null 2>&1 || skip "there is no $program"
done
make_venv 'pytest, selenium, axe_core_python' pytest selenium axe-core-python || skip 'selenium cannot be installed'

# The example is copied, so that nothing is written beside it.
web=$tmp/copy/examples/web
mkdir -p "$web/golden" && ln -s "$root/tt_embed.h" "$tmp/copy/tt_embed.h"
ln -s "$root"/examples/*.h "$root/examples/ttembed.c" "$root/examples/tiny-gpt2" "$tmp/copy/examples"
cp examples/web/*.* tests/reader.mjs "$web" && cp tests/golden/*.tte "$web/golden"
rm -f "$web/tt_embed.wasm"
export CC CLANG
build() { sh "$web/build.sh" "$@" >"$tmp/out" 2>"$tmp/err"; }

# ---- building -----------------------------------------------------------------------------------------

build && [ "$(cd "$web/data" && printf '%s ' *)" = '16.tte 32.tte 4.tte 64.tte 8.tte table.json words.json ' ]
report $? 'build.sh'
if [ "$failed" -ne 0 ]; then finish; fi
size=$(wc -c <"$web/tt_embed.wasm")
echo "$size bytes of WebAssembly" >"$tmp/out"
[ "$size" -gt 10000 ] && [ "$size" -le 24576 ]
report $? 'at most 24 KB of WebAssembly'

refused() { # refused WORDS ARGUMENTS..: one line, and the data of before is still there
    words=$1
    shift
    ! build "$@" && [ "$(grep -c . "$tmp/err")" -eq 1 ] && grep -q -e "$words" "$tmp/err" && [ -f "$web/data/64.tte" ] &&
        [ ! -e "$web/data.new" ]
    report $? "refusal: build.sh $*"
}
refused 'no/such/table: No such file' no/such/table
RATIOS=8 refused 'golden: no model.safetensors here' "$web/golden"
RATIOS=4000 refused 'no setting meets\|bytes' examples/tiny-gpt2
refused 'more than a table and its words' a b c

# A table of one's own: word vectors, under node.
awk 'BEGIN { for (i = 0; i < 900; i++) { printf "word%d", i
    for (j = 0; j < 16; j++) printf " %.4f", sin(i * (j + 1) / 900) + (i * 7919 + j * 104729) % 97 / 970
    print "" } }' >"$tmp/own.txt"
cp -R "$tmp/copy" "$tmp/own" && RATIOS='4 8' sh "$tmp/own/examples/web/build.sh" "$tmp/own.txt" >"$tmp/out" 2>"$tmp/err" &&
    grep -qx '{"name": "own.txt", "words": "words.txt", "images": \["4.tte", "8.tte"\]}' "$tmp/own/examples/web/data/table.json" &&
    [ "$(sed -n 900p "$tmp/own/examples/web/data/words.txt")" = word899 ] && (cd "$tmp/own/examples/web" && node --input-type=module -e '
        import {readFileSync} from "node:fs";
        import {open} from "./tt_embed.mjs";
        const table = await open(readFileSync("data/4.tte")), {ids} = table.topK(table.row(450), 900);
        if (table.vocab !== 900 || table.dim !== 16 || ids.length !== 900 || new Set(ids).size !== 900) throw ids') >"$tmp/out" 2>"$tmp/err"
report $? 'word vectors'

# ---- in the browser ---------------------------------------------------------------------------------------

builds ttembed examples/ttembed.c
"$tmp/ttembed" nearest "$web/data/16.tte" 'Ġriver' --count 60 --vocab "$web/data/words.json" >"$tmp/nearest" 2>"$tmp/err"
report $? 'ttembed nearest'
"$tmp/ttembed" info "$web/data/16.tte" --json >"$tmp/info" 2>"$tmp/err"
report $? 'ttembed info'
if [ -n "${SCREENSHOT-}" ]; then export SCREENSHOT; else unset SCREENSHOT; fi
WEB=$web NEAREST=$tmp/nearest INFO=$tmp/info run_pytest tests/web.py
finish
