//! What is answered here, and never asked of an upstream: names of hosts files, and the names that RFC
//! 6761 (`localhost.`, `invalid.`) and RFC 7686 (`onion.`) keep out of the DNS. And `ANY`, which is no
//! question that has an answer: RFC 8482.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::dns_hosts::Hosts;
use crate::dns_message::{class, rcode, rtype, Header, Question, Reader};
use crate::dns_name::Name;
use crate::dns_query::Query;
use crate::dns_record::{Rdata, Soa};
use crate::dns_whole::{Entry, Message};
use crate::error::Result;

/// Seconds. A hosts file may change at any time.
const HOSTS_TTL: u32 = 10;
/// What RFC 6761 and its like say will not change.
const FIXED_TTL: u32 = 3600;

const LOCALHOST: &[u8] = b"\x09localhost\0";
/// Zones that do not exist, and must not be asked for.
const NOWHERE: [&[u8]; 2] = [b"\x07invalid\0", b"\x05onion\0"];

pub struct Local {
    hosts: Hosts,
}

/// What we have to say of a name.
struct Facts {
    /// Whose SOA goes with a "no".
    zone: Name,
    records: Vec<Rdata>,
    exists: bool,
    ttl: u32,
    /// Where it is known from, for the log.
    source: &'static str,
}

impl Local {
    pub fn new(hosts: &[PathBuf], now: u64) -> Result<Local> {
        Ok(Local { hosts: Hosts::read(hosts, now)? })
    }

    /// Reads hosts files again that have changed.
    pub fn refresh(&mut self, now: u64) {
        self.hosts.refresh(now);
    }

    /// The answer to a question that is answered here, and where it is from. `key`: the question in lower case.
    pub fn answer(&self, message: &[u8], key: &[u8], query: &Query) -> Option<(Vec<u8>, &'static str)> {
        if !query.is_internet() {
            return None;
        }
        let name = &key[..key.len() - 4];
        // The quick look first: almost no query is for us.
        let is_special = name.ends_with(LOCALHOST) || NOWHERE.iter().any(|zone| name.ends_with(zone));
        let is_ours = is_special || query.qtype == rtype::PTR || query.qtype == rtype::ANY || !self.hosts.is_empty();
        if !is_ours {
            return None;
        }
        let question = Reader::new(&message[..query.question_end]).question().ok()?;
        let facts = self.facts(&question, name)?;
        Some((write(question, &facts), facts.source))
    }

    fn facts(&self, question: &Question, name: &[u8]) -> Option<Facts> {
        let of = |zone: &[u8], records, exists| Facts {
            zone: zone_of(zone),
            records,
            exists,
            ttl: FIXED_TTL,
            source: "here",
        };
        let facts = match () {
            () if question.name.is_within(&zone_of(LOCALHOST)) => {
                let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                of(LOCALHOST, addresses.map(address_record).into(), true)
            }
            () if self.hosts.addresses(name).is_some() => self.of_hosts(question, name),
            () if question.qtype == rtype::PTR => self.of_address(question)?,
            () => {
                let zone = NOWHERE.iter().find(|zone| question.name.is_within(&zone_of(zone)));
                match zone {
                    Some(zone) => of(zone, Vec::new(), false),
                    None if question.qtype == rtype::ANY => of(b"\0", Vec::new(), true),
                    None => return None,
                }
            }
        };
        if question.qtype == rtype::ANY && facts.exists {
            let hinfo = Rdata::Hinfo { cpu: b"RFC8482".to_vec(), os: Vec::new() };
            return Some(Facts { records: vec![hinfo], source: "here", ..facts });
        }
        Some(facts)
    }

    fn of_hosts(&self, question: &Question, name: &[u8]) -> Facts {
        let addresses = self.hosts.addresses(name).unwrap_or_default();
        let records = addresses.iter().copied().map(address_record).collect();
        Facts { zone: question.name.clone(), records, exists: true, ttl: HOSTS_TTL, source: "hosts" }
    }

    fn of_address(&self, question: &Question) -> Option<Facts> {
        let address = address_of(&question.name)?;
        let (name, ttl, source) = match self.hosts.name(&address) {
            Some(name) => (name.clone(), HOSTS_TTL, "hosts"),
            None if address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST => {
                (zone_of(LOCALHOST), FIXED_TTL, "here")
            }
            None => return None,
        };
        Some(Facts { zone: question.name.clone(), records: vec![Rdata::Ptr(name)], exists: true, ttl, source })
    }
}

fn zone_of(octets: &[u8]) -> Name {
    Name::from_wire(octets).unwrap_or_else(|_| Name::root())
}

fn address_record(address: IpAddr) -> Rdata {
    match address {
        IpAddr::V4(address) => Rdata::A(address),
        IpAddr::V6(address) => Rdata::Aaaa(address),
    }
}

