#!/bin/sh
# readme.sh: the tables of README.md, and its sentences with measured figures, from bench/results. From anywhere:
#     sh bench/readme.sh             puts them into README.md
#     sh bench/readme.sh check       shows what would change, with status 1 if anything; changes nothing
#     sh bench/readme.sh block NAME  prints one of them
# In README.md a block stands between the lines '<!-- NAME: .. -->' and '<!-- end -->'. Needs a POSIX shell and awk.

# shellcheck disable=SC2016 # the dollars are awk's
cd "$(dirname "$0")/.." || exit 2

# from TABLE PROGRAM [VARIABLE=VALUE]: awk over bench/results/TABLE.csv. number("ratio") is the row's number in that column,
# text(..) its text; a column that is missing ends everything.
from() {
    awk -F, -v "${3:-none=}" '
        function text(name) {
            if (!(name in column)) { print FILENAME ": no column " name | "cat >&2"; bad = 1; exit 1 }
            return $column[name]
        }
        function number(name) { return text(name) + 0 }
        function whole(n,    s) {  # 1,234,567
            for (n = sprintf("%.0f", n); length(n) > 3; n = substr(n, 1, length(n) - 3)) s = "," substr(n, length(n) - 2) s
            return n s
        }
        function near(a, b) { return a / b < 1.02 && b / a < 1.02 }
        /^#/ { next }
        !named { for (i = 1; i <= NF; i++) column[$i] = i; named = 1; next }
        '"$2" "bench/results/$1.csv"
}

# Where it was measured, from the first line of a table, which names its commit, too.
block_measured() {
    sed -n '1s/^# \(.*\) | \(.*\) | \(.*\) | commit [^|]* | \([^|]*\) | [^|]*$/Measured on \1 with \2, \3,\n\4; one thread where nothing else is said;/p' \
        bench/results/speed_rows.csv
    echo 'each file in [bench/results](bench/results) says at which commit.'
}

