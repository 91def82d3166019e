#!/bin/sh
# test_ttembed.sh: builds examples/ttembed.c as the README says and drives it from outside: tables in
# every format against an independent writer, damaged ones, images read, changed, cut and merged, what it
# must refuse, full disks, signals. Ends with its own count.
# TEST_SMALL=1 leaves out what needs a large table: little memory, and signals.

cd "$(dirname "$0")/.." || exit 1
test_name=ttembed
. tests/harness.sh
model=examples/tiny-gpt2/model.safetensors
LC_ALL=C
export LC_ALL

tool() { "$tmp/ttembed" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null; }
files() { "$tmp/files" "$@" 2>>"$tmp/err"; }

builds ttembed ${CFLAGS-} examples/ttembed.c
builds files tests/ttembed_files.c
builds patch_file tests/patch_file.c
if [ "$failed" -ne 0 ]; then finish; fi

# ---- every format, number by number ----------------------------------------------------------------

# One mode keeps a row as it is, so that export gives the very numbers that were read.
exactly() { # exactly NAME TABLE COLUMNS OPTIONS..
    name=$1
    table=$2
    width=$3
    shift 3
    rm -f "$tmp/exact.tte" "$tmp/exact.npy" "$tmp/exact.vocab"
    tool compress "$table" "$tmp/exact.tte" --quiet --coding f32 --shape "$width" --max-rank 1 "$@" &&
        tool export "$tmp/exact.tte" "$tmp/exact.npy" && files same "$tmp/dense" "$tmp/exact.npy"
    report $? "$name"
}

seed=0
format() { # format KIND FILE ROWS COLUMNS OPTIONS..
    kind=$1
    file=$tmp/$2
    rows=$3
    width=$4
    shift 4
    seed=$((seed + 1))
    files make "$kind" "$file" "$tmp/dense" "$rows" "$width" $seed
    exactly "$kind: the numbers" "$file" "$width" "$@"
}

for type in F32 F16 BF16 F64; do format safetensors-$type t$type.safetensors 77 33; done
for type in F32 F16 F64; do format npy-$type t$type.npy 77 33; done
for type in F32 F16 BF16 F64 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1; do format gguf-$type t$type.gguf 41 96; done
for type in Q4_K Q5_K Q6_K; do format gguf-$type t$type.gguf 17 512; done
format raw t.f32 50 24 --dim 24
format glove glove.txt 61 20
[ "$(wc -l <"$tmp/exact.vocab")" -eq 61 ] && [ "$(sed -n 4p "$tmp/exact.vocab")" = '. .w3' ] &&
    [ "$(sed -n 5p "$tmp/exact.vocab")" = "$(printf 'gr\303\274\303\2374')" ]
report $? 'glove: the words'
format word2vec words.vec 61 20
[ "$(wc -l <"$tmp/exact.vocab")" -eq 61 ] && [ "$(sed -n 1p "$tmp/exact.vocab")" = w0 ]
report $? 'word2vec: the words'
mkdir "$tmp/sharded"
files make shards "$tmp/sharded" "$tmp/dense" 23 40 99
exactly 'shards by their index' "$tmp/sharded/model.safetensors.index.json" 40
exactly 'shards by their folder' "$tmp/sharded" 40
exactly 'one shard alone' "$tmp/sharded/part-2.safetensors" 40
files make npy-F32 "$tmp/strange" "$tmp/dense" 9 8 5
exactly 'a .npy by its first bytes' "$tmp/strange" 8
files make raw "$tmp/strange.npy" "$tmp/dense" 9 8 5
exactly '--format raw' "$tmp/strange.npy" 8 --format raw --dim 8
files make npy-F32 "$tmp/t.npy" "$tmp/whole" 60 16 7
files rows "$tmp/whole" 13 47 "$tmp/dense" 16
exactly '--rows 13:47' "$tmp/t.npy" 16 --rows 13:47
files rows "$tmp/whole" 50 60 "$tmp/dense" 16
exactly '--rows 50:' "$tmp/t.npy" 16 --rows 50:
files rows "$tmp/whole" 0 1 "$tmp/dense" 16
exactly '--rows=:1' "$tmp/t.npy" 16 --rows=:1
files rows "$tmp/whole" 0 0 "$tmp/empty" 16

# The same tables from a pipe, by their first bytes where those tell.
piped() { # piped NAME TABLE OPTIONS..: an image as from the file itself
    name=$1
    table=$2
    shift 2
    rm -f "$tmp/piped.vocab"
    tool compress "$table" "$tmp/direct.tte" --force --quiet --layout token --coding f32 --max-rank 2 "$@" &&
        dd if="$table" bs=1000 2>/dev/null | "$tmp/ttembed" compress - "$tmp/piped.tte" --force --quiet \
            --layout token --coding f32 --max-rank 2 "$@" >"$tmp/out" 2>"$tmp/err" &&
        cmp -s "$tmp/direct.tte" "$tmp/piped.tte"
    report $? "from a pipe: $name"
}
piped safetensors "$tmp/tF16.safetensors"
piped npy "$tmp/tF16.npy"
piped gguf "$tmp/tQ5_1.gguf"
piped raw "$tmp/t.f32" --dim 24
piped glove "$tmp/glove.txt"
cmp -s "$tmp/piped.vocab" "$tmp/direct.vocab"
report $? 'from a pipe: the words'
"$tmp/ttembed" compress - "$tmp/no.tte" <"$tmp/t.f32" >"$tmp/out" 2>"$tmp/err"
[ $? -eq 1 ] && [ "$(cat "$tmp/err")" = 'ttembed compress: standard input: which format? --format tells, and --dim for raw float32' ]
report $? 'from a pipe: plain numbers do not tell what they are'
"$tmp/ttembed" compress - "$tmp/no.tte" --weights - <"$tmp/tF16.npy" >"$tmp/out" 2>"$tmp/err"
[ $? -eq 1 ] && grep -q 'only once' "$tmp/err" && [ ! -e "$tmp/no.tte" ]
report $? 'from a pipe: once'

# NumPy, where it is there, in both directions.
python=/usr/bin/python3
if $python -c 'import numpy' 2>/dev/null; then
    cat >"$tmp/table.py" <<'END'
import numpy, sys
what, path, dense = sys.argv[1:4]
table = numpy.random.default_rng(3).standard_normal((31, 12)).astype(what)
if dense != "read":
    numpy.save(path, table)
    table.astype("<f4").tofile(dense)
else:
    back = numpy.load(path)
    sys.exit(0 if back.dtype == "<f4" and (back == table.astype("<f4")).all() else 1)
END
    for type in '<f4' '<f2' '<f8'; do
        $python "$tmp/table.py" "$type" "$tmp/numpy.npy" "$tmp/dense"
        exactly "numpy.save of $type" "$tmp/numpy.npy" 12
        $python "$tmp/table.py" "$type" "$tmp/exact.npy" read 2>"$tmp/err"
        report $? "numpy.load of what was $type"
    done
    $python - "$tmp" <<'END'
