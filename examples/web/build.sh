#!/bin/sh
# build.sh: makes what the page shows: the reader as WebAssembly, and images of a table at several ratios.
#
#     sh examples/web/build.sh                       the table of examples/tiny-gpt2 and its words
#     sh examples/web/build.sh glove.6B.100d.txt     of word vectors as text
#     sh examples/web/build.sh TABLE WORDS           of any table that ttembed reads; WORDS: a word a line, or
#                                                    a vocab.json
#     python3 -m http.server -d examples/web 8000    then open http://localhost:8000
#
# Needs clang and lld (Debian: apt-get install clang lld) and a C compiler. From the environment:
#   CLANG    default clang
#   CC       for ttembed, default cc
#   RATIOS   how many times smaller, rising; default "4 8 16 32 64"

set -e
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
table=${1:-$root/examples/tiny-gpt2}
words=${2-}
ratios=${RATIOS:-4 8 16 32 64}
fail() {
    echo "build.sh: $*" >&2
    exit 1
}
[ $# -le 2 ] || fail "more than a table and its words: $*"
[ -e "$table" ] || fail "$table: No such file or directory"
name=$(basename "$table")

# -Os with 128-bit vectors: 3 % more bytes, rows 1.6 times as fast; -O2 is half as large again and no faster.
${CLANG:-clang} --target=wasm32 -Os -msimd128 -mbulk-memory -ffreestanding -nostdlib -Wall -Wextra -I"$here" \
    -Wl,--no-entry,--stack-first,--strip-all -o "$here/tt_embed.wasm" "$here/reader.c"

# New images take the place of the old ones when all are there.
made=$here/data.new
rm -rf "$made"
mkdir "$made"
trap 'rm -rf "$made"' EXIT
trap 'exit 1' HUP INT TERM
${CC:-cc} -O2 -o "$made/ttembed" "$root/examples/ttembed.c" -lm

if [ -z "$words" ] && [ -f "$table/vocab.json" ]; then words=$table/vocab.json; fi
images=
for ratio in $ratios; do
    "$made/ttembed" compress "$table" "$made/$ratio.tte" --ratio "$ratio"
    images="$images${images:+, }\"$ratio.tte\""
    if [ -f "$made/$ratio.vocab" ]; then # words in the table's own file
        mv "$made/$ratio.vocab" "$made/words.txt"
    fi
done
case $words in
'') [ -f "$made/words.txt" ] || fail "$table: no words beside it; give a file of them after it" ;;
*.json) cp "$words" "$made/words.json" && rm -f "$made/words.txt" ;;
*) cp "$words" "$made/words.txt" ;;
esac
list=words.txt
if [ -f "$made/words.json" ]; then list=words.json; fi
rm "$made/ttembed"
name=$(printf '%s' "$name" | tr -d '\042\134[:cntrl:]')
printf '{"name": "%s", "words": "%s", "images": [%s]}\n' "$name" "$list" "$images" >"$made/table.json"
rm -rf "$here/data"
mv "$made" "$here/data"
echo "$(wc -c <"$here/tt_embed.wasm") bytes of WebAssembly; next: python3 -m http.server -d examples/web 8000"
