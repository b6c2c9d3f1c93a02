#!/bin/sh
# examples.sh FOLDER: the examples as a person runs them: what they print, the files that they leave, and how they refuse.
set -eu
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=$PWD/../shared/data/mnist
by_themselves=$(grep -l tn_plot_save examples/*.c) || true
cd "$work"
export OMP_NUM_THREADS=1 # the tests run side by side
fail() { echo "$*"; exit 1; }
has() { grep -q -- "$2" "$1" || { cat "$1"; fail "$1 does not say: $2"; }; }

"$bin/autodiff1d" > 1d
has 1d '^  20   6.99919   1.79176  -0.000271  -0.000271$'
has autodiff1d.csv '^1,3.737669618,3.737669618$'
"$bin/autodiff2d" > 2d
has 2d '^  30   0.57'
[ "$(wc -l < autodiff2d.csv)" = 32 ] || fail "autodiff2d.csv has not 31 points"
for example in autodiff1d autodiff2d; do
    "$bin/$example" --help > help
    has help '^  -p, --plot=FILE .*The picture, .png or .svg'
    "$bin/$example" --plot other.svg > other
    has other '^the picture: other.svg, its numbers: other.csv$'
    [ -s other.csv ] || fail "$example --plot left no other.csv"
    rm other.*
done
"$bin/ts_prediction" --epochs 8 > series
has series '^epoch  8: train loss .*, test loss [0-9.]*e-04$'
[ "$(wc -l < ts_prediction.csv)" = 393 ] || fail "ts_prediction.csv has not 392 points"
"$bin/shared_model" > shared
has shared '^thread 1 answered 200 requests'
[ ! -x "$bin/spirals" ] || "$bin/spirals" > spirals
[ -z "$by_themselves" ] || fail "$by_themselves: a picture is saved by save_picture()"
# Where gnuplot is not on the PATH, which has nothing that the examples need, the numbers are left all the same.
mkdir plain nothing
for example in autodiff1d autodiff2d "ts_prediction --epochs 1"; do
    (cd plain && PATH=../nothing "$bin"/$example > said) || { cat plain/said; fail "$example fails without gnuplot"; }
    has plain/said ': (no gnuplot for the picture), .* numbers: [a-z0-9_]*\.csv$'
    [ -s "plain/${example%% *}.csv" ] || fail "$example left no numbers without gnuplot"
done
if command -v gnuplot > /dev/null; then
    for picture in autodiff1d.png autodiff2d.png; do
        [ "$(od -An -c -N4 $picture | tr -d ' ')" = '211PNG' ] || fail "$picture is no PNG"
    done
fi

# accuracy FILE LEAST: the last line's test accuracy is at least that.
accuracy() { sed -n 's/^test accuracy \([0-9.]*\) %.*/\1/p' "$1" | awk -v least="$2" '{ ok = $1 >= least } END { exit !ok }' || { cat "$1"; fail "$1: the accuracy is below $2 %"; }; }
"$bin/mnist" --network mlp --epochs 2 --save net.safetensors > drawn
head -n 1 drawn > first
has first '^No MNIST here (scripts/fetch_mnist.sh fetches it): 6000 digits drawn for training, 1000 for testing$'
has drawn '^epoch  2: loss '
has drawn 'said .*, it is '
accuracy drawn 90
[ "$(wc -l < mnist.csv)" = 3 ] || fail "mnist.csv has not two epochs"
"$bin/mnist" --network mlp --epochs 1 --lr 0.0001 --load net.safetensors --plot again.svg > again
accuracy again 90
faces=$(dirname "$data")/olivetti/olivetti.npz
if [ -f "$faces" ]; then
    "$bin/dropout_bn" --data "$faces" --epochs 12 > faces
    grep '^epoch 12:' faces | awk '{ sub(/.*plain: [^%]*accuracy +/, ""); ok = $1 > 90 } END { exit !ok }' || { cat faces; fail "plain MLP: 90 % of the held-back faces were due"; }
    [ "$(wc -l < dropout_bn.csv)" = 13 ] || fail "dropout_bn.csv has not 12 epochs"
else
    echo "skipped: no faces in $faces"
fi
model=$(dirname "$(dirname "$data")")/models/aidreams260K/model.bin
if [ -f "$model" ]; then
    "$bin/llama" "$model" > dreamt
    has dreamt '^"Echoes of vectors unfold, a gentle hum of precision'
else
    echo "skipped: no model in $model"
fi
got=0
"$bin/llama" absent > refused-model 2>&1 || got=$?
[ $got = 1 ] || fail "llama absent: exit status $got"
has refused-model 'absent: cannot open'
plays=$(dirname "$data")/tinyshakespeare/input.txt
if [ -f "$plays" ]; then
    head -c 60000 "$plays" > plays.txt
    "$bin/char_lm" --data plays.txt --steps 40 --batch-size 8 > plays
    grep '^step    40:' plays | awk '{ ok = $8 < 3.3 } END { exit !ok }' || { cat plays; fail "char_lm: a validation loss below 3.3 was due"; }
    [ "$(wc -l < char_lm.csv)" = 2 ] || fail "char_lm.csv has not one point"
else
    echo "skipped: no plays in $plays"
fi
if [ -d "$data" ]; then
    "$bin/mnist" --data "$data" --network mlp --epochs 2 > real
    has real "^MNIST from $data"
    accuracy real 90
else
    echo "skipped: no real digits in $data"
fi

# refused STATUS WORDS ARGUMENTS...: ends with that status and says so.
refused() {
    status=$1 words=$2
    shift 2
    got=0
    "$bin/mnist" "$@" > out 2>&1 || got=$?
    [ $got = "$status" ] || { cat out; fail "mnist $*: exit status $got"; }
    has out "$words"
}
refused 64 "the network is one of conv|mlp, not 'cnn'" --network cnn
refused 64 "--batch-size: '0' is no whole number from 1" --batch-size 0
refused 1 'cuda:99 is not there: ' --device cuda:99
for example in autodiff1d autodiff2d char_lm dropout_bn llama mnist shared_model transformer ts_prediction spirals; do
    [ -x "$bin/$example" ] || continue
    ! "$bin/$example" --device cuda:99 > out 2>&1 || fail "$example runs on a GPU that is not there"
    has out 'device: cuda:99 is not there: '
done
refused 1 'absent' --data absent
refused 1 'missing: conv1.weight' --network conv --load net.safetensors
head -c 1000 net.safetensors > cut.safetensors
refused 1 'cut.safetensors' --network mlp --load cut.safetensors
refused 1 'mnist.jpg' --plot mnist.jpg
