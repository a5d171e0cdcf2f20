#!/bin/bash
# benchmark.sh
#
# The work of a few tasks, timed: what one task takes on this type of machine.
set -e

TASKS=3
awk 'BEGIN { print "x,y"; for (i = 0; i < 20000; i++) print i "," i * i }' > /tmp/input.csv

START=$(date +%s%N)
for _ in $(seq $TASKS); do
  python process.py /tmp/input.csv /tmp/output.csv
done
END=$(date +%s%N)

echo "$(nproc) cores: $(((END - START) / TASKS / 1000000)) ms per task"
spored complete --status success
