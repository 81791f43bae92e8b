//! The network of a container: interfaces with their addresses and counters, and routes; of the files in
//! /proc/PID/net, which are those of its network namespace: dev, fib_trie, if_inet6, route.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::bundle::Network;
use crate::error::printable;
use crate::look::{hex, read, split, word, words, Subject, REFUSED};
use crate::look_page::Page;
use crate::sys::Pid;

/// So many interfaces are shown, and the rest is counted.
const MOST_DEVICES: usize = 10;

/// An IPv4 route of /proc/PID/net/route.
struct Route<'a> {
    device: &'a str,
    to: Ipv4Addr,
    bits: u32,
    gateway: Option<Ipv4Addr>,
}

/// /proc/PID/net/route has addresses in hex, as the machine's own integers.
fn routes(text: &str) -> Vec<Route<'_>> {
    const RTF_GATEWAY: u32 = 2;
    let mut all = Vec::new();
    for line in split(text, '\n') {
        let columns = words(line);
        // One of headings has no number there.
        let column = |i| hex(word(&columns, i)).map(|n| n as u32);
        let (Some(to), Some(gateway), Some(flags), Some(mask)) = (column(1), column(2), column(3), column(7)) else {
            continue;
        };
        let gateway = (flags & RTF_GATEWAY != 0).then(|| gateway.to_ne_bytes().into());
        all.push(Route { device: columns[0], to: to.to_ne_bytes().into(), bits: mask.count_ones(), gateway });
    }
    all
}

/// The machine's own IPv4 addresses in a fib_trie: a leaf `|-- 10.0.2.100` with a line `/32 host LOCAL` below it.
fn local_addresses(text: &str) -> Vec<Ipv4Addr> {
    let mut all = Vec::new();
    let mut leaf = None;
    for line in split(text, '\n') {
        match words(line)[..] {
            ["|--", address] => leaf = address.parse::<Ipv4Addr>().ok(),
            // The tries of the tables main and local are often one, shown twice.
            ["/32", "host", "LOCAL"] => all.extend(leaf.filter(|leaf| !all.contains(leaf))),
            _ => {}
        }
    }
    all
}

/// The interface that an address belongs to, which a fib_trie does not tell, and the bits of its network: those of the
/// narrowest route to it. What no route leads to is on the loopback.
fn device_of<'a>(address: Ipv4Addr, routes: &[Route<'a>]) -> (&'a str, u32) {
    let mut found = ("lo", if address.is_loopback() { 8 } else { 32 });
    let mut narrowest = 0;
    for route in routes {
        let covers = |bits| (u32::from(route.to) ^ u32::from(address)) >> (32 - bits) == 0;
        if route.gateway.is_none() && route.bits > narrowest && covers(route.bits) {
            narrowest = route.bits;
            found = (route.device, route.bits);
        }
    }
    found
}

/// An address of /proc/PID/net/if_inet6, and its bits.
fn inet6(columns: &[&str]) -> Option<(Ipv6Addr, u64)> {
    let (high, low) = word(columns, 0).split_at_checked(16)?;
    Some((Ipv6Addr::from((hex(high)? as u128) << 64 | hex(low)? as u128), hex(word(columns, 2))?))
}

pub fn network(page: &mut Page, subject: &Subject, helper: Option<Pid>) {
    page.part("NETWORK");
    match (helper, subject.bundle.as_ref().map(|bundle| bundle.network)) {
        (Some(helper), _) => page.line(format_args!("slirp4netns, pid {helper}")),
        (None, Some(Network::Slirp)) => page.line(format_args!("slirp4netns, which does not run")),
        (None, Some(Network::Host)) => page.line(format_args!("host")),
        (None, _) => page.line(format_args!("none")),
    }
    let pid = subject.first.pid;
    let table = read(pid, "net/route", "its IPv4 routes");
    let routes = routes(table.as_deref().unwrap_or_default());
    devices(page, pid, &routes);
    page.list("routes  ");
    for Route { device, to, bits, gateway } in &routes {
        let via = gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
        page.item(0, format_args!("{to}/{bits}{via} dev {}  ", printable(device)));
    }
    if routes.is_empty() {
        page.word(if table.is_some() { "none" } else { REFUSED });
    }
}

/// A line for each interface.
fn devices(page: &mut Page, pid: Pid, routes: &[Route]) {
    let Some(table) = read(pid, "net/dev", "its interfaces, and what went through them") else {
        return page.line(format_args!("{REFUSED}"));
    };
    let local = local_addresses(&read(pid, "net/fib_trie", "its IPv4 addresses").unwrap_or_default());
    let inet6_table = read(pid, "net/if_inet6", "its IPv6 addresses").unwrap_or_default();
    let mut count = 0;
    for line in split(&table, '\n') {
        let columns = words(line);
        // Two lines of headings have no colon behind their first word.
        let Some(name) = word(&columns, 0).strip_suffix(':') else { continue };
        count += 1;
        if count > MOST_DEVICES {
            continue;
        }
        page.list(&format!("{:<7} ", printable(name)));
        for address in &local {
            let (device, bits) = device_of(*address, routes);
            if device == name {
                page.item(0, format_args!("{address}/{bits}"));
            }
        }
        for line in split(&inet6_table, '\n') {
            let columns = words(line);
            if let Some((address, bits)) = inet6(&columns).filter(|_| word(&columns, 5) == name) {
                page.item(0, format_args!("{address}/{bits}"));
            }
        }
        page.item(0, format_args!("  {} bytes in, {} out", word(&columns, 1), word(&columns, 9)));
    }
    page.more(count.saturating_sub(MOST_DEVICES));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_device_of_their_narrowest_route() {
        let trie = "Local:\n  +-- 0.0.0.0/1 2 0 2\n     |-- 10.0.2.0\n        /24 link UNICAST\n     |-- 10.0.2.100\n\
                    \x20       /32 host LOCAL\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n\
                    \x20       /32 host LOCAL\n";
        let addresses = local_addresses(&format!("{trie}{trie}"));
        assert_eq!(addresses, [Ipv4Addr::new(10, 0, 2, 100), Ipv4Addr::new(127, 0, 0, 1)]);
        let ours = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let (any, net, gateway, mask) =
            (ours([0; 4]), ours([10, 0, 2, 0]), ours([10, 0, 2, 2]), ours([255, 255, 255, 0]));
        let text = format!(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU\n\
             tap0 {any} {gateway} 0003 0 0 0 {any} 0\ntap0 {net} {any} 0001 0 0 0 {mask} 0\n"
        );
        let routes = routes(&text);
        assert_eq!((routes[0].bits, routes[0].gateway), (0, Some(Ipv4Addr::new(10, 0, 2, 2))));
        assert_eq!((routes[1].bits, routes[1].gateway), (24, None));
        assert_eq!(device_of(addresses[0], &routes), ("tap0", 24));
        assert_eq!(device_of(addresses[1], &routes), ("lo", 8));
        assert_eq!(device_of(Ipv4Addr::new(10, 0, 3, 1), &routes), ("lo", 32));
        let (address, bits) = inet6(&words("fe80000000000000740372fffebbe01d 02 40 20 80     tap0")).unwrap();
        assert_eq!((address.to_string().as_str(), bits), ("fe80::7403:72ff:febb:e01d", 64));
        assert_eq!(inet6(&["fe80"]), None);
    }
}
