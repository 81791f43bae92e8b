//! The network of a machine whose pid 1 we are: `mydocker.ip=` on the kernel's command line, and the first card.
//!
//! ```text
//! mydocker.ip=dhcp                                busybox's udhcpc asks, and stays to renew the lease
//! mydocker.ip=192.0.2.2/24,192.0.2.1,192.0.2.53   address/bits, gateway, name server; both may be left out
//! ```
//!
//! The kernel takes a name with a dot for a parameter of a module and hands it to nobody
//! (Documentation/admin-guide/kernel-parameters.rst): it is read from /proc/cmdline. A lease comes from udhcpc in the
//! second form, so there is one way from there on: netdevice(7), resolv.conf(5).

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};

use crate::boot::{check, write_new};
use crate::error::{say, Error, Result};
use crate::sys::{self, Card, Fd, Program, Setting};

/// How often a card is looked for, every 100 ms, and how long a lease may take, in milliseconds.
const CARD_PATIENCE: usize = 50;
const LEASE_PATIENCE: i32 = 15_000;
/// The script that udhcpc runs when something has changed.
const SCRIPT: &str = "/run/mydocker-lease";

/// What `mydocker.ip=` says.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    Nothing,
    Lease,
    Fixed(Settings),
}

/// What a card and the resolver get.
#[derive(Debug, PartialEq)]
pub struct Settings {
    address: Ipv4Addr,
    netmask: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    /// The text of /etc/resolv.conf.
    resolver: String,
}

impl Settings {
    /// `ADDRESS/BITS[,[GATEWAY][,DNS...]]`
    fn parse(text: &str) -> Option<Settings> {
        let mut fields = text.trim_end().split(',');
        let (address, bits) = fields.next()?.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let nobodys = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
        if nobodys || !(1..=32).contains(&bits) {
            return None;
        }
        let netmask = Ipv4Addr::from(u32::MAX << (32 - bits));
        let mut settings = Settings { address, netmask, gateway: None, resolver: String::new() };
        for (number, field) in fields.enumerate().filter(|(_, field)| !field.is_empty()) {
            let server: Ipv4Addr = field.parse().ok()?;
            match number {
                0 => settings.gateway = Some(server),
                _ => settings.resolver.extend(["nameserver ", field, "\n"]),
            }
        }
        Some(settings)
    }
}

impl Wanted {
    /// Of the words of the kernel's command line; a later one replaces an earlier one.
    pub fn parse(words: &[OsString]) -> Result<Wanted> {
        match words.iter().rev().find_map(|word| word.to_str()?.strip_prefix("mydocker.ip=")) {
            None => Ok(Wanted::Nothing),
            Some("dhcp") => Ok(Wanted::Lease),
            Some(value) => Settings::parse(value).map(Wanted::Fixed).ok_or_else(|| {
                Error::new(format!("mydocker.ip={value} is not understood")).hint(
                    "mydocker.ip=dhcp, or ADDRESS/BITS,GATEWAY,DNS as in mydocker.ip=192.0.2.2/24,192.0.2.1,192.0.2.53",
                )
            }),
        }
    }
}

/// The first card gets what is wanted. A command that needs no network can do without: what fails is a warning.
pub fn bring_up(wanted: Wanted) {
    if wanted == Wanted::Nothing {
        return;
    }
    sys::why("if possible: interfaces are spoken to through any socket");
    let Ok(socket) = sys::socket(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), libc::SOCK_DGRAM) else { return };
    let Some(mut card) = sys::fold("no card has any of these numbers yet", || first_card(&socket)) else {
        return say("warning: mydocker.ip=: there is no network card (its driver may be a module: /modules)");
    };
    let name = card.name();
    let mut set = |setting, what: &'static str| {
        sys::why(what);
        check(&name, what, card.set(&socket, setting))
    };
    set(Setting::Up, "if possible: up");
    let settings = match wanted {
        Wanted::Fixed(settings) => settings,
        _ => match lease(&name) {
            Some(settings) => settings,
            None => return say(format_args!("warning: mydocker.ip=dhcp: no lease for {name}")),
        },
    };
    set(Setting::Address(settings.address), "if possible: its address");
    set(Setting::Netmask(settings.netmask), "if possible: whom it reaches without a router");
    if let Some(gateway) = settings.gateway {
        sys::why("if possible: everybody else is reached by the router");
        check(&name, "route by GATEWAY", sys::add_default_route(&socket, gateway));
    }
    if !settings.resolver.is_empty() {
        write_new("/etc/resolv.conf", &settings.resolver);
    }
}

/// The card with the lowest number; `lo` has number 1 (net/core/dev.c, LOOPBACK_IFINDEX). Its driver may take a while.
fn first_card(socket: &Fd) -> Option<Card> {
    for _ in 0..CARD_PATIENCE {
        for number in 2..32 {
            sys::why("if possible: a card of this number? (ENODEV: none)");
            let Ok(card) = Card::of_number(socket, number) else { continue };
            sys::why("if possible: is there a device behind it? (ENOENT: dummy0, sit0, ...)");
            if sys::stat(format!("/sys/class/net/{}/device", card.name())).is_ok() {
                return Some(card);
            }
        }
        sys::why("if possible: time passes");
        let _time_passes = sys::poll(&mut [], 100);
    }
    None
}

