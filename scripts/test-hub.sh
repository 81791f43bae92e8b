#!/bin/bash
# test-hub.sh: the Hub's own names and flow: TLS, a token from another host, a redirect to
# a CDN on a third; credentials and where they may not go. /etc/hosts of this namespace
# sends the names to addresses of the loopback interface.
. "$(dirname "$0")/lib.sh"
need_images
certificates
tls=$room/tls
unset MYDOCKER_MIRROR
password='p:a"s\s w'$'\xc3\xb6''rd' # what curl's configuration must quote
sed -i '/docker/d; /\.test/d' /etc/hosts
cat >>/etc/hosts <<END
127.0.1.1 registry-1.docker.io index.docker.io docker.io
127.0.1.2 auth.docker.io
127.0.1.3 production.cloudflare.docker.com
127.0.1.4 registry.test
127.0.1.5 cdn.test
END
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=token signer' \
    -keyout "$room/sign.key" -out "$room/sign.pem" 2>/dev/null || bail 'openssl failed'
cat >"$room/hub.yml" <<END
version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: $images/registry}
  maintenance: {readonly: {enabled: true}}
middleware:
  storage: [{name: redirect, options: {baseurl: "https://production.cloudflare.docker.com/"}}]
auth:
  token:
    realm: https://auth.docker.io/token
    service: registry.docker.io
    issuer: test issuer
    rootcertbundle: $room/sign.pem
http: {addr: "127.0.1.1:443", tls: {certificate: $tls/cert.pem, key: $tls/key.pem}}
END
env -i docker-registry serve "$room/hub.yml" >"$room/hub.log" 2>"$room/hub.err" &
/usr/bin/python3 "$scripts/hub.py" token 127.0.1.2 443 "$tls/cert.pem" "$tls/key.pem" "$room/token.log" \
    "$room/sign.pem" "$room/sign.key" "alice:$password" 2>"$room/token.err" &
/usr/bin/python3 "$scripts/hub.py" cdn 127.0.1.3 443 "$tls/cert.pem" "$tls/key.pem" "$room/cdn.log" \
    "$images/registry" 2>"$room/cdn.err" &
for address in 1 2 3; do
    eventually 100 curl -qsk "https://127.0.1.$address/" || bail "nothing listens on 127.0.1.$address: $(cat "$room"/{hub,token,cdn}.err)"
done
: >"$room/token.log"
: >"$room/cdn.log"
authorized() { jq -r 'select(.headers.authorization) | .path' "$1"; } # LOG: requests that had the header
new_store() { MYDOCKER_HOME=$(mktemp -d "$room/store.XXXXXX"); }

# ---------------------------------------------------------------- the flow

fails 'an unknown CA is refused' 125 'certificate' mydocker pull busybox
fails 'a missing CA file is an error' 125 'MYDOCKER_CACERT|no/such' env MYDOCKER_CACERT=/no/such.pem "$mydocker" pull busybox
is 'nobody was asked for a token' "$(cat "$room/token.log")" ''
export MYDOCKER_CACERT=$tls/ca.pem
gives 'the literal `run busybox`, from registry-1.docker.io' here run busybox echo here
like 'the token was asked for with scope and service' "$(jq -r .path "$room/token.log")" \
    'scope=repository(:|%3[Aa])library(/|%2[Ff])busybox(:|%3[Aa])pull'
like '  both' "$(jq -r .path "$room/token.log")" 'service=registry\.docker\.io'
is 'the blobs came from the CDN' "$(jq -r .path "$room/cdn.log" | grep -c '/blobs/sha256/')" 2
is 'which saw no Authorization' "$(authorized "$room/cdn.log")" ''
fails 'an image that does not exist' 125 'library/none' mydocker pull none

# ---------------------------------------------------------------- credentials

