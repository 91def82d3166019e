#!/bin/sh
# test_files.sh: files as people have them, a line each: what examples/ttembed.c and gpt2_demo.c read of them, with the
# right numbers and words, or the one line that they say. Ends with its own count. TEST_SMALL=1 leaves the demo out.
# shellcheck disable=SC2059   # files are written as formats of printf, for their escapes

cd "$(dirname "$0")/.." || exit 1
test_name=files
. tests/harness.sh
LC_ALL=C
export LC_ALL
tiny=examples/tiny-gpt2

builds ttembed ${CFLAGS-} examples/ttembed.c
builds files tests/ttembed_files.c
if [ "$failed" -ne 0 ]; then finish; fi
here=$(pwd)
cd "$tmp" || exit 1

tool() { ./ttembed "$@" >out 2>err </dev/null; }

# reads NAME FILE 'TOKEN NUMBERS..' WORDS OPTIONS..: the row of that token, and all words with | between them
reads() {
    name=$1 file=$2 row=$3 words=$4
    shift 4
    rm -f table.tte table.vocab
    # shellcheck disable=SC2086
    tool compress "$file" table.tte --coding f32 --max-rank 1 --shape "$(set -- $row && echo $(($# - 1)))" --quiet "$@" &&
        { [ ! -f table.vocab ] || tr '\n' '|' <table.vocab; } >words && tool lookup table.tte "${row%% *}" &&
        [ "$(cat out)" = "$row" ] && [ "$(cat words)" = "$words" ]
    result=$?
    printf '%s\nwords %s, expected %s and %s\n' "$(cat out)" "$(cat words)" "$row" "$words" >>err
    report $result "reads: $name"
}

# says NAME WORD ARGUMENTS..: one line with the word, a failure, and nothing written
says() {
    name=$1 word=$2
    shift 2
    rm -f no.*
    tool "$@"
    status=$?
    [ $status -ne 0 ] && [ $status -le 2 ] && [ "$(wc -l <err)" -eq 1 ] && grep -q -e "$word" err && [ ! -e no.tte ]
    result=$?
    echo "exit status $status, expected one line with '$word'" >>out
    report $result "says: $name"
}
refused() { says "$1" "$2" compress "$3" no.tte; }

# ---- word vectors ------------------------------------------------------------------------------------

# NAME | TOKEN NUMBERS | WORDS | the file, as printf writes it
while IFS='|' read -r name row words text; do
    printf "$text" >t.txt
    reads "$name" t.txt "$row" "$(printf '%s' "$words" | tr , '|')"
done <<'END'
a byte order mark before the counts|the 1 2 3|the,b,|\357\273\2772 3\nthe 1 2 3\nb 4 5 6\n
a byte order mark before the first word|the 1 2 3|the,b,|\357\273\277the 1 2 3\nb 4 5 6\n
counts behind a blank|b 4 5 6|the,b,| 2 3\nthe 1 2 3\nb 4 5 6\n
counts with a tab, lines with CRLF|b 4 5 6|the,b,|2\t3\r\nthe 1 2 3\r\nb 4 5 6\r\n
a count alone|b 4 5 6|the,b,|2\nthe 1 2 3\nb 4 5 6\n
three counts and words in base 64|the 1 2 3|the,b c,|2 3 9\nB64:dGhl 1 2 3\nB64:YiBj 4 5 6\n
words with spaces in the first line|b 4 5 6|. .,b,|. . 1 2 3\nb 4 5 6\n
a word that ends in a number behind others|c 7 8 9|New York 5,c,|New York 5 4 5 6\nc 7 8 9\n
tabs around words with numbers|x 7 8 9|House 3,x,|House 3\t4\t5\t6\nx\t7\t8\t9\n
an empty word|b 4 5 6|,b,|2 3\n 1 2 3\nb 4 5 6\n
a word that is a line end|b 4 5 6|,b,|2 3\n\n 1 2 3\nb 4 5 6\n
no words|#1 4 5 6||1 2 3\n4 5 6\n
no words, indented|#1 4 5 6||  1 2 3\n  4 5 6\n
no words, counts before|#1 4 5 6||2 3\n1 2 3\n4 5 6\n
words that are ids|#1 4.5 5 6|7,9,|7 1.5 2 3\n9 4.5 5 6\n
words that are ids, counts before|9 4 5 6|7,9,|2 3\n7 1 2 3\n9 4 5 6\n
no end of the last line|b 4 5 6|the,b,|the 1 2 3\nb 4 5 6
numbers in several notations|b -4 5 6|the,b,|the 1 2 3\nb -4. .5e1 +6\n
END
while IFS='|' read -r name word text; do
    printf "$text" >t.txt
    refused "$name" "$word" t.txt
