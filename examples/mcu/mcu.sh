#!/bin/sh
# mcu.sh: a token-embedding table in the flash of a Cortex-M, in an emulator.
#
#   sh examples/mcu/mcu.sh table [OPTIONS of ttembed compress; --ratio 16 without any]
#       compresses the table of the model to OUT/table.tte, and writes it as C
#   sh examples/mcu/mcu.sh build mps2-an386|microbit
#       compiles the firmware with that table to OUT/BOARD.elf
#   sh examples/mcu/mcu.sh run mps2-an386|microbit
#       runs it; the exit status is the firmware's, 0 when it agrees with the host
#   sh examples/mcu/mcu.sh costs
#       does all this for both layouts and several ratios, to costs.csv; then what readme does
#   sh examples/mcu/mcu.sh readme
#       makes the table in README.md from costs.csv
#
# Needs a C compiler, arm-none-eabi-gcc with newlib, and qemu-system-arm; on Debian:
#   apt-get install gcc gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
#
# From the environment:
#   OUT       a folder; default examples/mcu/build
#   MODEL     a file with a table that ttembed reads; default that of examples/tiny-gpt2
#   CC        the host's compiler; default cc
#   CROSS     what the names of the other tools begin with; default arm-none-eabi-
#   OPT       default -Os
#   FLASH     bytes of the microbit's flash; default 262144

here=$(cd "$(dirname "$0")" && pwd) || exit 1
examples=$(dirname "$here")
OUT=${OUT:-$here/build}
MODEL=${MODEL:-$examples/tiny-gpt2/model.safetensors}
CC=${CC:-cc}
CROSS=${CROSS:-arm-none-eabi-}
OPT=${OPT:--Os}
FLASH=${FLASH:-262144}
warnings='-Wall -Wextra -pedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion'

die() {
    echo "mcu.sh: $*" >&2
    exit 1
}

board() { # board NAME: sets what the compiler and qemu need to know
    name=$1
    case $name in
    mps2-an386)
        cpu='-mthumb -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard'
        machine='-machine mps2-an386'
        ;;
    microbit)
        cpu='-mthumb -mcpu=cortex-m0 -mfloat-abi=soft'
        machine="-machine microbit -global nrf51-soc.flash-size=$FLASH"
        ;;
    *) die "board '$name': there are mps2-an386 and microbit" ;;
    esac
}

tool() { # tool NAME SOURCE: a program of the host, compiled when it is older than its sources
    if [ -z "$(find "$OUT/$1" -newer "$2" -newer "$examples/tensor_files.h" \
        -newer "$examples/../tt_embed.h" 2>/dev/null)" ]; then
        $CC -std=c99 -O2 $warnings ${CFLAGS-} -o "$OUT/$1" "$2" -lm || exit 1
    fi
}