fails 'a private image without credentials' 125 'test/repeat.*(denied|unauthorized|log ?in|credentials)' mydocker pull test/repeat:up
mkdir "$HOME/.docker"
login() { # SERVER USER:PASSWORD
    jq -n --arg server "$1" --arg auth "$(printf %s "$2" | base64 -w0)" \
        '{auths: {"other.example": {auth: "eDp5"}, ($server): {auth: $auth}}, HttpHeaders: {}}' >"$HOME/.docker/config.json"
}
login https://index.docker.io/v1/ alice:wrong
fails 'a wrong password' 125 'auth\.docker\.io|denied|unauthorized|401' mydocker pull test/repeat:up
login https://index.docker.io/v1/ "alice:$password"
: >"$room/cdn.log"
strace -f -qq -e trace=execve -s 100000 -v -o "$room/strace" "$mydocker" pull test/repeat:up 2>"$room/err"
is 'a private image with ~/.docker/config.json' "$?:$(tail -n 1 "$room/err" | grep -c repeat)" 0:1
is 'the CDN saw no Authorization' "$(authorized "$room/cdn.log")" ''
like 'curl was called' "$(cat "$room/strace")" 'execve\("[^"]*/curl"'
secrets=$(printf '%s\n' "$(printf 'alice:%s' "$password" | base64 -w0)" 'p:a' Bearer Basic eyJ "s w")
is 'no secret stands in any argv or environment' "$(grep -oF -e "$secrets" "$room/strace" | sort -u)" ''
printf '{"auths": {' >"$HOME/.docker/config.json"
fails 'a config.json that is no JSON' 125 'config\.json' mydocker pull test/repeat:down
echo '{"auths": {"https://index.docker.io/v1/": {"auth": "!!!"}}}' >"$HOME/.docker/config.json"
fails 'an auth that is no base64' 125 'config\.json|base64' mydocker pull test/repeat:down
rm "$HOME/.docker/config.json"

# ---------------------------------------------------------------- challenges

# Our stand-in speaks plain HTTP on 127.0.0.1, with whatever challenge it is told.
realm=http://127.0.0.1:5001/token
challenge() { # DESCRIPTION CHALLENGE ARGS...
    new_store
    rm -f "$room/log"
    stand_in 5001 --layouts "$images/layouts" --log "$room/log" --challenge "$2" "${@:3}"
    ok "$1" mydocker pull 127.0.0.1:5001/test/multi
    stop "$stand_in_pid"
}
asked() { jq -r 'select(.path | startswith("/token")) | .path' "$room/log" | head -n 1; }
challenge 'realm, service, scope' "Bearer realm=\"$realm\",service=\"S\",scope=\"repository:test/multi:pull\""
challenge 'another order, a comma in a value' "Bearer scope=\"repository:test/multi:pull,push\",service=\"a, b&c=d\",realm=\"$realm\""
like '  the service was sent percent-encoded' "$(asked)" 'service=a(%2[Cc]|,)(%20|\+)b%26c%3[Dd]d'
challenge 'other cases' "bEARER REALM=\"$realm\",Service=\"S\""
challenge 'a realm alone' "Bearer realm=\"$realm\""
challenge 'spaces between' "Bearer  realm=\"$realm\" ,  service=\"S\" , scope=\"x\""
challenge 'no quotes' "Bearer service=S,realm=\"$realm\""
challenge 'a quoted quote' "Bearer service=\"a\\\"b,realm=\\\"no\",realm=\"$realm\""
challenge 'unknown parameters' "Bearer error=\"invalid_token\",x=\"realm=no\",realm=\"$realm\",service=\"S\""
challenge 'a realm with a query' "Bearer realm=\"$realm?x=1\",service=\"S\""
like '  which is kept' "$(asked)" '^/token\?x=1&'
challenge 'Basic before Bearer' "Basic realm=\"a, b\", Bearer realm=\"$realm\",service=\"S\""
challenge 'access_token' "Bearer realm=\"$realm\"" --token-key access_token
challenge 'a token that ends in mid-pull is renewed' "Bearer realm=\"$realm\"" --token-uses 2
ok '  it was' test "$(jq -r .path "$room/log" | grep -c '^/token')" -ge 2