import numpy, sys
table = numpy.arange(12, dtype="<f4").reshape(3, 4)
numpy.save(sys.argv[1] + "/big.npy", table.astype(">f4"))
numpy.save(sys.argv[1] + "/int.npy", table.astype("<i8"))
numpy.save(sys.argv[1] + "/struct.npy", numpy.zeros(3, dtype=[("a", "<f4"), ("b", "<f4")]))
numpy.save(sys.argv[1] + "/cube.npy", table.reshape(3, 2, 2))
END
else
    echo 'numpy: skipped, there is none'
fi

# ---- what must be refused: one line that names the culprit, nothing written ------------------------

nothing_left() { # neither the file that was not to be written nor a temporary one
    for file_left in "$tmp"/no.* "$tmp"/*.tte-tmp*; do
        if [ -e "$file_left" ]; then return 1; fi
    done
}

refused() { # refused STATUS WORD ARGUMENTS..
    want=$1
    word=$2
    shift 2
    rm -f "$tmp"/no.*
    tool "$@"
    status=$?
    [ $status -eq "$want" ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q -e "$word" "$tmp/err" &&
        [ ! -s "$tmp/out" ] && nothing_left
    result=$?
    echo "exit status $status, expected $want and one line with '$word'" >>"$tmp/out"
    report $result "refusal: $*"
}
no=$tmp/no.tte

if [ -f "$tmp/fortran.npy" ]; then
    refused 1 '>f4' compress "$tmp/big.npy" "$no"
    refused 1 '<i8' compress "$tmp/int.npy" "$no"
    refused 1 'byte' compress "$tmp/struct.npy" "$no"
    refused 1 '3 x 2 x 2' compress "$tmp/cube.npy" "$no"
fi

for file in tF16.safetensors tF32.npy tQ5_1.gguf words.vec; do
    size=$(wc -c <"$tmp/$file")
    for keep in 0 1 5 7 8 9 20 60 100 130 200 300 400 $((size / 2)) $((size - 30)); do
        "$tmp/patch_file" "$tmp/$file" "$tmp/cut-$file" keep "$keep"
        refused 1 "cut-$file: ." compress "$tmp/cut-$file" "$no" --quiet
    done
done

changed() { # changed WORD FILE CHANGE..
    word=$1
    file=$2
    shift 2
    if ! "$tmp/patch_file" "$tmp/$file" "$tmp/changed-$file" "$@" 2>"$tmp/err"; then
        report 1 "$file: cannot be changed: $*"
        return
    fi
    refused 1 "changed-$file: .*$word" compress "$tmp/changed-$file" "$no" --quiet
}
changed 'byte 0' tF16.safetensors set 0 ffffffffffffffff
changed 'byte 0' tF16.safetensors set 0 ffffff7f00000000
changed 'byte' tF16.safetensors set 0 0100000000000000
changed 'embed_tokens' tF16.safetensors replace '[77,33]' '[77,34]'
changed 'embed_tokens' tF16.safetensors replace '[77,33]' '[00,33]'
changed 'whole number' tF16.safetensors replace '[77,33]' '[-7,33]'
changed 'expected a value' tF16.safetensors replace '[77,33]' '[7.,33]'
old='"__metadata__":{"format":"pt"},"norm.bias":{"dtype":"F32","shape":[3],'
new='"norm.bias":{"dtype":"F32","shape":[4294967296,4294967296,4],'   # 2^66 numbers
changed 'norm.bias.*exceeds' tF16.safetensors replace "$old" "$(printf "%-${#old}s" "$new")"
changed 'begins at byte' tF16.safetensors replace '[12,' '[13,'
changed 'truncated' tF16.safetensors replace '[5094,5110]' '[5094,9110]'
changed 'after the last' tF16.safetensors replace '[2,2],"data_offsets":[5094,5110]' \
    '[2,1],"data_offsets":[5094,5102]'
changed 'F32' tF16.safetensors replace '"F16"' '"F32"'
changed 'U16' tF16.safetensors replace '"F16"' '"U16"'
changed 'X16' tF16.safetensors replace '"F16"' '"X16"'
changed 'not a pair' tF16.safetensors replace '"data_offsets":[0,12]' '"data_offsets":[0000]'
changed 'without "dtype"' tF16.safetensors replace '"dtype"' '"dtyqe"'
changed 'byte 0' tF32.npy set 6 09
changed 'byte 8' tF32.npy set 8 ffff
changed 'needs' tF32.npy replace '(77, 33)' '(77, 34)'
changed 'needs' tF32.npy replace '(77, 33)' '(76, 33)'
changed '77 x 33 x 1' tF32.npy replace '(77, 33), }' '(77,33,1),}'
old='(77, 33), }                                  '
for shape in '4294967296, 4294967296, 4' '99999999999999999999999,' 2,2,2,2,2,2,2,2,2; do
    changed 'exceeds\|side' tF32.npy replace "$old" "$(printf "%-${#old}s" "($shape), }")"
done
changed 'expected' tF32.npy replace "'<f4'" "'<u4'"
changed 'key' tF32.npy replace "'descr'" "'descs'"
changed 'fortran_order' tF32.npy replace "False" "Truly"
changed 'byte 10' tF32.npy replace "{" "["
changed 'byte 0' tQ5_1.gguf set 0 58
changed 'version 1' tQ5_1.gguf set 4 01
changed 'big-endian' tQ5_1.gguf set 4 00000003
changed 'tensor' tQ5_1.gguf set 8 ffffffffffffffff
changed 'truncated' tQ5_1.gguf set 16 ffffffffffffff7f
changed 'unknown type' tQ5_1.gguf set 52 63
changed 'truncated' tQ5_1.gguf set 24 ffffffffffffffff
for type in 09-Q8_1 0f-Q8_K 1a-I32 63-type.99; do   # what is not read
    changed "token_embd.weight.*\(dtype ${type#*-}, expected\|begins at byte\)" tQ4_K.gguf set 350 "${type%%-*}"
done
changed 'alignment' tQ5_1.gguf replace '@' 'A'
# nan and infinity in the numbers themselves
size=$(wc -c <"$tmp/tF32.npy")
changed 'row 76, column 32' tF32.npy set $((size - 4)) 0000c07f
changed 'row 0, column 0' tF32.npy set 128 000080ff
changed 'row 0, column 1' tF16.npy set 130 007c
changed 'line 3: 0 numbers.*expected a word' words.vec set 6 0a78200a
changed 'words, but' words.vec set 1 30
changed 'line 2: [0-9]* numbers, then something else, expected a word and 20' words.vec replace ' 0.' ' x.'
changed 'line 2: [0-9]* numbers, then something else' words.vec replace ' 0.' ' e.'
printf 'a 1 2\nb 1\n' >"$tmp/short.txt"
refused 1 'line 2' compress "$tmp/short.txt" "$no"
printf 'a 1 2\nb 1 1e99\n' >"$tmp/large.txt"
refused 1 'line 2, row 1, "b": number 1 is "1e99"' compress "$tmp/large.txt" "$no" --layout token
printf 'word\n' >"$tmp/word.txt"
refused 1 'line 1' compress "$tmp/word.txt" "$no"

refused 1 'no/such' compress no/such "$no"
refused 1 'no/such' compress "$tmp/t.npy" no/such/out.tte
refused 1 'plain file' compress "$tmp/t.npy" "$tmp/sharded" --force
refused 1 'plain file' compress "$tmp/t.npy" /dev/null --force
refused 1 'a device, not a file' compress /dev/zero "$no"
refused 1 'a device, not a file' info /dev/null
refused 1 'tensor nope: missing; perhaps .*embed_tokens' compress "$tmp/tF16.safetensors" "$no" \
    --tensor nope
sed 's/model.first.weight/x.tok_embeddings.weight/' "$tmp/sharded/model.safetensors.index.json" \
    >"$tmp/sharded/b.index.json"
refused 1 'x.tok_embeddings.weight: missing, though' compress "$tmp/sharded/b.index.json" "$no"
refused 1 'expected rows x columns' compress "$tmp/tF16.safetensors" "$no" --tensor norm.bias
refused 1 'nope: missing; perhaps .*embed_tokens' compress "$tmp/sharded" "$no" --tensor nope
refused 1 'format' compress "$tmp/t.f32" "$no"
refused 1 'no rows' compress "$tmp/t.f32" "$no" --dim 23
refused 1 'no rows' compress "$tmp/empty" "$no" --dim 4
refused 1 'rows 0 to 59' compress "$tmp/t.npy" "$no" --rows 60:61
refused 1 'rows 0 to 59' compress "$tmp/t.npy" "$no" --rows 5:5
sed 's/part-2/..\/part/' "$tmp/sharded/model.safetensors.index.json" >"$tmp/out.index.json"
refused 1 'not plain' compress "$tmp/out.index.json" "$no"
sed 's/part-2/part-9/' "$tmp/sharded/model.safetensors.index.json" >"$tmp/sharded/b.index.json"
refused 1 'part-9' compress "$tmp/sharded/b.index.json" "$no"
sed 's/part-2/part-1/' "$tmp/sharded/model.safetensors.index.json" >"$tmp/sharded/b.index.json"
refused 1 'embed_tokens.weight: missing' compress "$tmp/sharded/b.index.json" "$no"

# A budget that cannot be met comes with one that can.
for options in '' '--shape 4x4'; do
    refused 1 'no setting.*; possible are [0-9,]* bytes' compress "$tmp/t.npy" "$no" --ratio 1000 $options
    size=$(sed 's/.*possible are \([0-9,]*\) bytes.*/\1/; s/,//g' "$tmp/err")
    tool compress "$tmp/t.npy" "$no" $options --ratio "$(echo "$size" | awk '{ print 0.99999 * 3840 / $1 }')" &&
        [ "$(wc -c <"$no")" -le "$size" ]
    report $? "what is possible: $size $options"
done

# What makes no sense at all.
refused 2 'command' ''
refused 2 'commpress' commpress "$tmp/t.npy" "$no"
refused 2 'expected TABLE' compress "$tmp/t.npy"
refused 2 'expected IMAGE' verify
refused 2 'expected' compress "$tmp/t.npy" "$no" "$no"
refused 2 'raito' compress "$tmp/t.npy" "$no" --raito 3
refused 2 'worst' compress "$tmp/t.npy" "$no" --worst 3
refused 2 'ratio' compress "$tmp/t.npy" "$no" --ratio
refused 2 'ratio' compress "$tmp/t.npy" "$no" --ratio -3
refused 2 'ratio' compress "$tmp/t.npy" "$no" --ratio nan
refused 2 'ratio' compress "$tmp/t.npy" "$no" --ratio 3x
refused 2 'twice' compress "$tmp/t.npy" "$no" --ratio 3 --ratio 4
refused 2 'eps' compress "$tmp/t.npy" "$no" --eps 2
refused 2 'coding' compress "$tmp/t.npy" "$no" --coding f64
refused 2 'layout table' compress "$tmp/t.npy" "$no" --coding trellis --layout token
refused 2 'layout table' compress "$tmp/t.npy" "$no" --weights zipf --layout token
refused 2 'layout table' compress "$tmp/t.npy" "$no" --effort 3 --max-rank 2
refused 2 'layout token' compress "$tmp/t.npy" "$no" --coding i8
refused 2 'layout token' compress "$tmp/t.npy" "$no" --shape 4x4 --layout table
refused 2 'effort' compress "$tmp/t.npy" "$no" --effort 10
refused 2 'max-rank' train "$tmp/t.npy" "$no" --max-rank 2
refused 2 'shape' compress "$tmp/t.npy" "$no" --shape 4x
refused 2 'shape' compress "$tmp/t.npy" "$no" --shape 0x4
refused 1 'modes' compress "$tmp/t.npy" "$no" --shape 3x5
refused 2 'max-rank' compress "$tmp/t.npy" "$no" --max-rank 0
refused 2 'rows' compress "$tmp/t.npy" "$no" --rows 3
refused 2 'rows' compress "$tmp/t.npy" "$no" --rows a:3
refused 2 'force' compress "$tmp/t.npy" "$no" --force=yes
refused 2 'two dashes' compress "$tmp/t.npy" "$no" -f
refused 1 'no/weights' compress "$tmp/t.npy" "$no" --weights no/weights
refused 1 'no/calibration' compress "$tmp/t.npy" "$no" --calibration no/calibration
refused 2 'layout table' compress "$tmp/t.npy" "$no" --calibration no/calibration --layout token
refused 2 'a calibration has weights' compress "$tmp/t.npy" "$no" --calibration no/calibration --weights zipf

# ---- help ------------------------------------------------------------------------------------------

tool --help && [ ! -s "$tmp/err" ] &&
    commands=$(sed -n 's/^    ttembed \([a-z-]*\) .*/\1/p' "$tmp/out") &&
    [ "$(echo "$commands" | wc -l)" -eq 15 ]
report $? '--help'
for command in $commands; do
    tool "$command" --help && grep -q "^usage: ttembed $command " "$tmp/out" &&
        grep -q "^    ttembed $command " "$tmp/out" && [ ! -s "$tmp/err" ]
    report $? "$command --help"
done

# ---- compress and what reads ---------------------------------------------------------------------

tool compress "$model" "$tmp/gpt2.tte" && grep -q '4,096 x 128, .* 8.0[0-9] times' "$tmp/out" &&
    [ ! -s "$tmp/err" ]
report $? 'the default settings'
cp "$tmp/gpt2.tte" "$tmp/before.tte"
refused 1 'force' compress "$model" "$tmp/gpt2.tte"
cmp -s "$tmp/gpt2.tte" "$tmp/before.tte"
report $? 'what was there is as it was'
tool compress "$model" "$tmp/gpt2.tte" --force --ratio 16 && grep -q ' 16.[01][0-9] times' "$tmp/out" &&
    ! cmp -s "$tmp/gpt2.tte" "$tmp/before.tte"
report $? '--force overwrites'
"$tmp/ttembed" compress "$model" - 2>"$tmp/err" | cmp -s - "$tmp/before.tte"
report $? 'compress to standard output'
tool compress "$tmp/t.npy" "$tmp/small.tte" --eps 0.5 --layout token --coding f32 --shape 4x4 &&
    tool info "$tmp/small.tte" && awk '/^max_row_error/ { good = $2 > 0.1 && $2 <= 0.5 }
        END { exit !good }' "$tmp/out"
report $? '--eps of every row'
refused 1 'at 2\.[0-9]* times smaller than float32 the error is 0\.000[0-9]*, 1e-07 at no size' compress "$model" "$no" --eps 1e-7
refused 1 'at 30\.0[0-9] times .* the error is 0\.3[0-9]*, 0\.1 takes 1[0-9][0-9],[0-9]* bytes, 11\.[0-9]* times smaller$' \
    compress "$model" "$no" --eps 0.1 --ratio 30
refused 1 'at 1[0-9]\.[0-9]* times .* the error is 0\.[0-9]*, 0\.01 takes 2,[0-9]*,[0-9]* bytes, 1\.00 times smaller$' \
    compress "$model" "$no" --eps 0.01 --ratio 10 --layout token
tool compress "$tmp/t.npy" "$tmp/small.tte" --force --max-rank 3 --coding f32 --shape 4x4 &&
    tool info "$tmp/small.tte" && grep -q '^ranks  *\[1, 3, 1\]$' "$tmp/out"
report $? '--max-rank'
mv "$tmp/before.tte" "$tmp/gpt2.tte"

bytes=$(wc -c <"$tmp/gpt2.tte")
tool info "$tmp/gpt2.tte" &&
    awk -v bytes="$bytes" '$1 == "bytes" { whole = $2 } /_bytes / { sum += $2 }
        END { exit !(whole == bytes && sum == bytes) }' "$tmp/out"
report $? 'info: the sections are the whole'
"$tmp/ttembed" info - <"$tmp/gpt2.tte" >"$tmp/out2" 2>"$tmp/err" && sed 1d "$tmp/out2" >"$tmp/out3" &&
    sed 1d "$tmp/out" | cmp -s - "$tmp/out3" &&
    dd if="$tmp/gpt2.tte" bs=1000 2>/dev/null | "$tmp/ttembed" verify - >"$tmp/out" 2>&1
report $? 'info and verify of an image from a pipe'
tool info "$tmp/gpt2.tte" --json --table "$model" --worst 3 --by-frequency &&
    cp "$tmp/out" "$tmp/info.json"
report $? 'info --json'
if $python -c 'import json' 2>/dev/null; then
    $python - "$tmp/info.json" "$bytes" >"$tmp/out" 2>"$tmp/err" <<'END'
import json, sys
i = json.load(open(sys.argv[1]))
assert i["vocab"] == 4096 and i["dim"] == 128 and i["layout"] == "table" and i["coding"] == "trellis"
assert 64 < i["rank"] <= 128 and 1 <= i["classes"] <= 64 and i["centroids"] >= 0 and i["effort"] == 5
assert i["weighted_error"] == i["rel_error"] and i["record_bytes"] > i["basis_bytes"] > 0
assert i["bytes"] == int(sys.argv[2]) == sum(n for key, n in i.items() if "_bytes" in key)
assert abs(i["ratio"] - 4096 * 128 * 4 / i["bytes"]) < 1e-6
assert [w["error"] for w in i["worst"]] == sorted((w["error"] for w in i["worst"]), reverse=True)
assert abs(i["worst"][0]["error"] - i["max_row_error"]) < 1e-5 * i["max_row_error"]
assert len(i["worst"]) == 3 and len(i["deciles"]) == 10
assert i["deciles"][0]["first"] == 0 and i["deciles"][9]["last"] == 4095
assert max(d["worst"] for d in i["deciles"]) == i["worst"][0]["error"]
END
    report $? 'info --json, parsed'
else
    echo 'JSON: skipped, there is no Python'
fi
refused 2 'table' info "$tmp/gpt2.tte" --worst 3
tool info "$tmp/gpt2.tte" --table "$model" --worst 4096 &&
    awk 'NF == 4 && $1 == 355 && $2 == "\304\240at" { found++ } END { exit found != 1 }' "$tmp/out"
report $? 'info --worst: words of the vocab.json beside the model'
tool nearest "$tmp/gpt2.tte" "$(printf '\304\240king')" --count 3 --vocab examples/tiny-gpt2/vocab.json &&
    grep -q "$(printf '\304\240Princess')" "$tmp/out"
report $? 'nearest --vocab'
printf '{"model": {"type": "BPE", "vocab": {"a": 0, "b\\u00fc": 4095}}}' >"$tmp/words.json"
tool lookup "$tmp/gpt2.tte" "$(printf 'b\303\274')" --vocab "$tmp/words.json" && sed 's/^[^ ]*//' "$tmp/out" >"$tmp/new" &&
    tool lookup "$tmp/gpt2.tte" 4095 && sed 's/^[^ ]*//' "$tmp/out" | cmp -s - "$tmp/new"
report $? '--vocab with the vocabulary of a tokenizer.json'
printf '{"a": 0, "b": 4096}' >"$tmp/words.json"
refused 1 'words.json: byte 14: expected a whole number from 0 to 4095' lookup "$tmp/gpt2.tte" a --vocab "$tmp/words.json"
refused 1 'too many\|not among' lookup "$tmp/gpt2.tte" a --vocab "$tmp/glove.txt"
refused 1 '60 x 16' info "$tmp/gpt2.tte" --table "$tmp/t.npy" --worst 3

tool lookup "$tmp/gpt2.tte" 0 4095 17 && awk 'NF != 129 { exit 1 } { ids = ids $1 " " }
    END { exit ids != "0 4095 17 " }' "$tmp/out"
report $? 'lookup'
tool export "$tmp/gpt2.tte" "$tmp/gpt2.npy" &&
    tail -c $((4096 * 512)) "$tmp/gpt2.npy" >"$tmp/gpt2.f32" &&
    files rows "$tmp/gpt2.f32" 17 18 "$tmp/row" 128 &&
    tool lookup "$tmp/gpt2.tte" 17 --raw && cmp -s "$tmp/out" "$tmp/row"
report $? 'lookup --raw is the row that export writes'
tool export "$tmp/gpt2.tte" "$tmp/gpt2.safetensors" --tensor transformer.wte.weight &&
    files same "$tmp/gpt2.f32" "$tmp/gpt2.safetensors" &&
    head -c 200 "$tmp/gpt2.safetensors" | grep -q '"transformer.wte.weight"'
report $? 'export to safetensors'
cp "$tmp/gpt2.f32" "$tmp/dense"
exactly 'what export wrote is read again' "$tmp/gpt2.safetensors" 128 --tensor transformer.wte.weight
refused 1 'force' export "$tmp/gpt2.tte" "$tmp/gpt2.npy"
refused 2 'npy or' export "$tmp/gpt2.tte" "$tmp/no.bin"
refused 1 'token 4096' lookup "$tmp/gpt2.tte" 4096
refused 1 'ids end' lookup "$tmp/gpt2.tte" 99999999999999999999999
refused 1 'token hello: not among the words' lookup "$tmp/gpt2.tte" hello
cp "$tmp/gpt2.tte" "$tmp/wordless.tte"
refused 2 'no words' lookup "$tmp/wordless.tte" hello
tool info "$model" && grep -q '^wte.weight .* 4096 x 128 .*<- the table$' "$tmp/out"
report $? 'info of a model'
refused 1 'shrink' compress "$tmp/gpt2.tte" "$no"
refused 1 'no/image' info no/image

# Words stand for ids; near rows are found. Row "b" is twice row "a" and a little more.
{
    for i in 1 2 3 4 5 6 7 8 9; do echo "w$i $i 0.$i -1 $((i * i)) 0.5 -0.$i"; done
    echo 'a 1 2 3 -4 5 6'
    echo 'b 2 4 6 -8 10 12.5'
    echo 'c -1 -2 -3 4 -5 -6'
} >"$tmp/near.txt"
tool compress "$tmp/near.txt" "$tmp/near.tte" --coding f32 --shape 6 --max-rank 1 &&
    tool nearest "$tmp/near.tte" a --count 11 &&
    [ "$(sed -n '1s/^ *10  b  *0.999.*/b/p' "$tmp/out")" = b ] &&
    [ "$(wc -l <"$tmp/out")" -eq 11 ] && sed -n '$p' "$tmp/out" | grep -q ' c  *-1.0000$'
report $? 'nearest: the cosine'
tool nearest "$tmp/near.tte" 9 --inner --count 1 && grep -q ' b .*185.0000$' "$tmp/out"
report $? 'nearest --inner'
tool lookup "$tmp/near.tte" c && [ "$(cat "$tmp/out")" = 'c -1 -2 -3 4 -5 -6' ]
report $? 'lookup of a word'
refused 1 'zebra' lookup "$tmp/near.tte" zebra
rm -f "$tmp/near.tte"
refused 1 'near.vocab.*force' compress "$tmp/near.txt" "$tmp/near.tte"

# ---- weights, metric, effort ----------------------------------------------------------------------

tenth() { awk '/ - /{ print $4; exit }' "$tmp/out"; }
tool compress "$model" "$tmp/zipf.tte" --ratio 16 --weights zipf --quiet && [ ! -s "$tmp/out" ] &&
    tool info "$tmp/zipf.tte" --table "$model" --by-frequency && weighted=$(tenth) &&
    tool compress "$model" "$tmp/flat.tte" --ratio 16 --quiet &&
    tool info "$tmp/flat.tte" --table "$model" --by-frequency && flat=$(tenth) &&
    [ "$(grep -c ' - ' "$tmp/out")" -eq 10 ] &&
    awk -v a="$weighted" -v b="$flat" 'BEGIN { exit !(a > 0 && a < 0.75 * b) }'
report $? '--weights zipf serves the first tenth'
awk 'BEGIN { for (i = 0; i < 4096; i++) printf "%.9g\n", 1 / sqrt(i + 3) }' >"$tmp/weights"
tool compress "$model" "$tmp/file.tte" --ratio 16 --weights "$tmp/weights" --quiet &&
    tool info "$tmp/file.tte" --table "$model" --by-frequency &&
    awk -v a="$weighted" -v b="$(tenth)" 'BEGIN { exit !(b > 0.9 * a && b < 1.1 * a) }'
report $? '--weights FILE'
sed -n '2001,2500p' "$tmp/weights" >"$tmp/weights.part"
tool compress "$model" "$tmp/w1.tte" --rows 2000:2500 --weights "$tmp/weights" --quiet &&
    tool compress "$model" "$tmp/w2.tte" --rows 2000:2500 --weights "$tmp/weights.part" --quiet &&
    cmp -s "$tmp/w1.tte" "$tmp/w2.tte" &&
    tool compress "$model" "$tmp/w3.tte" --rows 2000:2500 --quiet &&
    ! cmp -s "$tmp/w1.tte" "$tmp/w3.tte"
report $? '--weights FILE for some rows'
sed '7s/.*/-1/' "$tmp/weights" >"$tmp/bad"
refused 1 'bad: line 7' compress "$model" "$no" --weights "$tmp/bad"
sed '4096s/.*/none/' "$tmp/weights" >"$tmp/bad"
refused 1 'bad: line 4096' compress "$model" "$no" --weights "$tmp/bad"
sed 1d "$tmp/weights" >"$tmp/bad"
refused 1 '4095 lines for 4096' compress "$model" "$no" --weights "$tmp/bad"

# A twenty-fifth of this table are rows of sixteen bits, where a long state of the trellis serves badly.
for effort in 1 3 5 7 9; do
    tool compress "$model" "$tmp/effort.tte" --ratio 16 --effort $effort --quiet --force &&
        tool info "$tmp/effort.tte" && awk '/^rel_error/ { print $2 }' "$tmp/out"
done >"$tmp/errors"
[ "$(wc -l <"$tmp/errors")" -eq 5 ] && cp "$tmp/errors" "$tmp/out" &&
    awk 'NR > 1 && $1 >= 0.995 * last { exit 1 } { last = $1 }' "$tmp/errors"
report $? '--effort: more of it, less error'

# A calibration of which the first 64 columns count 100 times: errors move to the others, where they count less.
# And one with equal weights: rows 0 to 409 count 100 times.
"$tmp/files" calibration "$tmp/metric.safetensors" 0 128 64 &&
    tool compress "$model" "$tmp/metric.tte" --ratio 16 --effort 2 --calibration "$tmp/metric.safetensors" &&
    sed -n 's/.* relative error \(.*\), weighted \(.*\)$/\1 \2/p' "$tmp/out" |
    awk '{ good = $1 < 0.9 && $2 > 0 && $2 < 0.8 * $1 } END { exit !good }' && tool info "$tmp/metric.tte" &&
    grep -q '^effort  *2$' "$tmp/out"
report $? '--calibration with a metric, --effort'
"$tmp/files" calibration "$tmp/rows.safetensors" 4096 0 410 &&
    tool compress "$model" "$tmp/rows.tte" --ratio 16 --calibration "$tmp/rows.safetensors" --quiet &&
    tool info "$tmp/rows.tte" --table "$model" --by-frequency &&
    awk -v a="$(tenth)" -v b="$flat" 'BEGIN { exit !(a > 0 && a < 0.6 * b) }'
report $? '--calibration with weights'
"$tmp/files" calibration "$tmp/both.safetensors" 4096 128 410
tool train "$model" "$tmp/c0.tte" --ratio 12 --calibration "$tmp/both.safetensors" --quiet &&
    tool compress "$model" "$tmp/c1.tte" --like "$tmp/c0.tte" --calibration "$tmp/both.safetensors" --quiet --rows :2000 &&
    tool compress "$model" "$tmp/c2.tte" --like "$tmp/c0.tte" --calibration "$tmp/both.safetensors" --quiet --rows 2000: &&
    tool merge "$tmp/c1.tte" "$tmp/c2.tte" "$tmp/c3.tte" &&
    tool compress "$model" "$tmp/c4.tte" --ratio 12 --calibration "$tmp/both.safetensors" --quiet &&
    cmp -s "$tmp/c3.tte" "$tmp/c4.tte"
report $? '--calibration: train, compress --like of some rows, merge: the bytes of compress'
tool shrink "$tmp/c4.tte" "$tmp/c5.tte" --ratio 24 --calibration "$tmp/both.safetensors" &&
    grep -q '24\.[0-9]* times smaller.*, weighted' "$tmp/out"
report $? 'shrink --calibration'
for other in 'vocabulary needs .60' 'width needs .16 x 16'; do
    case $other in voc*) made=rows ;; *) made=metric ;; esac
    refused 1 "$made.safetensors: tensor .*$other.*made for another table" compress "$tmp/t.npy" "$no" \
        --calibration "$tmp/$made.safetensors"
