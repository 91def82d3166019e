#!/bin/sh
# test_reader.sh: tests/reader.py, which is written from IMAGE FORMAT alone, reads the golden images bit for bit as the
# library does. Needs numpy; PYTHON is the interpreter, default /usr/bin/python3. Ends with its own count.

cd "$(dirname "$0")/.." || exit 1
test_name=reader
. tests/harness.sh
python=${PYTHON:-/usr/bin/python3}
if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "reader: skipped, $python has no numpy"
    echo 'test_reader: 0 passed, 0 failed'
    exit 0
fi

# In the order of the list in golden.h.
images=$(sed -n '/golden\[GOLDEN_ALL\] = {/,/};/p' tests/golden.h | grep -o '"[a-z0-9-]*"' | tr -d '"' |
    sed 's#.*#tests/golden/&.tte#')
set -- tests/golden/*.tte
[ "$(echo "$images" | wc -l)" -eq $# ]
report $? 'every golden image is in the list'
"$python" tests/reader.py --compare $images tests/golden/rows.bin >"$tmp/out" 2>"$tmp/err"
report $? 'golden images'
finish