table() { # table OPTIONS..: of ttembed compress
    mkdir -p "$OUT" && rm -f "$OUT"/table.* "$OUT/expected.h" || exit 1
    tool ttembed "$examples/ttembed.c"
    tool expect "$here/expect.c"
    [ $# -gt 0 ] || set -- --ratio 16
    "$OUT/ttembed" compress "$MODEL" "$OUT/table.tte" "$@" &&
        "$OUT/ttembed" c-array "$OUT/table.tte" "$OUT/table.h" --name table --quiet &&
        "$OUT/expect" "$OUT/table.tte" "$OUT/expected.h" >"$OUT/table.size"
}

build() { # build BOARD
    board "$1"
    [ -f "$OUT/expected.h" ] || die "$OUT: no table yet: mcu.sh table makes one"
    set --
    for source in startup "$name" print main reader; do
        "${CROSS}gcc" -std=c99 $warnings $cpu $OPT -ffunction-sections -fdata-sections -I"$OUT" \
            -c -o "$OUT/$source.o" "$here/$source.c" || exit 1
        set -- "$@" "$OUT/$source.o"
    done
    "${CROSS}gcc" $cpu -nostartfiles -specs=nano.specs -Wl,--gc-sections -Wl,--defsym=flash_size="$FLASH" \
        -L"$here" -T"$name.ld" -o "$OUT/$name.elf" "$@"
}

# Every instruction takes a nanosecond of the emulated time, so that timers count instructions.
run() { # run BOARD
    board "$1"
    [ -f "$OUT/$name.elf" ] || die "$OUT/$name.elf: not built yet"
    qemu-system-arm $machine -icount shift=0 -display none -monitor none -serial stdio \
        -semihosting-config enable=on,target=native -kernel "$OUT/$name.elf" </dev/null
}

# ---- costs ---------------------------------------------------------------------------------------

# What a run printed as fields: reader, libraries, scratch, most stack; instructions of open, verify, lookup,
# logits, top_k, and of a coefficient.
fields() {
    awk '/^reader:/ { reader = $2 "," $6 }
        /^scratch:/ { scratch = $2 }
        /^coefficient:/ { each = $2 }
        /bytes of stack/ { count[$1] = $2; if ($4 > stack) stack = $4 }
        END { print reader "," scratch "," stack "," count["open:"] "," count["verify:"] "," \
            count["lookup:"] "," count["logits:"] "," count["top_k:"] "," each }' "$1"
}

measure() { # measure RATIO LAYOUT CODING: lines of costs.csv for both boards
    set -- "$1" "$2" "${3-}"
    table --ratio "$1" --layout "$2" ${3:+--coding "$3"} >"$OUT/made" 2>"$OUT/refused" || {
        grep -q 'no setting meets' "$OUT/refused" && return
        cat "$OUT/refused" >&2
        exit 1
    }
    made=$(tr ' ' , <"$OUT/table.size")
    for OPT in -Os -O2; do
        for b in mps2-an386 microbit; do
            build $b || exit 1
            run $b >"$OUT/said" || {
                cat "$OUT/said" >&2
                die "$* on $b failed"
            }
            echo "$b,$OPT,$2,${3:-trellis},$1,$made,$(fields "$OUT/said")"
        done
    done
}

costs() {
    FLASH=1048576 # tables at a ratio of 8 do not fit into the microbit's own flash
    mkdir -p "$OUT" || exit 1
    {
        printf 'board,optimization,layout,coding,ratio,table_bytes,relative_error,reader_bytes,libraries_bytes,'
        echo 'scratch_bytes,stack_bytes,open,verify,lookup,logits_64,top_k,coefficient'
        for ratio in 8 16 38.4; do
            measure $ratio table
            measure $ratio token i4
            measure $ratio token i8
        done
    } >"$OUT/costs.csv" || exit 1
    cp "$OUT/costs.csv" "$here/costs.csv" && readme
}

# Puts the table made from costs.csv between its two marks in README.md.
readme() {
    mkdir -p "$OUT" || exit 1
    awk -F, -v OFS=' | ' '
        function short(n) { return n < 999500 ? sprintf("%.3g k", n / 1e3) : sprintf("%.3g M", n / 1e6) }
        function both(of) { return of[key, "mps2-an386"] OFS of[key, "microbit"] }
        FNR == NR && $2 == "-Os" {
            key = $3 " " $4 " " $5
            if (!(key in table)) order[++n] = key
            table[key] = $6; error[key] = $7
            ram[key, $1] = $10 + $11; code[$1] = $8; libraries[$1] = $9
            lookup[key, $1] = short($14); logits[key, $1] = short($15); scan[key, $1] = short($16)
            each[key, $1] = sprintf("%.1f", $17)
        }
        FNR == NR { next }
        /<!-- costs: / {
            print
            print "| layout, coding | asked | table, bytes | error | RAM M4F | M0 | lookup M4F | M0" \
                " | logits M4F | M0 | scan M4F | M0 | coefficient M4F | M0 |"
            print "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
            for (i = 1; i <= n; i++) {
                key = order[i]
                split(key, part, " ")
                print "| per " part[1] ", " part[2], part[3] "x", table[key], error[key], both(ram), \
                    both(lookup), both(logits), both(scan), both(each) " |"
            }
            printf "\nThe reader takes %d bytes of flash on the M4F and %d on the M0, of the library%ss code as far as this\n" \
                "firmware calls it; and %d and %d of libgcc and libc, which on an M0 is mostly arithmetic in float, that\n" \
                "firmware which computes in float has already.\n", code["mps2-an386"], code["microbit"], "\047", \
                libraries["mps2-an386"], libraries["microbit"]
            skip = 1
        }
        /<!-- end of costs -->/ { skip = 0 }
        !skip { print }' "$here/costs.csv" "$here/README.md" >"$OUT/README.md" &&
        cp "$OUT/README.md" "$here/README.md"
}

mode=${1-}
case $mode in
table | build | run | costs | readme)
    shift
    "$mode" "$@"
    ;;
*) die 'usage: mcu.sh table [OPTIONS] | build BOARD | run BOARD | costs | readme' ;;
esac
