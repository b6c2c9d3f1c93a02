#!/bin/sh
# Runs commands in turn, A B C A B C ..., and appends what each prints to FOLDER/1, FOLDER/2, ...   usage: turns.sh ROUNDS FOLDER COMMAND...
# Each COMMAND is one word, for sh -c. One that begins with @ is started once and goes on: for each turn it reads the file $TURN_GO to its end,
# and writes what it has to say to $TURN_SAID (settings.py); its first turn, in which it warms up, does not count.
# A round in which other processes and the hypervisor took more than 2 % of a core's time is thrown away and run again, so long as that does not
# double the rounds; AGAIN says how many may be run again. FOLDER/disturbed says how many rounds are kept that were disturbed.
set -eu
rounds=$1
folder=$2
shift 2
again=${AGAIN:-$rounds}
waiting=
trap 'kill $waiting $(cat "$folder"/turn.*.pid 2> /dev/null) 2> /dev/null || :; rm -f "$folder"/turn.*' EXIT
trap 'exit 1' INT TERM

# "what others and the hypervisor used, time of one core", in ticks; nothing where the system does not say
ticks() {
    stats=/proc/$$/stat
    for file in "$folder"/turn.*.pid; do [ ! -f "$file" ] || [ ! -r "/proc/$(cat "$file")/stat" ] || stats="$stats /proc/$(cat "$file")/stat"; done
    [ ! -r /proc/stat ] || awk -v cores="$(nproc)" 'FILENAME == "/proc/stat" && $1 == "cpu" { used = $2 + $3 + $4 + $7 + $8 + $9; all = used + $5 + $6 }
        FILENAME != "/proc/stat" { used -= $14 + $15 + $16 + $17 } END { print used, all / cores }' /proc/stat $stats
}

# What has ended answers with nothing.
start() { # start I COMMAND
    mkfifo "$folder/turn.$1.go" "$folder/turn.$1.said"
    (
        export TURN_GO="$folder/turn.$1.go" TURN_SAID="$folder/turn.$1.said"
        sh -c "echo \$\$ > '$folder/turn.$1.pid'; exec $2" || echo "failed: $2" >&2
        rm "$folder/turn.$1.pid"
        while read -r _ < "$TURN_GO"; do : > "$TURN_SAID"; done
    ) &
    waiting="$waiting $!"
}
turn() { # turn I COMMAND
    case $2 in
    @*) echo > "$folder/turn.$1.go" && cat "$folder/turn.$1.said" ;;
    *) sh -c "$2" ;;
    esac
}

i=0
for command; do
    i=$((i + 1))
    case $command in @*) start $i "${command#@}" ;; esac
done
i=0
for command; do
    i=$((i + 1))
    case $command in @*) turn $i "$command" > /dev/null ;; esac
done
round=0 disturbed=0
while [ "$round" -lt "$rounds" ]; do
    before=$(ticks)
    i=0
    for command; do
        i=$((i + 1))
        turn $i "$command" > "$folder/turn.$i"
    done
    quiet=$(echo "$before $(ticks)" | awk '{ print NF < 4 || $3 - $1 <= 0.02 * ($4 - $2) }')
    if [ "$quiet" = 0 ] && [ "$again" -gt 0 ]; then
        again=$((again - 1))
        continue
    fi
    [ "$quiet" = 1 ] || disturbed=$((disturbed + 1))
    while [ "$i" -gt 0 ]; do
        cat "$folder/turn.$i" >> "$folder/$i"
        i=$((i - 1))
    done
    round=$((round + 1))
done
echo $disturbed > "$folder/disturbed"
