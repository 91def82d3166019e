#!/bin/sh
# test_python.sh: the package of examples/python, installed by pip into a virtual environment of its own, and its tests
# with pytest, and tests/test_files.py: files of other libraries. Needs packages from an index: numpy, pytest; torch,
# transformers and gguf where they can be had. Ends with its own count. From the environment:
#   PYTHON       the interpreter; default /usr/bin/python3, or python3
#   PYTHON_VENV  an environment to use and to keep; default a new one. What it has is not installed again
#   NO_TORCH=1   leave torch and transformers out: they are a download of some gigabytes

cd "$(dirname "$0")/.." || exit 1
test_name=python
. tests/harness.sh
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 CC
unset PYTHONPATH
if ! make_venv 'numpy, pytest' numpy pytest; then
    echo 'Python: skipped, no virtual environment with numpy and pytest can be made'
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
export TTEMBED="$tmp/ttembed"
run_pytest examples/python/tests tests/test_files.py
finish
