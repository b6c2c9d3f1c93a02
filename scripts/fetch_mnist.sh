#!/bin/sh
# fetch_mnist.sh [FOLDER]: fetches MNIST's four files (11 MB) into FOLDER (data/mnist) and checks their SHA-256. Needs curl or wget.
set -eu
folder=${1:-data/mnist}
mirrors="https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist"

if command -v sha256sum > /dev/null; then
    sum() { sha256sum "$1" | cut -d ' ' -f 1; }
elif command -v shasum > /dev/null; then
    sum() { shasum -a 256 "$1" | cut -d ' ' -f 1; }
else
    echo "fetch_mnist.sh: sha256sum or shasum is needed to check the files" >&2
    exit 1
fi
if command -v curl > /dev/null; then
    get() { curl -fsSL --connect-timeout 20 --retry 2 -o "$2" "$1"; }
elif command -v wget > /dev/null; then
    get() { wget -q --timeout=20 --tries=3 -O "$2" "$1"; }
else
    echo "fetch_mnist.sh: curl or wget is needed" >&2
    exit 1
fi

mkdir -p "$folder"
part=$(mktemp "$folder/part.XXXXXX")
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM

# fetch NAME SHA256: a file that is there and right is left; one that is wrong is never put in place.
fetch() {
    if [ -f "$folder/$1" ] && [ "$(sum "$folder/$1")" = "$2" ]; then
        echo "$folder/$1 is there"
        return
    fi
    for mirror in $mirrors; do
        get "$mirror/$1" "$part" || { echo "$mirror/$1 cannot be fetched" >&2; continue; }
        if [ "$(sum "$part")" = "$2" ]; then
            cp "$part" "$folder/$1"
            echo "$folder/$1"
            return
        fi
        echo "$mirror/$1 has another SHA-256 than MNIST's" >&2
    done
    exit 1
}

fetch train-images-idx3-ubyte.gz 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
fetch train-labels-idx1-ubyte.gz 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
fetch t10k-images-idx3-ubyte.gz 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
fetch t10k-labels-idx1-ubyte.gz f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
