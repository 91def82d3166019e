#!/bin/sh
# test_demo.sh: builds examples/gpt2_demo.c as the README says and runs it on the model beside it,
# on damaged copies of that model, and with options it must refuse. Ends with its own count.
# TEST_HELD_OUT names a text whose perplexity the reference knows; without it that line is skipped.
# TEST_SMALL=1 leaves that out, and the default table, which takes most of the time.

cd "$(dirname "$0")/.." || exit 1
test_name=demo
. tests/harness.sh
mkdir "$tmp/model" || exit 1
model=examples/tiny-gpt2
reference=$model/reference.json
held_out=${TEST_HELD_OUT:-../shared/text/wizard-of-oz.txt}

demo() { "$tmp/demo" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null; }

# ---- building, and what must work -------------------------------------------------------------

# shellcheck disable=SC2086
builds demo ${CFLAGS-} examples/gpt2_demo.c
builds patch_file tests/patch_file.c
if [ "$failed" -ne 0 ]; then finish; fi

demo --help && grep -q -e '--ratio' "$tmp/out" && [ ! -s "$tmp/err" ]
report $? '--help'

# Tokenizer, next tokens: a line for each part, all of them ok.
demo --check $reference && [ "$(grep -c ' ok$' "$tmp/out")" -ge 3 ] && ! grep -q DIFFERS "$tmp/out"
report $? "--check $reference"

small=${TEST_SMALL-}
if [ -n "$small" ]; then
    :
elif [ -f "$held_out" ]; then
    demo --check $reference --text "$held_out" && grep -q '^perplexity.* ok$' "$tmp/out"
    report $? "--check $reference --text $held_out"
else
    echo 'perplexity of the held-out text: skipped, the text is not here'
fi

# A reference that is wrong must be noticed: --check is no rubber stamp.
"$tmp/patch_file" $reference "$tmp/wrong.json" replace '474' '475' 2>"$tmp/err" &&
    ! demo --check "$tmp/wrong.json" && grep -q DIFFERS "$tmp/out"
report $? '--check with a wrong id'

# ---- the default list, which takes most of the time --------------------------------------------------

if [ -z "$small" ]; then

demo
report $? 'without options'

# All of it in 80 columns and one screen: what the model is, the list, two texts, what to do next.
awk 'length($0) > 80 { exit 1 } END { exit NR > 44 }' "$tmp/out" &&
    grep -q '^Calibrated with 16,384 tokens that the model has just written' "$tmp/out" &&
    grep -q '^Perplexity of the story in the source, 1,237 tokens' "$tmp/out" &&
    grep -q '^Take home: in 13[01],[0-9]* bytes instead of 2,097,152 ' "$tmp/out" &&
    grep -q -- '--calibrate c.safetensors examples/tiny-gpt2$' "$tmp/out" && ! grep -qi 'nan' "$tmp/out"
report $? 'the story around the list'

# Twelve rows; bytes, ratio, error and perplexity are the last four columns. The size is kept to 1 %, the error
# grows with the ratio, and is larger where it is weighted; calibrated perplexities are what is promised.
cat >"$tmp/list.awk" <<'END'
/^prompt/ { exit }
NF >= 5 && $NF ~ /^[0-9.]+$/ && $(NF - 3) ~ /,/ {
    rows++
    name = $0
    sub(/  .*/, "", name)
    size[name] = $(NF - 3)
    times[name] = $(NF - 2) + 0
    error[name] = $(NF - 1) + 0
    cost[name] = $NF + 0
}
function row(name) { if (!(name in cost)) wrong = wrong " no row " name; return name }
END {
    if (rows != 11) wrong = wrong " " rows " rows"
    if (size[row("dense float32")] != "2,097,152" || cost["dense float32"] != 1) wrong = wrong " dense"
    if (size[row("int8 rows")] != "540,672" || cost["int8 rows"] > 1.005) wrong = wrong " int8 rows"
    if (size[row("4-bit blocks")] != "294,912" || cost["4-bit blocks"] > 1.04) wrong = wrong " 4-bit blocks"
    if (times[row("TensorGPT 2^7 rank 1")] != 9.13 || times[row("TensorGPT 2^7 cap 4")] > 1) wrong = wrong " TensorGPT"
    split("8x 16x 38.4x", at, " ")
    split("1.02 1.09 1.55", most, " ")
    for (i = 1; i <= 3; i++) {
        plain = row("one train, " at[i])
        calibrated = row("one train, calibrated, " at[i])
        asked = at[i] + 0
        for (k = 0; k < 2; k++) {
            is = times[k ? plain : calibrated]
            if (!(is >= asked - 0.005 && is <= asked * 1.01 + 0.005)) wrong = wrong " size at " at[i]
        }
        if (!(error[calibrated] > error[plain])) wrong = wrong " error at " at[i]
        if (!(cost[calibrated] > 0.97 && cost[calibrated] < most[i])) wrong = wrong " calibrated at " at[i]
        if (i > 1 && !(cost[calibrated] - 1 < 0.5 * (cost[plain] - 1))) wrong = wrong " gain at " at[i]
    }
    if (wrong != "") print "wrong:" wrong
    exit wrong != ""
}
END
awk -f "$tmp/list.awk" "$tmp/out" >"$tmp/err"
report $? 'the list'

