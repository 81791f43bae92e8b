#!/bin/bash
# 04-ids.sh: who am I? (also for an ordinary user)
. "$(dirname "$0")/lesson.sh" anyone
ordinary_user
question <<'END'
An ordinary user runs a container, and in it `id` says root. Who is that outside? Its root and its
user 1 make files in a shared directory: whose are they? And can that root read /etc/shadow?
END
inside='id -u; cat /proc/self/uid_map; touch of-0 of-1; chown 1:1 of-1; ls -ln /shared /shadow; cat /shadow'
options=(--rm --network none -v ./shared:/shared -w /shared -v /etc/shadow:/shadow:ro)
"${as[@]}" mydocker pull busybox 2>/dev/null
show "${as[@]}" mydocker run "${options[@]}" busybox sh -c "$inside"
inside=$(sed "s/^ *//; s/  */ /g; s/'//g" <<<"$shown")
show ls -ln shared
narrate 'NEWUSER|execve.*new[ug]idmap' "${as[@]}" mydocker -v run --rm --network none busybox true
answer <<'END'
A user namespace, user_namespaces(7), has a table for ids: "first inside, first outside, how many".
uid_map shows it: 0 inside is the user himself, 1 and those behind it are the subordinate ids that
/etc/subuid has for him, subuid(5). Without CAP_SETUID out here one may put only one's own id into
that table, so the engine asks newuidmap(1) to, which is setuid root and looks into /etc/subuid.
A file has one owner, the outer one; each side sees it through its table. The host's root is in no line
of it: inside, his file belongs to the "overflow" id 65534. And a capability that root has in here
counts only for what its namespace owns, and for files whose owner is in the table.
END
second=$(awk 'NF == 3 && $1 == 1 {print $2}' <<<"$inside")
owner() { stat -c %u "shared/$1"; }
check 'inside it is root' test "$(head -n 1 <<<"$inside")" = 0
check "outside it is $uid, and so is the file of root" test "$(owner of-0)" = $uid
check "the file of user 1 belongs to $second, as uid_map has it" test "$(owner of-1)" = "$second"
check 'inside the same files are of 0 and of 1' test "$(awk '/of-[01]$/ {print $3, $NF}' <<<"$inside" | xargs)" = '0 of-0 1 of-1'
check '/etc/shadow is 65534'"'"'s inside' grep -qE ' 65534 .* /shadow$' <<<"$inside"
check 'and closed to its root' grep -q '/shadow: Permission denied' <<<"$inside"
now_you <<'END'
unshare --user --map-root-user sh -c 'id; cat /proc/self/uid_map; touch mine; chown 1 mine'; ls -ln mine
What does chown(2) say, and why must it? (As root: which number is in the middle of uid_map?)
END
