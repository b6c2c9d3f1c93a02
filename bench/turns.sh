#!/bin/sh
# Runs commands in turn, A B C A B C ..., and appends what each prints to FOLDER/1, FOLDER/2, ...   usage: turns.sh ROUNDS FOLDER COMMAND...
# Each COMMAND is one word, for sh -c. A round in which other processes and the hypervisor took more than 2 % of a core's time is thrown away
# and run again, so long as that does not double the rounds.
set -eu
rounds=$1
folder=$2
shift 2
again=$rounds

# "what others and the hypervisor used, time of one core", in ticks; nothing where the system does not say
ticks() {
    [ ! -r /proc/stat ] || awk -v cores="$(nproc)" 'FNR == NR && $1 == "cpu" { used = $2 + $3 + $4 + $7 + $8 + $9; all = used + $5 + $6 }
        FNR != NR { print used - $14 - $15 - $16 - $17, all / cores }' /proc/stat /proc/$$/stat
}

round=0
while [ "$round" -lt "$rounds" ]; do
    before=$(ticks)
    i=0
    for command; do
        i=$((i + 1))
        sh -c "$command" > "$folder/turn.$i"
    done
    quiet=$(echo "$before $(ticks)" | awk '{ print NF < 4 || $3 - $1 <= 0.02 * ($4 - $2) }')
    if [ "$quiet" = 0 ] && [ "$again" -gt 0 ]; then
        again=$((again - 1))
        continue
    fi
    [ "$quiet" = 1 ] || echo "a round was disturbed and is kept" >&2
    while [ "$i" -gt 0 ]; do
        cat "$folder/turn.$i" >> "$folder/$i"
        rm "$folder/turn.$i"
        i=$((i - 1))
    done
    round=$((round + 1))
done
