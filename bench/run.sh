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
header=$header,disturbed,checked,difference,allowed
[ -f "$csv" ] || : > "$csv"

# Lines of $work/lines take the place of those of the same rows in the CSV.
keep() {
    [ -s "$work/lines" ] || return 0
    awk -F, 'FNR == NR { new[$1 FS $2 FS $3]; next } FNR > 1 && !($1 FS $2 FS $3 in new)' "$work/lines" "$csv" > "$work/csv"
    { echo "$header"; cat "$work/csv" "$work/lines"; } > "$csv"
}

# In f32 the losses of the first 20 steps beside PyTorch's, in bf16 the loss after 100 steps beside that of f32: the greatest relative difference is a
# line of the CSV. Fails where it is more than allowed.
losses() { # losses NETWORK THREADS DTYPE
    export OMP_NUM_THREADS="$2"
    if [ "$3" = bf16 ]; then
        "$bin/training" "$1" "$2" losses "$work/start" 100 | tail -n 1 > "$work/theirs"
        "$bin/training" "$1" "$2" losses "$work/start" 100 bf16 | tail -n 1 > "$work/ours"
        checked='after 100 steps beside f32' allowed=1e-2
    else
        [ -n "$python" ] || return 0
        "$bin/training" "$1" "$2" losses "$work/start" > "$work/ours"
        "$python" "$here/training.py" "$1" "$2" losses "$work/start" 20 > "$work/theirs"
        checked="20 steps beside PyTorch's" allowed=1e-3
    fi
    paste "$work/ours" "$work/theirs" | awk -v row="$1.losses,$2,$3" -v checked="$checked" -v allowed=$allowed -f "$here/losses.awk" > "$work/lines"
    keep
    awk -F, '{ bad = !($26 <= $27); printf "%s (%s), %s: %s apart, allowed %s%s\n", $1, $3, $25, $26, $27, bad ? ": TOO MUCH" : "" }
        END { exit bad || NR == 0 }' "$work/lines"
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
        compiled="$theirs compile"
        # What would call the same library's kernels, or computes nothing, stays eager.
        case $1 in linear* | conv* | attention* | empty*) compiled= ;; esac
        ;;
    esac
    tuned="$theirs tuned" compiled_tuned="${compiled:+$compiled tuned}"
    [ -n "$python" ] || theirs=: tuned=: compiled= compiled_tuned=
    rm -rf "$work/turns"
    mkdir "$work/turns"
    sh "$here/turns.sh" "$rounds" "$work/turns" "'$bin/peak' $2" "'$bin/bandwidth' $2" "$ours" "$theirs" "$tuned" "${compiled:-:}" "${compiled_tuned:-:}"
    set -- "$2" "$3" "$work/turns"
    [ -z "$compiled" ] || [ "$(cat "$3/6" "$3/7" | wc -l)" -eq "$(cat "$3/4" "$3/5" | wc -l)" ] || {
        echo "torch.compile failed somewhere: eager counts there"
        failed=1
    }
    awk -v OFS=, -v threads="$1" -v dtype="$2" -v disturbed="$(cat "$3/disturbed")" -f "$here/collect.awk" \
        "$3/1" "$3/2" "$3/3" "$3/4" "$3/5" "$3/6" "$3/7" > "$work/lines"
    keep
    awk -F, -v head=no -f "$here/table.awk" "$work/lines"
}

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
