//! What a client asks, and every message that is sent back to it.
//!
//! [`Query::read`] takes a datagram apart and judges it; [`Query::write_answer`] and
//! [`Query::write_error`] make the reply in the form that this client can take: its own ID, its own
//! spelling of the name, an OPT only if it sent one (RFC 6891 section 7), no more octets than it has
//! room for.

use crate::dns_message::{class, has_option, opcode, rcode, rtype, Edns, Header, Reader, CLIENT_SUBNET};
use crate::dns_message::{HEADER_LENGTH, MIN_UDP_SIZE, OPT_LENGTH, OUR_UDP_SIZE};
use crate::dns_name::Parsed;

/// The most that we send over UDP, even to a client that says it takes more.
pub const MAX_UDP_REPLY: usize = 4096;

/// A query that was read. Its octets are not kept: the question lies at
/// `HEADER_LENGTH..question_end` of the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query {
    pub header: Header,
    /// Where the question ends; equal to HEADER_LENGTH where none could be read.
    pub question_end: usize,
    pub qtype: u16,
    pub qclass: u16,
    /// The client's OPT.
    pub edns: Option<Edns>,
    /// Signed by a TSIG record, RFC 8945: nothing of it may be changed on the way.
    pub signed: bool,
    /// Asked on behalf of a subnet (EDNS Client Subnet, RFC 7871): the answer is for nobody else.
    pub for_subnet: bool,
    /// How many octets a reply may have.
    pub limit: usize,
}

/// Why a message is not forwarded.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// No reply at all: what is no query might be a reply to our reply, and so on for ever.
    Silence,
    /// A reply with this response code.
    Reply(Query, u16),
}

impl Query {
    /// Reads and judges a message from a client. Flags that mean nothing to us are no reason to refuse
    /// (RFC 8906 section 3).
    pub fn read(message: &[u8], over_tcp: bool) -> Result<Query, Refusal> {
        let header = Header::read(message).filter(|header| !header.qr()).ok_or(Refusal::Silence)?;
        let mut query = Query {
            header,
            question_end: HEADER_LENGTH,
            qtype: 0,
            qclass: 0,
            edns: None,
            signed: false,
            for_subnet: false,
            limit: if over_tcp { usize::from(u16::MAX) } else { usize::from(MIN_UDP_SIZE) },
        };
        let verdict = match () {
            () if header.opcode() != opcode::QUERY => rcode::NOTIMP,
            // RFC 9619: a query has one question.
            () if header.qdcount() != 1 => rcode::FORMERR,
            () => query.read_sections(message).unwrap_or(rcode::FORMERR),
        };
        if let Some(edns) = query.edns.filter(|_| !over_tcp) {
            query.limit = usize::from(edns.size.max(MIN_UDP_SIZE)).min(MAX_UDP_REPLY);
        }
        match verdict {
            rcode::NOERROR => Ok(query),
            rcode => Err(Refusal::Reply(query, rcode)),
        }
    }

    /// Reads the question and walks over the records; returns a response code.
    fn read_sections(&mut self, message: &[u8]) -> Parsed<u16> {
        let mut reader = Reader::new(message);
        let (qtype, qclass) = reader.skip_question()?;
        (self.qtype, self.qclass, self.question_end) = (qtype, qclass, reader.at);
        let records = self.header.records();
        let additional = records - usize::from(self.header.arcount());
        let mut opt = None;
        for number in 0..records {
            let record = reader.record()?;
            match record.rtype {
                // RFC 6891 section 6.1.1: one at most, owned by the root.
                rtype::OPT if opt.is_some() || number < additional || message[record.at] != 0 => {
                    return Ok(rcode::FORMERR);
                }
                rtype::OPT => {
                    opt = Some(Edns::read(&record));
                    self.for_subnet = has_option(&message[record.rdata], CLIENT_SUBNET);
                }
                // RFC 8945 sections 4.2 and 5.1: the last additional record, of class ANY, TTL 0.
                rtype::TSIG if number + 1 < records || number < additional => return Ok(rcode::FORMERR),
                rtype::TSIG if record.class != class::ANY || record.ttl != 0 => return Ok(rcode::FORMERR),
                rtype::TSIG => self.signed = true,
                _ => {}
            }
        }
        self.edns = opt;
        match (opt, self.qtype) {
            (Some(edns), _) if edns.version > 0 => Ok(rcode::BADVERS),
            // A whole zone is not for a forwarder to hand on.
            (_, rtype::AXFR | rtype::IXFR) => Ok(rcode::REFUSED),
            _ => Ok(rcode::NOERROR),
        }
    }

    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub fn is_internet(&self) -> bool {
        self.qclass == class::IN
    }