done
"$tmp/patch_file" "$tmp/metric.safetensors" "$tmp/asymmetric" set $(($(wc -c <"$tmp/metric.safetensors") - 8)) 0000803f
refused 1 'asymmetric: tensor metric: not symmetric' compress "$model" "$no" --calibration "$tmp/asymmetric"
"$tmp/patch_file" "$tmp/metric.safetensors" "$tmp/negative" set $(($(wc -c <"$tmp/metric.safetensors") - 4)) 000080bf
refused 1 'model.safetensors: ' compress "$model" "$no" --calibration "$tmp/negative"
"$tmp/patch_file" "$tmp/rows.safetensors" "$tmp/short" keep 5000
refused 1 'short: ' train "$model" "$no" --calibration "$tmp/short"
"$tmp/patch_file" "$tmp/rows.safetensors" "$tmp/zero" set $(($(wc -c <"$tmp/rows.safetensors") - 4)) 00000000
refused 1 'zero: tensor row_weight: number 4095 is not above 0' shrink "$tmp/c4.tte" "$no" --ratio 30 --calibration "$tmp/zero"
refused 1 'model.safetensors: no calibration' compress "$model" "$no" --calibration "$model"

# ---- changing images -------------------------------------------------------------------------------

# Shards that are merged are the whole, byte for byte.
token='--layout token --coding i8 --max-rank 4 --shape 8x16 --quiet'
tool compress "$model" "$tmp/whole.tte" $token &&
    tool compress "$model" "$tmp/s1.tte" $token --rows :1000 &&
    tool compress "$model" "$tmp/s2.tte" $token --rows 1000:1001 &&
    tool compress "$model" "$tmp/s3.tte" $token --rows 1001: &&
    tool merge "$tmp/s1.tte" "$tmp/s2.tte" "$tmp/s3.tte" "$tmp/merged.tte" &&
    cmp -s "$tmp/merged.tte" "$tmp/whole.tte"