done <<'END'
a first line that is narrower|t.txt: line 1: 1 numbers, expected a word and 3|the 1\nb 1 2 3\nc 1 2 3\n
a line that is narrower|t.txt: line 2: 1 numbers, expected a word and 3|a 1 2 3\nb 1\nc 1 2 3\n
a line with one number more|t.txt: line 3: 4 numbers, expected a word and 3|a 1 2 3\nc 1 2 3\nand 0.125 1 2 3\n
two widths in one file|line 3: 4 numbers, expected a word and 2|a 1 2\nb 1 2\nc 1 2 3 4\nd 1 2 3 4\n
counts of another width|line 1: says 5 numbers a row, line 2 has 3|2 5\na 1 2 3\nb 1 2 3\n
a word too few|line 1: 3 words, but 2 follow|3 2\na 1 2\nb 1 2\n
a number that is none|t.txt: line 2, row 1, "b": number 1 is "-nan", expected a finite|a 1 2\nb 1 -nan\n
an infinite number|t.txt: line 1, row 0, "a": number 0 is "inf"|a inf 2\nb 1 2\n
marks of a conflict, first|marks of a git conflict in line 1|<<<<<<< HEAD\na 1 2\n=======\n
marks of a conflict, later|line 2: a mark of a git conflict|a 1 2\n=======\nb 1 2\n
a pointer of git-lfs|git lfs pull|version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n
a web page|a web page|<!DOCTYPE html>\n<html><body>Sign in</body></html>\n
text in UTF-16|iconv|\377\376a\0 \0001\0\n\0
nothing|empty|
END
printf 'the 1 2 3\nb 4 5 6\n' >t.tsv
for name in words.tsv words.glove WORDS.VEC words; do
    cp t.tsv $name
    reads "word vectors in $name" $name 'b 4 5 6' 'the|b|'
done
one='\000\000\200\077' two='\000\000\000\100' three='\000\000\100\100' four='\000\000\200\100'
for gap in '' '\n'; do
    printf "2 2\nthe $one$two${gap}b $three$four$gap" >t.bin
    reads "word2vec's .bin, '$gap' behind each" t.bin 'b 3 4' 'the|b|'
done
printf "3 2\nthe $one${two}b $three$four" >t.bin
refused "word2vec's .bin cut short" 't.bin: truncated in word 2 of 3' t.bin

# ---- other files under the names of tables --------------------------------------------------------------

while IFS='|' read -r kind what text; do
    for ending in safetensors npy gguf txt bin; do
        printf "$text" >"other.$ending"
        refused "$kind as .$ending" "other.$ending: .*$what" "other.$ending"
    done
done <<'END'
a pointer of git-lfs|git-lfs pointer.*git lfs pull|version https://git-lfs.github.com/spec/v1\noid sha256:0\n
a web page|a web page| <html>\n<head>\n
gzip|gzip -dc|\037\213\010\0\0\0\0\0\0\0\0\0\0\0\0\0
zip|zip archive: unpack it|PK\3\4\024\0\0\0\0\0\0\0\0\0\0\0
a pickle|Python pickle|\200\4\225\0\0\0\0\0\0\0\0\0\0\0
a model of fastText|its .vec file|\272\026\117\057\014\0\0\0\0\0\0\0
nothing|empty|
END

# ---- safetensors ---------------------------------------------------------------------------------------

