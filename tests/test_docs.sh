#!/bin/sh
# test_docs.sh: every C block of README.md, of examples/README.md and of the header's QUICK START is taken out, compiled
# and run as it stands; one without a main is compiled only, but map_table is run by map_table.c.
# examples/hello.c does what its head says. Measured figures in README.md are those of bench/results, its
# links lead to files. Ends with 'test_docs: N passed, N failed'.

cd "$(dirname "$0")/.." || exit 1
test_name=docs
. tests/harness.sh
root=$(pwd)
flags="-std=c99 -O2 -Wall -Wextra -Werror ${CFLAGS-}"

# Fenced blocks marked c, to readme1.c, readme2.c, ..
blocks_of_readme() {
    awk -v out="$tmp/readme" '
        /^```c[ \t]*$/ { inside = 1; file = out (++n) ".c"; printf "" > file; next }
        /^```/         { inside = 0; next }
        inside         { print > file }' README.md examples/README.md
}

# Runs of lines indented by seven spaces or more between the heading and the next one.
blocks_of_header() {
    awk -v out="$tmp/header" '
        /^QUICK START/                      { section = 1; next }
        section && /^[A-Z]/                 { exit }
        !section                            { next }
        /^       / {
            if (!inside) { inside = 1; file = out (++n) ".c"; blank = "" }
            printf "%s", blank > file
            blank = ""
            print substr($0, 8) > file
            next
        }
        inside && /^[ \t]*$/                { blank = blank "\n"; next }
                                            { inside = 0 }' tt_embed.h
}

try_block() { # try_block FILE NAME
    if grep -q 'main(' "$1"; then
        # shellcheck disable=SC2086
        $CC $flags -I"$root" -o "$tmp/block" "$1" -lm >"$tmp/out" 2>&1 &&
            (mkdir -p "$tmp/run" && cd "$tmp/run" && "$tmp/block" </dev/null >"$tmp/out" 2>&1)
    else
        # shellcheck disable=SC2086
        $CC $flags -I"$root" -c -o "$tmp/block.o" "$1" >"$tmp/out" 2>&1
    fi
    report $? "$2"
}

# Both documents must hold at least one complete program.
try_document() { # try_document NAME PREFIX
    programs=0
    for block in "$tmp/$2"*.c; do
        [ -f "$block" ] || continue
        try_block "$block" "$1: the block that begins '$(sed -n '/[^ ]/{p;q;}' "$block")'"
        if grep -q 'main(' "$block"; then programs=$((programs + 1)); fi
    done
    echo "no program found in $1" >"$tmp/out"
    [ $programs -gt 0 ]
    report $? "$1: programs"
}

# The function that examples/README.md has for mapped files, linked with the program that calls it.
run_map_table() {
    block=$(grep -l '^tte_status map_table(' "$tmp/readme"*.c 2>/dev/null)
    if [ ! -f "$block" ]; then
        echo 'not one block of the documents defines map_table'
        return 1
    fi
    # shellcheck disable=SC2086
    $CC $flags -I"$root" -o "$tmp/map_table" tests/map_table.c "$block" -lm &&
        mkdir -p "$tmp/run" && (cd "$tmp/run" && "$tmp/map_table" </dev/null)
}

# examples/hello.c, by the command at its head: short, and its last line is the row that it asks for and those beside it.
run_hello() {
    build=$(sed -n 's/^ \*     cc \(-O2 -o hello .*-lm\) .*/\1/p' examples/hello.c | sed "s#-o hello#-o $tmp/hello#")
    # shellcheck disable=SC2086
    [ -n "$build" ] && [ "$(wc -l <examples/hello.c)" -le 60 ] && $CC $flags -pedantic -Wconversion $build &&
        mkdir -p "$tmp/run" && (cd "$tmp/run" && "$tmp/hello" && ls hello.tte) >"$tmp/hello.out" || return 1
    cat "$tmp/hello.out"
    grep -q '^[0-9]* bytes instead of 1536000, relative error 0\.1' "$tmp/hello.out" &&
        [ "$(sed -n 's/^nearest to it: 4711 //p' "$tmp/hello.out" | tr ' ' '\n' | sort | tr '\n' ' ')" = \
            '4709 4710 4712 4713 ' ]
}