report $? '--layout token: shards and merge'
zipf='--weights zipf --quiet'
tool train "$model" "$tmp/basis.tte" --ratio 12 --weights zipf &&
    grep -q ': 0 x 128, [0-9,]* bytes$' "$tmp/out" &&
    tool compress "$model" "$tmp/t1.tte" --like "$tmp/basis.tte" $zipf --rows :2000 &&
    tool compress "$model" "$tmp/t2.tte" --like "$tmp/basis.tte" $zipf --rows 2000: &&
    tool merge "$tmp/t1.tte" "$tmp/t2.tte" "$tmp/joined.tte" &&
    tool compress "$model" "$tmp/like.tte" --ratio 12 $zipf &&
    cmp -s "$tmp/joined.tte" "$tmp/like.tte"
report $? 'train, compress --like, merge: the bytes of compress'
refused 1 'no rows' lookup "$tmp/basis.tte" 0
refused 1 'coding' merge "$tmp/s1.tte" "$tmp/t1.tte" "$no"
tool compress "$model" "$tmp/own.tte" --rows 2000: --quiet
refused 1 'own.tte: another basis.*--like' merge "$tmp/t1.tte" "$tmp/own.tte" "$no"
tool compress "$model" "$tmp/own.tte" --force --rows 2000: --quiet --layout token --coding i8 \
    --shape 4x4x8 --max-rank 4