# st FILE HEADER NUMBERS: quotes are written as ' in the header; numbers in the octal digits of printf
st() {
    header=$(printf '%s' "$2" | tr "'" '"')
    {
        printf "\\$(printf %03o $((${#header} % 256)))\\$(printf %03o $((${#header} / 256)))\0\0\0\0\0\0"
        printf '%s' "$header"
        printf "$3"
    } >"$1"
}
m22="'dtype':'F32','shape':[2,2]"
all=$one$two$three$four
st t.safetensors "{'vectors':{$m22,'data_offsets':[0,16]},'scale':{'dtype':'F32','shape':[],'data_offsets':[16,20]},
'count':{'dtype':'F32','shape':[1],'data_offsets':[20,24]}}" "$all$one$one"
reads 'a matrix of any name beside scalars' t.safetensors '#1 3 4' ''
st t.safetensors "{'text_model.embeddings.token_embedding.weight':{$m22,'data_offsets':[0,16]},
'text_model.embeddings.position_embedding.weight':{$m22,'data_offsets':[16,32]}}" "$all$all"
reads 'names of CLIP' t.safetensors '#1 3 4' ''
st t.safetensors "{'shared.weight':{$m22,'data_offsets':[0,16]},'encoder.embed_tokens.weight':{$m22,'data_offsets':[16,32]}}" \
    "$all$all"
reads 'equal copies under two names' t.safetensors '#1 3 4' ''
st t.safetensors "{'shared.weight':{$m22,'data_offsets':[0,16]},'encoder.embed_tokens.weight':{$m22,'data_offsets':[16,32]}}" \
    "$all$one$one$one$one"
refused 'two tables' 'names one of encoder.embed_tokens.weight, shared.weight' t.safetensors
st t.safetensors "{'lm_head.weight':{$m22,'data_offsets':[0,16]},'h.0.proj.weight':{$m22,'data_offsets':[16,32]}}" "$all$all"
reads "the output's table alone" t.safetensors '#1 3 4' ''
tool compress t.safetensors o.tte --force --coding f32 --shape 2 --max-rank 1 && grep -q '^o.tte: lm_head.weight: 2 x 2' out
report $? 'the summary names the tensor'
st t.safetensors "{'__metadata__':{'transformer.wte.weight':'lm_head.weight'},'lm_head.weight':{$m22,'data_offsets':[0,16]},
'h.0.proj.weight':{$m22,'data_offsets':[16,32]}}" "$all$all"
reads 'a name that the metadata keeps' t.safetensors '#1 3 4' '' --tensor transformer.wte.weight
st t.safetensors "{'wte.weight':{'dtype':'U32','shape':[2,2],'data_offsets':[0,16]},'wte.scales':{$m22,'data_offsets':[16,32]}}" \
    "$all$all"
refused 'packed by MLX' 'wte.weight: packed by MLX' t.safetensors
st t.safetensors "{'wte.weight':{'dtype':'F8_E4M3','shape':[2,2],'data_offsets':[0,4]}}" '\070\100\104\110'
reads 'floats of 8 bits' t.safetensors '#1 3 4' ''
st t.safetensors "{'wte.weight':{'dtype':'F8_E4M3','shape':[2,2],'data_offsets':[0,4]},
'wte.weight_scale_inv':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}" "\\070\\100\\104\\110$one"
refused 'floats of 8 bits with a scale' 'with a scale in wte.weight_scale_inv' t.safetensors
st t.safetensors "{'embeddings':{'dtype':'I8','shape':[2,2],'data_offsets':[0,4]},
'mapping':{'dtype':'I64','shape':[3],'data_offsets':[4,28]},'weights':{'dtype':'F32','shape':[3],'data_offsets':[28,40]}}" \
    "\\001\\002\\003\\004\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0$one$one$two"
reads "model2vec's shared rows and weights" t.safetensors '#2 6 8' ''
tool list t.safetensors && grep -q '^embeddings .*I8 .*2 x 2 .*<- the table$' out && grep -q '^mapping .*I64 *3 ' out
report $? 'list'
tool info t.safetensors --json && grep -q '"name": "embeddings", "dtype": "I8", "shape": \[2, 2\], "bytes": 4, "table": true' out
report $? 'info of what is no image'

# ---- folders -------------------------------------------------------------------------------------------

