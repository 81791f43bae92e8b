# guest-checks.sh: what the guests' init scripts have in common. Each check prints a line, which lib-guest.sh reads.
# shellcheck shell=dash

# check DESCRIPTION WANTED COMMAND...: WANTED is "EXIT-CODE STDOUT-IN-ONE-LINE".
check() {
    description=$1 wanted=$2
    shift 2
    got=$(timeout 60 "$@" 2>/tmp/err </dev/null)
    got="$? $(echo "$got" | xargs)"
    verdict "$description" "$wanted" "${got% }"
}
# verdict DESCRIPTION WANTED GOT
verdict() {
    if [ "$2" = "$3" ]; then
        echo "GUEST ok $1"
    else
        echo "GUEST not ok $1"
        echo "GUEST # wanted: $2"
        echo "GUEST # got: $3"
        sed 's/^/GUEST # /' /tmp/err
    fi
}
# complains DESCRIPTION REGEX COMMAND...: exit 125, one line that matches, but for events and warnings.
complains() {
    description=$1 regex=$2
    shift 2
    timeout 60 "$@" >/dev/null 2>/tmp/complaint </dev/null
    check "$description" '0 125 1' sh -c "cat /tmp/complaint >&2; echo $? \$(grep -cE '$regex' /tmp/complaint)"
}
# Commands, not functions: timeout(1) runs them.
command() { printf '#!/bin/sh\n%s\n' "$2" >"/bin/$1" && chmod 755 "/bin/$1"; }
command run 'exec mydocker run --rm --network none "$@"'
command tester 'exec su tester -c "$*"'
command value 'cat "/sys/fs/cgroup/mydocker/$(mydocker ps | awk "NR == 2 {print \$1}")/$1"'
