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

# ---- the default settings, which take most of the time --------------------------------------------

if [ -z "$small" ]; then

demo --tokens 4
report $? 'the default settings'

# The story in the source: at least 600 words.
[ "$(sed -n 's/^text:.* \([0-9,]*\) words.*/\1/p' "$tmp/out" | tr -d ,)" -ge 600 ]
report $? 'the built-in text'

# The dense row holds vocab * dim * 4 bytes; the others name theirs; two continuations at least.
table_rows=$(grep -c '^table, ratio [0-9.]*\(, weights\)* .*[0-9]$' "$tmp/out")
grep -q '^dense float32  *2,097,152  *1\.00 ' "$tmp/out" &&
    grep -q 'TensorGPT 2^7, rank 1 .* 14\.0 ' "$tmp/out" &&
    grep -q 'rounded to 8 bits' "$tmp/out" && grep -q 'rounded to 4 bits' "$tmp/out" &&
    grep -q '^token f32, ratio' "$tmp/out" && grep -q '^token i4, ratio' "$tmp/out" && ! grep -qi 'nan' "$tmp/out" &&
    grep -q '^blocks of 32 rounded to 4 bits  *294,912  *7\.11 ' "$tmp/out" &&
    grep -q '^blocks of 32 rounded to 2 bits  *163,840 ' "$tmp/out" && [ "$table_rows" -eq 6 ]
report $? 'the list of the default settings'

# One train for the table. From the end of a row: time, perplexity with the tie kept, broken, relative
# error, numbers, ratio. The size is kept to 1 %; the error grows with the ratio; weights help (at 8x
# too little to tell on so short a text); rounding is left behind.
cat >"$tmp/table.awk" <<'END'
/^prompt/ { exit }
/^dense/ { dense = $(NF - 1) }
/^blocks of 32 rounded to [23] bits/ { rounded[$6] = $(NF - 1) }
/^table, ratio/ {
    ratio = $3 + 0
    weighted = /, weights/
    kept[ratio, weighted] = $(NF - 1) + 0
    error[ratio, weighted] = $(NF - 3) + 0
    size = $(NF - 5) + 0
    if (!(size >= ratio - 0.005 && size <= ratio * 1.01 + 0.005)) wrong = wrong " size " $0
}
END {
    if (!(kept[8, 1] >= 0.9 * dense && kept[8, 1] <= 1.05 * dense)) wrong = wrong " 8x"
    if (!(kept[8, 1] < rounded[3] && kept[16, 1] < rounded[2])) wrong = wrong " rounding"
    split("8 16 38.4", at, " ")
    for (i = 1; i <= 3; i++) {
        if (i > 1 && !(kept[at[i], 1] < kept[at[i], 0])) wrong = wrong " weights at " at[i]
        if (i > 1 && !(error[at[i], 0] > error[at[i - 1], 0])) wrong = wrong " error at " at[i]
        if (i > 1 && !(kept[at[i], 1] > kept[at[i - 1], 1])) wrong = wrong " order at " at[i]
    }
    if (wrong != "") print "wrong:" wrong
    exit wrong != ""
}
END
awk -f "$tmp/table.awk" "$tmp/out" >"$tmp/err"
report $? 'one train for the table, by default'

# What the summary calls the best is the best at that size.
awk '/^prompt/ { exit }
    /^table, ratio 16, weights/ { kept = $(NF - 1) }
    /^at least +16x smaller/ { good = kept > 0 && $7 == kept && /table, ratio 16, weights$/ }
    END { exit !good }' "$tmp/out"
report $? 'the summary'

fi

# ---- settings one by one ---------------------------------------------------------------------------

printf 'The old house stood by the sea. Nobody had lived in it for many years, they said.\n' >"$tmp/text"

# A ratio that is asked for is kept: the sixth column from the end.
demo --text "$tmp/text" --tokens 0 --ratio 3 --ratio 6 --coding i8 &&
    awk '/^token i8, ratio 3/ { a = $(NF - 5) } /^token i8, ratio 6/ { b = $(NF - 5) }
        END { exit !(a >= 3 && b >= 6) }' "$tmp/out"
report $? '--ratio 3 --ratio 6 --coding i8'
for coding in f32 f16 i8 i4; do
    demo --text "$tmp/text" --tokens 0 --coding $coding --ratio 6 && ! grep -q '^table' "$tmp/out" &&
        awk -v name="^token $coding, ratio 6" '$0 ~ name && $(NF - 5) + 0 >= 6 { rows++ }
            END { exit rows != 1 }' "$tmp/out"
    report $? "--coding $coding --ratio 6"
done

# What cannot be had is said, with the bytes that can.
demo --text "$tmp/text" --tokens 0 --layout token --ratio 1000 &&
    grep -q '^token i8, ratio 1000  .*; [0-9]* bytes would do$' "$tmp/out"
report $? '--layout token --ratio 1000'

