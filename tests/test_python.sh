#!/bin/sh
# test_python.sh: the package of examples/python, installed by pip into a virtual environment of its own, and its tests
# with pytest, and tests/test_files.py. Needs packages from an index: numpy, pytest; torch and transformers where they can be had. Ends with its
# own count. From the environment:
#   PYTHON       the interpreter; default /usr/bin/python3, or python3
#   PYTHON_VENV  an environment to use and to keep; default a new one. What it has is not installed again
#   NO_TORCH=1   leave torch and transformers out: they are a download of some gigabytes

cd "$(dirname "$0")/.." || exit 1
test_name=python
. tests/harness.sh
python=${PYTHON:-/usr/bin/python3}
[ -x "$python" ] || python=python3
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 CC
unset PYTHONPATH

venv=${PYTHON_VENV:-$tmp/venv}
if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv" >"$tmp/out" 2>"$tmp/err"; then
    echo "Python: skipped, $python makes no virtual environment"
    echo 'test_python: 0 passed, 0 failed'
    exit 0
fi
python=$venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check "$@" >"$tmp/out" 2>"$tmp/err"; }
has() { "$python" -c "import $1" >/dev/null 2>&1; }

if ! { has 'numpy, pytest' || pip install -q numpy pytest; }; then
    echo 'Python: skipped, numpy and pytest cannot be installed'
    echo 'test_python: 0 passed, 0 failed'
    exit 0
fi

# From a copy, which what is built may be left in; what comes of a source distribution has no checkout around it.
package=$tmp/checkout/examples/python
mkdir -p "$tmp/dist" "$tmp/checkout/examples" && cp tt_embed.h "$tmp/checkout" && cp -R examples/python "$package" &&
    rm -rf "$package/build" "$package"/*.egg-info "$package/tt_embed/_core.so" && pip install -q build &&
    "$python" -m build --sdist -o "$tmp/dist" "$package" >"$tmp/out" 2>"$tmp/err"
report $? 'a source distribution'
pip wheel -q --no-deps -w "$tmp/dist" "$tmp"/dist/tt_embed-*.tar.gz &&
    [ "$(find "$tmp/dist" -name 'tt_embed-*-py3-none-*.whl' | wc -l)" -eq 1 ]
report $? 'a wheel from the source distribution, for any version of Python'

pip install -q --force-reinstall --no-deps "$package"
report $? 'pip install ./examples/python'
if [ "$failed" -ne 0 ]; then finish; fi

(cd "$tmp" && "$python" -c 'import sys, tt_embed, tt_embed.__main__; sys.exit("torch" in sys.modules)') \
    >"$tmp/out" 2>"$tmp/err"
report $? 'import without torch'

if [ -n "${NO_TORCH-}" ] || ! { has 'torch, transformers' || pip install -q torch transformers; }; then
    echo 'Python: what needs torch and transformers: skipped, they are not there'
fi
# Files that other libraries write and read: gguf, safetensors, transformers.
builds ttembed examples/ttembed.c
has gguf || pip install -q gguf || echo 'Python: what needs gguf: skipped, it cannot be installed'
TTEMBED=$tmp/ttembed "$python" -m pytest -q -p no:cacheprovider examples/python/tests tests/test_files.py >"$tmp/out" 2>"$tmp/err"
status=$?
number() { tail -n 1 "$tmp/out" | grep -o "[0-9]* $1" | cut -d ' ' -f 1; }
good=$(number passed)
bad=$(($(number failed | grep . || echo 0) + $(number error | grep . || echo 0)))
passed=$((passed + ${good:-0}))
failed=$((failed + bad))
if [ "$bad" -ne 0 ]; then tail -n 80 "$tmp/out" >&2; fi
if [ "$bad" -eq 0 ]; then
    [ "$status" -eq 0 ]
    report $? "pytest: exit status $status"
fi

finish
