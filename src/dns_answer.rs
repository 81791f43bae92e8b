//! What an upstream server says.
//!
//! [`Reply::read`] is the gate: a message passes only if it is well formed and is the reply to our
//! question (RFC 5452 section 9.1; that it came from the right address to the right port the kernel
//! has seen to, the socket is connected). Then the octets are kept as they are; only the upstream's OPT
//! is taken out, for it speaks of the hop between it and us ([`Reply::take_answer`]).

use std::ops::Range;

use crate::dns_message::{class, has_option, rcode, rtype, Edns, Header, Reader, Record, CLIENT_SUBNET, HEADER_LENGTH};
use crate::dns_name::{skip_name, Malformed, Parsed, Work};

/// A reply that belongs to our query.
#[derive(Debug)]
pub struct Reply {
    pub header: Header,
    pub edns: Option<Edns>,
    /// Made for a part of the network alone: not for others, so not for the cache (RFC 7871).
    pub for_subnet: bool,
    /// Where the OPT is.
    opt: Option<Record>,
    /// Where the last record ends; what is behind it is no part of the message.
    end: usize,
}

impl Reply {
    /// Reads the reply to `question` (in lower case) with our ID; `None` for anything else, which is to
    /// be ignored: the true one may still come.
    pub fn read(message: &[u8], id: u16, question: &[u8]) -> Option<Reply> {
        let header = Header::read(message).filter(|header| header.qr() && header.opcode() == 0 && header.id() == id)?;
        let mut reply = Reply { header, edns: None, for_subnet: false, opt: None, end: HEADER_LENGTH };
        if header.qdcount() == 0 && header.rcode() == rcode::FORMERR && header.records() == 0 {
            // A server from before EDNS could not read our question and has none to repeat.
            return Some(reply);
        }
        if header.qdcount() != 1 || !is_same_question(message.get(HEADER_LENGTH..)?, question) {
            return None;
        }
        let behind = HEADER_LENGTH + question.len();
        let read = reply.read_records(message, behind);
        if header.tc() {
            // It says no more than "ask by TCP": records beside it may be half of a set, or half of one.
            reply.drop_records(behind);
            return Some(reply);
        }
        read.ok().map(|()| reply)
    }

    fn read_records(&mut self, message: &[u8], at: usize) -> Parsed<()> {
        let mut reader = Reader::new(message);
        // The question itself must be one: is_same_question has compared it with a good one.
        reader.at = at;
        let additional = self.header.records() - usize::from(self.header.arcount());
        for number in 0..self.header.records() {
            let record = reader.record()?;
            if record.rtype == rtype::OPT {
                if self.opt.is_some() || number < additional {
                    return Err(Malformed { at: record.at, what: "an OPT too many, or in the wrong section" });
                }
                self.edns = Some(Edns::read(&record));
                self.for_subnet = has_option(&message[record.rdata.clone()], CLIENT_SUBNET);
                self.opt = Some(record);
            }
        }
        self.end = reader.at;
        Ok(())
    }

    fn drop_records(&mut self, end: usize) {
        (self.opt, self.end) = (None, end);
        self.header.set_ancount(0);
        self.header.set_nscount(0);
        self.header.set_arcount(0);
    }

    /// The whole response code, with the eight bits that an OPT adds.
    pub fn rcode(&self) -> u16 {
        self.header.rcode() | self.edns.map_or(0, |edns| u16::from(edns.rcode_high) << 4)
    }

    /// Puts the message into `answer`, without the OPT and without what is behind its end. `message` is
    /// the one that was read.
    pub fn take_answer(&self, message: &[u8], answer: &mut Vec<u8>) {
        let mut header = self.header;
        answer.clear();
        match &self.opt {
            None => answer.extend(&message[..self.end]),
            Some(opt) => {
                answer.extend(&message[..opt.at]);
                header.set_arcount(header.arcount() - 1);
                let behind = opt.rdata.end..self.end;
                match count_movable(message, behind.clone(), opt.at) {
                    Ok((_, true)) => answer.extend(&message[behind]),
                    // Additional records are a courtesy: better none than one whose pointers lead astray.
                    Ok((count, false)) => header.set_arcount(header.arcount() - count),
                    Err(_) => header.set_arcount(0), // not reached: they were read before
                }
            }
        }
        header.write(answer);
    }
}

/// How many records there are in `range`, which comes behind an OPT, and whether all of them may move
/// to the OPT's place `to`: their owners point to before it, and their data has no names.
fn count_movable(message: &[u8], range: Range<usize>, to: usize) -> Parsed<(u16, bool)> {
    let mut reader = Reader::new(message);
    reader.at = range.start;
    let (mut count, mut movable) = (0, true);
    while reader.at < range.end {
        let record = reader.record()?;
        count += 1;
        movable &= matches!(record.rtype, rtype::A | rtype::AAAA | rtype::TXT) && record.class == class::IN;
        // The owner's own labels, then the root or a pointer.
        let mut at = record.at;
        while let Some(length @ 1..=63) = message.get(at) {
            at += 1 + usize::from(*length);
        }
        let target = usize::from(u16::from_be_bytes([message[at] & 0x3f, message[at + 1]]));
        let before = &message[..to];
        movable &= message[at] == 0 || skip_name(before, target, &mut Work::for_message(before)).is_ok();
    }
    Ok((count, movable))
}

