#!/bin/bash
# run.sh: `make lessons`. All lessons, one after the other, in one place; the last line is
# `N of 8 lessons hold`, and the exit code is 1 when one does not.
. "$(dirname "$0")/lesson.sh"
lessons=("$scripts"/lessons/[0-9][0-9]-*.sh)
hold=0
for lesson in "${lessons[@]}"; do
    "$lesson" </dev/null && hold=$((hold + 1))
done
over=1
printf '\n%d of %d lessons hold\n' $hold ${#lessons[@]}
((hold == ${#lessons[@]})) || exit 1
