"""How PyTorch is run. `tuned` among the arguments: channels_last, fused Adam, and memory that malloc keeps. Imported before torch, for malloc
reads its variables when a program begins."""
import os
import sys

tuned = "tuned" in sys.argv
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456"}
if tuned and "MALLOC_TOP_PAD_" not in os.environ:
    os.execve(sys.executable, [sys.executable] + sys.argv, dict(os.environ, **MALLOC))


def turns():
    """Where to print, once; or, run by turns.sh, once for each of its turns."""
    go, said = os.environ.get("TURN_GO"), os.environ.get("TURN_SAID")
    if not go:
        yield sys.stdout
        return
    while open(go).read():
        with open(said, "w") as out:
            yield out