refused 1 'own.tte: another shape' merge "$tmp/s1.tte" "$tmp/own.tte" "$no"
refused 2 'like' compress "$model" "$no" --like "$tmp/gpt2.tte" --ratio 3
refused 2 'like' compress "$model" "$no" --like "$tmp/gpt2.tte" --max-rank 3
refused 1 'layout token' compress "$model" "$no" --like "$tmp/whole.tte"
refused 1 'rows of 128' compress "$tmp/t.npy" "$no" --like "$tmp/gpt2.tte"

# Rows that are appended or replaced read back as a part of the table does.
tool append "$tmp/s1.tte" "$model" "$tmp/appended.tte" --rows 1000:1001 --quiet &&
    tool append "$tmp/appended.tte" "$model" "$tmp/appended.tte" --rows 1001: --force &&
    cmp -s "$tmp/appended.tte" "$tmp/whole.tte"
report $? 'append, also in place'
"$tmp/files" rows "$tmp/gpt2.f32" 100 102 "$tmp/rows.bin" 128
tool append "$tmp/gpt2.tte" "$tmp/rows.bin" "$tmp/appended.tte" --force &&
    tool lookup "$tmp/appended.tte" 4097 && tr ' ' '\n' <"$tmp/out" | sed 1d >"$tmp/new" &&
    tool lookup "$tmp/gpt2.tte" 101 && tr ' ' '\n' <"$tmp/out" | sed 1d | paste "$tmp/new" - |
    awk '{ e += ($1 - $2)^2; s += $2^2 } END { exit !(NR == 128 && e < 0.01 * s) }'
