//! What the command line of `mydocker dns` may say.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use getopts::{Matches, Options};

use crate::error::{Error, Result};
use crate::options::{self, Parsed};

const LISTEN_PORT: u16 = 8053;
const UPSTREAM_PORT: u16 = 53;
/// Google Public DNS.
const UPSTREAMS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];
/// One bit each in a word of 32.
const MAX_UPSTREAMS: usize = 32;
const CACHE_SIZE: usize = 10_000;
/// Answers; about 5 GB.
const MAX_CACHE_SIZE: usize = 10_000_000;
/// Who is answered: this machine, and networks that do not reach the world (RFC 1122, 1918, 3927, 4193,
/// 4291). A resolver that answers everybody is an amplifier for attacks (RFC 5358).
const NEIGHBOURS: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// An address to listen at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Listen {
    pub address: SocketAddr,
    /// Named by nobody: it may fail where the host has no IPv6.
    pub is_optional: bool,
}

/// Everything that `dns` was told.
pub struct DnsOptions {
    pub listen: Vec<Listen>,
    pub upstreams: Vec<SocketAddr>,
    pub allow: Vec<Network>,
    /// In answers; `None`: no cache.
    pub cache_size: Option<usize>,
    pub log: bool,
    /// With every message, field by field.
    pub log_messages: bool,
    pub hosts: Vec<PathBuf>,
}

fn table() -> Options {
    let mut o = Options::new();
    o.optmulti("", "allow", "answer these askers, too (beside loopback, private and link-local ones)", "CIDR");
    o.optmulti("", "cache-size", "how many answers are kept (default 10000)", "N");
    o.optflagmulti("h", "help", "print this help");
    o.optmulti("", "hosts", "answer the names in this file, such as /etc/hosts; it may change at any time", "FILE");
    o.optmulti("", "listen", "where to listen, UDP and TCP (default :8053)", "[ADDR][:PORT]");
    o.optflagmulti("", "log", "print a line for each answer");
    o.optflagmulti("", "no-cache", "ask an upstream every time");
    o.optmulti("", "upstream", "whom to ask, in this order (default 8.8.8.8, 8.8.4.4)", "IP[:PORT]");
    o.optflagmulti("v", "", "the same, and each message field by field");
    o
}

/// The help text of `dns`.
pub fn help() -> String {
    table().usage(
        "Usage: mydocker [-v] dns [OPTIONS]\n       mydocker dns decode < MESSAGE\n\n\
         Forwards DNS queries to upstream servers and keeps the answers.\n\
         decode explains one message, in hex or binary, on standard input.\n\
         SIGUSR1 prints counters, SIGINT, SIGTERM and SIGHUP end it.",
    )
}

impl DnsOptions {
    /// `None`: help was asked for.
    pub fn parse(arguments: &[OsString]) -> Result<Option<DnsOptions>> {
        let hint = "mydocker dns --help lists the options";
        let parsed = options::split(&mut table(), arguments).map_err(|error| error.hint(hint))?;
        let Parsed { matches, rest } = parsed;
        if matches.opt_present("help") {
            return Ok(None);
        }
        if let Some(extra) = rest.first() {
            return Err(Error::new(format!("dns: {extra:?} is no option")).hint(hint));
        }
        let allow = NEIGHBOURS.map(String::from).into_iter().chain(matches.opt_strs("allow"));
        Ok(Some(DnsOptions {
            listen: listen(&matches.opt_strs("listen"))?,
            upstreams: upstreams(&matches.opt_strs("upstream"))?,
            allow: allow.map(|text| Network::parse(&text)).collect::<Result<_>>()?,
            cache_size: cache_size(&matches)?,
            log: matches.opt_present("log") || matches.opt_present("v"),
            log_messages: matches.opt_present("v"),
            hosts: matches.opt_strs("hosts").into_iter().map(PathBuf::from).collect(),
        }))
    }
}

fn cache_size(matches: &Matches) -> Result<Option<usize>> {
    let size = match options::last(matches, "cache-size") {
        None => CACHE_SIZE,
        Some(text) => match text.parse() {
            Ok(size @ 1..=MAX_CACHE_SIZE) if !text.starts_with('+') => size,
            _ => {
                let error = Error::new(format!("--cache-size {text:?}: not a number from 1 to {MAX_CACHE_SIZE}"));
                return Err(error.hint("it counts answers; --no-cache keeps none"));
            }
        },
    };
    Ok(Some(size).filter(|_| !matches.opt_present("no-cache")))
}

