#!/bin/sh
# test_mpi.sh: the jobs by hand of examples/README.md, as they stand there; then builds
# examples/mpi_compress.c and runs it with 1, 2, 3 and 5 ranks on this machine: for the bytes that ttembed
# makes alone, and with what must fail: bad files and options, a full disk, a killed rank, a file that is cut
# meanwhile. Ends with its own count.
# Without Open MPI only the jobs by hand run.

cd "$(dirname "$0")/.." || exit 1
test_name=mpi
. tests/harness.sh
root=$(pwd)
MPICC=${MPICC:-mpicc}
model=examples/tiny-gpt2/model.safetensors
LC_ALL=C
export LC_ALL

# One machine without a network, perhaps as root, with fewer cores than ranks.
OMPI_ALLOW_RUN_AS_ROOT=1
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
OMPI_MCA_pml=ob1
OMPI_MCA_btl=self,vader
OMPI_MCA_btl_vader_single_copy_mechanism=none
OMPI_MCA_oob_tcp_if_include=lo
OMPI_MCA_plm=isolated
OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none
OMPI_MCA_mpi_yield_when_idle=1
OMPI_MCA_orte_tmpdir_base=$tmp
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_pml OMPI_MCA_btl OMPI_MCA_plm \
    OMPI_MCA_btl_vader_single_copy_mechanism OMPI_MCA_oob_tcp_if_include OMPI_MCA_orte_tmpdir_base \
    OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle

tool() { "$tmp/ttembed" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null; }
mpi() { # mpi RANKS ARGUMENTS..
    ranks=$1
    shift
    mpirun -n "$ranks" --oversubscribe "$tmp/mpi_compress" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
}

builds ttembed ${CFLAGS-} examples/ttembed.c
builds files tests/ttembed_files.c
builds patch_file tests/patch_file.c
if [ "$failed" -ne 0 ]; then finish; fi

# ---- jobs by hand: the blocks of examples/README.md, in order ----------------------------------------

