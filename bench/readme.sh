#!/bin/sh
# readme.sh: the tables of README.md, and its sentences with measured figures, from bench/results. From anywhere:
#     sh bench/readme.sh             puts them into README.md
#     sh bench/readme.sh check       shows what would change, with status 1 if anything; changes nothing
#     sh bench/readme.sh block NAME  prints one of them
# In README.md a block stands between the lines '<!-- NAME: .. -->' and '<!-- end -->'. Needs a POSIX shell and awk.

# shellcheck disable=SC2016 # the dollars are awk's
cd "$(dirname "$0")/.." || exit 2

# from TABLE PROGRAM [VARIABLE=VALUE..]: awk over bench/results/TABLE.csv. number("ratio") is the row's number in that
# column, text(..) its text; a column that is missing ends everything. What was not measured prints nothing.
from() {
    from_table=$1 from_program=$2
    [ -f "bench/results/$1.csv" ] || return 0
    shift 2
    for variable; do set -- "$@" -v "$variable" && shift; done
    awk -F, "$@" '
        function text(name) {
            if (!(name in column)) { print FILENAME ": no column " name | "cat >&2"; bad = 1; exit 1 }
            return $column[name]
        }
        function number(name) { return text(name) + 0 }
        function whole(n,    s) {  # 1,234,567
            for (n = sprintf("%.0f", n); length(n) > 3; n = substr(n, 1, length(n) - 3)) s = "," substr(n, length(n) - 2) s
            return n s
        }
        /^#/ { next }
        !named { for (i = 1; i <= NF; i++) column[$i] = i; named = 1; next }
        '"$from_program" "bench/results/$from_table.csv"
}

# The text that figures of a language model are from: the last of the table, a held-out book where there was one.
book=$(awk -F, '!/^#/ { text = $1 } END { print text }' bench/results/perplexity.csv)

# error_of TABLE METHOD ASKED: the error, nothing where it was not measured.
error_of() {
    from "error_$1" 'text("method") == method && text("ratio asked") == asked { printf "%.3f", number("error") }' "method=$2" "asked=$3"
}

# Loss of Gemma, as a sentence.
block_headline() {
    from gemma '
        text("text") == "book" { nats[text("method"), text("ratio asked")] = number("nats above dense"); dense = number("dense") }
        function cost(method, asked) {
            return sprintf(nats[method, asked] < 0.1 ? "%.1f %%" : "%.0f %%", 100 * (exp(nats[method, asked]) - 1))
        }
        END {
            print "Gemma 3 270m keeps 63 % of its parameters in its table. At a sixteenth of the bytes the perplexity of a book rises by"
            printf "%s when the model has calibrated the compression itself, without any data, at 38.4 times smaller by %s;\n",
                cost("table calibrated", 16), cost("table calibrated", 38.4)
            printf "llama.cpp'"'"'s 4 bits (IQ4_NL, 7.1 times smaller) cost %s, the same compression without calibration %s at 16x.\n",
                cost("llama.cpp iq4_nl", ""), cost("table", 16)
        }'
}