/// Both families' wildcard address stands for an address that is not given.
fn listen(texts: &[String]) -> Result<Vec<Listen>> {
    let everywhere = |port| {
        [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            .map(|ip| Listen { address: SocketAddr::new(ip, port), is_optional: ip.is_ipv6() })
    };
    let mut all = Vec::new();
    if texts.is_empty() {
        all.extend(everywhere(LISTEN_PORT));
    }
    for text in texts {
        let port_alone = text.strip_prefix(':').filter(|rest| !rest.contains(':'));
        match (port_alone.map(str::parse), address(text, LISTEN_PORT)) {
            (Some(Ok(port @ 1..)), _) if !text.contains('+') => all.extend(everywhere(port)),
            (None, Some(address)) if address.port() > 0 => all.push(Listen { address, is_optional: false }),
            _ => {
                let error = Error::new(format!("--listen {text:?}: not an address to listen at"));
                return Err(error.hint("such as 127.0.0.1, 127.0.0.1:53, [::1]:53 or :53"));
            }
        }
    }
    let mut unique: Vec<Listen> = Vec::new();
    for listen in all {
        if unique.iter().all(|other| other.address != listen.address) {
            unique.push(listen);
        }
    }
    Ok(unique)
}

fn upstreams(texts: &[String]) -> Result<Vec<SocketAddr>> {
    if texts.is_empty() {
        return Ok(UPSTREAMS.map(|ip| SocketAddr::new(ip, UPSTREAM_PORT)).to_vec());
    }
    if texts.len() > MAX_UPSTREAMS {
        return Err(Error::new(format!("more than {MAX_UPSTREAMS} upstreams")));
    }
    let mut all = Vec::new();
    for text in texts {
        let good = |address: &SocketAddr| {
            let ip = address.ip();
            let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            address.port() > 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
        };
        let Some(address) = address(text, UPSTREAM_PORT).filter(good) else {
            let error = Error::new(format!("--upstream {text:?}: not the address of a server"));
            return Err(error.hint("an IP address such as 9.9.9.9, 127.0.0.1:5353, 2620:fe::fe or [::1]:53"));
        };
        if !all.contains(&address) {
            all.push(address);
        }
    }
    Ok(all)
}

/// `IP`, `IPv4:PORT` or `[IPv6]:PORT`; an IPv4 address in an IPv6 one's clothes is taken for what it is.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let whole = || text.parse::<SocketAddr>().ok();
    let address = bare.parse().map(|ip| SocketAddr::new(ip, port)).ok().or_else(whole)?;
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => Some(SocketAddr::new(ip, address.port())),
        IpAddr::V6(_) => Some(address),
    }
}

/// A network in CIDR notation, RFC 4632. IPv4 addresses are kept as `::ffff:a.b.c.d`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    value: u128,
    mask: u128,
}

impl Network {
    pub fn parse(text: &str) -> Result<Network> {
        let wrong = || {
            let error = Error::new(format!("--allow {text:?}: not a network"));
            error.hint("such as 192.0.2.0/24, 2001:db8::/32 or one address")
        };
        let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Some(bits), |text| text.parse().ok().filter(|_| !text.starts_with('+')));
        let length = length.filter(|length| *length <= bits).ok_or_else(wrong)?;
        let mask = u128::MAX.checked_shl(bits - length).unwrap_or(0);
        Ok(Network { value: number(ip) & mask, mask })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        number(ip) & self.mask == self.value
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<DnsOptions> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        DnsOptions::parse(&arguments).map(|options| options.expect("no help was asked for"))
    }

    #[test]
    fn defaults() {
        let options = parse(&[]).unwrap();
        let listen: Vec<String> = options.listen.iter().map(|listen| listen.address.to_string()).collect();
        assert_eq!(listen, ["0.0.0.0:8053", "[::]:8053"]);
        let upstreams: Vec<String> = options.upstreams.iter().map(SocketAddr::to_string).collect();
        assert_eq!(upstreams, ["8.8.8.8:53", "8.8.4.4:53"]);
        assert_eq!((options.cache_size, options.log), (Some(10_000), false));
    }

    #[test]
    fn addresses() {
        let listen = |text: &str| {
            let all = parse(&["--listen", text]).ok()?.listen;
            Some(all.iter().map(|listen| listen.address.to_string()).collect::<Vec<_>>().join(" "))
        };
        for (text, wanted) in [
            ("127.0.0.1", "127.0.0.1:8053"),
            ("127.0.0.1:53", "127.0.0.1:53"),
            ("::1", "[::1]:8053"),
            ("[::1]", "[::1]:8053"),
            ("[::1]:53", "[::1]:53"),
            ("::ffff:127.0.0.1", "127.0.0.1:8053"),
            (":53", "0.0.0.0:53 [::]:53"),
        ] {
            assert_eq!(listen(text).as_deref(), Some(wanted), "{text}");
        }
        for wrong in
            ["", ":", ":0", ":65536", "127.0.0.1:0", "127.0.0.1:x", "localhost", "127.0.0.256", "1.2.3", "[::1]53"]
        {
            assert_eq!(listen(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&["--upstream", "::1"]).unwrap().upstreams[0].to_string(), "[::1]:53");
        for wrong in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "1.1.1.1:0", "dns.google", ":53"] {
            assert!(parse(&["--upstream", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks() {
        let is_in = |network: &str, ip: &str| Network::parse(network).unwrap().contains(ip.parse().unwrap());
        assert!(is_in("192.0.2.0/24", "192.0.2.255") && !is_in("192.0.2.0/24", "192.0.3.0"));
        assert!(is_in("192.0.2.1", "192.0.2.1") && !is_in("192.0.2.1", "192.0.2.2"));
        assert!(is_in("192.0.2.77/24", "192.0.2.1"));
        assert!(is_in("0.0.0.0/0", "1.2.3.4") && !is_in("0.0.0.0/0", "2001:db8::1"));
        assert!(is_in("::/0", "2001:db8::1"));
        for wrong in ["", "1.2.3.4/33", "::/129", "1.2.3/8", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/+8", "1.2.3.4/x"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse(&["--cache-size", "1"]).unwrap().cache_size, Some(1));
        assert_eq!(parse(&["--no-cache"]).unwrap().cache_size, None);
        for wrong in ["0", "-1", "+5", "10000001", "99999999999999999999", "1k", ""] {
            assert!(parse(&["--cache-size", wrong]).is_err(), "{wrong}");
        }
    }
}