block_speed() {
    cat <<END
Per-token TT-SVD through \`tte_compress\`, Gaussian rows of width 768, one thread, tokens per second
(\`sh bench/run.sh speed\`):

| shape and cap | tt_embed.h | loop over sgesdd | Gram matrix and ssyev | times faster than sgesdd | error, ours and sgesdd |
|---|---:|---:|---:|---:|---|
END
    from speed_rows '{
        printf "| %s | %s | %s | %s | %.1f | %.4f, %.4f |\n", text("shape"), whole(number("tokens/s tt_embed")),
            whole(number("tokens/s sgesdd")), text("tokens/s ssyev") == "" ? "" : whole(number("tokens/s ssyev")),
            number("times faster than sgesdd"), number("relative error tt_embed"), number("relative error sgesdd")
    }'
    from speed_table '{
        printf "\nThe size of GPT-2'"'"'s table, %s x 768, in %s: %.2f s, sgesdd %.2f s.", whole(number("rows")),
            text("shape"), number("seconds tt_embed"), number("seconds sgesdd")
    }'
    from threads '$column["speedup"] && text("same bytes") == "yes" {
        if (!least || number("speedup") < least) least = number("speedup")
        if (number("speedup") > most) most = number("speedup")
    }
    END { printf " With OpenMP two threads are\n%.1f to %.1f times as fast as one (`sh bench/run.sh threads`), and the image is the same.\n", least, most }'
}

block_svd() {
    cat <<END
One \`tte_svd_f32\` beside one sgesdd, microseconds, and the residual ratio |A - U S VT| / (|A| max(m, n) ulp)
of both:

| size | tt_embed.h | sgesdd | times faster | residuals |
|---|---:|---:|---:|---|
END
    from speed_svd 'text("size") ~ /^(3x3|8x8|16x16|32x32|64x64|3x256|4x192|12x64|24x32|128x128|256x256|768x768)$/ {
        printf "| %s | %s | %s | %.2f | %.2f, %.2f |\n", text("size"), time(number("microseconds tt_embed")),
            time(number("microseconds sgesdd")), number("times faster"), number("tt_embed ratios residual"),
            number("sgesdd ratios residual")
    }
    function time(x) { return x < 100 ? sprintf("%.2f", x) : whole(x) }'
}

block_accuracy() {
    for kind in f32 f64; do
        from accuracy_$kind '{
            for (p = 1; p <= 3; p++)
                for (r = 1; r <= 4; r++) {
                    name = word(peers, p) " " word("residual left right values", r)
                    if (text(name) != "" && number(name) > most[p, r]) most[p, r] = number(name)
                }
        }
        function word(list, n,    parts) { split(list, parts, " "); return parts[n] }
        BEGIN { peers = "tt_embed gesvd gesdd" }
        END { for (r = 1; r <= 4; r++) for (p = 1; p <= 3; p++) print (p, r) in most ? sprintf("%.2f", most[p, r]) : "the reference" }' >"$room/$kind"
    done
    cat <<END
Accuracy on LAPACK's own test matrices (\`sh bench/run.sh accuracy\`): the largest of each of the four test
ratios of its SVD drivers; below 6 is asked of this library.

| ratio | tte_svd_f32 | sgesvd | sgesdd | tte_svd_f64 | dgesvd | dgesdd |
|---|---:|---:|---:|---:|---:|---:|
END
    awk 'BEGIN { split("residual,orthogonality of u,orthogonality of vt,singular values", name, ",") }
        { cell[int((FNR - 1) / 3) + 1] = cell[int((FNR - 1) / 3) + 1] " " $0 " |" }
        END { for (r = 1; r <= 4; r++) print "| " name[r] " |" cell[r] }' "$room/f32" "$room/f64"
}

block_lookup() {
    cat <<END
Reading, one thread, a table of 50,257 x 768 (\`sh bench/run.sh read\`). A random row of a train
per token, where neither table is in a cache, takes so many times what copying a dense float32 row does:

END
    from read_lookup '{
        split(text("trains"), part, " "); coding = part[4]
        name = part[1] " " part[2] " " part[3]
        if (!(name in seen)) { seen[name] = 1; order[++n] = name }
        times[name, coding] = number("cold ns times")
    }
    END {
        printf "| cores |"; for (i = 1; i <= n; i++) printf " %s |", order[i]
        printf "\n|---|"; for (i = 1; i <= n; i++) printf "---:|"
        for (k = 1; k <= 2; k++) {
            coding = k == 1 ? "F32" : "I8"
            printf "\n| %s |", coding; for (i = 1; i <= n; i++) printf " %.2f |", times[order[i], coding]
        }
        print ""
    }'
}

block_scores() {
    cat <<END
One train for the table, at 8x: microseconds for a row alone and for a row among 256, milliseconds for the
scores of the whole vocabulary, and how many times faster that is than sgemv on the dense table:

| coding | error | a row | of 256 | scores | sgemv's |
|---|---:|---:|---:|---:|---:|
END
    from read_table '{ print text("table"), number("error"), number("us a row one"), number("us a row of 256") }' \
        >"$room/rows"
    from read_scores '
        function short(x) { return x < 1 ? sprintf("%.2f", x) : x < 100 ? sprintf("%.1f", x) : whole(x) }
        BEGIN { while ((getline line <rows) > 0) { split(line, r, " "); row[r[1] " " r[2]] = sprintf("%.3f | %.1f | %.1f", r[3], r[4], r[5]) } }
        text("table") in row {
            printf "| %s | %s | %s | %s |\n", substr(text("table"), 7), row[text("table")], short(number("ms logits")),
                short(number("faster"))
        }' "rows=$room/rows"
    from read_scores 'text("table") == "table ENTROPY" {
        printf "\nEntropy-coded records cost %.0f ns a coefficient: for scans, `tte_recode` them once.", number("ns a number")
    }'
    from threads_read '$column["speedup"] && text("image") != "dense" {
        if (!least || number("speedup") < least) least = number("speedup")
        if (number("speedup") > most) most = number("speedup")
    }
    END { printf " With OpenMP two threads read\n%.1f to %.1f times as fast as one (`sh bench/run.sh threads`).\n", least, most }'
}

block_size() {
    from size '
        function kilo(what) { return sprintf("%.1f KB", bytes[what] / 1000) }
        text("processor") == "Cortex-M4F" {
            bytes[text("what")] = number("bytes")
            if (text("what") ~ /^deepest stack/ && number("bytes") > stack) stack = number("bytes")
        }
        END {
            printf "opening an image and looking rows up takes %s of code on a Cortex-M4F for a train per token, %s for an\n",
                kilo("open and lookup per token I8"), kilo("open and lookup per table ENTROPY")
            printf "entropy-coded table, and all calls for all images %s; the deepest stack is %d bytes, without what libgcc and\nlibc take (`sh bench/run.sh size`).\n",
                kilo("everything"), stack
        }'
}

block_costs() {
    from costs '
        function count(x) { return x == "" ? "" : x + 0 < 10 ? sprintf("%.2f", x) : x + 0 < 100 ? sprintf("%.1f", x) : whole(x) }
        !heads++ {
            print "Speed and memory beside error, of a table of 4096 x 768: medians of five runs, with (slowest - fastest) / median in"
            print "brackets; memory is what compressing takes beyond the table (`sh bench/run.sh costs`):\n"
            print "| stored as | times smaller | error | compress, tokens/s | a row, ns | all scores, ms | peak MiB |"
            print "|---|---:|---:|---:|---:|---:|---:|"
        }
        function cell(what) { return text(what " median") == "" ? "" : count(text(what " median")) " (" sprintf("%.2f", number(what " spread")) ")" }
        {
            printf "| %s | %.2f | %.4f | %s | %s | %s | %s |\n", text("method"), number("ratio"), number("error"),
                cell("compress tokens/s"), cell("lookup ns"), cell("logits ms"), count(text("peak MiB"))
        }'
    cat <<'END'

The readers of the peers are plain C, not tuned: int8 and 4-bit rows are unpacked before their product, and the SVD's
basis is decoded from float16 for each row. The dense scores are a loop of eight sums; sgemv stands below.
END
}

# The text that figures are from: the last of the table, a held-out book where there was one.
book=$(awk -F, '!/^#/ { text = $1 } END { print text }' bench/results/perplexity.csv)

block_headline() {
    from perplexity '
        text("text") == book && text("method") == "entropy weights" {
            cost[number("ratio asked")] = 100 * (number("times dense kept") - 1)
        }
        END {
            printf "On the embedding of a small GPT-2, tied at the output, an eighth of the bytes costs %.1f %% in perplexity,\n", cost[8]
            printf "a sixteenth %.0f %%; 4-bit blocks, at a seventh, cost %.1f %%.\n", cost[16], blocks
        }
        text("text") == book && text("method") == "4-bit blocks" { blocks = 100 * (number("times dense kept") - 1) }' "book=$book"
}

# Ways to store the demo's table, the largest first.
block_language() {
    cat <<END
| stored as | bytes | times smaller | error | perplexity, tie broken | tie kept |
|---|---:|---:|---:|---:|---:|
END
    from perplexity '
        function shown(method, asked) {
            return method ~ /^(int[48] rows|.-bit blocks|TensorGPT .*)$/ || (method == "trains I8" && asked < 4) || \
                (method ~ /^entropy/ && asked ~ /^(8|12|16|38.4)$/) || \
                (asked ~ /^(8|16)$/ && method ~ /^(PQ|SVD int8|table I4|trains I4)$/)
        }
        text("text") == book && shown(text("method"), text("ratio asked")) {
            asked = text("ratio asked")
            printf "%d| %s | %s | %.2f | %.4f | %.3f | %.3f |\n", number("bytes"), text("method") (asked == "" ? "" : ", " asked "x"),
                whole(number("bytes")), number("ratio"), number("error"), number("times dense broken"), number("times dense kept")
        }' "book=$book" | sort -t '|' -k 1,1 -rn | sed 's/^[0-9]*//'
}

# What the paper claims, and what is found of it.
block_paper() {
    from paper '
        text("text") == book && text("setting") ~ /^TensorGPT/ {
            printf "- %s: %.2f times smaller, loss with the tie broken %+.2f nats a token.\n", text("setting"), number("ratio"),
                number("tie broken added loss")
        }
        text("text") == book && text("setting") == "trains F32" { f32 = number("tie broken added loss"); ratio = number("ratio") }
        text("text") == book && text("setting") == "trains I8" { i8 = number("tie broken added loss"); bound = number("tie broken error") }
        END {
            printf "- Trains of another shape at the paper'"'"'s 3.31x, here %.2fx: %+.2f nats in float32, %+.4f +- %.4f in 8 bits, which round\n", ratio, f32, i8, bound
            print "  every number of the row and truncate nothing."
        }' "book=$book"
}

# Three tables side by side, a way to store them in each row.
block_rate() {
    from rate '
        function shown(method, asked) {
            return method ~ /^(int8 rows|.-bit blocks|TensorGPT .*)$/ || \
                (asked ~ /^(8|16|38.4)$/ && method ~ /^(entropy|PQ)$/) || \
                (asked ~ /^(8|16)$/ && method ~ /^(table I4|SVD int8|trains I4)$/)
        }
        shown(text("method"), text("ratio asked")) {
            key = text("method") "," text("ratio asked")
            if (!(key in seen)) { seen[key] = 1; order[++n] = key }
            cell[key, text("table")] = text("bytes") == "" ? "none" : sprintf("%.1fx: %.4f, %+.2f", number("ratio"), number("error"),
                number("bits per dimension excess"))
        }
        END {
            split("Gaussian wte glove-50k", table, " ")
            print "| stored as | Gaussian, 8192 x 128 | the demo'"'"'s, 4096 x 128 | GloVe, 50,257 x 100 |"
            print "|---|---|---|---|"
            for (i = 1; i <= n; i++) {
                split(order[i], name, ",")
                printf "| %s%s |", name[1], name[2] == "" ? "" : ", " name[2] "x"
                for (k = 1; k <= 3; k++) printf " %s |", cell[order[i], table[k]]
                print ""
            }
            split(cell["PQ,38.4", table[3]], theirs, "[ ,]+")
            split(cell["entropy,38.4", table[3]], ours, "[ ,]+")
            printf "\nProduct quantization comes closest where rows are short and bytes few: on GloVe at 38.4x %.3f beside %.3f.\n",
                theirs[2], ours[2]
        }'
}

# Of the demo's table: errors, neighbours and loss by how frequent a token is.
block_forgets() {
    {
        from neighbours 'text("table") == "wte" { print text("method") "," text("ratio") ",0," number("overlap") }'
        from error_deciles '
            text("table") == "wte" && text("by") == "frequency" && text("decile") ~ /^(1|10)$/ {
                print text("method") "," text("ratio") "," (number("decile") == 1 ? 1 : 2) "," number("error")
            }'
        from loss_deciles '
            text("text") == book && text("by") == "frequency" && number("tokens") > 0 && (number("decile") == 1 || number("decile") > 5) {
                k = text("method") "," text("ratio") "," (number("decile") == 1 ? 3 : 4)
                sum[k] += number("tokens") * number("loss increase")
                tokens[k] += number("tokens")
            }
            END { for (k in sum) print k "," sum[k] / tokens[k] }' "book=$book"
    } >"$room/forgets"
    cat <<END
| the demo's table, stored as | times smaller | neighbours kept | error, most frequent tenth | rarest tenth | loss added, most frequent tenth | rarer half |
|---|---:|---:|---:|---:|---:|---:|
END
    awk -F, '
        { key = $1 "," $2 }
        $3 == 0 { order[++n] = key }
        { value[key, $3] = $3 == 0 ? sprintf("%.0f %%", 100 * $4) : sprintf("%.3f", $4) }
        END {
            for (i = 1; i <= n; i++) {
                split(order[i], name, ",")
                printf "| %s | %.1f |", name[1], name[2]
                for (k = 0; k <= 4; k++) printf " %s |", value[order[i], k]
                print ""
            }
        }' "$room/forgets"
}

blocks=$(sed -n 's/^block_\([a-z]*\)() {$/\1/p' bench/readme.sh)
room=$(mktemp -d) || exit 2
trap 'rm -rf "$room"' EXIT

# with_blocks: README.md with every block as it comes out now. A block that fails leaves no README.
with_blocks() {
    for block in $blocks; do
        "block_$block" >"$room/$block.md" || { echo "readme.sh: block $block: failed" >&2; return 1; }
    done
    awk -v room="$room" '
        /^<!-- end -->$/ { inside = 0 }
        !inside { print }
        /^<!-- [a-z]+: .*-->$/ {
            name = $2
            sub(/:$/, "", name)
            file = room "/" name ".md"
            if ((getline line <file) < 1) { print "readme.sh: README.md: no block " name | "cat >&2"; exit 1 }
            do print line; while ((getline line <file) > 0)
            close(file)
            inside = 1
        }' README.md
}

case ${1-} in
'') with_blocks >"$room/README.md" && cp "$room/README.md" README.md ;;
check) with_blocks >"$room/README.md" && diff README.md "$room/README.md" ;;
block) "block_$2" ;;
*)
    sed -n '2,6s/^# //p' bench/readme.sh >&2
    exit 2
    ;;
esac