fi

# ---- a first look, and for programs --------------------------------------------------------------------

demo --quick --tokens 8 && grep -q '^Calibrated with 1,024 tokens' "$tmp/out" &&
    grep -q '^Perplexity of the story in the source, 512 tokens' "$tmp/out" &&
    [ "$(grep -c '[0-9] *[0-9.]* *0\.[0-9]\{4\} *[0-9.]*$' "$tmp/out")" -eq 7 ] &&
    grep -q '^one train, calibrated, 16x ' "$tmp/out" && awk 'length($0) > 80 { exit 1 }' "$tmp/out" &&
    ! LC_ALL=C grep -q "$(printf '\033')" "$tmp/out"
report $? '--quick'
bytes=$(sed -n 's/^one train, calibrated, 16x *\([0-9,]*\) .*/\1/p' "$tmp/out" | tr -d ,)

# The same figures, strings that hold anything; what cannot be made is said in its place.
demo --quick --json --tokens 8 --ratio 5000 --ratio 16 --prompt "$(printf 'A \\ "\001\303\244')" &&
    [ "$(grep -c '^    {"name": ' "$tmp/out")" -eq 9 ] && grep -q '"name": "one train, calibrated, 16x", "bytes": '"$bytes"', ' "$tmp/out" &&
    [ "$(grep -c '"problem": "no setting meets' "$tmp/out")" -eq 2 ] && [ ! -s "$tmp/err" ]
report $? '--json'
if command -v python3 >/dev/null 2>&1; then
    python3 -c '
import json, sys
said = json.load(open(sys.argv[1], encoding="utf-8"))
assert said["continuations"]["prompt"] == "A \\ \"\x01\u00e4" and said["continuations"]["dense"] and said["continuations"]["compressed"]
assert (said["vocab"], said["width"], said["tied"], said["text"]["tokens"]) == (4096, 128, True, 512)
assert said["tables"][0]["times_dense"] == 1 and said["tables"][0]["bytes"] == 4 * 4096 * 128
' "$tmp/out" 2>"$tmp/err"
    report $? '--json is JSON'
else
    echo '--json by another reader: skipped, there is no python3'
fi

# Colour is for terminals, and for who has not said no.
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    coloured() { TERM=xterm script -qec "$1 $tmp/demo --quick --tokens 0 2>/dev/null" /dev/null </dev/null 2>"$tmp/err" >"$tmp/out"; }
    coloured 'env -u NO_COLOR' && grep -q "^$(printf '\033')\[1;32mone train, calibrated, 16x" "$tmp/out"
    report $? 'colour on a terminal'
    coloured 'env NO_COLOR=1' && grep -q '^one train, calibrated, 16x' "$tmp/out"
    report $? 'NO_COLOR'
else
    echo 'colour on a terminal: skipped, script makes none here'
fi

# ---- calibrations -----------------------------------------------------------------------------------

printf 'The old house stood by the sea. Nobody had lived in it for many years, they said.\n' >"$tmp/text"
c=$tmp/c.safetensors

demo --calibrate "$c" --tokens 640 && [ "$(wc -c <"$c")" -gt $((4 * 4096 + 4 * 128 * 128)) ] &&
    grep -q "^next: ./ttembed compress $model table.tte --ratio 16 --calibration $c\$" "$tmp/out" &&
    grep -a -q '"text":"written by the model itself","tokens":"640","power":"0.6","mixture":"0\.[0-9]*"' "$c"
report $? '--calibrate'
cp "$c" "$tmp/first"
demo --calibrate "$c" --tokens 640
[ $? -eq 1 ] && grep -q 'c.safetensors: is there already; --force overwrites it' "$tmp/err" && cmp -s "$c" "$tmp/first"
report $? '--calibrate overwrites nothing'
demo --calibrate "$c" --tokens 640 --force && cmp -s "$c" "$tmp/first"
report $? '--calibrate --force: the same bytes again'
demo --calibrate "$c" --tokens 704 --force && ! cmp -s "$c" "$tmp/first"
report $? '--calibrate --tokens'

# The commands of examples/README.md.
# shellcheck disable=SC2086
builds ttembed ${CFLAGS-} examples/ttembed.c
awk '/^## / { here = /^## (Calibration|Which ratio)/ } /^```/ { inside = here && /sh$/; next } inside' examples/README.md >"$tmp/block.sh"
mkdir "$tmp/job"
ln -s "$(pwd)/examples" "$tmp/job/examples"
ln -s "$tmp/demo" "$tmp/job/gpt2_demo"
ln -s "$tmp/ttembed" "$tmp/job/ttembed"
(cd "$tmp/job" && sh -e "$tmp/block.sh") >"$tmp/out" 2>"$tmp/err" &&
    grep -q '^calibrated.tte: wte.weight: 4,096 x 128, .* relative error 0.3.*, weighted 0.1' "$tmp/out" && [ -s "$tmp/job/sweep.svg" ] &&
    grep -q '^wte.weight .*<- the table' "$tmp/out" && [ -f "$tmp/job/grafted/config.json" ]
report $? 'examples/README.md: the commands'

# Those of README.md, in one folder and one after the other.
awk '/^## / { here = /^## Try it/ } here && /^    / { print substr($0, 5) }' README.md >"$tmp/block.sh"
mkdir "$tmp/try"
ln -s "$(pwd)/examples" "$tmp/try/examples"
[ "$(wc -l <"$tmp/block.sh")" -eq 3 ] && (cd "$tmp/try" && sh -e "$tmp/block.sh") >"$tmp/out" 2>"$tmp/err" &&
    grep -q '^tiny.tte: wte.weight: 4,096 x 128, .* 16.0[0-9] times smaller' "$tmp/out"
report $? 'README.md: the commands'

# Whatever the number of threads.
# shellcheck disable=SC2086
if $CC -O2 -fopenmp ${CFLAGS-} examples/gpt2_demo.c -o "$tmp/threads" -lm >"$tmp/out" 2>&1; then
    for threads in 1 2 3; do
        "$tmp/threads" --calibrate "$tmp/c$threads" --tokens 640 --threads $threads >"$tmp/out" 2>"$tmp/err" &&
            "$tmp/threads" --calibrate "$tmp/t$threads" --text README.md --threads $threads >"$tmp/out" 2>"$tmp/err"
        report $? "--threads $threads"
    done
    cmp -s "$tmp/c1" "$tmp/c2" && cmp -s "$tmp/c1" "$tmp/c3" && cmp -s "$tmp/t1" "$tmp/t2" && cmp -s "$tmp/t1" "$tmp/t3" &&
        grep -a -q '"text":"README.md"' "$tmp/t1"
    report $? 'calibrations on 1, 2 and 3 threads'
else
    echo "threads: skipped, $CC cannot link OpenMP"
fi

# Used by the list: another table than with the uniform one; ratios are kept.
demo --text "$tmp/text" --tokens 0 --ratio 3 --ratio 20 --calibration "$tmp/first" &&
    grep -q "^Calibrated with $tmp/first\\.\$" "$tmp/out" && ! grep -q '^prompt' "$tmp/out" &&
    awk '/^one train, / { at = $(NF - 4) + 0; good += $(NF - 2) >= at && $(NF - 2) <= 1.01 * at + 0.01; error[$(NF - 1)] }
        END { for (e in error) errors++; exit !(good == 4 && errors == 4) }' "$tmp/out"
report $? '--ratio 3 --ratio 20 --calibration'

# What cannot be had is said, with the bytes that can.
demo --text "$tmp/text" --tokens 0 --ratio 10000 --calibration "$tmp/first" &&
    grep -q '^one train, 10000x  .*; [0-9]* bytes would do$' "$tmp/out" && ! grep -q '^Take home' "$tmp/out"
report $? '--ratio 10000'

copy_model() {
    rm -rf "$tmp/model"
    mkdir "$tmp/model"
    for part in config.json vocab.json merges.txt model.safetensors; do
        cp $model/$part "$tmp/model/$part"
    done
}

# The same command gives the same words.
demo --text "$tmp/text" --tokens 12 --ratio 4 --calibration "$tmp/first" && sed '1,/^prompt/d' "$tmp/out" >"$tmp/words" &&
    demo --text "$tmp/text" --tokens 12 --ratio 4 --calibration "$tmp/first" &&
    sed '1,/^prompt/d' "$tmp/out" | cmp -s - "$tmp/words" &&
    [ "$(grep -c '^dense float32$\|^one train, calibrated, 4x$' "$tmp/words")" -eq 2 ]
report $? 'the same continuation twice'

# ---- what must be refused: one line on stderr that names the culprit, status 1 -------------------

refused() { # refused WORD ARGUMENTS..
    word=$1
    shift
    demo "$@"
    status=$?
    [ $status -eq 1 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q -e "$word" "$tmp/err"
    result=$?
    echo "exit status $status, expected 1 and one line with '$word'" >>"$tmp/out"
    report $result "refusal: $*"
}

# damaged WHAT FILE WORD CHANGE..: the model with one file changed ("gone": taken away). Damaged
# weights stand beside a config.json that tells heads alone, so that nothing else can tell that they are.
damaged() {
    what=$1
    file=$2
    word=$3
    shift 3
    copy_model
    rm "$tmp/model/$file"
    if [ "$file" = $weights ]; then echo '{"n_head": 2}' >"$tmp/model/config.json"; fi
    if [ "$1" != gone ] && ! "$tmp/patch_file" $model/"$file" "$tmp/model/$file" "$@" 2>"$tmp/err"; then
        report 1 "$what: cannot be made"
        return
    fi
    demo --tokens 0 --text "$tmp/text" "$tmp/model"
    status=$?
    [ $status -eq 1 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q "$file" "$tmp/err" &&
        grep -q -e "$word" "$tmp/err"
    result=$?
    echo "exit status $status, expected 1 and one line with '$file' and '$word'" >>"$tmp/out"
    report $result "$what"
}

weights=model.safetensors
refused 'no/such/folder' no/such/folder
refused "$tmp/text" "$tmp/text"
damaged 'no weights' $weights '' gone
damaged 'no vocabulary' vocab.json 'encoder.json and vocab.bpe, or tokenizer.json' gone
damaged 'no merges' merges.txt 'tokenizer.json' gone

size=$(wc -c <$model/$weights)
for keep in 0 1 7 8 9 100 3000 4879 4880 4881 100000 $((size / 2)) $((size - 1)); do
    damaged "weights cut to $keep bytes" $weights '' keep $keep
done

# The length of the header, in the first eight bytes
for length in ffffffffffffffff ffffffffffffff7f 0000000000000080 0000000000000000 0100000000000000 \
    0a00000000000000 ffffff7f00000000 00000000ffffffff f8ffffffffffffff; do
    damaged "header length $length" $weights '' set 0 $length
done

damaged 'more columns' $weights wte.weight replace '[4096, 128]' '[4096, 192]'
damaged 'one row less' $weights wte.weight replace '[4096, 128]' '[4095, 128]'
damaged 'a side of zero' $weights wte.weight replace '[4096, 128]' '[0000, 128]'
damaged 'a negative side' $weights '' replace '[4096, 128]' '[-096, 128]'
damaged 'one side only' $weights wte.weight replace '[4096, 128]' '[524288   ]'
damaged 'another attention shape' $weights c_attn replace '[128, 384]' '[384, 128]'
damaged 'another context' $weights wpe.weight replace '[256, 128]' '[255, 128]'
damaged 'an unknown type' $weights 'Q16' replace '"dtype": "F16"' '"dtype": "Q16"'
damaged 'another type of other size' $weights '' replace '"dtype": "F16"' '"dtype": "F32"'
damaged 'an end beyond the file' $weights '' replace '[0, 1048576]' '[0, 9048576]'
damaged 'an end before the start' $weights '' replace '[1048576, 1114112]' '[1048576, 0114112]'
damaged 'a start moved' $weights '' replace '[0, 1048576]' '[8, 1048576]'
damaged 'a tensor without its name' $weights 'wpe.weight' replace 'wpe.weight' 'wpX.weight'
damaged 'no JSON at all' $weights '' replace '{"wte' '[[wte'
damaged 'JSON that does not end' $weights '' set 4878 20
damaged 'a config of other depth' config.json '' replace '"n_layer": 4' '"n_layer": 9'
damaged 'a config of other width' config.json '' replace '"n_embd": 128' '"n_embd": 256'
damaged 'heads that do not divide' config.json '' replace '"n_head": 2' '"n_head": 3'
damaged 'a config that is no JSON' config.json '' replace '{' 'x'
damaged 'a vocabulary cut short' vocab.json '' keep 1000
damaged 'an empty vocabulary' vocab.json '' keep 0
damaged 'merges that are no pairs' merges.txt '' set 30 414141414141414141414141414141414141414141

refused '--nonsense' --nonsense
refused '--ratio' --ratio
refused '--ratio' --ratio 0
refused '--ratio' --ratio -3
refused '--ratio' --ratio nan
refused '--ratio' --ratio 2x
refused '--layout' --layout table
refused '--weights' --weights "$tmp/text"
refused 'no/such/calibration' --calibration no/such/calibration
refused '--calibration has no place' --calibrate "$tmp/no" --calibration "$tmp/first"
refused '--check has no place' --calibrate "$tmp/no" --check $reference
refused '--quick: has no place' --quick --check $reference
refused '--json: has no place' --json --calibrate "$tmp/no"
refused '--tokens' --calibrate "$tmp/no" --tokens 0
refused '--tokens' --calibrate "$tmp/no" --tokens 64 --text "$tmp/text"
refused 'no/such/folder/c: No such' --calibrate no/such/folder/c
refused 'model.safetensors: no calibration: neither' --calibration $model/model.safetensors
alien() { # alien WORD CHANGE..: the calibration with a change
    word=$1
    shift
    if "$tmp/patch_file" "$tmp/first" "$tmp/alien" "$@" 2>"$tmp/err"; then
        refused "alien: .*$word" --calibration "$tmp/alien" --text "$tmp/text"
    else
        report 1 "alien: $*"
    fi
}
size=$(wc -c <"$tmp/first")
alien 'row_weight: shape \[4095\], and the table.s vocabulary needs \[4096\]: made for another table' \
    replace '[4096],"data_offsets":[65536,81920]' '[4095],"data_offsets":[65536,81916]' keep $((size - 4))
alien 'metric: shape \[64 x 256\], and the table.s width needs \[128 x 128\]: made for another table' \
    replace '[128,128]' '[64,256] '
alien 'row_weight: dtype U32, expected F32' replace 'F32","shape":[4096]' 'U32","shape":[4096]'
alien 'neither tensor row_weight nor tensor metric' replace 'metric' 'mETRIC' replace 'row_weight' 'row-weight'
alien 'number 4095 is not above 0' set $((size - 4)) 00000000
alien 'number 4095 is not above 0' set $((size - 4)) 000080bf
alien 'number 4095 is not finite' set $((size - 4)) 0000c07f
alien 'metric: number 16383 is not finite' set $((size - 4 * 4096 - 4)) 0000807f
alien 'metric: not symmetric, at row 127, column 126' set $((size - 4 * 4096 - 8)) 0000803f
alien 'a header of' set 0 ffffffff
alien '' keep $((size - 1))
alien '' keep 7
refused '--tokens' --tokens -1
refused '--tokens' --tokens 100000
refused 'second' $model $model
refused 'no/such/text' --text no/such/text
refused 'no/such/check' --check no/such/check
refused 'text' --check "$tmp/text"
: >"$tmp/empty"
refused 'empty' --text "$tmp/empty"
refused 'empty' --calibrate "$tmp/no" --text "$tmp/empty"
for left in "$tmp"/no*; do [ ! -e "$left" ]; done
report $? 'nothing is left of what was refused'

finish
