//! A whole message in memory, RFC 1035 section 4: [`Message::read`] takes it apart, [`Message::write`] puts it
//! together again, names compressed. For tests and tools: who forwards never needs all of it.

use crate::dns_message::{Header, Question, Reader, Writer};
use crate::dns_name::{Malformed, Name, Parsed};
use crate::dns_record::Rdata;

/// A record: owner, class, TTL (of an OPT: size, extended RCODE and flags), data.
pub type Entry = (Name, u16, u32, Rdata);

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its counts are those of what follows.
    pub header: Header,
    pub questions: Vec<Question>,
    /// Answer, authority, additional.
    pub records: [Vec<Entry>; 3],
}

impl Message {
    /// Reads all of it; octets behind the last record are an error, since they could not be written again.
    pub fn read(message: &[u8]) -> Parsed<Message> {
        let short = Malformed { at: message.len(), what: "a header of less than 12 octets" };
        let header = Header::read(message).ok_or(short)?;
        let mut reader = Reader::new(message);
        let questions = (0..header.qdcount()).map(|_| reader.question()).collect::<Parsed<_>>()?;
        let mut section = |count| (0..count).map(|_| read_entry(&mut reader)).collect::<Parsed<_>>();
        let records = [section(header.ancount())?, section(header.nscount())?, section(header.arcount())?];
        if reader.at != message.len() {
            return Err(Malformed { at: reader.at, what: "octets behind the last record" });
        }
        Ok(Message { header, questions, records })
    }

    /// All of it on the wire, the header's counts set to what is there.
    pub fn write(&self) -> Vec<u8> {
        let [answers, authority, additional] = &self.records;
        let mut header = self.header;
        header.set_qdcount(self.questions.len() as u16);
        header.set_ancount(answers.len() as u16);
        header.set_nscount(authority.len() as u16);
        header.set_arcount(additional.len() as u16);
        let mut writer = Writer::new(&header);
        self.questions.iter().for_each(|question| writer.question(question));
        for (owner, class, ttl, rdata) in self.records.iter().flatten() {
            writer.record(owner, (rdata.rtype(), *class), *ttl, |writer| rdata.write(writer));
        }
        writer.message
    }
}

fn read_entry(reader: &mut Reader) -> Parsed<Entry> {
    let record = reader.record()?;
    Ok((record.owner(reader.message)?, record.class, record.ttl, Rdata::read(reader.message, &record)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_message::{class, rtype, HEADER_LENGTH};
    use crate::dns_record::Soa;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A message with a record of each type that is known, and of two that are not.
    fn message() -> Message {
        let mut header = Header::default();
        header.set_id(0xbeef);
        header.set_qr(true);
        let question = Question { name: name("Www.example."), qtype: rtype::ANY, qclass: class::IN };
        let soa = Soa {
            mname: name("ns.example."),
            rname: name("h.example."),
            serial: 1,
            refresh: 2,
            retry: 3,
            expire: 4,
            minimum: 5,
        };
        let answers = [
            Rdata::A([192, 0, 2, 1].into()),
            Rdata::Aaaa(1u128.into()),
            Rdata::Cname(name("b.example.")),
            Rdata::Ptr(name(".")),
            Rdata::Mx { preference: 10, exchange: name("mail.EXAMPLE.") },
            Rdata::Txt(vec![b"a".to_vec(), vec![0; 255]]),
            Rdata::Srv { priority: 1, weight: 2, port: 53, target: name("www.example.") },
            Rdata::Hinfo { cpu: b"RFC8482".to_vec(), os: vec![] },
            Rdata::Other { rtype: 65280, octets: vec![0xc0, 0x0c] },
        ];
        let authority = [Rdata::Soa(Box::new(soa)), Rdata::Ns(name("ns.example."))];
        let entry = |rdata| (name("www.example."), class::IN, 300, rdata);
        let chaos = (name("x."), 3, u32::MAX, Rdata::Other { rtype: rtype::A, octets: vec![] });
        let opt = (Name::root(), 1232, 0x8000, Rdata::Opt(vec![(10, vec![1; 8]), (12, vec![])]));
        header.set_qdcount(1);
        header.set_ancount(9);
        header.set_nscount(2);
        header.set_arcount(2);
        let records = [answers.map(entry).to_vec(), authority.map(entry).to_vec(), vec![chaos, opt]];
        Message { header, questions: vec![question], records }
    }

    #[test]
    fn what_is_written_is_read() {
        let message = message();
        let octets = message.write();
        assert_eq!(Message::read(&octets), Ok(message.clone()));
        // The names compare without case; printed, they are as they were written.
        assert_eq!(format!("{:?}", Message::read(&octets).unwrap()), format!("{message:?}"));
        let times = |part: &[u8]| octets.windows(part.len()).filter(|at| *at == part).count();
        assert_eq!(times(b"\x07example\0"), 2, "in the question and in the SRV");
        assert_eq!(times(b"\x07EXAMPLE\0"), 1);
    }

    #[test]
    fn the_counts_are_those_of_the_records() {
        let mut message = message();
        message.header.set_ancount(77);
        message.records[0].truncate(1);
        message.records[2].clear();
        let header = Message::read(&message.write()).unwrap().header;
        assert_eq!((header.qdcount(), header.ancount(), header.nscount(), header.arcount()), (1, 1, 2, 0));
    }

    #[test]
    fn part_of_a_message_is_none() {
        let mut octets = message().write();
        for length in 0..octets.len() {
            assert!(Message::read(&octets[..length]).is_err(), "cut to {length}");
        }
        octets.push(0);
        let at = octets.len() - 1;
        assert_eq!(Message::read(&octets), Err(Malformed { at, what: "octets behind the last record" }));
        assert_eq!(Message::read(&[0; HEADER_LENGTH]).unwrap().write(), [0; HEADER_LENGTH]);
    }
}