report $? 'append of raw rows to a train for the table'
tool replace "$tmp/gpt2.tte" '#5' "$tmp/rows.bin" "$tmp/replaced.tte" --row 1 &&
    tool info "$tmp/replaced.tte" --table "$model" --worst 1 &&
    [ "$(awk 'END { print $1 }' "$tmp/out")" = 5 ] && tool nearest "$tmp/replaced.tte" '#5' --count 1 &&
    grep -q '^ *101 ' "$tmp/out"
report $? 'replace: the row it took, and info --worst finds it'
refused 2 'row' replace "$tmp/gpt2.tte" '#5' "$tmp/rows.bin" "$no"
refused 1 'rows 0 to 1' replace "$tmp/gpt2.tte" '#5' "$tmp/rows.bin" "$no" --row 2
refused 1 'token 4096' replace "$tmp/gpt2.tte" 4096 "$tmp/rows.bin" "$no" --row 0
refused 1 'rows of 16' append "$tmp/gpt2.tte" "$tmp/t.npy" "$no"

# Words go along.
rm -f "$tmp/near.vocab"
tool compress "$tmp/near.txt" "$tmp/near.tte" --coding f32 --shape 6 --max-rank 1 --rows :10 &&
    tool append "$tmp/near.tte" "$tmp/near.txt" "$tmp/near2.tte" --rows 10: &&
    tool merge "$tmp/near2.tte" "$tmp/near.tte" "$tmp/near3.tte" &&
    tool shrink "$tmp/near3.tte" "$tmp/near4.tte" --coding f16 --shape 6 --max-rank 1 &&
    tool lookup "$tmp/near4.tte" c 21 &&
    [ "$(sed -n 1p "$tmp/out")" = 'c -1 -2 -3 4 -5 -6' ] && [ "$(wc -l <"$tmp/near4.vocab")" -eq 22 ] &&
    [ "$(sed -n 2p "$tmp/out")" = '21 1 2 3 -4 5 6' ] && [ "$(sed -n 22p "$tmp/near4.vocab")" = a ]