# Nats above the dense table, a text in each column.
block_gemma() {
    from gemma '
        BEGIN { OFS = "|" }
        {
            way = text("method") SUBSEP text("ratio asked")
            loss[way, text("text")] = sprintf("%+.4f ± %.4f", number("nats above dense"), number("standard error"))
            shown[way] = "| " text("method") (text("ratio asked") == "" ? "" : ", " text("ratio asked") "x") " | " whole(number("bytes")) " | " sprintf("%.2f", number("ratio"))
            sub(/^\| table calibrated other/, "| the same with another part of the book", shown[way])
            sub(/^\| table calibrated/, "| calibrated on the model'"'"'s own text", shown[way])
            sub(/^\| table/, "| one train", shown[way])
            sub(/iq4_nl/, "IQ4_NL", shown[way]); sub(/q5_0/, "Q5_0", shown[way])
            sub(/ importance/, ", importance of columns", shown[way])
            if (text("method") !~ /_1|q4_0/ && !(way in at)) { order[++n] = way; at[way] = sprintf("%.2f", number("ratio")) + 0 }
        }
        END {
            print "| Gemma'"'"'s table stored as | bytes | times smaller | a book | sayings |"
            print "|---|---:|---:|---:|---:|"
            for (i = 2; i <= n; i++)  # the largest first
                for (k = i; k > 1 && at[order[k]] < at[order[k - 1]]; k--) { w = order[k]; order[k] = order[k - 1]; order[k - 1] = w }
            for (i = 1; i <= n; i++) print shown[order[i]] " | " loss[order[i], "book"] " | " loss[order[i], "fortunes"] " |"
        }'
}

# One table a column, a way to store it in each row; three errors where a ratio is asked for.
block_errors() {
    tables=''
    for table in tiny-gpt2 glove-50k all-mpnet-base-v2 gemma-3-270m; do
        [ ! -f bench/results/"error_$table.csv" ] || tables="$tables $table"
    done
    for table in $tables; do
        from "error_$table" '{
            asked = text("ratio asked")
            shown = text("bytes") == "" ? "-" : sprintf("%.4f", number("error"))
            if (asked == "" && text("bytes") != "") shown = shown sprintf(" at %.1fx", number("ratio"))
            print table "," text("method") "," asked "," shown
            if (text("method") == "table") printf "%s,bound,%s,%.4f\n", table, asked, number("bound")
        }' "table=$table"
    done >"$room/errors"
    awk -F, -v "tables=$tables" '
        { cell[$2, $1] = cell[$2, $1] (cell[$2, $1] == "" ? "" : " / ") $4 }
        function row(method, words,    i, any) {
            for (i = 1; i <= n; i++) any = any || (method, table[i]) in cell
            if (!any) return
            printf "| %s |", words
            for (i = 1; i <= n; i++) printf " %s |", cell[method, table[i]]
            print ""
        }
        END {
            name["tiny-gpt2"] = "tiny-gpt2, 4,096 x 128"; name["glove-50k"] = "GloVe, 50,257 x 100"
            name["all-mpnet-base-v2"] = "mpnet, 30,527 x 768"; name["gemma-3-270m"] = "Gemma 3 270m, 262,144 x 640"
            n = split(tables, table, " ")
            printf "| at 8x / 16x / 38.4x |"; for (i = 1; i <= n; i++) printf " %s |", name[table[i]]
            printf "\n|---|"; for (i = 1; i <= n; i++) printf "---:|"
            print ""
            row("table", "one train for the table"); row("table effort 9", "the same, effort 9")
            row("bound", "bound of a Gaussian"); row("PQ", "product quantization"); row("SVD int8", "SVD in 8 bits")
            row("trains I4", "a train for each row, 4 bits")
            row("int8 rows", "int8 rows"); row("4-bit blocks", "4-bit blocks"); row("2-bit blocks", "2-bit blocks")
            row("TensorGPT 2^k cap 4", "TensorGPT, modes of 2, cap 4")
        }' "$room/errors"
}

# Where it was measured, from the first line of a table, which names its commit, too.
block_measured() {
    sed -n '1s/^# \(.*\) | \(.*\) | \(.*\) | commit [^|]* | \([^|]*\) | [^|]*$/Measured on \1 with \2, \3, \4; one thread where\nnothing else is said; each file in [bench\/results](bench\/results) says at which commit./p' \
        bench/results/read_scores.csv
}

# Rows of costs: what | as shown | its value | the most it may be, or nothing | the goal as shown.
block_costs() {
    {
        from costs '
            text("what") == "arithmetic alone" { free = number("gain") }
            text("what") ~ /^effort/ {
                effort = substr(text("what"), 8)
                seconds[effort] = number("seconds")
                printf "compressing 50,257 x 768 at 16x, effort %s | %.1f s", effort (effort == 5 ? ", the default" : ""), seconds[effort]
                print (effort == 5 ? "|" seconds[effort] "|25|25 s" : effort == 1 ? "|" seconds[1] "|||" : "|0|||")
            }
            text("what") == "effort 5" {
                printf "its memory beyond table and image | %.0f MiB|%f|82|82 MiB\n", number("MiB beyond the image"), number("MiB beyond the image")
                if (free >= 1.9) printf "two threads | %.2f times as fast|%f|%f|1.9 times\n", number("gain"), -number("gain"), -1.9
            }
            END { if (seconds[1] > 0 && seconds[5] > 0) printf "effort 1 against effort 5 | %.2f of its time|%f|0.2|0.2\n", seconds[1] / seconds[5], seconds[1] / seconds[5] }'
        from read_scores '
            BEGIN { goal["768 wide 8x"] = 0.8; goal["768 wide 16x"] = 0.55; goal["768 wide 38.4x"] = 0.35 }
            text("table") ~ /wide/ {
                split(text("table"), part, " ")
                printf "scores of 50,257 x 768 at %s | %.1f ms, %.2f of sgemv on the dense table|%f|%f|%.2f\n", part[3], number("ms scores"),
                    number("share"), number("share"), goal[text("table")], goal[text("table")]
            }'
        from read_rows '
            text("table") ~ /^(768|100) wide 16x/ {
                split(text("table"), part, " ")
                most = part[1] == 768 ? 60 : 2
                printf "one row of %s numbers, 16x | %.1f us|%f|%d|%d us\n", part[1], number("us a row one"), number("us a row one"), most, most
                if (part[1] == 768)
                    printf "of 512 such rows, each | %.1f us|%f|6|6 us\n", number("us a row of 512"), number("us a row of 512")
            }'
        from size '
            text("processor") == "Cortex-M4F" && text("what") ~ /^open( |,).*top-k$/ {
                printf "code to open, look up, score and rank on a Cortex-M4F | %d bytes|%d|%d|%d\n", number("bytes"), number("bytes"), number("limit"), number("limit")
            }'
    } >"$room/costs"
    echo '| what | measured | goal |'
    echo '|---|---:|---:|'
    awk -F '|' '{ printf "| %s | %s | %s |\n", $1, $2, ($4 == "" ? "" : ($3 + 0 > $4 + 0) ? $5 ", missed" : $5) }' "$room/costs" | sed 's/  *|/ |/g; s/|  */| /g'
}