// ---- a lease ----

/// Asks for a lease. udhcpc stays, and renews it; whatever else it has to say is not heard.
fn lease(card: &str) -> Option<Settings> {
    sys::why("if possible: the lease comes through this");
    let (reader, writer) = sys::pipe2().ok()?;
    if !check("start", "busybox udhcpc", start_udhcpc(card, writer)) {
        return None;
    }
    let mut fds = [libc::pollfd { fd: reader.raw(), events: libc::POLLIN, revents: 0 }];
    sys::why("if possible: a lease?");
    if sys::poll(&mut fds, LEASE_PATIENCE).ok()? == 0 {
        return None;
    }
    // The line comes in one write(2), and is shorter than a pipe's buffer: it is whole, pipe(7).
    let mut buffer = [0; 512];
    sys::why("if possible: the lease, as mydocker.ip= could have said it");
    let length = sys::read(reader.raw(), &mut buffer).ok()?;
    Settings::parse(&String::from_utf8_lossy(&buffer[..length]))
}

/// `bound` says that there is a lease; what it is stands in the script's environment, busybox's
/// examples/udhcp/simple.script.
fn start_udhcpc(card: &str, writer: Fd) -> std::io::Result<()> {
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = bound ] && set -- $dns && IFS=, && echo \"$ip/$mask,${{router%% *}},$*\" >&{writer}\n"
    );
    sys::why("if possible: what udhcpc runs when it has a lease: one line, to us");
    sys::write_file(SCRIPT, 0o700, script.as_bytes())?;
    sys::why("if possible: udhcpc is neither to read the console nor to write there");
    let null = sys::open("/dev/null", libc::O_RDWR, 0)?;
    // It asks every 2 s, and when seven times nobody has answered again after 5 s.
    let words = ["udhcpc", "-f", "-i", card, "-s", SCRIPT, "-T", "2", "-t", "7", "-A", "5"];
    let arguments = words.iter().map(OsString::from).collect();
    let program = Program { name: "busybox", arguments, environment: Vec::new() };
    sys::why("if possible: asks for a lease, and renews it: DHCP, RFC 2131");
    sys::spawn(&program, [Some(&null); 3], &[&writer]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_parameter_is_found_on_the_kernels_command_line() {
        let wanted = |words: &[&str]| Wanted::parse(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(wanted(&["mydocker=run x", "xmydocker.ip=1"]).unwrap(), Wanted::Nothing);
        assert_eq!(wanted(&["quiet", "mydocker.ip=dhcp"]).unwrap(), Wanted::Lease);
        assert_eq!(wanted(&["mydocker.ip=nonsense", "mydocker.ip=dhcp"]).unwrap(), Wanted::Lease, "the last counts");
        let fixed = Wanted::Fixed(Settings::parse("10.0.2.15/24").unwrap());
        assert_eq!(wanted(&["mydocker.ip=10.0.2.15/24"]).unwrap(), fixed);
        let error = wanted(&["mydocker.ip=10.0.2.15"]).unwrap_err();
        assert!(error.message.starts_with("mydocker.ip=10.0.2.15 is not understood (mydocker.ip=dhcp, or "), "{error}");
    }

    #[test]
    fn gateway_and_name_server_may_be_left_out() {
        let parsed = |text| Settings::parse(text).map(|settings| (settings.gateway, settings.resolver)).unwrap();
        let (gateway, resolver) = (Some(ip("10.0.2.2")), "nameserver 10.0.2.3\n".to_string());
        assert_eq!(parsed("10.0.2.15/24,10.0.2.2,10.0.2.3\n"), (gateway, resolver.clone()));
        assert_eq!(parsed("10.0.2.15/24,,10.0.2.3"), (None, resolver));
        for text in ["10.0.2.15/24,10.0.2.2,", "10.0.2.15/24,10.0.2.2"] {
            assert_eq!(parsed(text), (gateway, String::new()), "{text}");
        }
        assert_eq!(parsed("10.0.2.15/24,,1.1.1.1,9.9.9.9").1, "nameserver 1.1.1.1\nnameserver 9.9.9.9\n");
    }

    #[test]
    fn nonsense_is_refused() {
        let texts =
            "|dhcp6|10.0.2.15|10.0.2.15/|10.0.2.15/0|10.0.2.15/33|10.0.2/24|10.0.2.256/24|0.0.0.0/8|224.0.0.1/24|\
            255.255.255.255/32|::1/64|10.0.2.15/24,router|10.0.2.15/24,,dns|/24|10.0.2.15/-1|10.0.2.15/24/24";
        for text in texts.split('|') {
            assert_eq!(Settings::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_netmask_has_so_many_bits() {
        for (bits, mask) in [(1, "128.0.0.0"), (8, "255.0.0.0"), (23, "255.255.254.0"), (32, "255.255.255.255")] {
            assert_eq!(Settings::parse(&format!("10.0.0.1/{bits}")).unwrap().netmask, ip(mask));
        }
    }
}