report $? 'append, merge and shrink keep the words'

tool shrink "$tmp/gpt2.tte" "$tmp/shrunk.tte" --ratio 16 && grep -q ' 16.[01][0-9] times' "$tmp/out" &&
    tool info "$tmp/shrunk.tte" --table "$model" --by-frequency && # what it tells bounds the errors of parts
    awk '/^rel_error/ { good = $2 > 0.2 && $2 < 0.3 } / - / { if ($4 > 0.26) good = 0 } END { exit !good }' \
        "$tmp/out"
report $? 'shrink --ratio 16'
refused 2 'how small' shrink "$tmp/gpt2.tte" "$no"
refused 2 'layout table' shrink "$tmp/whole.tte" "$no" --layout token --coding trellis --ratio 3

# The array in C, read by the part of the library that a device has.
tool c-array "$tmp/gpt2.tte" "$tmp/array.h" --name my_table
cat >"$tmp/device.c" <<'END'
#define TT_EMBED_DECODE_ONLY
#define TT_EMBED_IMPLEMENTATION
#include "tt_embed.h"
#include "array.h"
#include <stdio.h>
static float scratch[100000], row[128];
int main(void)
{
    tte_table t;
    int i;
    if (tte_open(&t, my_table, sizeof my_table) != TTE_OK || tte_scratch_len(&t) > 100000) return 1;
    if (tte_lookup(&t, 17, row, scratch) != TTE_OK) return 1;
    printf("17");
    for (i = 0; i < 128; ++i) printf(" %.9g", (double)row[i]);
    printf("\n");
    return 0;
}
END
$CC -O1 ${CFLAGS-} -I. -I"$tmp" -o "$tmp/device" "$tmp/device.c" 2>>"$tmp/err" &&
    "$tmp/device" >"$tmp/row" && tool lookup "$tmp/gpt2.tte" 17 &&
    cmp -s "$tmp/row" "$tmp/out"
report $? 'c-array'
refused 2 'name' c-array "$tmp/gpt2.tte" "$tmp/no.h" --name 'a b'

# ---- damage, full disks, signals -------------------------------------------------------------------

size=$(wc -c <"$tmp/gpt2.tte")
"$tmp/patch_file" "$tmp/gpt2.tte" "$tmp/damaged.tte" set 100000 5a5a5a5a5a
refused 1 'damaged.tte: checksum' verify "$tmp/damaged.tte"
refused 1 'checksum' shrink "$tmp/damaged.tte" "$no" --ratio 16
refused 1 'checksum' append "$tmp/damaged.tte" "$tmp/rows.bin" "$no"
refused 1 'checksum' merge "$tmp/damaged.tte" "$no"
refused 1 'checksum' export "$tmp/damaged.tte" "$tmp/no.npy"
"$tmp/patch_file" "$tmp/gpt2.tte" "$tmp/damaged.tte" keep $((size - 1))
refused 1 'damaged.tte: .*shorter' info "$tmp/damaged.tte"
: >"$tmp/damaged.tte"
refused 1 'damaged.tte: ' info "$tmp/damaged.tte"