awk -v out="$tmp/block" '/^```sh$/ { inside = 1; file = out (++n) ".sh"; printf "" > file; next }
    /^```/ { inside = 0; next }
    inside { print > file }' examples/README.md
mkdir "$tmp/job"
ln -s "$root/examples" "$tmp/job/examples"
ln -s "$tmp/ttembed" "$tmp/job/ttembed"
job() { (cd "$tmp/job" && TASK=$1 TASKS=2 sh -e "$tmp/block$2.sh") >"$tmp/out$1" 2>"$tmp/err$1"; }
two_jobs() { # two_jobs BLOCK: at the same time
    job 0 "$1" &
    job 1 "$1" && wait $!
}
token='--layout token --coding i8 --shape 8x16 --max-rank 4'
tool compress "$model" "$tmp/token.tte" --tensor wte.weight $token &&
    two_jobs 2 && job 0 3 && cmp -s "$tmp/job/table.tte" "$tmp/token.tte" &&
    tool info "$tmp/job/part0000.tte" && grep -q '^vocab  *2048$' "$tmp/out"
report $? 'two jobs by hand, --layout token: the same bytes'
tool compress "$model" "$tmp/table.tte" --ratio 8 &&
    job 0 4 && two_jobs 5 && job 0 6 && cmp -s "$tmp/job/like.tte" "$tmp/table.tte"
report $? 'two jobs by hand, --like: the same bytes'

# ---- MPI --------------------------------------------------------------------------------------------

if ! command -v "$MPICC" >/dev/null 2>&1 || ! command -v mpirun >/dev/null 2>&1; then
    echo 'MPI: skipped, there is no mpicc or no mpirun'
    finish
fi
warnings='-std=c99 -Wall -Wextra -pedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion'
openmp=-fopenmp
echo 'int main(void) { return 0; }' >"$tmp/probe.c"
$MPICC -fopenmp -o "$tmp/probe" "$tmp/probe.c" >/dev/null 2>&1 || openmp=
for flag in '' $openmp; do
    $MPICC -O2 $warnings -Werror $flag -o "$tmp/mpi_compress" examples/mpi_compress.c -lm >"$tmp/out" 2>&1
    report $? "mpicc -O2 $flag -o mpi_compress examples/mpi_compress.c -lm"
done
[ "$(wc -l <examples/mpi_compress.c)" -le 300 ]
report $? 'mpi_compress.c has at most 300 lines'
if [ "$failed" -ne 0 ]; then finish; fi
ln -s "$tmp/mpi_compress" "$tmp/job/mpi_compress"
rm -f "$tmp/job/table.tte"
job 0 1 && cmp -s "$tmp/job/table.tte" "$tmp/token.tte"
report $? 'the command of README.md'

# The bytes of one machine, for any number of ranks.
same() { # same RANKS TABLE OPTIONS..
    ranks=$1
    table=$2
    shift 2
    rm -f "$tmp/a.tte"
    mpi "$ranks" "$table" "$tmp/a.tte" "$@" && tool compress "$table" "$tmp/b.tte" --force "$@" &&
        cmp -s "$tmp/a.tte" "$tmp/b.tte"
    report $? "$ranks ranks, $(basename "$table") $*: the same bytes"
}
for ranks in 1 2 3 5; do
    same $ranks "$model" --effort 2
    same $ranks "$model" --tensor wte.weight $token
done
same 3 "$model" --ratio 16 --weights zipf --effort 2
# Learnt from a sample the bytes are those of one rank, as many as the ratio allows and hardly less; a sample of all
# rows is no sample.
for ranks in 1 2 3 5; do
    mpi $ranks "$model" "$tmp/sample$ranks.tte" --sample 900 --ratio 12 --weights zipf --effort 1 --seed 4 &&
        cmp -s "$tmp/sample$ranks.tte" "$tmp/sample1.tte"
    report $? "$ranks ranks, --sample 900: the bytes of one rank"
done
bytes=$(wc -c <"$tmp/sample1.tte")
most=$((4096 * 128 * 4 / 12))
tool verify "$tmp/sample1.tte" && [ "$bytes" -le $most ] && [ "$bytes" -ge $((most - most / 100)) ]
report $? "--sample: $bytes bytes of $most"
mpi 2 "$model" "$tmp/other.tte" --sample 900 --ratio 12 --weights zipf --effort 1 --seed 5 &&
    ! cmp -s "$tmp/other.tte" "$tmp/sample1.tte"
report $? '--seed draws another sample'
mpi 2 "$model" "$tmp/all.tte" --sample 4096 --effort 2 && tool compress "$model" "$tmp/b.tte" --force --effort 2 &&
    cmp -s "$tmp/all.tte" "$tmp/b.tte"
report $? '--sample of all rows: the bytes of one machine'
same 2 "$model" --eps 0.3 --effort 1
same 2 "$model" --layout token --coding i8 --shape 8x16 --eps 0.3
mkdir "$tmp/sharded"
cp "$model" "$tmp/sharded/model-1.safetensors"
echo '{"weight_map": {"wte.weight": "model-1.safetensors"}}' >"$tmp/sharded/model.safetensors.index.json"
same 2 "$tmp/sharded" --shape 8x16 --max-rank 2 --coding i4
"$tmp/files" make npy-F32 "$tmp/t.npy" "$tmp/t.f32" 300 24 7
awk 'BEGIN { for (i = 1; i <= 300; i++) print 1 + i % 7 }' >"$tmp/weights"
"$tmp/files" calibration "$tmp/c.safetensors" 300 24 9
same 4 "$tmp/t.npy" --ratio 3 --calibration "$tmp/c.safetensors"
for ranks in 1 3; do
    mpi $ranks "$tmp/t.npy" "$tmp/c$ranks.tte" --ratio 3 --sample 150 --calibration "$tmp/c.safetensors"
done
cmp -s "$tmp/c1.tte" "$tmp/c3.tte"
report $? '--sample with a metric: the bytes of one rank'
same 3 "$tmp/t.npy" --ratio 3 --weights "$tmp/weights"
same 4 "$tmp/t.f32" --dim 24 --coding f32 --shape 4x6 --max-rank 2
"$tmp/files" make raw "$tmp/three.f32" "$tmp/dense" 3 24 8
few='--coding f16 --shape 4x6 --max-rank 2'
same 4 "$tmp/three.f32" --dim 24 $few

# ---- what must fail: one line of ours, its exit status, nothing written -------------------------------

nothing_left() {
    for file_left in "$tmp"/no.tte*; do
        if [ -e "$file_left" ]; then return 1; fi
    done
}
refused() { # refused STATUS WORD ARGUMENTS..: with 3 ranks
    want=$1
    word=$2
    shift 2
    mpi 3 "$@"
    status=$?
    [ $status -eq "$want" ] && [ "$(grep -c '^mpi_compress: ' "$tmp/err")" -eq 1 ] &&
        grep '^mpi_compress: ' "$tmp/err" | grep -q -e "$word" && [ ! -s "$tmp/out" ] && nothing_left
    result=$?
    echo "exit status $status, expected $want and one line with '$word'" >>"$tmp/out"
    report $result "refusal: $*"
}
no=$tmp/no.tte
printf '1\n2\n' >"$tmp/two"
refused 2 'expected TABLE' "$tmp/t.npy"
refused 2 'ratio x' "$tmp/t.npy" "$no" --ratio x
refused 2 'row: no such layout' "$tmp/t.npy" "$no" --layout row
refused 2 'shape' "$tmp/t.npy" "$no" --shape 4x
refused 2 'raito' "$tmp/t.npy" "$no" --raito 3
refused 2 'max-rank' "$tmp/t.npy" "$no" --max-rank
refused 2 'layout token: needs --shape' "$tmp/t.npy" "$no" --layout token --max-rank 3 --coding i8
refused 2 'layout token: .*--coding' "$tmp/t.npy" "$no" --max-rank 3 --shape 4x6
refused 2 'layout token: needs --shape' "$tmp/t.npy" "$no" --coding i8 --shape 4x6 --ratio 3
refused 2 'f64: no such layout or coding' "$tmp/t.npy" "$no" --coding f64
refused 1 'none.npy: No such' "$tmp/none.npy" "$no"
refused 1 'two: 2 lines for 300 rows' "$tmp/t.npy" "$no" --weights "$tmp/two"
refused 1 'c.safetensors: tensor row_weight: .*made for another table' "$model" "$no" --calibration "$tmp/c.safetensors"
refused 1 'no/calibration: No such' "$model" "$no" --calibration no/calibration
refused 2 'sample: goes with' "$model" "$no" --sample 900 --eps 0.1
refused 2 'sample: goes with' "$model" "$no" --sample 900 $token
refused 2 'sample 0: expected' "$model" "$no" --sample 0
refused 1 'no setting.*possible are [0-9]* bytes' "$tmp/t.npy" "$no" --ratio 1000 --sample 100
refused 2 'a calibration has weights' "$model" "$no" --calibration "$tmp/c.safetensors" --weights zipf
refused 1 'tensor nope: missing; perhaps it is wte.weight' "$model" "$no" --tensor nope
refused 1 'dim' "$tmp/t.f32" "$no"
refused 1 'no rows' "$tmp/t.f32" "$no" --dim 23
refused 1 'modes' "$tmp/t.npy" "$no" --shape 3x5 --max-rank 1 --coding i8
refused 1 'no setting.*possible are [0-9]* bytes' "$tmp/t.npy" "$no" --ratio 1000
refused 1 'No such file' "$tmp/t.npy" "$tmp/none/no.tte"
cp "$tmp/b.tte" "$tmp/there.tte"
refused 1 'there.tte: is there already; --force' "$tmp/t.npy" "$tmp/there.tte"
cmp -s "$tmp/b.tte" "$tmp/there.tte"
report $? 'what was there is as it was'
size=$(wc -c <"$tmp/t.npy")
"$tmp/patch_file" "$tmp/t.npy" "$tmp/cut.npy" keep $((size - 4))
refused 1 'cut.npy: ' "$tmp/cut.npy" "$no"
"$tmp/patch_file" "$tmp/t.npy" "$tmp/nan.npy" set $((size - 4)) 0000c07f   # a row of the last rank
refused 1 'rank 2: .*row 299, column 23 is not finite' "$tmp/nan.npy" "$no" $few
refused 1 'rank 0: .*row 299, column 23 is not finite' "$tmp/nan.npy" "$no"
mkdir "$tmp/folder.tte"
refused 1 'rank 0: .*folder.tte' "$tmp/t.npy" "$tmp/folder.tte" --force
for file_left in "$tmp"/folder.tte.tte-tmp*; do [ ! -e "$file_left" ] || rm -rf "$tmp/folder.tte"; done
[ -d "$tmp/folder.tte" ]
report $? 'an output that cannot be replaced: no temporary file is left'

# A disk that is full: a limit on file sizes, which shared memory has no part in.
"$tmp/files" make raw "$tmp/long.f32" "$tmp/dense" 20000 768 3
rm -f "$tmp/dense"
cat >"$tmp/limited" <<END
ulimit -f 64
exec "$tmp/mpi_compress" "\$@"
END
OMPI_MCA_btl=self,tcp mpirun -n 2 --oversubscribe sh "$tmp/limited" "$model" "$no" >"$tmp/out" 2>"$tmp/err" </dev/null
status=$?
[ $status -eq 1 ] && [ "$(grep -c '^mpi_compress: rank 0: .*no.tte: File too large' "$tmp/err")" -eq 1 ] &&
    [ ! -s "$tmp/out" ] && nothing_left
report $? "a full disk, status $status"

# disturbed NAME WORD COMMAND..: what happens to ranks in the midst of their work takes all with it, within seconds.
# The command finds their process ids in order of rank in $first and $second.
gone() { ! [ -r /proc/"$1"/status ] || grep -q '^State:.*Z' /proc/"$1"/status; }   # or dead and not yet waited for
disturbed() {
    name=$1
    word=$2
    shift 2
    mpirun -n 2 --oversubscribe "$tmp/mpi_compress" "$tmp/long.f32" "$no" --dim 768 >"$tmp/out" 2>"$tmp/err" \
        </dev/null &
    run=$!
    first='' second=''
    tries=0
    while [ -z "$second" ] && [ $tries -lt 50 ]; do
        sleep 0.2 2>/dev/null || sleep 1
        tries=$((tries + 1))
        # shellcheck disable=SC2046
        set -- "$*" $(cat /proc/[0-9]*/stat 2>/dev/null |
            awk -v parent=$run '$4 == parent && $2 == "(mpi_compress)" { print $1 }' | sort -n)
        first=${2-} second=${3-}
        set -- "$1"
    done
    if [ -z "$second" ]; then
        kill $run 2>/dev/null
        wait $run
        echo "$name: skipped, /proc does not show the ranks"
        return
    fi
    sleep 1
    eval "$1"
    began=$(date +%s)
    wait $run
    status=$?
    took=$(($(date +%s) - began))
    [ $status -ne 0 ] && [ $took -le 20 ] && nothing_left && grep -q "$word" "$tmp/err" && [ ! -s "$tmp/out" ] &&
        gone "$first" && gone "$second"
    result=$?
    echo "exit status $status, expected '$word', after $took s" >>"$tmp/out"
    report $result "$name: all end, status $status"
}
disturbed 'a killed rank that waits' 'signal 9' 'kill -9 "$second"'
disturbed 'a killed rank that learns' 'signal 9' 'kill -9 "$first"'
disturbed 'rows that cannot be read any more' 'long.f32: became shorter while it was read' ': >"$tmp/long.f32"'

finish