    /// Writes `answer` for this client into `out` and returns its length. `question` is the client's;
    /// the answer is to the same one, so it is as long, and what points into it stays right.
    /// `fresh`: just from an upstream, which may have been in charge; no cache is (RFC 1035 section 4.1.1).
    pub fn write_answer(&self, out: &mut [u8], question: &[u8], answer: &[u8], fresh: bool) -> usize {
        let mut header = Header::read(answer).unwrap_or_default();
        header.set_id(self.header.id());
        header.set_rd(self.header.rd());
        header.set_cd(self.header.cd());
        header.set_z(false);
        header.set_aa(header.aa() && fresh);
        let (start, mut body) = (HEADER_LENGTH + question.len(), answer.get(self.question_end..).unwrap_or_default());
        let opt = if self.edns.is_some() { OPT_LENGTH } else { 0 };
        if start + body.len() + opt > self.limit.min(out.len()) {
            // Nothing half-cut: a client that cannot have all gets none, and asks again by TCP.
            header.set_tc(true);
            header.set_ancount(0);
            header.set_nscount(0);
            header.set_arcount(0);
            body = &[];
        }
        out[HEADER_LENGTH..start].copy_from_slice(question);
        let end = start + body.len();
        out[start..end].copy_from_slice(body);
        self.write_head_and_opt(out, header, end, 0)
    }

    /// Writes a reply that says no more than "ask by TCP".
    pub fn write_truncated(&self, out: &mut [u8], question: &[u8]) -> usize {
        let length = self.write_error(out, question, rcode::NOERROR, true);
        let mut header = Header::read(out).unwrap_or_default();
        header.set_tc(true);
        header.write(out);
        length
    }

    /// Writes a reply that says why there is no answer. `question` is empty where none could be read;
    /// `is_served`: this client may ask us (RA).
    pub fn write_error(&self, out: &mut [u8], question: &[u8], rcode: u16, is_served: bool) -> usize {
        let mut header = Header::default();
        header.set_id(self.header.id());
        header.set_opcode(self.header.opcode());
        header.set_rd(self.header.rd());
        header.set_cd(self.header.cd());
        header.set_qr(true);
        header.set_ra(is_served);
        header.set_rcode(rcode);
        header.set_qdcount(u16::from(!question.is_empty()));
        let end = HEADER_LENGTH + question.len();
        out[HEADER_LENGTH..end].copy_from_slice(question);
        self.write_head_and_opt(out, header, end, (rcode >> 4) as u8)
    }

    fn write_head_and_opt(&self, out: &mut [u8], mut header: Header, end: usize, rcode_high: u8) -> usize {
        let Some(edns) = self.edns else {
            header.write(out);
            return end;
        };
        header.set_arcount(header.arcount() + 1);
        header.write(out);
        let own = Edns { size: OUR_UDP_SIZE, rcode_high, version: 0, dnssec_ok: edns.dnssec_ok };
        out[end..end + OPT_LENGTH].copy_from_slice(&own.record());
        end + OPT_LENGTH
    }
}

/// What the cache and the table of queries in flight look for: the question in lower case, and the
/// flags that change its answer: DO, CD (RFC 4035 section 4.7: data that failed validation must not
/// reach who wants it checked), and AD, which says of a client without DO that it wants to see AD
/// (RFC 6840 section 5.7).
///
/// One value serves for query after query: its memory is used again.
#[derive(Default)]
pub struct Key {
    octets: Vec<u8>,
}

impl Key {
    const DO: u8 = 1;
    const CD: u8 = 2;
    const AD: u8 = 4;

