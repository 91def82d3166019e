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

# make_venv MODULES PACKAGE..: $python becomes that of a virtual environment that has them; PYTHON makes it, or
# PYTHON_VENV is used.
make_venv() {
    python=${PYTHON:-/usr/bin/python3}
    [ -x "$python" ] || python=python3
    venv=${PYTHON_VENV:-$tmp/venv}
    if [ ! -x "$venv/bin/python" ]; then "$python" -m venv "$venv" >"$tmp/out" 2>"$tmp/err" || return; fi
    python=$venv/bin/python
    has "$1" || { shift && pip install -q "$@"; }
}
pip() { "$python" -m pip --disable-pip-version-check "$@" >"$tmp/out" 2>"$tmp/err"; }
has() { "$python" -c "import $1" >/dev/null 2>&1; }

# run_pytest FILE..: counts what pytest does.
run_pytest() {
    PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest -q -p no:cacheprovider "$@" >"$tmp/out" 2>"$tmp/err"
    status=$?
    number() { tail -n 1 "$tmp/out" | grep -o "[0-9]* $1" | cut -d ' ' -f 1; }
    good=$(number passed)
    bad=$(($(number failed | grep . || echo 0) + $(number error | grep . || echo 0)))
    passed=$((passed + ${good:-0}))
    failed=$((failed + bad))
    if [ "$bad" -ne 0 ]; then
        tail -n 80 "$tmp/out" >&2
    else
        [ "$status" -eq 0 ]
        report $? "pytest: exit status $status"
    fi
}

finish() {
    echo "test_$test_name: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
