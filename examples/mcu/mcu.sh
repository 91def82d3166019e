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
#       does all this for every layout, coding and ratio, to costs.csv; then what readme does
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
#   DEFINES   macros for the reader; default those for this table's layout and coding alone
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
        "$OUT/expect" "$OUT/table.tte" "$OUT/expected.h"
}

# Macros for a reader of this table's layout and coding alone, which are bytes 14 and 15 of an image.
only_this() {
    set -- $(od -An -tu1 -j14 -N2 "$OUT/table.tte")
    for layout in TTE_PER_TOKEN TTE_PER_TABLE; do
        [ "$1" -ne 0 ] || break
        set -- $(($1 - 1)) "$2"
    done
    for coding in TTE_F32 TTE_F16 TTE_I8 TTE_I4 TTE_ENTROPY; do
        [ "$2" -ne 0 ] || break
        set -- "$1" $(($2 - 1))
    done
    echo "-DTT_EMBED_ONLY_LAYOUT=$layout -DTT_EMBED_ONLY_CODING=$coding"
}

build() { # build BOARD
    board "$1"
    [ -f "$OUT/expected.h" ] || die "$OUT: no table yet: mcu.sh table makes one"
    set --
    for source in startup "$name" print main reader; do
        "${CROSS}gcc" -std=c99 $warnings $cpu $OPT -ffunction-sections -fdata-sections -I"$OUT" \
            ${DEFINES-$(only_this)} -c -o "$OUT/$source.o" "$here/$source.c" || exit 1
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

# What a run printed as fields: reader, libraries, scratch, most stack, open, verify, lookup, top_k.
fields() {
    awk '/^reader:/ { reader = $2 "," $6 }
        /^scratch:/ { scratch = $2 }
        /instructions/ { count[$1] = $2; if ($4 > stack) stack = $4 }
        END { print reader "," scratch "," stack "," count["open:"] "," count["verify:"] "," \
            count["lookup:"] "," count["top_k:"] }' "$1"
}

measure() { # measure LAYOUT CODING RATIO: lines of costs.csv for both boards
    table --layout "$1" --coding "$2" --ratio "$3" >"$OUT/made" 2>"$OUT/refused" || {
        grep -q 'no setting meets' "$OUT/refused" && return
        cat "$OUT/refused" >&2
        exit 1
    }
    made=$(sed 's/.* \([0-9,]*\) bytes.*error \([0-9.]*\)$/\1 \2/' "$OUT/made" | tr -d , | tr ' ' ,)
    for OPT in -Os -O2; do
        for b in mps2-an386 microbit; do
            build $b || exit 1
            run $b >"$OUT/said" || {
                cat "$OUT/said" >&2
                die "$1 $2 $3 on $b failed"
            }
            echo "$b,$OPT,$1,$2,$3,$made,$(fields "$OUT/said")"
        done
    done
}

costs() {
    FLASH=1048576 # tables at a ratio of 8 do not fit into the microbit's own flash
    mkdir -p "$OUT" || exit 1
    {
        printf 'board,optimization,layout,coding,ratio,table_bytes,relative_error,reader_bytes,'
        echo 'libraries_bytes,scratch_bytes,stack_bytes,open,verify,lookup,top_k'
        for ratio in 8 16 38.4; do
            for coding in entropy i4 i8 f16 f32; do measure table $coding $ratio; done
            for coding in i4 i8 f16 f32; do measure token $coding $ratio; done
        done
    } >"$OUT/costs.csv" || exit 1
    cp "$OUT/costs.csv" "$here/costs.csv" && readme
}

# Puts the table made from costs.csv between its two marks in README.md.
readme() {
    mkdir -p "$OUT" || exit 1
    awk -F, -v OFS=' | ' '
        function short(n) { return n < 999500 ? sprintf("%.3g k", n / 1e3) : sprintf("%.3g M", n / 1e6) }
        FNR == NR && $2 == "-Os" {
            key = $3 " " $4 " " $5
            if (!(key in table)) order[++n] = key
            table[key] = $6; error[key] = $7
            code[key, $1] = $8; all[key, $1] = $8 + $9; ram[key, $1] = $10 + $11
            lookup[key, $1] = short($14); scan[key, $1] = short($15)
        }
        FNR == NR { next }
        /<!-- costs: / {
            print
            print "| layout, coding | asked | table, bytes | error | reader M4F | M0 | + libraries M4F" \
                " | M0 | RAM M4F | M0 | lookup M4F | M0 | scan M4F | M0 |"
            print "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
            for (i = 1; i <= n; i++) {
                key = order[i]
                split(key, part, " ")
                m4 = key SUBSEP "mps2-an386"
                m0 = key SUBSEP "microbit"
                print "| per " part[1] ", " part[2], part[3] "x", table[key], error[key], code[m4], \
                    code[m0], all[m4], all[m0], ram[m4], ram[m0], lookup[m4], lookup[m0], scan[m4], scan[m0] " |"
            }
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