st t.safetensors "{'wte.weight':{$m22,'data_offsets':[0,16]}}" "$all"
st head.safetensors "{'lm_head.weight':{$m22,'data_offsets':[0,16]}}" "$one$one$one$one"
# folder FILES..: a folder f with these, "NAME=FILE"
folder() {
    rm -rf f && mkdir f
    for pair in "$@"; do
        mkdir -p "f/$(dirname "${pair%%=*}")"
        cp "${pair#*=}" "f/${pair%%=*}"
    done
}
printf '{"weight_map": {"wte.weight": "model-00001-of-00002.safetensors", "lm_head.weight": "model-00002-of-00002.safetensors"}}' >index
printf '[{"idx": 0, "path": "0_StaticEmbedding", "type": "x"}]' >modules
folder model.safetensors=t.safetensors model.safetensors.index.json=index
reads 'a model beside an index that was left over' f '#1 3 4' ''
folder model-00001-of-00002.safetensors=t.safetensors model-00002-of-00002.safetensors=head.safetensors model.safetensors.index.json=index
reads 'shards' f '#1 3 4' ''
rm f/model-00002-of-00002.safetensors
reads 'the shard that has the table' f '#1 3 4' ''
mv f/model-00001-of-00002.safetensors f/model-00002-of-00002.safetensors
refused 'the shard without the table' 'model-00002.*lm_head.weight: missing, though' f
folder model-00001-of-00013.safetensors=t.safetensors model.safetensors.index.json=index
refused 'an index of another build' 'index.json: names f/model-0000[12]-of-00002.safetensors, which is not there; there is model-00001-of-00013' f
folder model-00002-of-00002.safetensors=head.safetensors model.safetensors.index.json=index
refused 'not the shard of the table' 'wte.weight is in a file that is not there' f
folder model-00001-of-00002.safetensors=t.safetensors model-00002-of-00002.safetensors=head.safetensors
reads 'shards without an index' f '#1 3 4' ''
folder modules.json=modules 0_StaticEmbedding/model.safetensors=t.safetensors
reads 'a folder of sentence-transformers' f '#1 3 4' ''
folder model.fp16.safetensors=t.safetensors
reads 'one file of another name' f '#1 3 4' ''
folder pytorch_model.bin=index config.json=index
refused 'a model of PyTorch' 'f: no .safetensors or .gguf here, but pytorch_model.bin: save the model as safetensors' f
folder adapter_model.safetensors=t.safetensors
refused 'an adapter' 'only adapter_model.safetensors here, which is an adapter' f
rm -rf f && mkdir f
refused 'an empty folder' 'f: no model.safetensors here: the folder is empty' f

# ---- words ---------------------------------------------------------------------------------------------

printf '{"the": 0, "\\u0120b": 1}' >words.json
printf '{"added_tokens": [{"id": 1, "content": "<end>"}], "model": {"type": "WordPiece", "vocab": {"the": 0}}}' >bert.json
printf '{"model": {"type": "Unigram", "vocab": [["the", -1.5], ["\342\226\201b", -2]]}}' >unigram.json
printf '{"<end>": 1}' >added.json
printf '\357\273\277the\r\nb\r\n' >crlf.txt
printf 'the' >short.txt
while IFS='|' read -r name words files; do
    # shellcheck disable=SC2086
    folder model.safetensors=t.safetensors $files
    reads "words: $name" f 'the 1 2' "$(printf '%s' "$words" | tr , '|')"
done <<'END'
vocab.json|the,Ġb,|vocab.json=words.json
tokenizer.json with added tokens|the,<end>,|tokenizer.json=bert.json
tokenizer.json of Unigram|the,▁b,|tokenizer.json=unigram.json
added_tokens.json|the,<end>,|vocab.txt=short.txt added_tokens.json=added.json
vocab.txt with a byte order mark and CRLF|the,b,|vocab.txt=crlf.txt
vocab.txt that is shorter, without an end|the,,|vocab.txt=short.txt
END
printf 'the\t-1.5\n\342\226\201b\t-2\n' >sp.vocab
printf 'dGhl 0\nIGI= 1\n' >ranks.tiktoken
printf '\n\012\n\003the\025\0\0\0\0\n\005\n\003\342\226\201' >pieces.model
printf '\012\012\012\003the\025\0\0\0\0\012\012\012\003abc\025\0\0\0\0' >pieces.model
folder model.safetensors=t.safetensors
tool compress f t.tte --force --coding f32 --shape 2 --max-rank 1 --quiet
for file in sp.vocab ranks.tiktoken words.json unigram.json crlf.txt; do
    tool lookup t.tte b --vocab "$file" && grep -q '^b 3 4$' out && tool lookup t.tte the --vocab "$file"
    report $? "a word in $file"
