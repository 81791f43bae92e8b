#!/bin/bash
# test-attack-images.sh: images from a hostile registry, the first table of attacks.md: each of its lines as root, as
# users, with GNU tar and with busybox's, and in a virtual machine whose / is a rootfs. What is tried stands in
# attack_images.py, and in bad_images.py for what test-refused.sh tries as root with GNU tar; here it is tried in the
# other ways. What the machine does stands in attack-images-guest.sh.
#
#   line of attacks.md                    as root, GNU tar                      otherwise
#   links of a lower layer                here; test-refused.sh, test-merge.sh  here
#   .., absolute names, hard links        here; test-refused.sh                 here
#   whiteouts                             here; test-refused.sh, test-pull.sh   here
#   opaque markers                        here; test-pull.sh (late, opaque)     here
#   digests, sizes, both shapes           test-refused.sh, test-load.sh         here
#   device nodes                          here; test-pull.sh (formats:device)   here
#   /proc, /sys, /dev, /etc of the image  here; test-refused.sh                 here
#   realm, Location, tag, path            here; test-hub.sh (realms)            here
#   a redirect to another host            test-hub.sh (HTTPS, the Hub's way)    here
#   bombs, a full disk                    here; test-faults.sh, test-load.sh    here
#   programs, libraries, labels           here                                  here
#
# test-attack-images.sh [layers|digests|words|redirects|bombs|programs|guest...]: those alone
. "$(dirname "$0")/lib-guest.sh"
(($#)) || set -- layers digests words redirects bombs programs guest
parts=" $* "
part_of() { [[ $parts == *" $1 "* ]]; }
need_images
registry main 5000
ordinary_users
canary=$room/canary
made=$room/made
user_password=alice:secret-of-alice
limit=30

# The canary: what an attack may not change. Its path is the same for all; who attacks owns it, and could change it.
make_canary() { # OWNER
    rm -rf "$canary"
    mkdir -p "$canary/dir/deeper"
    echo untouched >"$canary/file"
    echo setuid >"$canary/setuid"
    echo x >"$canary/dir/deeper/file"
    ln -s file "$canary/link"
    mkfifo -m 620 "$canary/fifo"
    chown -hR "$1" "$canary"
    chmod 4755 "$canary/setuid"
    chmod 2711 "$canary/dir/deeper"
    touch -h -d '2001-02-03 04:05:06.789' "$canary"/{dir/deeper/file,dir/deeper,dir,link,fifo,setuid,.}
    was=$(canary_state)
}
canary_state() {
    find "$canary" -printf '%P %M %U:%G %s %n %T@ %C@ %l\n' | sort
    find "$canary" -type f -exec cat {} +
}

make_canary root
/usr/bin/python3 "$scripts/bad_images.py" "$images/busybox" "$made" "$canary" || bail 'bad_images.py failed'
/usr/bin/python3 "$scripts/attack_images.py" "$images/busybox" "$made" "$canary" http://127.0.0.1:5000 ||
    bail 'attack_images.py failed'
hostile=$(jq -r '.manifests[].annotations[]' "$made/hostile/index.json")
# Beside the registry: what no real one would say. A password is asked for, and the blobs are elsewhere.
stand_in 5001 --layouts "$made"
servers=("$registry_pid" "$stand_in_pid")
stand_in 5002 --layouts "$made" --challenge 'Basic realm="x"' --basic "$user_password" \
    --redirect http://10.0.2.2:5003 --log "$room/guest-first.log"
servers+=("$stand_in_pid")
stand_in 5003 --layouts "$made" --log "$room/guest-other.log"
servers+=("$stand_in_pid")

remember

# ---------------------------------------------------------------- the virtual machine, which starts now

start_guest() {
    local root=$room/rootfs program
    cp -a "$images/busybox" "$root"
    rm "$root/sbin/modprobe" # the kernel would call it
    mkdir -p "$root"/{modules,home/tester,proc,sys,dev,etc,root,tmp,tools,lean}
    cp "$scripts/attack-images-guest.sh" "$root/init"
    cp "$scripts/guest-checks.sh" "$root/"
    cp "$guest"/*.ko "$root/modules/"
    cp "$mydocker" "$root/bin/mydocker"
    chmod 755 "$root/init"
    guest_host "$root" tools # out of the way of busybox's own
    for program in curl newuidmap newgidmap; do ln -s ../tools/$program "$root/lean/"; done
    echo "$canary" >"$root/canary"
    grep -P '\t(all|root)\t' "$made/attacks" >"$root/attacks"
    printf '{"auths": {"10.0.2.2:5002": {"auth": "%s"}}}' "$(printf %s "$user_password" | base64)" >"$root/login"
    pack "$root" "$room/initramfs"
    machine "$room/initramfs" 768 '' -nic user,model=virtio-net-pci >"$room/console" &
    guest_pid=$!
}
[[ $(uname -m) != x86_64 ]] || ! part_of guest || start_guest

# ---------------------------------------------------------------- how an attack is judged

# busybox alone, and what it has not.
mkdir "$room/lean"
for program in tar gzip sha256sum cat; do ln -s "$(command -v busybox)" "$room/lean/$program"; done
for program in curl newuidmap newgidmap slirp4netns zstd; do ln -s "$(command -v $program)" "$room/lean/$program"; done

# A curl that tells what it was told, and is curl.
mkdir "$room/spy"
cat >"$room/spy/curl" <<END
#!/bin/bash
config=\$(cat; echo .)
{ printf '%s\\n' "\$*"; env | grep -vE '^(_|SHLVL|PWD|OLDPWD)='; } >>"$room/spy/arguments"
printf '%s' "\${config%.}" >>"$room/spy/config"
exec $(command -v curl) "\$@" < <(printf '%s' "\${config%.}")
END
chmod 755 "$room/spy/curl"
spied() { # starts anew
    install -m 666 /dev/null "$room/spy/arguments"
    install -m 666 /dev/null "$room/spy/config"
}

# engine ARGS...: of $who, in the store of $mode, with the programs of $tools.
engine() {
    local command=(env PATH="$tools" MYDOCKER_HOME="$store" "$mydocker" "$@")
    if [[ $who == root ]]; then
        timeout --foreground -k 5 "$limit" "${command[@]}"
    else
        as "$who" "${command[@]}"
    fi </dev/null
}
a_run() { engine run --rm --network none "$@"; }

set_mode() { # WHO TAR
    who=$1 tar=$2 mode="$1, $2 tar"
    store=$room/store-$1-$2 tools=$PATH
    [[ $tar == GNU ]] || tools=$room/lean
    owner=root
    [[ $who == root ]] || owner=mydocker-$who
    [[ -d $store ]] || install -d -m 700 -o "$owner" "$store"
    make_canary "$owner"
}

# attacked DESCRIPTION WANTED COMMAND...: ended as wanted, and nothing of the host has changed. WANTED is `held`,
# `any` of held and refused, or the regular expression of a refusal. What was never pulled leaves nothing in the store.
attacked() {
    local before line now new='' faults=''
    before=$(store_list "$store")
    try "${@:3}"
    line=$(grep -vE "$events|^mydocker: warning: " <<<"$err")
    case $2:$rc in
        held:*) [[ $rc == 0 && $out == held ]] || faults+=' it did not hold;' ;;
        any:0) [[ $out == ran ]] || faults+=' it did not run;' ;;
        any:12[67]) ;;
        *)
            [[ $rc == 125 && -z $out && $line == 'mydocker: '* && $line != *$'\n'* ]] || faults+=' no refusal in one line;'
            [[ $2 == any ]] || grep -qE -- "$2" <<<"$line" || faults+=" it is another than /$2/;"
            [[ $err == *': pulled, sha256:'* ]] || new=$(comm -13 <(echo "$before") <(store_list "$store") | grep -vE '^\./(skeleton|[a-z]*$)')
            [[ -z $new ]] || faults+=' something of it stays in the store;' ;;
    esac
    now=$(canary_state)
    [[ $now == "$was" ]] || faults+=' the canary is not untouched;'
    [[ -z $faults ]]
    report $((!$?)) "$1" && return
    note 'what is wrong' "$faults"
    tell_try
    note canary "$(diff <(echo "$was") <(echo "$now"))"
    note store "$new"
    [[ $now == "$was" ]] || make_canary "$owner"
}

# ---------------------------------------------------------------- layers

layers() { # REGEX-OF-TAGS
    local tag gnu busybox what
    attacked "$mode: the image below all of them" held a_run test/attack:base
    while IFS=$'\t' read -r tag gnu busybox _ what; do
        [[ $tag =~ $1 && $tag != bomb-* ]] || continue
        [[ $tar == GNU ]] || gnu=$busybox
        attacked "$mode: $what" "$gnu" a_run "test/attack:$tag"
    done <"$made/attacks"
}
# The layers of test-refused.sh, whose descriptions are the names of their tags.
more_layers() {
    local tag
    for tag in $hostile; do
        attacked "$mode: links, names, whiteouts, places: $tag" any a_run "test/hostile:$tag" \
            sh -c 'cat /etc/hosts /etc/hostname /etc/resolv.conf >/dev/null; echo x >/etc/hosts; ls -lR /x /h >/dev/null 2>&1; echo ran'
    done
}
if part_of layers; then
    set_mode root GNU
    layers .
    set_mode root busybox
    layers .
    set_mode sub GNU
    layers .
    # With one id nobody is given files, and the one that there is could do so with all of the user's own.
    set_mode bare busybox
    layers '^(link-(store|chain)|name-hard|nodes|together|places-links|programs)'
    more_layers
fi

headers() { jq -r ".headers.authorization // empty" "$1"; } # LOG: the Authorization of each request

# ---------------------------------------------------------------- digests

digests_part() {
    set_mode sub busybox
    ok "$mode: the image below those that lie" engine pull test/bad:base
    digests='a digest or size that is none, or does not match (CVE-2021-41190)'
    while read -r tag; do
        [[ $tag =~ ^(base|good|artifact|no-layers|layers-none|config-.*)$ ]] ||
            attacked "$mode: $digests: $tag, from a real registry" . engine pull "test/bad:$tag"
    done <"$made/believed"
    for tag in layer-content config-content manifest-content both; do
        attacked "$mode: $digests: $tag" . engine pull --mirror http://127.0.0.1:5001 "test/bad:$tag"
    done
    for tag in short upper path newline dash number; do
        attacked "$mode: $digests: $tag" 'not sha256: and 64' engine pull --mirror http://127.0.0.1:5001 "test/bad:digest-$tag"
    done
}
! part_of digests || digests_part

# ---------------------------------------------------------------- words

words_part() {
    words='words never become options, headers or files'
    set_mode sub GNU
    tools=$room/spy:$PATH
    spied
    for name in -o/tmp/x 'a b' $'a\nb' a:-t 'a: t' $'a:t\nx' ../a a/../b a/-b -h/a '127.0.0.1:5000/a:t -o x' '127.0.0.1:5000 /a' \
        '127.0.0.1:5000/a/b c' $'127.0.0.1:5000/a\r\nX: y' 127.0.0.1:-1/a http://127.0.0.1:5000/a user@127.0.0.1:5000/a \
        127.0.0.1:5000/a@-sha256:x \
        "a@sha256:$(printf '%064d' 0)/../x" "a@sha256:$(printf 'A%.0s' {1..64})"; do
        attacked "$mode: $words: the image ${name@Q}" '[a-z]' engine pull -- "$name"
    done
    is '  curl was never called' "$(cat "$room/spy/arguments")" ''
    # What a registry says: where to get a token, and where the bytes are. All of them listen at once.
    local says=() arguments=() pids=() port i here
    here=http://127.0.0.1:PORT
    for realm in "-o$canary/pwn" "file://$canary/file" "$here/token -o $canary/pwn" "$here/token\\\"\\noutput = \\\"$canary/pwn" \
        "$here/token?{a,b}[1-3]" "@$canary/file" "$canary/file"; do
        says+=("realm ${realm@Q}")
        arguments+=("--challenge=Bearer realm=\"$realm\",service=\"@$canary/file\",scope=\"-o $canary/pwn\"")
    done
    for location in "-o$canary/pwn" "file://$canary" "$here/x -o $canary/pwn" "$here/\"\\noutput = \"$canary/pwn" "${here^^}/up" \
        "$here/"$'\r\nredirect_url file:///etc/passwd\r\nX: ' "$here/{a,b}[1-9]" "$here/../../../..$canary"; do
        says+=("Location ${location@Q}")
        arguments+=("--redirect=$location")
    done
    for i in "${!says[@]}"; do
        port=$((5010 + i))
        /usr/bin/python3 "$scripts/stand-in.py" --port $port --layouts "$made" --token-uses 0 "${arguments[i]//PORT/$port}" &
        pids+=($!)
    done
    for i in "${!says[@]}"; do
        port=$((5010 + i))
        eventually 100 listening $port || bail "stand-in.py does not listen on $port"
        attacked "$mode: $words: ${says[i]}" . engine pull "127.0.0.1:$port/test/bad:good"
    done
    stop "${pids[@]}"
    is '  curl was told nothing but what to ask for' \
        "$(grep -vE '^((url|header|data-urlencode) = "([^"\\]|\\["\\])*"|get)$' "$room/spy/config")" ''
    like '  and was told so much' "$(grep -c '^data-urlencode = "service=@' "$room/spy/config")" '^[1-9]'
    is '  its arguments are always the same' \
        "$(grep -- --globoff "$room/spy/arguments" | sed 's/ --continue-at [0-9]*//; s/=http,https/=https/' | sort -u | wc -l)" 1
    like '  -q first, globs off, only https and http, the rest on standard input' "$(grep -m 1 '=http,' "$room/spy/arguments")" \
        '^-q --globoff .*--proto =http,https .* --config -$'
    is '  and it has no variable but these' "$(grep -v -- --globoff "$room/spy/arguments" | sort -u)" "PATH=$tools"
}
! part_of words || words_part

# ---------------------------------------------------------------- a redirect to another host

redirects_part() {
    redirects='a redirect to another host takes no Authorization along (CVE-2020-15157)'
    login() { # SERVER
        install -d -o mydocker-sub "$room/home/sub/.docker"
        printf '{"auths": {"%s": {"auth": "%s"}}}' "$1" "$(printf %s "$user_password" | base64)" >"$room/home/sub/.docker/config.json"
    }

    set_mode sub GNU
    tools=$room/spy:$PATH
    spied
    login 127.0.0.1:5004
    stand_in 5005 --bind 127.0.0.2 --layouts "$made" --log "$room/other.log"
    other=$stand_in_pid
    for target in http://127.0.0.2:5005 http://127.0.0.1:5004@127.0.0.2:5005 "http://127.0.0.1:5004\@127.0.0.2:5005" \
        'http://127.0.0.2:5005#@127.0.0.1:5004'; do
        : >"$room/first.log"
        : >"$room/other.log"
        stand_in 5004 --layouts "$made" --challenge 'Basic realm="x"' --basic "$user_password" \
            "--redirect=$target" --log "$room/first.log"
        try engine pull 127.0.0.1:5004/test/bad:good
        [[ $target != http://127.0.0.2:5005 ]] ||
            is "$mode: $redirects: the blobs come from there" "$rc:$(grep -c /blobs/ "$room/other.log")" 0:3
        unlike "$mode: $redirects: to $target" "$(headers "$room/other.log")" "$(printf %s "$user_password" | base64)|^Bearer"
        like '  the first had it' "$(headers "$room/first.log")" '^Basic '
        stop "$stand_in_pid"
        store=$store.again
        install -d -m 700 -o mydocker-sub "$store"
    done
    stop "$other"
    is '  no password is in the arguments of curl' \
        "$(grep -cF -e secret -e "$(printf %s "$user_password" | base64)" "$room/spy/arguments")" 0
    rm -r "$room/home/sub/.docker"
}
! part_of redirects || redirects_part

# ---------------------------------------------------------------- bombs, on a disk that is soon full

bombs_part() {
    # The peak of what each process of the engine's, and each tar, has held: looked at every few milliseconds.
    watch_memory() {
        local process key value largest=(0 0) which pause
        exec {pause}<> <(:)
        while [[ -e $room/watching ]]; do
            for process in /proc/[0-9]*; do
                which=0
                [[ $process/exe -ef $mydocker ]] || which=1
                ((which == 0)) || [[ $process/exe -ef /bin/tar ]] || continue
                while read -r key value _; do
                    [[ $key != VmHWM: ]] || ((value <= largest[which])) || largest[which]=$value
                done 2>/dev/null <"$process/status"
            done
            read -rt 0.003 -u "$pause"
        done
        echo "${largest[*]}" >"$room/peaks"
    }
    bombs() { # TAG...: and what is in the store beside them stays
        local tag gnu what
        mkdir -p "$room/small"
        mount -t tmpfs -o size=24m,nr_inodes=3000,mode=777 none "$room/small"
        store=$room/small/store
        attacked "$mode: a small disk has room for the image below" held a_run test/attack:base
        while IFS=$'\t' read -r tag gnu _ _ what; do
            [[ " $* " == *" $tag "* ]] || continue
            attacked "$mode, a small disk: $what: an error, and nothing half-made" "$gnu" engine pull "test/attack:$tag"
        done <"$made/attacks"
        attacked '  what was there still runs' held a_run test/attack:base
        is '  nothing is left in tmp' "$(find "$store/tmp" -mindepth 1 ! -name '*lock*')" ''
        umount "$room/small"
    }
    touch "$room/watching"
    watch_memory &
    watcher=$!
    set_mode root GNU
    bombs bomb-{gzip,zstd,header,name,files}
    store=$room/store-root-GNU
    for tag in whiteouts nodes; do
        attacked "$mode: bombs: many $tag" held a_run "test/attack:bomb-$tag"
    done
    rm "$room/watching"
    wait "$watcher"
    read -r of_engine of_tar <"$room/peaks"
    report $((of_engine > 500 && of_engine < 12 << 10)) "bombs: bounded memory in the engine: $of_engine kB"
    report $((of_tar > 1000 && of_tar < 300 << 10)) "bombs: bounded memory of tar: $of_tar kB"
    set_mode root busybox
    bombs bomb-{gzip,files}
    set_mode sub GNU
    bombs bomb-{gzip,files}
}
! part_of bombs || bombs_part

# ---------------------------------------------------------------- programs, libraries, variables

programs_part() {
    programs='nothing of the image is run on the host (CVE-2019-14271)'
    traced() { # ARGS... of the engine, as $who: -> $room/trace
        local by=(strace -f -qq -y -v -s 100000 -e 'trace=execve,execveat,mmap' -o "$room/trace")
        if [[ $who == root ]]; then
            timeout --foreground 30 env MYDOCKER_HOME="$store" "${by[@]}" "$mydocker" "$@"
        else
            # newuidmap keeps its power where root traces.
            env -i -C "$room/home/$who" HOME="$room/home/$who" PATH="$PATH" MYDOCKER_MIRROR="$MYDOCKER_MIRROR" MYDOCKER_HOME="$store" \
                timeout --foreground 30 "${by[@]}" -u "mydocker-$who" "$mydocker" "$@"
        fi </dev/null >"$room/traced" 2>&1
    }
    # What was executed, but for the engine and the container's command; and every file that became code of a process.
    executed() { grep -vF ') = -1 E' "$room/trace" | sed -nE 's/^[0-9]+ +execve\("([^"]*)".*/\1/p' | grep -vxF -e "$mydocker" -e /bin/true | sort -u; }
    strangers() { # of both: none of the programs that this host has by that name in PATH
        local path
        executed | while read -r path; do [[ $path == "$(command -v "${path##*/}")" ]] || echo "$path"; done
        sed -nE '/PROT_EXEC/s/^.*, [0-9]+<([^>]*)>, .*/\1/p' "$room/trace" | sort -u |
            grep -vE '^/(usr/)?(lib|bin)' | grep -vxF "$mydocker"
    }
    # PROGRAM: its arguments, and its environment
    call() {
        grep -E "execve\(\"[^\"]*/$1\", " "$room/trace" |
            sed -E 's/^[0-9]+ +execve\([^[]*//; s/, "--continue-at", "[0-9]+"//; s/(\) = 0| <unfinished).*//; s/\)$//' | sort -u
    }
    judge_trace() { # DESCRIPTION PROGRAM...: that were run; the others of the trace are the host's, too
        local program
        is "$mode: $programs: $1" "$(strangers)" ''
        for program in "${@:2}"; do
            like "  $program is the host's" "$(executed)" "^$(command -v "$program")\$"
        done
        # The stub has them for the command, and no C library that would read them.
        is '  no variable of the image reaches it' "$(grep -F pwned "$room/trace" |
            grep -vE "execve\(\"($mydocker|/bin/true|/evil/true)\"|execveat\([0-9]+</memfd:stub>")" ''
        [[ $(canary_state) == "$was" ]]
        report $((!$?)) '  the canary is untouched' || note canary "$(diff <(echo "$was") <(canary_state))"
    }
    mkdir -p "$room/archive"
    cp -al "$made/attack/blobs" "$made/attack/oci-layout" "$room/archive/"
    jq -c '.manifests |= map(select(.annotations[] == "programs"))' "$made/attack/index.json" >"$room/archive/index.json"
    for who in root sub; do
        set_mode $who GNU
        store=$room/store-$who-programs
        install -d -m 700 -o "$owner" "$store"
        printf 'url = "http://127.0.0.1:1/"\noutput = "%s/pwn-curlrc"\n' "$canary" >"$room/home/$who/.curlrc"
        export TAR_OPTIONS="--checkpoint=1 --checkpoint-action=exec=touch $canary/pwn-tar" LD_LIBRARY_PATH=/pwned-by-caller
        traced pull test/attack:programs
        is "$mode: pull" "$?" 0
        unset TAR_OPTIONS LD_LIBRARY_PATH
        judge_trace pull curl tar
        like '  curl: its arguments, and PATH alone' "$(call curl)" \
            '^\["curl", "-q", "--globoff", .*"--proto", "=http,https", .*"--config", "-"\], \["PATH=[^"]*"\]$'
        unlike '  nothing of the registry is among them' "$(call curl)" 'attack|127\.0|sha256|://'
        is '  tar: the same for every layer' "$(call tar | grep -vc -- --version)" 1
        like '  one variable, and no name of a file' "$(call tar | grep -v -- --version)" \
            '^\["tar", "--extract", "--file=-", ("--[a-z-]+(=[^"]*)?"(, )?)+\], \["LC_ALL=C"\]$'
        traced run --rm test/attack:programs true
        is "$mode: run, with a network" "$?" 0
        if [[ $who == root ]]; then judge_trace run slirp4netns; else judge_trace run slirp4netns newuidmap; fi
        attacked "$mode: $programs, nor hooks, volumes, privileges of its labels obeyed" held a_run test/attack:programs
        engine rmi -f test/attack:programs >/dev/null 2>&1
        traced load -i "$room/archive"
        is "$mode: load" "$?" 0
        judge_trace load tar
        traced rmi archive:programs
        is "$mode: rmi" "$?" 0
        judge_trace rmi
        rm "$room/home/$who/.curlrc"
    done
}
! part_of programs || programs_part

# ---------------------------------------------------------------- the virtual machine ends

if [[ -n ${guest_pid-} ]]; then
    wait "$guest_pid"
    judge 'in a rootfs' "$room/console" $(($(grep -oP '\t(all\t|root\t)' "$room/rootfs/attacks" | sed 's/all/all all/' | wc -w) + 13))
    like 'in a rootfs: the first registry had the password' "$(headers "$room/guest-first.log")" ^Basic
    is '  the one that it led to had not' "$(headers "$room/guest-other.log")" ''
    like '  but was asked' "$(<"$room/guest-other.log")" /blobs/
elif part_of guest; then
    skip 'in a rootfs' 'the virtual machine is for x86_64'
fi
stop "${servers[@]}"
nothing_remains 'after all of these nothing runs, nothing is mounted'
done_testing