if [ -w /dev/full ]; then
    for how in 'lookup #3' 'info' 'nearest #3' 'verify'; do
        set -- $how
        command=$1
        shift
        "$tmp/ttembed" "$command" "$tmp/gpt2.tte" "$@" >/dev/full 2>"$tmp/err"
        [ $? -eq 1 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q 'standard output' "$tmp/err"
        report $? "/dev/full: $command"
    done
else
    echo '/dev/full: skipped, there is none'
fi

# JSON of a table of fewer rows than tenths, one of them zeros.
printf 'a 0 0\nb 1 2\nc 3 -1\n' >"$tmp/three.txt"
tool compress "$tmp/three.txt" "$tmp/three.tte" --quiet --coding f32 --shape 2 --max-rank 1 &&
    tool info "$tmp/three.tte" --json --table "$tmp/three.txt" --by-frequency --worst 9 &&
    [ "$(grep -c '"first"' "$tmp/out")" -eq 3 ] && ! grep -q ': -*\(nan\|inf\)' "$tmp/out" &&
    grep -q '"first": 2, "last": 2,' "$tmp/out"
report $? 'info --json of three rows'
cp "$tmp/out" "$tmp/three.json"
# A row of a NaN and an infinity, and a recorded error that is a NaN, under checksums that are right.
"$tmp/patch_file" "$tmp/three.tte" "$tmp/damaged.tte" set 228 0000c07f0000807f set 48 000000000000f87f seal image
tool info "$tmp/damaged.tte" --json --table "$tmp/three.txt" --by-frequency --worst 9 &&
    ! grep -qi ': -*\(nan\|inf\)' "$tmp/out" && grep -q '"max_row_error": null' "$tmp/out" &&
    [ "$(sed -n '/"worst": \[/{n;p;q;}' "$tmp/out")" = '    {"token": 1, "word": "b", "error": null, "norm": 2.23607},' ]
report $? 'info --json of numbers that are none'
if $python -c 'import json' 2>/dev/null; then
    $python -c 'import json, sys; [json.load(open(f)) for f in sys.argv[1:]]' "$tmp/out" "$tmp/three.json"
    report $? 'info --json of three rows, parsed'
fi

# Decimals as long as some writers make them; a key of JSON that comes twice.
zeros=0000000000000000000000000000000000000000000000000000000000000000000000
printf 'a 0.5%s 1%s.0e-70\nb 2 3\n' "$zeros" "$zeros" >"$tmp/long.txt"
tool compress "$tmp/long.txt" "$tmp/long.tte" --quiet --coding f32 --shape 2 --max-rank 1 &&
    tool lookup "$tmp/long.tte" 0 && grep -q ' 0\.5 1$' "$tmp/out"
report $? 'decimals of 70 places'
twice='{"w":{"dtype":"F32","shape":[1,2],"shape":[2,1],"data_offsets":[0,8]}}'
{ printf '\106\0\0\0\0\0\0\0%s' "$twice" && printf '\0\0\0\0\0\0\0\0'; } >"$tmp/twice.safetensors"
refused 1 'a key for the second time' compress "$tmp/twice.safetensors" "$no"

# A limit of 64 blocks on the size of a file, which is less than each of these needs.
limited() { # limited ARGUMENTS..: the last one is the file to be written
    rm -f "$tmp"/no.*
    (ulimit -f 64 && "$tmp/ttembed" "$@" 2>"$tmp/limit.err" >/dev/null)
    status=$?
    cp "$tmp/limit.err" "$tmp/err"
    [ $status -eq 1 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q "$tmp/no" "$tmp/err" &&
        nothing_left
    report $? "no space: $1"
}
limited compress "$model" "$no"
limited export "$tmp/gpt2.tte" "$tmp/no.npy"
limited c-array "$tmp/gpt2.tte" "$tmp/no.h"
limited shrink "$tmp/gpt2.tte" --ratio 16 "$no"

# Streams that are closed: the new file does not get their numbers, and the exit status tells whether all that was to be
# said has been said.
rm -f "$tmp"/no.*
"$tmp/ttembed" compress "$model" "$no" --verbose >/dev/null 2>&- && tool verify "$no"
report $? 'standard error is closed'
"$tmp/ttembed" compress "$model" "$no" --force --quiet <&- >&- 2>&- && tool verify "$no"
report $? 'all three are closed'
"$tmp/ttembed" info "$no" >&- 2>"$tmp/err"
[ $? -eq 1 ] && grep -q 'standard output' "$tmp/err"
report $? 'standard output is closed'

# A file that is replaced keeps its mode; what is no plain file stays; what a killed process left is removed.
chmod 640 "$no" && echo rest >"$no.tte-tmp00" && tool compress "$model" "$no" --force &&
    [ "$(find "$no" -perm 640)" = "$no" ] && [ ! -e "$no.tte-tmp00" ]
report $? 'the mode is kept, the rest of another is removed'
rm -f "$tmp"/no.*
if mkfifo "$no" 2>/dev/null; then
    tool compress "$model" "$no" --force
    [ $? -eq 1 ] && grep -q 'no plain file' "$tmp/err" && [ -p "$no" ]
    report $? 'a pipe is not replaced'
    rm -f "$no"
fi
for writer in 1 2 3; do   # of whom one gets the name
    "$tmp/ttembed" compress "$model" "$no" --quiet 2>"$tmp/err.$writer" && echo "$writer" >>"$tmp/won" &
done
wait
[ "$(wc -l <"$tmp/won")" -eq 1 ] && [ "$(cat "$tmp"/err.? | grep -c 'there already\|File exists')" -eq 2 ] &&
    tool verify "$no" && rm "$no" "$tmp/no.vocab" && nothing_left
report $? 'three writers of one file'

# A table of 61 megabytes with 30 of memory: its rows come from the mapped file. To append them all at
# once is too much, which shows that the limit holds.
if [ -n "${TEST_SMALL-}" ]; then finish; fi
"$tmp/files" make raw "$tmp/long.f32" "$tmp/long.dense" 20000 768 3
rm -f "$tmp/long.dense" "$tmp"/no.*
# shellcheck disable=SC3045
small() { (ulimit -d 30000 2>/dev/null && tool "$@"); }
if small --help; then
    small compress "$tmp/long.f32" "$tmp/tall.tte" --dim 64 --coding i4 --shape 8x8 --max-rank 1 &&
        grep -q '240,000 x 64, 2,8' "$tmp/out"
    report $? 'a table larger than memory'
    ! small append "$tmp/tall.tte" "$tmp/long.f32" "$no" && grep -q 'out of memory' "$tmp/err" &&
        [ ! -f "$no" ]
    report $? 'out of memory'
else
    echo 'a table larger than memory: skipped, memory cannot be limited'
fi

# Ctrl-C during a long compression: it ends by that signal and leaves no file. A line a second shows
# how far it is, without control codes. During export there is a file to remove.
if "$tmp/files" signal 2 /bin/sh -c 'echo >&2; sleep 5' 2>/dev/null | grep -q 'signal 2'; then
    stopped() { # stopped NUMBER ARGUMENTS..
        number=$1
        shift
        "$tmp/files" signal "$number" "$tmp/ttembed" "$@" --verbose >"$tmp/out" 2>"$tmp/err"
        [ "$(cat "$tmp/out")" = "signal $number" ] && grep -q "$1: [0-9]* %  [0-9]* rows/s" "$tmp/err" &&
            [ "$(sed -n '$p' "$tmp/err")" = 'ttembed: stopped' ] &&
            ! grep -q "$(printf '[\033\r]')" "$tmp/err" && nothing_left
        report $? "signal $number during $1 leaves nothing behind"
    }
    stopped 2 compress "$tmp/long.f32" "$no" --dim 768
    stopped 15 compress "$tmp/long.f32" "$no" --dim 768
    status=0
    for attempt in 1 2 3; do   # it may be done before the signal comes
        rm -f "$tmp/no.npy"
        "$tmp/ttembed" export "$tmp/tall.tte" "$tmp/no.npy" >"$tmp/out" 2>"$tmp/err" &
        while [ ! -e "$tmp/no.npy.tte-tmp00" ] && kill -0 $! 2>/dev/null; do :; done
        kill -15 $! 2>/dev/null
        wait $!
        status=$?
        if [ $status -ne 0 ]; then break; fi
    done
    [ $status -eq 143 ] && [ "$(cat "$tmp/err")" = 'ttembed: stopped' ] && nothing_left
    report $? "signal 15 during export leaves nothing behind, attempt $attempt, status $status"
else
    echo 'signals: skipped, this system has none'
fi

finish