done
tool lookup t.tte abc --vocab pieces.model && grep -q '^abc 3 4$' out
report $? 'a word in pieces.model'
printf 'a\nb\nc\n' >long.txt
says 'more words than rows' 'long.txt: line 3: .*the table has 2 rows' lookup t.tte a --vocab long.txt
files=$tmp/files
"$files" make gguf-F32 words.gguf dense 4 8 1
tool compress words.gguf w.tte --quiet --coding f32 --shape 8 --max-rank 1 && [ "$(tr '\n' '|' <w.vocab)" = 'a||bcd||' ] &&
    tool lookup w.tte bcd '#2' && [ "$(sed -n '1s/^bcd//p' out)" = "$(sed -n '2s/^#2//p' out)" ]
report $? 'the words in a GGUF'
tool compress words.gguf w2.tte --quiet --coding f32 --shape 8 --max-rank 1 --rows 2: && [ "$(tr '\n' '|' <w2.vocab)" = 'bcd||' ]
report $? 'words of some rows'
printf 'house 1 2\n\304\240house 3 4\n2 5 6\n\303\204rm 7 8\n\342\226\201mouse 9 9\n##ed 1 1\n' >v.txt
tool compress v.txt v.tte --quiet --coding f32 --shape 2 --max-rank 1
while IFS='|' read -r token row said; do
    tool lookup v.tte "$token" && [ "$(cat out)" = "$token $row" ] &&
        if [ -n "$said" ]; then grep -q -e "$said" err; else [ ! -s err ]; fi
    report $? "token $token"
done <<'END'
house|1 2|token #0 of "house" #0, "Ġhouse" #1
 house|3 4|token #1 of
Ġhouse|3 4|token #1 of
▁house|3 4|token #1 of
mouse|9 9|
 mouse|9 9|
2|5 6|"2" is a word, token #2; the token with this id is #2
#0|1 2|
1|3 4|
END
printf '\304\240x 1 2\n\342\226\201x 3 4\n' >v.txt
tool compress v.txt v.tte --force --quiet --coding f32 --shape 2 --max-rank 1
says 'a word that may be two' 'token x: which one? "Ġx" #0, "▁x" #1' lookup v.tte x
says 'an id beyond the end' 'token #2: the ids end at #1' lookup v.tte '#2'

# ---- GGUF, npy -----------------------------------------------------------------------------------------

rm -f p-*.gguf
cp words.gguf p-00002-of-00002.gguf
printf 'GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >p-00001-of-00002.gguf
for part in 1 2; do
    tool compress p-0000$part-of-00002.gguf p.tte --force --quiet --coding f32 --shape 8 --max-rank 1 && cmp -s p.tte w.tte
    report $? "a GGUF in parts, by part $part"
done
rm p-00002-of-00002.gguf
refused 'a GGUF without its second part' 'not there: p-00002-of-00002.gguf' p-00001-of-00002.gguf
# npy FILE SHAPE TYPE ORDER NUMBERS
npy() {
    head=$(printf '%-117s' "{'descr': '$3', 'fortran_order': $4, 'shape': $2, }")
    { printf '\223NUMPY\1\0\166\0%s\n' "$head" && printf "$5"; } >"$1"
}
npy t.npy '(2L, 2L)' '<f4' False "$all"
reads 'npy of Python 2' t.npy '#1 3 4' ''
npy t.npy '(2, 2)' '<f4' True "$all"
reads 'npy with columns first' t.npy '#1 2 4' ''
npy t.npy '(2, 2)' '|V2' False '\200\077\000\100\100\100\200\100'
reads 'npy of bfloat16' t.npy '#1 3 4' ''
npy t.npy '(4,)' '<f4' False "$all"
refused 'npy of one vector' 'shape .4., one vector; expected rows x columns' t.npy
npy t.npy '(2, 2)' '>f4' False "$all"
refused 'npy of another byte order' 'dtype >f4.*astype' t.npy

# ---- sweep, graft, habits --------------------------------------------------------------------------------

"$files" make raw t.f32 dense 300 24 3
tool sweep t.f32 --dim 24 --ratios 4,8 --effort 1 --json --svg s.svg && grep -q '"method": "one train", "ratio": 4' out &&
    grep -q '"method": "int8 rows", "ratio": 3.42857, "bytes": 8400, "rel_error": 0.00' out && grep -q '</svg>' s.svg &&
    tool sweep t.f32 --dim 24 --ratios=4,100000 --effort 1 && grep -q '100000.00 .*the least is [0-9,]* bytes' out &&
    grep -q '  4-bit blocks$' out
