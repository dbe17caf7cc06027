#!/bin/bash
# How the series here were recorded, as root: bytes free on a real file system, beside real writers.
set -euo pipefail
# One sample, every 50 ms, stands for one minute.
D=$(mktemp -d); mount -t tmpfs -o size=200m rec "$D"
sample() { n=0; while [ $n -lt $2 ]; do stat -f -c '%a %S' $D | awk '{print $1*$2}' >> $1; n=$((n+1)); sleep 0.05; done; }
# 1 saw-tooth: a log that is rotated away at 30 MB, with jitter of its writer
: > sawtooth.txt
( while :; do head -c $((200000 + RANDOM * 20)) /dev/zero >> $D/log; [ $(stat -c %s $D/log) -lt 30000000 ] || : > $D/log; sleep 0.02; done ) & W=$!
sample sawtooth.txt 121; kill $W; wait $W 2>/dev/null || true; rm -f $D/*
# 2 step: images are pulled at once, and then nothing
: > step.txt
( sleep 2; head -c 60000000 /dev/zero > $D/layers ) & sample step.txt 121; wait; rm -f $D/*
# 3 leak: a log that nobody rotates, with small temporary files beside it
: > leak.txt
( while :; do head -c $((100000 + RANDOM * 12)) /dev/zero >> $D/log; head -c $((RANDOM * 8)) /dev/zero > $D/tmp; sleep 0.02; done ) & W=$!
sample leak.txt 121; kill $W; wait $W 2>/dev/null || true; rm -f $D/*
# 4 burst: a build that writes, and cleans up behind it, twice
: > burst.txt
( sleep 1.5; for i in 1 2; do for j in $(seq 20); do head -c 3000000 /dev/zero > $D/o$j; sleep 0.05; done; rm -f $D/o*; sleep 1; done ) & sample burst.txt 121; wait; rm -f $D/*
umount "$D"
# 5 five days of a job whose files are removed at midnight, and on the fourth nobody does. One sample, every 10 ms, stands for
# one minute; a writer of its own pace writes beside the samples.
: > days.txt
mount -t tmpfs -o size=200m rec "$D"
( i=0; while :; do head -c $((180000 + RANDOM * 4)) /dev/zero > $D/$i; i=$((i+1)); sleep 0.07; done ) & W=$!
python3 - "$D" <<'PYTHON'
import glob, os, sys, time
with open("days.txt", "w") as out:
    for minute in range(5 * 1440):
        stat = os.statvfs(sys.argv[1])
        out.write("%d\n" % (stat.f_bavail * stat.f_frsize))
        if minute % 1440 == 1439 and minute < 3 * 1440:
            for made in glob.glob(sys.argv[1] + "/*"):
                os.remove(made)
        time.sleep(0.01)
PYTHON
kill $W; wait $W 2>/dev/null || true; umount "$D"