refused() { # DESCRIPTION REGEX CHALLENGE ARGS...
    new_store
    rm -f "$room/log"
    stand_in 5001 --layouts "$images/layouts" --log "$room/log" --challenge "$3" "${@:4}"
    fails "$1" 125 "$2" mydocker pull 127.0.0.1:5001/test/multi
    stop "$stand_in_pid"
}
refused 'no realm' 'realm|token server' 'Bearer service="S"'
refused 'a scheme that nobody speaks' 'Negotiate|WWW-Authenticate|401|denied' Negotiate
refused 'a realm that is a file' 'realm|file' 'Bearer realm="file:///etc/passwd"'
refused 'a realm that begins like an option' 'realm|token server' 'Bearer realm="-o/tmp/stolen"'
refused 'a realm with a space' 'realm|token server|malformed' 'Bearer realm="http://127.0.0.1:5001/token -o /tmp/stolen"'
refused 'a realm with a quote' 'realm|token|malformed' 'Bearer realm="http://127.0.0.1:5001/token\"\noutput = \"/tmp/stolen"'
ok '  none of them made a file' test ! -e /tmp/stolen
refused 'tokens that are never good enough' '401|unauthorized|denied' "Bearer realm=\"$realm\"" --token-uses 0
refused 'no token in the answer' 'token' "Bearer realm=\"$realm\"" --token-key nothing
refused 'a token server that fails' 'token|500' "Bearer realm=\"$realm\"" --status 500 '^/token' 1000
refused 'Basic without credentials' '401|unauthorized|denied|log ?in|credentials' 'Basic realm="x"' --basic "alice:$password"
login 127.0.0.1:5001 "alice:$password"
challenge 'Basic with credentials' 'Basic realm="x"' --basic "alice:$password"
challenge 'Bearer whose token wants them' "Bearer realm=\"$realm\"" --basic "alice:$password"

# ---------------------------------------------------------------- where nothing may go

new_store
login https://index.docker.io/v1/ "alice:$password"
stand_in 5001 --layouts "$images/layouts" --log "$room/mirror.log" --challenge 'Basic realm="x"' --basic "alice:$password"
ok 'a mirror that wants a password: the Hub is asked' env MYDOCKER_MIRROR=http://127.0.0.1:5001 "$mydocker" pull test/repeat:up
ok '  the mirror was asked first' test -s "$room/mirror.log"
is '  and the password of docker.io did not go there' "$(authorized "$room/mirror.log")" ''
stop "$stand_in_pid"

stand_in 5002 --bind 127.0.1.5 --layouts "$images/layouts" --log "$room/plain.log"
serve_tls() { # ARGS...
    new_store
    rm -f "$room/log"
    stand_in 5001 --bind 0.0.0.0 --tls "$tls/cert.pem" "$tls/key.pem" --layouts "$images/layouts" --log "$room/log" "$@"
}
login registry.test:5001 "alice:$password"
serve_tls --challenge 'Bearer realm="http://cdn.test:5002/token"' --basic "alice:$password"
fails 'a realm of plain HTTP, elsewhere: refused' 125 'http' mydocker pull registry.test:5001/test/multi
stop "$stand_in_pid"
serve_tls --redirect http://cdn.test:5002
fails 'a redirect from HTTPS to plain HTTP: refused' 125 'http' mydocker pull registry.test:5001/test/multi
stop "$stand_in_pid"
fails 'a registry elsewhere that speaks plain HTTP: refused' 125 'cdn\.test' mydocker pull cdn.test:5002/test/multi
is 'plain HTTP was never spoken to it' "$(cat "$room/plain.log" 2>/dev/null)" ''
ok 'but a mirror written as http:// may' env MYDOCKER_MIRROR=http://cdn.test:5002 "$mydocker" pull test/multi
: >"$room/plain.log"
serve_tls --redirect https://cdn.test:5003 --challenge 'Basic realm="x"' --basic "alice:$password"
tls_pid=$stand_in_pid
stand_in 5003 --bind 127.0.1.5 --tls "$tls/cert.pem" "$tls/key.pem" --layouts "$images/layouts" --log "$room/cdn.log"
: >"$room/cdn.log"
ok 'a redirect to another host, with a password for the first' mydocker pull registry.test:5001/test/multi
ok '  the other host was asked' test -s "$room/cdn.log"
is '  and saw no Authorization' "$(authorized "$room/cdn.log")" ''
ok '  the first had it' test -n "$(authorized "$room/log")"
stop "$tls_pid" "$stand_in_pid"
serve_tls --layouts "$images/layouts"
ok 'a loopback registry with HTTPS' mydocker pull 127.0.0.1:5001/test/multi
is '  is spoken to in HTTPS alone' "$(jq -r .path "$room/log" | grep -c multi/manifests)" "$(jq -r .path "$room/log" | grep multi/manifests | sort -u | wc -l)"
done_testing