/// Compares the name without case, type and class as they are. Ours is uncompressed, and theirs has
/// nothing to point to.
fn is_same_question(theirs: &[u8], ours: &[u8]) -> bool {
    let name = ours.len() - 4;
    let Some(theirs) = theirs.get(..ours.len()) else { return false };
    // Almost always it comes back as it was sent.
    theirs == ours || (theirs[..name].eq_ignore_ascii_case(&ours[..name]) && theirs[name..] == ours[name..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03www\x07example\0\0\x01\0\x01";
    const A: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01";
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\x01\0\x80\0\0\0";
    const SUBNET: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\0\x01\x02\x03";

    fn answer_of(reply: &Reply, message: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        reply.take_answer(message, &mut answer);
        answer
    }

    fn message(flags: [u8; 2], counts: [u8; 4], body: &[&[u8]]) -> Vec<u8> {
        let [q, an, ns, ar] = counts;
        [&[0, 7, flags[0], flags[1], 0, q, 0, an, 0, ns, 0, ar], &body.concat()[..]].concat()
    }

    #[test]
    fn only_the_reply_to_our_question() {
        let good = message([0x81, 0x80], [1, 1, 0, 0], &[QUESTION, A]);
        assert!(Reply::read(&good, 7, QUESTION).is_some());
        assert!(Reply::read(&good, 8, QUESTION).is_none());
        assert!(Reply::read(&good, 7, b"\x03www\x07example\0\0\x1c\0\x01").is_none());
        assert!(Reply::read(&good, 7, b"\x03wwx\x07example\0\0\x01\0\x01").is_none());
        assert!(Reply::read(&message([0x01, 0x80], [1, 1, 0, 0], &[QUESTION, A]), 7, QUESTION).is_none());
        assert!(Reply::read(&message([0xa9, 0x80], [1, 1, 0, 0], &[QUESTION, A]), 7, QUESTION).is_none());
        assert!(Reply::read(&message([0x81, 0x80], [1, 2, 0, 0], &[QUESTION, A]), 7, QUESTION).is_none());
        assert!(Reply::read(&message([0x81, 0x81], [0, 0, 0, 0], &[]), 7, QUESTION).is_some());
        assert!(Reply::read(&message([0x81, 0x82], [0, 0, 0, 0], &[]), 7, QUESTION).is_none());
        let other_case = good.to_ascii_uppercase();
        assert!(Reply::read(&other_case, 7, QUESTION).is_some());
        for length in 0..good.len() {
            assert!(Reply::read(&good[..length], 7, QUESTION).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn truncated_in_the_middle_of_a_record() {
        let cut = message([0x83, 0x80], [1, 1, 0, 0], &[QUESTION, &A[..9]]);
        let reply = Reply::read(&cut, 7, QUESTION).unwrap();
        let answer = answer_of(&reply, &cut);
        assert_eq!(answer[12..], *QUESTION);
        assert_eq!(Header::read(&answer).unwrap().records(), 0);
    }

    #[test]
    fn the_opt_is_taken_out() {
        let plain = message([0x81, 0x80], [1, 1, 0, 0], &[QUESTION, A]);
        let with_opt = message([0x81, 0x80], [1, 1, 0, 1], &[QUESTION, A, OPT, b"junk"]);
        let reply = Reply::read(&with_opt, 7, QUESTION).unwrap();
        assert_eq!(reply.rcode(), 16);
        assert_eq!(answer_of(&reply, &with_opt), plain);

        // In the middle: what can move does, what might not is dropped.
        let before = message([0x81, 0x80], [1, 1, 0, 2], &[QUESTION, A, OPT, A]);
        let after = message([0x81, 0x80], [1, 1, 0, 1], &[QUESTION, A, A]);
        assert_eq!(answer_of(&Reply::read(&before, 7, QUESTION).unwrap(), &before), after);
        let unknown = b"\xc0\x0c\xff\0\0\x01\0\0\0\x3c\0\x02\xc0\x0c";
        let before = message([0x81, 0x80], [1, 1, 0, 3], &[QUESTION, A, OPT, A, unknown]);
        assert_eq!(answer_of(&Reply::read(&before, 7, QUESTION).unwrap(), &before), plain);
    }

    #[test]
    fn client_subnet() {
        let reply = message([0x81, 0x80], [1, 1, 0, 1], &[QUESTION, A, SUBNET]);
        assert!(Reply::read(&reply, 7, QUESTION).unwrap().for_subnet);
    }
}