# TTE_VERSION, the header's title, and the newest of the changes in README.md are of one version.
versions_agree() {
    newest=$(sed -n '/^## Changes/,/^## R/s/^### \([0-9.]*\)$/\1/p' README.md | head -n 1)
    title=$(sed -n '2s/^   Version \([0-9.]*\), .*/\1/p' tt_embed.h)
    printf '#define TT_EMBED_READ_ONLY\n#include <stdio.h>\n#include "tt_embed.h"\nint main(void)\n{\n
        return printf("%%d.%%d.%%d\\n", TTE_VERSION >> 16, TTE_VERSION >> 8 & 255, TTE_VERSION & 255) < 0;\n}\n' >"$tmp/version.c"
    # shellcheck disable=SC2086
    $CC $flags -I"$root" -o "$tmp/version" "$tmp/version.c" && macro=$("$tmp/version") || return 1
    echo "macro $macro, title $title, changes $newest"
    [ -n "$macro" ] && [ "$macro" = "$title" ] && [ "$macro" = "$newest" ]
}

# Every promise of the header names cases of test programs, and they are run.
guarantees_are_tested() {
    sed -n '/^GUARANTEES$/,/^CONVENTIONS$/p' tt_embed.h >"$tmp/guarantees"
    promises=$(grep -c '^   G[0-9]' "$tmp/guarantees")
    tr '\n' ' ' <"$tmp/guarantees" | grep -o '\[[^]]*\]' | tr '[],' '   ' |
        awk '{ n++; for (i = 1; i < NF; i += 2) print n, $i, $(i + 1) }' >"$tmp/cases"
    echo "$promises promises"
    [ "$promises" -ge 10 ] && [ "$(cut -d ' ' -f 1 "$tmp/cases" | sort -u | wc -l)" -eq "$promises" ] || return 1
    while read -r promise file name; do
        case $file in
        fuzz/*) runs="^.*\\b$name(" ;;
        *) runs="^ *RUN[A-Z_]*($name)" ;;
        esac
        if ! grep -q "$runs" "tests/$file"; then
            echo "G$promise: tests/$file does not run $name"
            return 1
        fi
    done <"$tmp/cases"
}

# Names of the library that a document uses must exist.
names_exist() { # names_exist DOCUMENT
    grep -o '\(tte\|TTE\|TT_EMBED\)_[A-Za-z0-9_]*[A-Za-z0-9]' "$1" | sort -u >"$tmp/names"
    : >"$tmp/out"
    while read -r name; do
        grep -q "\\b$name\\b" tt_embed.h || echo "$name is not in tt_embed.h" >>"$tmp/out"
    done <"$tmp/names"
    [ ! -s "$tmp/out" ]
}

# Links to files and pictures, of all documents that have them.
links_lead_somewhere() {
    for document in README.md bench/README.md examples/README.md examples/*/README.md tests/fuzz/README.md; do
        folder=$(dirname "$document")
        grep -o '](\([^)#]*\)' "$document" | sed 's/^](//' | grep -v '^[a-z]*:' | while read -r link; do
            [ -z "$link" ] || [ -e "$folder/$link" ] || echo "$document: $link is not there"
        done
    done >"$tmp/links"
    cat "$tmp/links"
    [ ! -s "$tmp/links" ]
}

if [ -f README.md ]; then
    blocks_of_readme
    names_exist README.md
    report $? 'README.md: names'
fi
try_document 'README.md and examples/README.md' readme
run_map_table >"$tmp/out" 2>&1
report $? 'examples/README.md: map_table'
sh bench/readme.sh check >"$tmp/out" 2>&1
report $? 'README.md: figures'
links_lead_somewhere >"$tmp/out" 2>&1
report $? 'links'
guarantees_are_tested >"$tmp/out" 2>&1
report $? 'GUARANTEES: tests'
versions_agree >"$tmp/out" 2>&1
report $? 'one version'
run_hello >"$tmp/out" 2>&1
report $? 'examples/hello.c'
blocks_of_header
try_document tt_embed.h header

finish