    /// Becomes the key of `question`, which is a client's, as [`Query::read`] has found it good.
    pub fn set(&mut self, question: &[u8], query: &Query) {
        self.octets.clear();
        self.octets.extend(question);
        // Length octets are below `A`: they have no case.
        self.octets[..question.len() - 4].make_ascii_lowercase();
        let (dnssec_ok, header) = (query.dnssec_ok(), query.header);
        let flags = [(dnssec_ok, Key::DO), (header.cd(), Key::CD), (header.ad() && !dnssec_ok, Key::AD)];
        self.octets.push(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
    }

    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// The parts of a key: the question, and the flags.
pub fn split_key(key: &[u8]) -> (&[u8], u8) {
    match key {
        [question @ .., flags] => (question, *flags),
        [] => (&[], 0), // no key is empty
    }
}

/// Writes the query that an upstream gets for a key: all that we want to know, and no more of the
/// client than that (RFC 6891 section 6.2.6: EDNS is for one hop). Returns its length.
pub fn write_upstream_query(out: &mut [u8], key: &[u8], id: u16, with_edns: bool) -> usize {
    let (question, flags) = split_key(key);
    let mut header = Header::default();
    header.set_id(id);
    header.set_rd(true);
    header.set_cd(flags & Key::CD != 0);
    header.set_ad(flags & Key::AD != 0);
    header.set_qdcount(1);
    header.set_arcount(u16::from(with_edns));
    header.write(out);
    let end = HEADER_LENGTH + question.len();
    out[HEADER_LENGTH..end].copy_from_slice(question);
    if !with_edns {
        return end;
    }
    let edns = Edns { size: OUR_UDP_SIZE, rcode_high: 0, version: 0, dnssec_ok: flags & Key::DO != 0 };
    out[end..end + OPT_LENGTH].copy_from_slice(&edns.record());
    end + OPT_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03Www\x07example\0\0\x01\0\x01";
    const OPT: &[u8] = b"\0\0\x29\x10\0\0\0\x80\0\0\0";

    fn message(flags: u16, counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        message.extend(flags.to_be_bytes());
        message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        message.extend(body.concat());
        message
    }

    fn rcode_of(message: &[u8]) -> Option<u16> {
        match Query::read(message, false) {
            Ok(_) => Some(0),
            Err(Refusal::Reply(_, rcode)) => Some(rcode),
            Err(Refusal::Silence) => None,
        }
    }

    #[test]
    fn verdicts() {
        let one = [1, 0, 0, 0];
        let plain = message(0x0100, one, &[QUESTION]);
        assert_eq!(rcode_of(&plain), Some(0));
        assert_eq!(rcode_of(&plain[..11]), None);
        assert_eq!(rcode_of(&message(0x8100, one, &[QUESTION])), None);
        assert_eq!(rcode_of(&message(0x0070, one, &[QUESTION])), Some(0)); // Z, AD, CD; no RD
        assert_eq!(rcode_of(&message(0x2800, one, &[QUESTION])), Some(rcode::NOTIMP));
        assert_eq!(rcode_of(&message(0, [0, 0, 0, 0], &[])), Some(rcode::FORMERR));
        assert_eq!(rcode_of(&message(0, [2, 0, 0, 0], &[QUESTION, QUESTION])), Some(rcode::FORMERR));
        assert_eq!(rcode_of(&message(0, [1, 0, 0, 1], &[QUESTION, OPT])), Some(0));
        assert_eq!(rcode_of(&message(0, [1, 0, 0, 2], &[QUESTION, OPT, OPT])), Some(rcode::FORMERR));
        assert_eq!(rcode_of(&message(0, [1, 1, 0, 0], &[QUESTION, OPT])), Some(rcode::FORMERR));
        assert_eq!(rcode_of(&message(0, [1, 0, 0, 1], &[QUESTION, b"\x01a", OPT])), Some(rcode::FORMERR));
        let version_1 = b"\0\0\x29\x10\0\0\x01\0\0\0\0";
        assert_eq!(rcode_of(&message(0, [1, 0, 0, 1], &[QUESTION, version_1])), Some(rcode::BADVERS));
        assert_eq!(rcode_of(&message(0, one, &[b"\0\0\xfc\0\x01"])), Some(rcode::REFUSED));
        for length in 12..plain.len() {
            assert_eq!(rcode_of(&plain[..length]), Some(rcode::FORMERR), "cut to {length}");
        }
    }

    #[test]
    fn sizes() {
        for (size, limit) in [(0u16, 512), (511, 512), (1232, 1232), (65535, MAX_UDP_REPLY)] {
            let opt = [b"\0\0\x29", &size.to_be_bytes()[..], b"\0\0\0\0\0\0"].concat();
            let message = message(0, [1, 0, 0, 1], &[QUESTION, &opt]);
            assert_eq!(Query::read(&message, false).unwrap().limit, limit);
            assert_eq!(Query::read(&message, true).unwrap().limit, 65535);
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_not_half_cut() {
        let message = message(0x0100, [1, 0, 0, 0], &[QUESTION]);
        let query = Query::read(&message, false).unwrap();
        let mut answer = message.clone();
        answer[2..4].copy_from_slice(&[0x85, 0x80]); // QR, AA, RD, RA
        answer[7] = 1;
        answer.extend(vec![1; 512 - answer.len()]);
        let mut out = vec![0; 4096];
        assert_eq!(query.write_answer(&mut out, QUESTION, &answer, true), 512);
        assert_eq!(out[..512], answer);
        query.write_answer(&mut out, QUESTION, &answer, false);
        assert!(!Header::read(&out).unwrap().aa());
        answer.push(1);
        let length = query.write_answer(&mut out, QUESTION, &answer, true);
        let header = Header::read(&out).unwrap();
        assert_eq!((length, header.tc(), header.records()), (HEADER_LENGTH + QUESTION.len(), true, 0));
    }

    #[test]
    fn keys() {
        let key = |flags, edns: bool| {
            let message = if edns {
                message(flags, [1, 0, 0, 1], &[QUESTION, OPT])
            } else {
                message(flags, [1, 0, 0, 0], &[QUESTION])
            };
            let mut key = Key::default();
            key.set(QUESTION, &Query::read(&message, false).unwrap());
            key.octets().to_vec()
        };
        assert_eq!(key(0x0100, false), b"\x03www\x07example\0\0\x01\0\x01\0");
        assert_eq!(key(0, false), key(0x0140, false)); // RD and Z make no difference
        assert_ne!(key(0, false), key(0x0010, false)); // CD does
        assert_ne!(key(0, false), key(0x0020, false)); // AD does
        assert_ne!(key(0, false), key(0, true)); // DO does
        assert_eq!(key(0, true), key(0x0020, true)); // and then AD does not
        let mut out = [0; 512];
        let length = write_upstream_query(&mut out, &key(0x0010, true), 7, true);
        let query = Query::read(&out[..length], false).unwrap();
        assert_eq!((query.header.id(), query.header.cd(), query.dnssec_ok(), query.limit), (7, true, true, 1232));
    }
}
