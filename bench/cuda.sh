#!/bin/sh
# Training steps on a GPU, Tenon's beside PyTorch's, in turn: ms of a step by the device's events, uncaptured and captured in a CUDA graph, PyTorch's
# eager and compiled.   usage: cuda.sh FOLDER-OF-BENCHMARKS [NETWORKS] [ROUNDS] [SECONDS] [SETTINGS]
# SETTINGS are f32 (strict), tf32 and bf16 (autocast): the first two, and of a transformer all, where not said. PYTHON names an interpreter that has
# PyTorch; without one Tenon's figures stand alone. TUNED=tuned: PyTorch with channels_last and its fused Adam. PyTorch's processes all warm up and
# compile at once before the first round. Writes what the programs say besides, the last losses and TF32's flags too, into cuda.log in that folder.
set -eu
bin=$1
networks=${2:-mlp lenet transformer_1536}
rounds=${3:-1}
seconds=${4:-0.5}
settings=${5:-}
here=$(dirname "$0")
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$bin/cuda.log
: > "$log"
export OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 AGAIN=0 # other processes do not disturb the device
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null || :
"$python" -c 'import torch; print("PyTorch", torch.__version__)' 2> /dev/null || {
    echo "PyTorch is not installed for '$python' (set PYTHON=...): Tenon's figures alone."
    python=
}

settings_of() {
    case $1 in
    transformer*) echo "${settings:-f32 tf32 bf16}" ;;
    *) echo "${settings:-f32 tf32}" ;;
    esac
}

# Six commands for each network and setting.
set --
for network in $networks; do
    for setting in $(settings_of "$network"); do
        arguments="$network 1 train $seconds cuda:0 ${setting#f32}"
        for how in '' captured; do
            set -- "$@" "timeout 60 '$bin/training' $arguments $how 2>> '$log' || echo '- - failed: see $log'"
        done
        for how in '' captured compile 'compile captured'; do
            set -- "$@" "${python:+@'$python' '$here/training.py' $arguments $how ${TUNED:-} 2>> '$log'}"
        done
    done
done
mkdir "$work/turns"
sh "$here/turns.sh" "$rounds" "$work/turns" "$@"

i=0
cell() {
    i=$((i + 1))
    sort -g -k 3 "$work/turns/$i" | awk '{ sub(":", "", $3); t[NR] = $3 } END { printf " %s", NR ? t[int((NR + 1) / 2)] : "-" }'
    sed -n "s/.*\(failed: .*\)/$network $setting $1: \1/p" "$work/turns/$i" | sort -u >> "$work/why"
}
: > "$work/why"
echo 'network setting ours_ms ours_captured_ms eager_ms eager_captured_ms compile_ms compile_captured_ms'
for network in $networks; do
    for setting in $(settings_of "$network"); do
        printf '%s %s' "$network" "$setting"
        for row in ours ours_captured eager eager_captured compile compile_captured; do cell $row; done
        echo
    done
done
cat "$work/why"
