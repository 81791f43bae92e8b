#!/bin/bash
# 07-network.sh: how the network gets in
. "$(dirname "$0")/lesson.sh"
question <<'END'
A container reaches a server, and the machine has no bridge, no veth and no tap0 for it, and no rule of
a firewall. Who carries its packets? And from which address does the server see it come?
END
ip addr replace 10.99.0.1/32 dev lo
mkdir www
echo 'hello from 10.99.0.1' >www/file
busybox httpd -f -vv -p 0.0.0.0:8000 -h www 2>log &
eventually bash -c ': </dev/tcp/10.99.0.1/8000'
trace execve,setns,openat,ioctl,connect 'setns|TUNSETIFF|net/tun|connect.*10\.99|execve.*slirp' \
    mydocker run --rm busybox sh -c 'ip -4 -o addr; ip route; wget -q -O - http://10.99.0.1:8000/file'
inside=$shown
show ip -4 -o addr
outside=$shown
show cat log
answer <<'END'
The container's network namespace, network_namespaces(7), is empty but for lo. slirp4netns(1) forks; its
child enters that namespace with setns(2) and opens /dev/net/tun there: TUNSETIFF makes tap0, an interface
whose cable is a file descriptor. The child sends that to its parent, which has stayed outside and has
no more power than any program: it reads Ethernet frames from it, is ARP, DHCP and TCP to the container
(10.0.2.2 is itself), and for each connection in there it makes one of its own out here. So there
are two calls of connect(2) in the trace, the container's and slirp4netns's; the server sees the second.
END
check 'inside there is tap0, 10.0.2.100' grep -q 'tap0 *inet 10\.0\.2\.100/24' <<<"$inside"
check 'the way out is 10.0.2.2' grep -q '^default via 10\.0\.2\.2 dev tap0' <<<"$inside"
check 'the server was reached' grep -qx 'hello from 10\.99\.0\.1' <<<"$inside"
check 'outside there is no tap0' test -z "$(grep tap0 <<<"$outside")"
check 'and the server saw an address of this machine' grep -q '^10\.99\.0\.1:.*url:/file' <<<"$shown"
check 'two processes have called connect(2)' test "$(grep -lE 'connect\(.*10\.99\.0\.1' trace.* | wc -l)" = 2
now_you <<'END'
TRY=1 scripts/lessons/07-network.sh: in its shell run this with --network none, and with --network host.
And wget http://10.0.2.2:8000/file: why does that fail? (grep -o 'disable[a-z-]*' trace.*)
END
