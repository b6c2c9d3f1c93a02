#!/bin/sh
# sanitize_cuda.sh BUILD TOOL [SHARD/SHARDS [JOBS]]: the test programs of a GPU under compute-sanitizer's TOOL (memcheck, racecheck, initcheck,
# synccheck), JOBS at a time (nproc), each for SANITIZE_SECONDS (300) at most; of SHARDS parts the SHARD-th. A line says how each ended, fails where
# one has errors, and its log lies in BUILD/sanitize. Ends as skipped (77) where there is no GPU, no compute-sanitizer, or one that refuses the GPU.
set -eu
build=$(cd "$1" && pwd) tool=$2 part=${3:-1/1} jobs=${4:-$(nproc)}

# one PROGRAM: runs it into its log and gives its exit status, 99 where the tool found something.
one() {
    api=
    case $tool:$1 in memcheck:streams | memcheck:device | memcheck:cuda_libraries) api='--report-api-errors no' ;; esac # these run out of memory on purpose
    # shellcheck disable=SC2086
    TENON_CUDA_PATH=$build TENON_TEST_DEVICE=cuda:0 TENON_TEST_QUICK=1 OMP_NUM_THREADS=1 timeout -k 10 "${SANITIZE_SECONDS:-300}" \
        compute-sanitizer --tool "$tool" $api --error-exitcode 99 "$build/tests/test_$1" > "$build/sanitize/$tool-$1.log" 2>&1
}

if [ "$part" = one ]; then # called by itself, below
    name=$4 begun=$(date +%s) status=0
    log=$build/sanitize/$tool-$name.log
    one "$name" || status=$?
    case $status in
    0) said=clean ;;
    99) said="$(grep -E '(ERROR|RACECHECK) SUMMARY' "$log" | tail -n 1)" ;;
    124 | 137) said="not done after ${SANITIZE_SECONDS:-300} s" ;;
    *) said="ended with $status" ;;
    esac
    echo "$tool $name: $said, $(($(date +%s) - begun)) s"
    [ "$said" = clean ] && exit
    grep -E '^=========|FAILED|ERROR' "$log" | head -n 40
    exit 1
fi

command -v compute-sanitizer > /dev/null || { echo "skipped: no compute-sanitizer on the PATH"; exit 77; }
mkdir -p "$build/sanitize"
status=0
one lora || status=$?
log=$build/sanitize/$tool-lora.log
if why=$(grep -m 1 -E 'Device not supported|^skipped: cuda:0' "$log"); then
    echo "skipped: ${why#*: }"
    exit 77
fi
awk -v shard="${part%/*}" -v shards="${part#*/}" '(NR - 1) % shards + 1 == shard' "$build/tests/on_gpu" | xargs -P "$jobs" -I NAME "$0" "$build" "$tool" one NAME || exit 1
