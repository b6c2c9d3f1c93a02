#!/bin/sh
# Tenon beside PyTorch, in turn, in one session: training steps, forward passes and operators, each with the share of what the machine was
# measured to give.   usage: run.sh FOLDER-OF-BENCHMARKS [ROUNDS] [ROWS] [THREADS] [DTYPES]
# ROWS are "mlp.losses", "mlp.train", "mlp.one", "mlp.many", ... and operators, "linear" or "linear.forward.256"; all (for hours), where not said.
# PYTHON names an interpreter that has PyTorch; without one Tenon's figures stand alone. Writes into that folder bench.csv, where rows of former
# runs stay until they are measured again, and from it tables.md, ratios.svg and roofline.svg.
set -eu
bin=$1
rounds=${2:-5}
rows=${3:-}
all_threads=${4:-$(nproc | awk '{ print 1, ($1 > 1 ? 2 : ""), ($1 > 2 ? $1 : "") }')}
dtypes=${5:-f32 bf16}
here=$(dirname "$0")
python=${PYTHON:-python3}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE MALLOC_ARENA_MAX || true
"$python" -c 'import torch' 2> /dev/null || {
    echo "PyTorch is not installed for '$python' (set PYTHON=...): Tenon's figures alone."
    python=
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
csv=$bin/bench.csv
header=row,threads,dtype,gflop,read_mb,updated_mb,written_mb,ours_ms,ours_min,ours_mb
header=$header,default_ms,default_min,default_mb,default_how,tuned_ms,tuned_min,tuned_mb,tuned_how,peak_gflops,read_gbytes,copy_gbytes,update_gbytes,level
[ -f "$csv" ] || echo $header > "$csv"

# In f32 the losses of the first 20 steps beside PyTorch's, in bf16 the loss after 100 steps beside that of f32. Fails where they differ.
losses() { # losses NETWORK THREADS DTYPE
    export OMP_NUM_THREADS="$2"
    if [ "$3" = bf16 ]; then
        "$bin/training" "$1" "$2" losses "$work/start" 100 | tail -n 1 > "$work/theirs"
        "$bin/training" "$1" "$2" losses "$work/start" 100 bf16 | tail -n 1 > "$work/ours"
        what='100 steps in bf16 and in f32, 1e-2'
    else
        [ -n "$python" ] || return 0
        "$bin/training" "$1" "$2" losses "$work/start" > "$work/ours"
        "$python" "$here/training.py" "$1" "$2" losses "$work/start" 20 > "$work/theirs"
        what="20 steps beside PyTorch's, 1e-3"
    fi
    paste "$work/ours" "$work/theirs" | awk -v name="$1" -v what="$what" -v most="${what##*, }" '
        function size(x) { return x < 0 ? -x : x }
        { d = size($1 - $2) / size($2); greatest = d > greatest ? d : greatest }
        END { bad = NR == 0 || greatest > most; printf "%s: losses of %s allowed: %.1e%s\n", name, what, greatest, bad ? ", TOO MUCH" : ""; exit bad }'
}

# The figures of one row, or of all rows of a family of operators, become lines of the CSV.
measure() { # measure ROW THREADS DTYPE
    export OMP_NUM_THREADS="$2"
    bf16=
    [ "$3" = f32 ] || bf16=bf16
    case $1 in
    *.train | *.one | *.many)
        ours="'$bin/training' ${1%%.*} $2 ${1#*.} 0.3 $bf16"
        theirs="@'$python' '$here/training.py' ${1%%.*} $2 ${1#*.} 0.3 $bf16"
        compiled="$theirs compile"
        ;;
    *)
        grep -E "^$(echo "$1" | tr . ' ')( |$)" "$here/operators.txt" > "$work/list"
        ours="'$bin/operators' $2 $bf16 < '$work/list'"
        theirs="@'$python' '$here/operators.py' $2 '$work/list' $bf16"
        compiled=:
        ;;
    esac
    tuned="$theirs tuned" compiled_tuned="$compiled tuned"
    [ -n "$python" ] || theirs=: tuned=: compiled=: compiled_tuned=:
    rm -rf "$work/turns"
    mkdir "$work/turns"
    sh "$here/turns.sh" "$rounds" "$work/turns" "'$bin/peak' $2" "'$bin/bandwidth' $2" "$ours" "$theirs" "$tuned" "$compiled" "$compiled_tuned"
    # The better of eager and compiled; memory is eager's, for compiling takes much more.
    how=eager tuned_how=eager mb=$(memory 4) tuned_mb=$(memory 5)
    ! faster 6 4 || { how=compile && mv "$work/turns/6" "$work/turns/4"; }
    ! faster 7 5 || { tuned_how=compile && mv "$work/turns/7" "$work/turns/5"; }
    awk -v OFS=, -v threads="$2" -v dtype="$3" -v how=$how -v tuned_how=$tuned_how -v mb="$mb" -v tuned_mb="$tuned_mb" \
        -f "$here/collect.awk" "$work/turns/1" "$work/turns/2" "$work/turns/3" "$work/turns/4" "$work/turns/5" > "$work/lines"
    awk -F, 'FNR == NR { new[$1 FS $2 FS $3]; next } !($1 FS $2 FS $3 in new)' "$work/lines" "$csv" > "$work/csv"
    cat "$work/csv" "$work/lines" > "$csv"
    awk -F, -v head=no -f "$here/table.awk" "$work/lines"
}

memory() { awk 'NR == 1 { print $5 }' "$work/turns/$1"; }
middle() { sort -g -k 3 "$work/turns/$1" | awk '{ t[NR] = $3 } END { print t[int((NR + 1) / 2)] }'; }
faster() { [ -s "$work/turns/$1" ] && echo "$(middle "$1") $(middle "$2")" | awk '{ exit !($1 < $2) }'; }

if [ -z "$rows" ]; then
    for network in mlp lenet transformer llama resnet gru lstm; do rows="$rows $network.losses $network.train $network.one $network.many"; done
    rows="$rows $(awk '/^[a-z]/ && !seen[$1]++ { print $1 }' "$here/operators.txt")"
fi
awk -F, -f "$here/table.awk" /dev/null
failed=0
for dtype in $dtypes; do
    for row in $rows; do
        for threads in $all_threads; do
            case $dtype.$row in
            *.*.losses) [ "$threads" != "${all_threads%% *}" ] || losses "${row%.*}" "$threads" "$dtype" || failed=1 ;;
            bf16.adam* | bf16.empty*) ;; # hold f32, or nothing
            *) measure "$row" "$threads" "$dtype" ;;
            esac
        done
    done
done
sh "$here/report.sh" "$bin"
exit $failed
