#!/bin/sh
# test_numpy.sh: examples/tte_numpy.py, built by itself, against what ttembed makes and reads; the block
# of examples/README.md; builds that must fail. test_numpy.py has the cases. Ends with its own count.
# PYTHON is the interpreter; default /usr/bin/python3.

cd "$(dirname "$0")/.." || exit 1
test_name=numpy
. tests/harness.sh
root=$(pwd)
python=${PYTHON:-/usr/bin/python3}
model=examples/tiny-gpt2/model.safetensors
LC_ALL=C
PYTHONDONTWRITEBYTECODE=1
XDG_CACHE_HOME=$tmp/cache
export CC LC_ALL PYTHONDONTWRITEBYTECODE XDG_CACHE_HOME
unset TTE_NUMPY_SO TT_EMBED_H TT_EMBED_CFLAGS

if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "NumPy: skipped, $python has none"
    echo 'test_numpy: 0 passed, 0 failed'
    exit 0
fi

builds ttembed ${CFLAGS-} examples/ttembed.c
builds patch_file tests/patch_file.c
target=
build() { # build VARIABLE=VALUE..: to $target or the cache
    env "$@" "$python" examples/tte_numpy.py build ${target:+"$target"} >"$tmp/out" 2>"$tmp/err"
}
no_build() { # no_build WORD VARIABLE=VALUE..: ends with 1 and one line that has the word in it
    word=$1
    shift
    build "$@"
    [ $? -eq 1 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q "^tte_numpy: .*$word" "$tmp/err" &&
        [ ! -s "$tmp/out" ] && [ "$(ls "$XDG_CACHE_HOME/tt_embed")" = "$name" ]
}
build && so=$(cat "$tmp/out") && name=$(basename "$so") &&
    [ "$(ls "$XDG_CACHE_HOME/tt_embed")" = "$name" ]
report $? 'build: one file in the cache'
if [ "$failed" -ne 0 ]; then finish; fi
before=$(ls -li "$so")
build && [ "$(ls -li "$so")" = "$before" ]
report $? 'a second build takes what is there'
no_build false CC=false
report $? 'a compiler that fails; it has a cache entry of its own'
no_build 'no-such-compiler: No such file' CC=no-such-compiler
report $? 'no compiler'
no_build 'none.h: No such file' TT_EMBED_H="$tmp/none.h"
report $? 'no header'
echo '#error "this is not it"' >"$tmp/tt_embed.h"
no_build 'this is not it' TT_EMBED_H="$tmp/tt_embed.h"
report $? 'a header that does not compile: its first error'
target=$tmp/none/other.so
no_build 'other.so' CC="$CC" && [ ! -e "$tmp/none" ]
report $? 'nowhere to build to'

# A shared object whose structs are others: an option more in the middle.
sed 's/^    int32_t    effort;/    int64_t more; int32_t effort;/' tt_embed.h >"$tmp/tt_embed.h"
target=$tmp/strange.so
no_build 'structs are not those' TT_EMBED_CFLAGS=-O0 TT_EMBED_H="$tmp/tt_embed.h"
report $? 'structs of another header are noticed'
target=
load="import sys; sys.path.insert(0, 'examples'); import tte_numpy; tte_numpy.library()"
! TTE_NUMPY_SO=$tmp/ttembed "$python" -c "$load" >"$tmp/out" 2>"$tmp/err" &&
    tail -n 1 "$tmp/err" | grep -q '^RuntimeError: tte_numpy: '
report $? 'a file that is no such object'
"$python" examples/tte_numpy.py biuld >"$tmp/out" 2>"$tmp/err"
[ $? -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q '^usage' "$tmp/err"
report $? 'usage'

"$tmp/ttembed" compress "$model" "$tmp/gpt2.tte" --quiet >"$tmp/out" 2>"$tmp/err" &&
    "$tmp/ttembed" export "$tmp/gpt2.tte" "$tmp/gpt2.npy" --quiet >"$tmp/out" 2>"$tmp/err" &&
    "$tmp/ttembed" info "$tmp/gpt2.tte" --json >"$tmp/info.json" 2>"$tmp/err" && : >"$tmp/empty" &&
    "$tmp/patch_file" "$tmp/gpt2.tte" "$tmp/short.tte" keep 200000 &&
    "$tmp/patch_file" "$tmp/gpt2.tte" "$tmp/changed.tte" set 100000 5a5a5a5a5a
report $? 'images and rows by ttembed'
"$python" -W error tests/test_numpy.py "$tmp" >"$tmp/out" 2>"$tmp/err"
status=$?
counts=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$tmp/out")
if [ -n "$counts" ]; then
    grep '^FAILED' "$tmp/err" >&2
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    [ $status -eq 0 ] || [ "${counts#* }" -ne 0 ]
    report $? "test_numpy.py: exit status $status"
else
    report 1 "test_numpy.py: no result, exit status $status"
fi

# Python's block of the README, as it stands.
awk '/^```python$/ { inside = 1; next } /^```/ { inside = 0 } inside' examples/README.md >"$tmp/block.py"
ln -s "$root/examples" "$tmp/examples"
(cd "$tmp" && "$python" -W error block.py) >"$tmp/out" 2>"$tmp/err" &&
    grep -q "'vocab': 5000, 'dim': 96, .*'coding': 'trellis'" "$tmp/out"
report $? 'the block of README.md'

# A cache that cannot be written to: as another user, or where root may do all, a file in its place.
rm -rf "$tmp/cache"
: >"$tmp/cache"
build TT_EMBED_CFLAGS=-O0 TMPDIR="$tmp" && so=$(cat "$tmp/out") && [ -f "$so" ] &&
    [ "${so#"$tmp"/tte_numpy.}" != "$so" ]
report $? 'no place for a cache: a temporary folder'

finish