/// The whole message: the records of the type that was asked for; where there are none, "no" and an
/// SOA that says for how long (RFC 2308).
fn write(question: Question, facts: &Facts) -> Vec<u8> {
    let mut header = Header::default();
    header.set_qr(true);
    header.set_aa(true);
    header.set_ra(true);
    header.set_rcode(if facts.exists { rcode::NOERROR } else { rcode::NXDOMAIN });
    let wanted = |rdata: &&Rdata| rdata.rtype() == question.qtype || question.qtype == rtype::ANY;
    let entry = |rdata: &Rdata| (question.name.clone(), class::IN, facts.ttl, rdata.clone());
    let answers: Vec<Entry> = facts.records.iter().filter(wanted).map(entry).collect();
    let mut authority = Vec::new();
    if answers.is_empty() {
        let soa = Soa {
            mname: zone_of(LOCALHOST),
            rname: Name::from_text("nobody.invalid.").unwrap_or_else(|_| Name::root()),
            serial: 1,
            refresh: 3600,
            retry: 1200,
            expire: 604_800,
            minimum: facts.ttl,
        };
        authority.push((facts.zone.clone(), class::IN, facts.ttl, Rdata::Soa(Box::new(soa))));
    }
    Message { header, questions: vec![question], records: [answers, authority, Vec::new()] }.write()
}

/// The address whose name is asked for: `4.3.2.1.in-addr.arpa.` is 1.2.3.4 (RFC 1035 section 3.5), and
/// 32 hexadecimal digits before `ip6.arpa.` are an IPv6 address (RFC 3596 section 2.5).
fn address_of(name: &Name) -> Option<IpAddr> {
    let labels: Vec<String> = name.labels().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match &labels[..] {
        [d, c, b, a, "in-addr", "arpa"] => format!("{a}.{b}.{c}.{d}").parse().ok().map(IpAddr::V4),
        [digits @ .., "ip6", "arpa"] if digits.len() == 32 => {
            let mut value = 0u128;
            for digit in digits.iter().rev() {
                let is_digit = digit.len() == 1;
                value = value << 4 | u128::from_str_radix(digit, 16).ok().filter(|_| is_digit)?;
            }
            Some(IpAddr::V6(value.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_message::{Writer, HEADER_LENGTH};
    use crate::dns_query::Key;

    fn ask(text: &str, qtype: u16) -> Option<Message> {
        let local = Local { hosts: Hosts::default() };
        let mut header = Header::default();
        header.set_qdcount(1);
        let mut writer = Writer::new(&header);
        writer.question(&Question { name: Name::from_text(text).unwrap(), qtype, qclass: class::IN });
        let message = writer.message;
        let query = Query::read(&message, false).unwrap();
        let mut key = Key::default();
        key.set(&message[HEADER_LENGTH..], &query);
        let (answer, _) = local.answer(&message, crate::dns_query::split_key(key.octets()).0, &query)?;
        Some(Message::read(&answer).unwrap())
    }

    #[test]
    fn names_that_never_leave() {
        let localhost = ask("LocalHost.", rtype::A).unwrap();
        assert_eq!(localhost.records[0][0].3.to_string(), "127.0.0.1");
        assert_eq!(localhost.questions[0].name.octets(), b"\x09LocalHost\0");
        assert_eq!(ask("a.localhost.", rtype::AAAA).unwrap().records[0][0].3.to_string(), "::1");
        let no = ask("localhost.", rtype::MX).unwrap();
        assert_eq!((no.header.rcode(), no.records[0].len(), no.records[1].len()), (0, 0, 1));
        for text in ["invalid.", "a.b.INVALID.", "x.onion."] {
            assert_eq!(ask(text, rtype::A).unwrap().header.rcode(), rcode::NXDOMAIN, "{text}");
        }
        for text in ["xlocalhost.", "invalid.example.", "example.", "\\009localhost."] {
            assert!(ask(text, rtype::A).is_none(), "{text}");
        }
        assert_eq!(ask("example.", rtype::ANY).unwrap().records[0][0].3.to_string(), "\"RFC8482\" \"\"");
        assert_eq!(ask("1.0.0.127.in-addr.arpa.", rtype::PTR).unwrap().records[0][0].3.to_string(), "localhost.");
        assert!(ask("2.0.0.127.in-addr.arpa.", rtype::PTR).is_none());
    }

    #[test]
    fn addresses_of_names() {
        let of = |text: &str| address_of(&Name::from_text(text).unwrap()).map(|address| address.to_string());
        assert_eq!(of("4.3.2.1.In-Addr.arpa.").as_deref(), Some("1.2.3.4"));
        let one = format!("1.{}ip6.arpa.", "0.".repeat(31));
        assert_eq!(of(&one).as_deref(), Some("::1"));
        for wrong in ["3.2.1.in-addr.arpa.", "4.3.2.256.in-addr.arpa.", "x.3.2.1.in-addr.arpa.", "1.ip6.arpa."] {
            assert_eq!(of(wrong), None);
        }
        assert_eq!(of(&one.replacen('1', "10", 1)), None);
    }
}
