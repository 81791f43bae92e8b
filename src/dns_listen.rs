//! Where queries come in: the listening sockets, and what to do when one cannot be had.

use std::io;
use std::net::SocketAddr;

use crate::dns_options::Listen;
use crate::error::{say, Context, Error, Result};
use crate::sys::{self, Fd};

/// What the queue of a listening socket may hold, in octets of the kernel's memory: a datagram takes about
/// a thousand. The usual 212992 are full when 200 clients ask at once.
const RECEIVE_BUFFER: i32 = 4 * 1024 * 1024;

/// An upstream that is ourselves would be asked what it asks us, for ever.
pub fn refuse_loops(upstreams: &[SocketAddr], listen: &[Listen]) -> Result<()> {
    for (upstream, Listen { address, .. }) in upstreams.iter().flat_map(|u| listen.iter().map(move |l| (u, l))) {
        if upstream.port() != address.port() || upstream.is_ipv4() != address.is_ipv4() {
            continue;
        }
        if upstream.ip() == address.ip() || (address.ip().is_unspecified() && is_here(upstream)) {
            let error = Error::new(format!("the upstream {upstream} is this server itself, listening on {address}"));
            return Err(error.hint("name another server with --upstream, or another port with --listen"));
        }
    }
    Ok(())
}

/// Whether an address is one of this machine's: then a socket can be bound to it.
fn is_here(address: &SocketAddr) -> bool {
    let any_port = SocketAddr::new(address.ip(), 0);
    sys::why("if possible: is the upstream this machine? then a socket can be bound to its address");
    let Ok(socket) = sys::socket(&any_port, libc::SOCK_DGRAM) else { return false };
    sys::why("if possible: EADDRNOTAVAIL: it is not");
    sys::bind(&socket, &any_port).is_ok()
}

/// Where queries come in: for each address a UDP and a TCP socket.
pub struct Listeners {
    pub addresses: Vec<SocketAddr>,
    pub udp: Vec<Fd>,
    pub tcp: Vec<Fd>,
}

impl Listeners {
    /// Fails at the first that cannot be opened, unless it may be missing.
    pub fn open(listen: &[Listen]) -> Result<Listeners> {
        let mut all = Listeners { addresses: Vec::new(), udp: Vec::new(), tcp: Vec::new() };
        for Listen { address, is_optional } in listen {
            match open_udp(address).and_then(|udp| Ok((udp, open_tcp(address)?))) {
                Ok((udp, tcp)) => {
                    all.addresses.push(*address);
                    all.udp.push(udp);
                    all.tcp.push(tcp);
                }
                Err(error) if *is_optional && is_without_ipv6(&error) => {
                    say(format_args!("warning: {error}; going on without IPv6"));
                }
                Err(error) => return Err(explain(error, address)),
            }
        }
        Ok(all)
    }
}

fn open_udp(address: &SocketAddr) -> Result<Fd> {
    let socket = open_socket(address, libc::SOCK_DGRAM, "UDP")?;
    set_receive_buffer(&socket).context("SO_RCVBUF")?;
    if address.ip().is_unspecified() {
        let (level, option, name) = match address {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, "IP_PKTINFO"),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"),
        };
        sys::why("a reply must leave from the address that was asked");
        sys::setsockopt(&socket, level, option, 1, name).context(name)?;
    }
    sys::why("queries come in here");
    sys::bind(&socket, address).context(format_args!("bind {address} (UDP)"))?;
    Ok(socket)
}

fn open_tcp(address: &SocketAddr) -> Result<Fd> {
    let socket = open_socket(address, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, "TCP")?;
    sys::why("also while connections of an earlier run fade away");
    sys::setsockopt(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1, "SO_REUSEADDR").context("SO_REUSEADDR")?;
    sys::why("the same address by TCP");
    sys::bind(&socket, address).context(format_args!("bind {address} (TCP)"))?;
    sys::why("128 connections may wait to be taken");
    sys::listen(&socket, 128).context(format_args!("listen {address} (TCP)"))?;
    Ok(socket)
}

fn open_socket(address: &SocketAddr, kind: i32, protocol: &str) -> Result<Fd> {
    sys::why("a socket to listen with");
    let socket = sys::socket(address, kind).context(format_args!("socket {address} ({protocol})"))?;
    if address.is_ipv6() {
        sys::why("IPv4 has its own socket");
        sys::setsockopt(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1, "IPV6_V6ONLY").context("IPV6_V6ONLY")?;
    }
    Ok(socket)
}

/// Root may have a larger queue than net.core.rmem_max says.
fn set_receive_buffer(socket: &Fd) -> io::Result<()> {
    let set = |option, name| sys::setsockopt(socket, libc::SOL_SOCKET, option, RECEIVE_BUFFER, name);
    sys::why("if possible: a queue for a burst of queries, larger than users may have");
    set(libc::SO_RCVBUFFORCE, "SO_RCVBUFFORCE").or_else(|_| {
        sys::why("as large as the system allows");
        set(libc::SO_RCVBUF, "SO_RCVBUF")
    })
}

fn is_without_ipv6(error: &Error) -> bool {
    matches!(error.errno, Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// What to do where a listener cannot be opened.
fn explain(error: Error, address: &SocketAddr) -> Error {
    let port = address.port();
    match error.errno {
        Some(libc::EADDRINUSE) => error.hint(format_args!(
            "another server has that port: ss -lnp 'sport = :{port}' shows it; --listen takes another"
        )),
        Some(libc::EACCES) => {
            error.hint(format_args!("ports below 1024 need root or CAP_NET_BIND_SERVICE; --listen :8053 needs neither"))
        }
        Some(libc::EADDRNOTAVAIL) => error.hint("that is not an address of this machine: ip address lists them"),
        _ => error,
    }
}