report $? 'sweep'
says 'sweep of no ratio' 'ratios' sweep t.f32 --dim 24 --ratios 4,x

# other BEFORE AFTER FROM TO: whether they differ in bytes FROM to TO only, from 1 on, and there
other() { cmp -l "$1" "$2" | awk -v a="$3" -v b="$4" '$1 < a || $1 > b { bad = 1 } END { exit bad || NR == 0 }'; }
st m.safetensors "{'a':{$m22,'data_offsets':[0,16]},'wte.weight':{$m22,'data_offsets':[16,32]},'z':{$m22,'data_offsets':[32,48]}}" \
    "$one$one$one$one$all$two$two$two$two"
printf '2 2\nx 5 6\ny 7 8\n' >v.txt
tool compress v.txt v.tte --force --quiet --coding f32 --shape 2 --max-rank 1
size=$(wc -c <m.safetensors)
tool graft v.tte m.safetensors -o g.safetensors && other m.safetensors g.safetensors $((size - 31)) $((size - 16)) &&
    [ "$(wc -c <g.safetensors)" -eq "$size" ]
report $? 'graft of safetensors'
reads 'the table that was grafted' g.safetensors '#1 7 8' ''
folder model-00001-of-00002.safetensors=m.safetensors model-00002-of-00002.safetensors=head.safetensors config.json=words.json \
    model.safetensors.index.json=index old.bin=words.json 1_Pooling/config.json=words.json
rm -rf g && tool graft v.tte f g && cmp -s g/model-00001-of-00002.safetensors g.safetensors && [ ! -e g/old.bin ] &&
    cmp -s g/model-00002-of-00002.safetensors head.safetensors && cmp -s g/model.safetensors.index.json index &&
    cmp -s g/1_Pooling/config.json words.json
report $? 'graft of shards, as a folder'
says 'graft onto a folder' 'g: File exists' graft v.tte f g
says 'graft of another shape' 'tensor wte.weight: shape .2 x 2., but w.tte has 4 x 8' graft w.tte m.safetensors no.tte
says 'graft of safetensors with a type' 'type' graft v.tte m.safetensors no.tte --type F16
"$files" make gguf-Q4_0 q.gguf dense 6 64 5
tool compress q.gguf q.tte --quiet --coding f32 --shape 64 --max-rank 1
for type in F32 F16 BF16 Q8_0; do
    tool graft q.tte q.gguf q-$type.gguf --type $type && tool info q-$type.gguf && grep -q "^token_embd.weight *$type " out &&
        tool list q-$type.gguf && grep -q '^blk.0.norm.weight *F32 *8 ' out &&
        tool compress q-$type.gguf back.tte --force --quiet --coding f32 --shape 64 --max-rank 1 &&
        tool info back.tte --table q.gguf --worst 1 --json && awk -F '[ ,]+' -v most="$(
            case $type in F32) echo 1e-6 ;; F16) echo 6e-4 ;; BF16) echo 5e-3 ;; *) echo 1e-2 ;; esac)" '
            /"token"/ { error = $5 } END { exit !(error != "" && error <= most) }' out
    report $? "graft of a GGUF as $type"
done
tool graft q.tte q-F32.gguf same.gguf && cmp -s same.gguf q-F32.gguf
report $? 'graft of a GGUF: all else byte for byte'
tool --version && grep -q '^ttembed [0-9]*\.[0-9]*\.[0-9]*$' out && tool compress -h && grep -q '^usage: ttembed compress' out &&
    tool compress --coding=f32 --shape=2 --max-rank=1 -o -- -- v.txt && [ -f ./-- ]
report $? '--version, -h, --opt=value, -o, --'