# Ways to store the demo's table, the largest first.
block_language() {
    cat <<END
| stored as | bytes | times smaller | error | perplexity, tie broken | tie kept |
|---|---:|---:|---:|---:|---:|
END
    from perplexity '
        function shown(method, asked) {
            return method ~ /^(int8 rows|4-bit blocks|2-bit blocks|TensorGPT .*cap 4)$/ || (method ~ /^table/ && asked ~ /^(8|16|38.4)$/) || \
                (asked == 16 && method == "PQ")
        }
        text("text") == book && shown(text("method"), text("ratio asked")) {
            asked = text("ratio asked")
            name = text("method")
            sub(/^table calibrated/, "one train, calibrated", name)
            sub(/^table/, "one train", name)
            printf "%d| %s | %s | %.2f | %.4f | %.3f | %.3f |\n", number("bytes"), name (asked == "" ? "" : ", " asked "x"),
                whole(number("bytes")), number("ratio"), number("error"), number("times dense broken"), number("times dense kept")
        }' "book=$book" | sort -t '|' -k 1,1 -rn | sed 's/^[0-9]*//'
}

# The largest of a peer's test ratios, and how the speed compares.
block_svd() {
    for kind in f32 f64; do
        from accuracy_$kind '{
            for (r = 1; r <= 4; r++) {
                name = "tt_embed " word("residual left right values", r)
                if (number(name) > most) most = number(name)
            }
        }
        function word(list, n,    parts) { split(list, parts, " "); return parts[n] }
        END { printf "%.2f\n", most }'
    done >"$room/ratios"
    awk 'NR == 1 { f32 = $1 } NR == 2 { f64 = $1 } END {
        print "On the test matrices of LAPACK'"'"'s own SVD drivers the largest of their test ratios is " f32 " for `tte_svd_f32` and " f64
        printf "for `tte_svd_f64` (`sh bench/run.sh accuracy`; below 6 is asked)."
    }' "$room/ratios"
    from training_eigen '
        text("times dsyevd") == "" { next }
        !least || number("times dsyevd") < least { least = number("times dsyevd") }
        number("times dsyevd") > most { most = number("times dsyevd") }
        END { if (most) printf " Eigenvectors take %.1f to %.1f times as long as by dsyevd (`training`).", least, most }'
    echo
    from speed_svd '
        text("microseconds sgesdd") != "" { faster[text("size")] = number("times faster") }
        END { printf "`tte_svd_f32` is %.1f times as fast as sgesdd of OpenBLAS at 8x8, %.1f at 128x128, %.1f at 768x768; trains of rows of\n",
            faster["8x8"], faster["128x128"], faster["768x768"] }'
    from speed_rows '
        !least || number("times faster than sgesdd") < least { least = number("times faster than sgesdd") }
        number("times faster than sgesdd") > most { most = number("times faster than sgesdd") }
        END { printf "768 numbers are made %.0f to %.0f times as fast as by a loop over sgesdd (`sh bench/run.sh speed`).\n", least, most }'
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
