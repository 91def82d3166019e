# harness.sh: what the tests that drive programs from outside share: counts, a folder $tmp of their own, how
# they end. To be read with . at the top of the repository, after `test_name` is set.

CC=${CC:-cc}
passed=0
failed=0
tmp=${TEST_TMP:-${TMPDIR:-/tmp}}/$test_name.$$
mkdir -p "$tmp" || exit 1
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
: >"$tmp/out"
: >"$tmp/err"

report() { # report STATUS NAME: counts, and shows what a failure has printed
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        {
            echo "FAILED $2"
            tail -n 15 "$tmp/out" "$tmp/err" | sed 's/^/    /'
        } >&2
    fi
}

builds() { # builds PROGRAM SOURCE OR FLAG..: for the tests to run
    program=$tmp/$1
    shift
    $CC -O2 "$@" -o "$program" -lm >"$tmp/out" 2>&1
    report $? "build: $*"
}

finish() {
    echo "test_$test_name: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