# A file that is cut while it is read, and one that is written to.
cat >cut.c <<'END'
#define _POSIX_C_SOURCE 200809L
#define TENSOR_FILES_TABLES
#include "examples/tensor_files.h"
int main(int argc, char **argv)
{
    const source_request any = {NULL, NULL, NULL, 0};
    source s = source_open(argv[1], &any);
    float rows[64] = {0};
    FILE *file = fopen(argv[1], argc > 2 ? "r+b" : "wb");
    if (file == NULL || (argc > 2 && fputc('0', file) == EOF)) return 3;
    fclose(file);
    (void)source_rows(&s, 0, 2, rows);
    view_check(&s.why, &s.m.file[0].file);
    fprintf(stderr, "%s\n", s.why.text);
    return 1;
}
END
cd "$here" || exit 1
# shellcheck disable=SC2086
$CC -std=c99 ${CFLAGS-} -I. -o "$tmp/cut" "$tmp/cut.c" -lm >"$tmp/out" 2>&1
report $? 'build: cut.c'
cd "$tmp" || exit 1
for change in cut changed; do
    npy t.npy '(2, 2)' '<f4' False "$all"
    sleep 1
    # shellcheck disable=SC2046
    ./cut t.npy $([ $change = cut ] || echo more) >out 2>err
    [ $? -eq 1 ] && case $change in cut) grep -q '^t.npy: became shorter while it was read$' err ;; *)
        grep -q '^t.npy: changed while it was read$' err ;; esac
    report $? "a file that is $change while it is read"
done

# ---- the demo --------------------------------------------------------------------------------------------

if [ -n "${TEST_SMALL-}" ]; then finish; fi
cd "$here" || exit 1
builds demo ${CFLAGS-} -fopenmp examples/gpt2_demo.c
cd "$tmp" || exit 1
model=$here/$tiny
demo_folder() { # demo_folder WITHOUT..: the model, without some files
    rm -rf d && cp -R "$model" d
    for part in "$@"; do rm "d/$part"; done
}
works() { # works NAME: tokens and what follows are those of the reference
    ./demo --check "$model/reference.json" d >out 2>err
    report $? "the demo: $1"
}
stops() { # stops NAME WORD
    ./demo --check "$model/reference.json" d >out 2>err
    [ $? -eq 1 ] && [ "$(wc -l <err)" -eq 1 ] && grep -q -e "$2" err
    report $? "the demo says: $1"
}
demo_folder
for part in config.json vocab.json merges.txt; do
    { printf '\357\273\277' && cat "$model/$part"; } >"d/$part"
done
works 'byte order marks'
demo_folder
mv d/model.safetensors d/model-00001-of-00001.safetensors
works 'a shard without an index'
./ttembed list d | awk 'BEGIN { printf "{\"weight_map\": {" } { printf "%s\"%s\": \"model-00001-of-00001.safetensors\"", (NR > 1 ? ", " : ""), $1 }
    END { printf "}}" }' >index && mv index d/model.safetensors.index.json
works 'shards by their index'
demo_folder
mv d/vocab.json d/encoder.json && mv d/merges.txt d/vocab.bpe
works 'encoder.json and vocab.bpe'
for form in '"&"' '["\1", "\2"]'; do
    demo_folder vocab.json merges.txt
    {
        printf '{"added_tokens": [{"id": 4095, "content": "<|endoftext|>"}], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},'
        printf '"model": {"type": "BPE", "vocab": '
        cat "$model/vocab.json"
        printf ', "merges": ['
        sed '/^#version/d; /^$/d; s/[\\"]/\\&/g' "$model/merges.txt" | sed "s/^\\([^ ]*\\) \\([^ ]*\\)\$/$form/; \$!s/\$/,/"
        printf ']}}'
    } >d/tokenizer.json
    works "tokenizer.json alone, merges as $form"
done
sed 's/"type": "ByteLevel"/"type": "Metaspace"/' d/tokenizer.json >t && mv t d/tokenizer.json
stops 'a tokenizer of another kind' 'tokenizer.json: type: "Metaspace", expected'
config() { # config CHANGE: of config.json by sed
    demo_folder
    sed "$1" "$model/config.json" >d/config.json
}
config 's/"n_head"/"num_attention_heads"/; s/"n_embd"/"hidden_size"/; s/"n_layer"/"num_hidden_layers"/'
works 'heads by their other name'
demo_folder
{ printf '{"text_config": ' && cat "$model/config.json" && printf '}'; } >d/config.json
works 'a configuration inside of another'
while IFS='|' read -r name word change; do
    config "$change"
    stops "$name" "$word"
done <<'END'
no heads|config.json: n_head: missing|/"n_head"/d
another activation|config.json: activation_function: "mish", expected one of gelu_new|s/gelu_new/mish/
another model|config.json: model_type: "llama", expected one of gpt2|s/"gpt2"/"llama"/
an untied output that is not there|lm_head.weight: missing|s/"tie_word_embeddings": true/"tie_word_embeddings": false/
END
demo_folder config.json
stops 'no configuration' 'config.json: missing: it says how many heads'

finish