# With --eps the error of the whole table is bounded, and with a cap the numbers are: 2 (8 + 16).
demo --text "$tmp/text" --tokens 0 --eps 0.2 &&
    awk '/^table, eps 0.2 / { good = $(NF - 3) + 0 <= 0.2 && $(NF - 3) + 0 >= 0.19 } END { exit !good }' "$tmp/out"
report $? '--eps 0.2'
demo --text "$tmp/text" --tokens 0 --shape 8x16 --max-rank 2 &&
    awk '/^token i8, cap 2 / { good = $(NF - 4) == "48.0" } END { exit !good }' "$tmp/out"
report $? '--shape 8x16 --max-rank 2'

copy_model() {
    rm -rf "$tmp/model"
    mkdir "$tmp/model"
    for part in config.json counts.json vocab.json merges.txt model.safetensors; do
        cp $model/$part "$tmp/model/$part"
    done
}

# Without counts there are no weights, but for those of a text that is given.
copy_model
rm "$tmp/model/counts.json"
demo --text "$tmp/text" --tokens 0 --ratio 8 "$tmp/model" &&
    grep -q '^table, ratio 8  *2[56][0-9],[0-9]* ' "$tmp/out" && ! grep -q weights "$tmp/out"
report $? 'a model without counts.json'
demo --text "$tmp/text" --tokens 0 --ratio 8 --weights README.md "$tmp/model" &&
    grep '^table, ' "$tmp/out" >"$tmp/rows" && [ "$(wc -l <"$tmp/rows")" -eq 2 ] &&
    grep -q '^weights: .* README.md$' "$tmp/out" &&
    [ "$(awk '{ print $(NF - 1) }' "$tmp/rows" | sort -u | wc -l)" -eq 2 ]
report $? '--weights README.md'

demo --text "$tmp/text" --tokens 0 --eps 0.3 --shape 8x4x4 && grep -q '^token i8, eps 0.3' "$tmp/out"
report $? '--eps 0.3 --shape 8x4x4'

# The same command gives the same words.
demo --text "$tmp/text" --tokens 12 --ratio 4 && sed '1,/^prompt/d' "$tmp/out" >"$tmp/words" &&
    demo --text "$tmp/text" --tokens 12 --ratio 4 && sed '1,/^prompt/d' "$tmp/out" | cmp -s - "$tmp/words" &&
    [ -s "$tmp/words" ]
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
# weights stand without config.json, so that nothing else can tell that they are.
damaged() {
    what=$1
    file=$2
    word=$3
    shift 3
    copy_model
    rm "$tmp/model/$file"
    if [ "$file" = $weights ]; then rm "$tmp/model/config.json"; fi
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
damaged 'no vocabulary' vocab.json '' gone
damaged 'no merges' merges.txt '' gone

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
damaged 'counts that end early' counts.json '' keep 1000
damaged 'no counts' counts.json 'expected a value' keep 0
damaged 'a count too few' counts.json '4095 counts' replace '5834, ' '      '
damaged 'a count too many' counts.json '4097 counts' replace '5834' '5, 4'
damaged 'a count below zero' counts.json 'whole number' replace '5834' '-834'
damaged 'a count that is not whole' counts.json 'whole number' replace '5834' '58.4'
damaged 'counts that are no list' counts.json '' replace '[5834' '{5834'
damaged 'a vocabulary cut short' vocab.json '' keep 1000
damaged 'an empty vocabulary' vocab.json '' keep 0
damaged 'merges that are no pairs' merges.txt '' set 30 414141414141414141414141414141414141414141

refused '--nonsense' --nonsense
refused '--ratio' --ratio
refused '--ratio' --ratio 0
refused '--ratio' --ratio -3
refused '--ratio' --ratio nan
refused '--ratio' --ratio 2x
refused '--eps' --eps 2
refused '--eps' --eps inf
refused '--shape' --shape 2x
refused '--shape' --shape axb
refused '--shape' --shape 4x4 --text "$tmp/text" --tokens 0
refused '--max-rank' --max-rank 0
refused '--max-rank' --max-rank 1.5
refused '--coding' --coding f64
refused '--coding' --coding entropy
refused '--layout token' --coding i8 --layout table
refused '--layout token' --max-rank 3 --layout table
refused '--layout token' --shape 8x16 --ratio 8 --layout table
refused '--layout' --layout rows
refused '--layout' --layout
refused '--layout table' --weights "$tmp/text" --coding i8
refused '--layout table' --weights "$tmp/text" --layout token
refused 'no/such/weights' --weights no/such/weights
refused '--tokens' --tokens -1
refused '--tokens' --tokens 100000
refused 'second' $model $model
refused 'no/such/text' --text no/such/text
refused 'no/such/check' --check no/such/check
refused 'text' --check "$tmp/text"
: >"$tmp/empty"
refused 'empty' --text "$tmp/empty"
refused 'empty' --weights "$tmp/empty"

finish
