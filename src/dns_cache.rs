//! Answers by question: RFC 2181 section 5, RFC 2308 (the "no"s), RFC 8767 (stale ones), RFC 9520
//! (failures). Pure: the clock is an argument, and nothing here knows a socket.
//!
//! What always holds:
//! - an answer is kept whole, as it came, under its [`Key`](crate::dns_query::Key): no record of it is
//!   ever used for another question;
//! - its TTLs, in all sections, are those of the moment of the last look;
//! - there are never more entries than `capacity`, nor more octets than `capacity` times 512: the one
//!   that was asked for least recently makes room, found in O(1);
//! - failures stand in a row of their own and have an eighth of the places: in an outage they do not
//!   drive out the old answers that are then needed.

use crate::dns_index::{Index, Row};
use crate::dns_message::{class, rcode, rtype, Header, Reader, HEADER_LENGTH};
use crate::dns_name::{Parsed, MAX_FAR};
use crate::dns_query::split_key;

/// Milliseconds, from any start.
pub type Time = u64;

/// RFC 2308 section 5: a "no" is kept for one to three hours at most.
const MAX_NEGATIVE: u32 = 3 * 3600;
/// RFC 8767 section 4: no answer is kept longer than a week, whatever it says.
const MAX_TTL: u32 = 7 * 24 * 3600;
/// How long an answer that ran out may still be given when no upstream has a better one.
const MAX_STALE: Time = 24 * 3600 * 1000;
/// The TTL of an answer that ran out, in seconds: RFC 8767 section 4.
pub const STALE_TTL: u32 = 30;
/// RFC 9520 section 3.2: a failure is kept for a second at least.
const FAILURE: Time = 1000;
/// Octets of memory for an entry, on the average.
const OCTETS_PER_ENTRY: usize = 512;
/// What an entry costs beside its message and its key.
const ENTRY_OVERHEAD: usize = 128;

/// What the cache has for a question.
#[derive(Debug, PartialEq)]
pub enum Found<'a> {
    Nothing,
    /// What may be given: an answer, its TTLs aged, or a failure of the last second. Without OPT.
    Fresh(&'a [u8]),
    /// One that has run out: to be given only where a refresh fails.
    RunOut,
    /// One that has run out, and a refresh failed less than a second ago.
    Stale(&'a [u8]),
}

struct Entry {
    hash: u64,
    /// Without OPT, its question in lower case: with `flags` it is the entry's key.
    message: Box<[u8]>,
    question_end: u16,
    flags: u8,
    /// The moment for which the TTLs in `message` are right.
    aged: Time,
    expires: Time,
    /// Before this moment no upstream is asked again.
    failed_until: Time,
    is_failure: bool,
}

impl Entry {
    fn new(key: &[u8], hash: u64, message: &[u8], now: Time) -> Entry {
        let (question, flags) = split_key(key);
        let question_end = HEADER_LENGTH + question.len();
        let mut message: Box<[u8]> = message.into();
        message[HEADER_LENGTH..question_end].copy_from_slice(question);
        let question_end = question_end as u16;
        Entry { hash, message, question_end, flags, aged: now, expires: now, failed_until: 0, is_failure: false }
    }

    fn is_for(&self, key: &[u8], hash: u64) -> bool {
        let (question, flags) = split_key(key);
        self.hash == hash
            && self.flags == flags
            && self.message[HEADER_LENGTH..usize::from(self.question_end)] == *question
    }

    fn octets(&self) -> usize {
        self.message.len() + ENTRY_OVERHEAD
    }
}

pub struct Cache {
    capacity: usize,
    /// Of all entries together.
    octets: usize,
    entries: Vec<Entry>,
    index: Index,
    /// Answers from the one looked for least recently to the newest.
    answers: Row,
    /// Failures from the oldest to the newest.
    failures: Row,
    failure_count: usize,
}

impl Cache {
    /// `capacity`: answers, at least one.
    pub fn new(capacity: usize) -> Cache {
        Cache {
            capacity,
            octets: 0,
            entries: Vec::new(),
            index: Index::new(capacity),
            answers: Row::new(),
            failures: Row::new(),
            failure_count: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn find(&self, key: &[u8], hash: u64) -> Option<u32> {
        self.index.find(hash, |number| self.entries[number as usize].is_for(key, hash))
    }

    /// Looks for a question; what is found becomes the newest.
    pub fn get(&mut self, key: &[u8], hash: u64, now: Time) -> Found<'_> {
        let Some(number) = self.find(key, hash) else { return Found::Nothing };
        if !self.entries[number as usize].is_failure {
            self.answers.renew(number);
        }
        let entry = &mut self.entries[number as usize];
        if now < entry.expires {
            // TTLs count in seconds: the octets change once in each at most.
            let seconds = (now.saturating_sub(entry.aged) / 1000) as u32;
            if seconds > 0 {
                change_ttls(&mut entry.message, |ttl| ttl.saturating_sub(seconds));
                entry.aged += Time::from(seconds) * 1000;
            }
            return Found::Fresh(&entry.message);
        }
        match () {
            () if entry.is_failure || now >= entry.expires + MAX_STALE => Found::Nothing,
            () if now < entry.failed_until => Found::Stale(&entry.message),
            () => Found::RunOut,
        }
    }

    /// The answer that has run out, for when a refresh takes too long.
    pub fn stale(&self, key: &[u8], hash: u64, now: Time) -> Option<&[u8]> {
        let entry = &self.entries[self.find(key, hash)? as usize];
        let usable = !entry.is_failure && now < entry.expires + MAX_STALE;
        usable.then_some(&*entry.message)
    }

    /// Keeps an answer (without OPT) for as long as it says; false where it must not be kept at all.
    pub fn put(&mut self, key: &[u8], hash: u64, answer: &[u8], now: Time) -> bool {
        let Ok(Some(Terms { seconds, limit, is_exceeded })) = terms(answer) else { return false };
        let mut entry = Entry::new(key, hash, answer, now);
        if is_exceeded {
            change_ttls(&mut entry.message, |ttl| ttl.min(limit));
        }
        entry.expires = now + Time::from(seconds) * 1000;
        self.insert(key, entry);
        true
    }

    /// Remembers for a second that nobody could answer. An old answer is kept and given meanwhile.
    pub fn put_failure(&mut self, key: &[u8], hash: u64, reply: &[u8], now: Time) {
        if self.stale(key, hash, now).is_some() {
            if let Some(number) = self.find(key, hash) {
                self.entries[number as usize].failed_until = now + FAILURE;
            }
            return;
        }
        let mut entry = Entry::new(key, hash, reply, now);
        entry.expires = now + FAILURE;
        entry.is_failure = true;
        self.insert(key, entry);
    }

    fn insert(&mut self, key: &[u8], entry: Entry) {
        let (now, is_failure) = (entry.aged, entry.is_failure);
        let enough = is_failure && self.failure_count > self.capacity / 8;
        if let Some(number) = self.find(key, entry.hash) {
            self.forget(number);
            self.place(number, entry);
        } else if self.entries.len() < self.capacity && !enough {
            self.adopt(self.entries.len() as u32, &entry);
            self.entries.push(entry);
        } else if let Some(number) = self.victim(now, enough) {
            self.forget(number);
            self.place(number, entry);
        }
        while self.octets > self.capacity * OCTETS_PER_ENTRY && self.entries.len() > 1 {
            // The new one stays, also where it is the only answer.
            let is_only_answer = !is_failure && self.entries.len() - self.failure_count == 1;
            match self.victim(now, is_only_answer) {
                Some(number) => self.remove(number),
                None => break,
            }
        }
    }

    /// Who makes room: the oldest failure if it is over, or must be one; else the oldest answer.
    fn victim(&self, now: Time, must_be_failure: bool) -> Option<u32> {
        let failure = self.failures.oldest();
        let cheap = failure.filter(|number| must_be_failure || self.entries[*number as usize].expires <= now);
        cheap.or(self.answers.oldest()).or(failure)
    }

    fn row_of(&mut self, is_failure: bool) -> &mut Row {
        if is_failure {
            &mut self.failures
        } else {
            &mut self.answers
        }
    }

    fn adopt(&mut self, number: u32, entry: &Entry) {
        self.octets += entry.octets();
        self.failure_count += usize::from(entry.is_failure);
        self.index.insert(entry.hash, number);
        self.row_of(entry.is_failure).push(number);
    }

    fn place(&mut self, number: u32, entry: Entry) {
        self.adopt(number, &entry);
        self.entries[number as usize] = entry;
    }

    fn forget(&mut self, number: u32) {
        let entry = &self.entries[number as usize];
        let (octets, hash, is_failure) = (entry.octets(), entry.hash, entry.is_failure);
        self.octets -= octets;
        self.failure_count -= usize::from(is_failure);
        self.index.remove(hash, number);
        self.row_of(is_failure).remove(number);
    }

    /// Gives up an entry for good. The last in the vector moves to its place.
    fn remove(&mut self, number: u32) {
        self.forget(number);
        let last = self.entries.len() as u32 - 1;
        if last != number {
            let (hash, is_failure) = (self.entries[last as usize].hash, self.entries[last as usize].is_failure);
            self.index.remove(hash, last);
            self.index.insert(hash, number);
            self.row_of(is_failure).rename(last, number);
        }
        self.entries.swap_remove(number as usize);
    }
}

/// Changes every TTL of a good message, in all three sections; an OPT's is none.
pub fn change_ttls(message: &mut [u8], change: impl Fn(u32) -> u32) {
    let Some(header) = Header::read(message) else { return };
    let mut reader = Reader::new(message);
    let mut at = reader.skip_question().map_or(message.len(), |_| reader.at);
    for _ in 0..header.records() {
        let mut reader = Reader::new(message);
        reader.at = at;
        let Ok(record) = reader.record() else { return };
        at = reader.at;
        if record.rtype != rtype::OPT {
            let ttl = change(record.seconds());
            message[record.ttl_at..record.ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
    }
}

/// Whether a name goes through a TTL, as only a hostile pointer makes it: it would fall apart as that ages.
/// `far_names`: (start, end) of parts of names behind the question that pointers lead to.
fn is_name_in_ttl(ttls: &[usize], far_names: &[(usize, usize)]) -> bool {
    let is_crossed = |(start, end): &(usize, usize)| {
        let next = ttls.partition_point(|at| at + 4 <= *start);
        ttls.get(next).is_some_and(|at| at < end)
    };
    far_names.len() >= MAX_FAR || far_names.iter().any(is_crossed)
}

/// On what terms an answer may be kept.
#[derive(Debug, PartialEq)]
struct Terms {
    /// How long: the smallest of its TTLs.
    seconds: u32,
    /// What none of its TTLs may exceed.
    limit: u32,
    /// One of them does.
    is_exceeded: bool,
}

/// `None`: it may not be kept at all.
fn terms(message: &[u8]) -> Parsed<Option<Terms>> {
    let Some(header) = Header::read(message) else { return Ok(None) };
    let mut reader = Reader::new(message);
    let (qtype, qclass) = reader.skip_question()?;
    reader.note_far_names();
    if header.tc() || qclass != class::IN || !matches!(header.rcode(), rcode::NOERROR | rcode::NXDOMAIN) {
        return Ok(None);
    }
    let mut ttls = Vec::with_capacity(header.records().min(16));
    let (mut smallest, mut largest, mut answered, mut minimum) = (MAX_TTL, 0, false, None);
    for number in 0..header.records() {
        let record = reader.record()?;
        ttls.push(record.ttl_at);
        smallest = smallest.min(record.seconds());
        largest = largest.max(record.seconds());
        if number < usize::from(header.ancount()) {
            answered |= record.rtype == qtype;
        } else if record.rtype == rtype::SOA {
            minimum = Some(soa_minimum(message, record.rdata.end));
        }
    }
    let limit = match minimum {
        _ if answered && header.rcode() == rcode::NOERROR => MAX_TTL,
        // RFC 2308 section 5: the smaller of the SOA's TTL and its MINIMUM; and without an SOA not at all.
        Some(minimum) => minimum.min(MAX_NEGATIVE),
        None => 0,
    };
    let seconds = smallest.min(limit);
    let may_keep = seconds > 0 && !is_name_in_ttl(&ttls, &reader.far_names());
    Ok(may_keep.then_some(Terms { seconds, limit, is_exceeded: largest > limit }))
}

/// MINIMUM is the SOA's last field, RFC 1035 section 3.3.13.
fn soa_minimum(message: &[u8], rdata_end: usize) -> u32 {
    message[..rdata_end].last_chunk().map_or(0, |octets| u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_message::{Question, Writer};
    use crate::dns_name::Name;

    const START: Time = 5_000;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// (key, message) of an answer with these records: section 1-3, type, TTL; an SOA's MINIMUM is 600.
    fn answer(of: &str, rcode: u16, records: &[(u8, u16, u32)]) -> (Vec<u8>, Vec<u8>) {
        let count = |section| records.iter().filter(|record| record.0 == section).count() as u16;
        let mut header = Header::default();
        header.set_qr(true);
        header.set_rcode(rcode);
        header.set_qdcount(1);
        header.set_ancount(count(1));
        header.set_nscount(count(2));
        header.set_arcount(count(3));
        let mut writer = Writer::new(&header);
        let question = Question { name: name(of), qtype: rtype::A, qclass: class::IN };
        writer.question(&question);
        let key = [&writer.message[HEADER_LENGTH..], &[0]].concat();
        for (_, rtype, ttl) in records {
            writer.record(&question.name, (*rtype, class::IN), *ttl, |w| match *rtype {
                rtype::A => w.octets(&[127, 0, 0, 1]),
                rtype::SOA => {
                    w.name(&name("ns.example."));
                    w.name(&name("."));
                    [1, 2, 3, 4, 600].into_iter().for_each(|number| w.u32(number));
                }
                _ => w.name(&name("other.example.")),
            });
        }
        (key, writer.message)
    }

    fn hash(key: &[u8]) -> u64 {
        key.iter().map(|octet| u64::from(*octet)).sum()
    }

    fn ttls(message: &[u8]) -> Vec<u32> {
        let seen = std::cell::RefCell::new(Vec::new());
        change_ttls(&mut message.to_vec(), |ttl| {
            seen.borrow_mut().push(ttl);
            ttl
        });
        seen.into_inner()
    }

    fn put(cache: &mut Cache, (key, message): &(Vec<u8>, Vec<u8>), now: Time) -> bool {
        cache.put(key, hash(key), message, now)
    }

    fn get<'a>(cache: &'a mut Cache, (key, _): &(Vec<u8>, Vec<u8>), now: Time) -> Found<'a> {
        cache.get(key, hash(key), now)
    }

    #[test]
    fn terms_of_answers() {
        let seconds = |rcode, records: &[(u8, u16, u32)]| {
            terms(&answer("a.example.", rcode, records).1).unwrap().map(|terms| terms.seconds)
        };
        assert_eq!(seconds(0, &[(1, rtype::A, 300), (2, rtype::NS, 200), (3, rtype::A, 100)]), Some(100));
        assert_eq!(seconds(0, &[(1, rtype::A, 0)]), None);
        assert_eq!(seconds(0, &[(1, rtype::A, 0x8000_0001)]), None);
        assert_eq!(seconds(0, &[(1, rtype::A, 0x7fff_ffff)]), Some(MAX_TTL));
        assert_eq!(seconds(3, &[(2, rtype::SOA, 3600)]), Some(600));
        assert_eq!(seconds(3, &[(2, rtype::SOA, 60)]), Some(60));
        assert_eq!(seconds(3, &[]), None);
        assert_eq!(seconds(0, &[(2, rtype::SOA, 60)]), Some(60)); // NODATA
        assert_eq!(seconds(0, &[(1, rtype::CNAME, 50), (2, rtype::SOA, 60)]), Some(50));
        assert_eq!(seconds(0, &[(1, rtype::CNAME, 50)]), None); // a chain that ends nowhere
        assert_eq!(seconds(0, &[(2, rtype::NS, 60)]), None); // a referral
        assert_eq!(seconds(2, &[(1, rtype::A, 60)]), None);
        let (_, mut message) = answer("a.example.", 0, &[(1, rtype::A, 300)]);
        message[2] |= 2; // TC
        assert_eq!(terms(&message), Ok(None));
    }

    #[test]
    fn answers_age_run_out_and_are_stale() {
        let mut cache = Cache::new(10);
        let one = answer("A.example.", 0, &[(1, rtype::A, 300), (2, rtype::NS, 200), (3, rtype::A, 250)]);
        assert!(put(&mut cache, &one, START));
        for (after, aged) in [(999, [300, 200, 250]), (1000, [299, 199, 249]), (1500, [299, 199, 249])] {
            assert!(matches!(get(&mut cache, &one, START + after), Found::Fresh(m) if ttls(m) == aged));
        }
        assert!(matches!(get(&mut cache, &one, START + 199_999), Found::Fresh(m) if ttls(m) == [101, 1, 51]));
        assert_eq!(get(&mut cache, &one, START + 200_000), Found::RunOut);
        let (key, message) = &one;
        assert!(cache.stale(key, hash(key), START + 200_000).is_some());
        cache.put_failure(key, hash(key), message, START + 300_000);
        assert!(matches!(get(&mut cache, &one, START + 300_999), Found::Stale(_)));
        assert_eq!(get(&mut cache, &one, START + 301_000), Found::RunOut);
        assert_eq!(get(&mut cache, &one, START + 200_000 + MAX_STALE), Found::Nothing);
    }

    #[test]
    fn no_name_lies_in_a_ttl() {
        let mut cache = Cache::new(10);
        let (key, mut message) = answer("a.example.", 0, &[(1, rtype::A, 0x0101_6100), (3, rtype::A, 300)]);
        assert!(cache.put(&key, hash(&key), &message, START));
        let owner = message.len() - 16;
        message[owner + 1] = owner as u8 - 9; // the second octet of the TTL before it
        assert!(!cache.put(&key, hash(&key), &message, START));
        // Nor one that begins within the question: its last label is taken for 18 octets.
        let (key, mut message) = answer("a.\\018.", 0, &[(1, rtype::A, 300), (3, rtype::A, 300)]);
        let owner = message.len() - 16;
        message[owner + 1] = 15;
        assert!(terms(&message).is_ok(), "a name, if an odd one");
        assert!(!cache.put(&key, hash(&key), &message, START));
    }

    #[test]
    fn failures_last_a_second() {
        let mut cache = Cache::new(10);
        let (key, message) = answer("a.example.", 2, &[]);
        cache.put_failure(&key, hash(&key), &message, START);
        assert!(matches!(cache.get(&key, hash(&key), START + 999), Found::Fresh(_)));
        assert_eq!(cache.get(&key, hash(&key), START + 1000), Found::Nothing);
        assert_eq!(cache.stale(&key, hash(&key), START + 1000), None);
    }

    #[test]
    fn a_no_shows_how_long_it_is_good() {
        let mut cache = Cache::new(10);
        let no = answer("a.example.", 3, &[(2, rtype::SOA, 3600)]);
        put(&mut cache, &no, START);
        assert!(matches!(get(&mut cache, &no, START), Found::Fresh(m) if ttls(m) == [600]));
    }

    #[test]
    fn the_one_not_asked_for_makes_room() {
        let mut cache = Cache::new(3);
        let all: Vec<_> = ["a.", "b.", "c.", "d."].map(|of| answer(of, 0, &[(1, rtype::A, 300)])).into();
        for one in &all[..3] {
            put(&mut cache, one, START);
        }
        assert!(matches!(get(&mut cache, &all[0], START), Found::Fresh(_)));
        put(&mut cache, &all[3], START);
        let left: Vec<_> = all.iter().map(|one| get(&mut cache, one, START) != Found::Nothing).collect();
        assert_eq!((left, cache.len()), (vec![true, false, true, true], 3));
    }

    #[test]
    fn failures_do_not_drive_out_answers() {
        let mut cache = Cache::new(16);
        let good: Vec<_> = (0..13).map(|n| answer(&format!("good{n}."), 0, &[(1, rtype::A, 1)])).collect();
        for one in &good {
            put(&mut cache, one, START);
        }
        for number in 0..100 {
            let (key, message) = answer(&format!("bad{number}."), 2, &[]);
            cache.put_failure(&key, hash(&key), &message, START + 2000);
            assert!(matches!(cache.get(&key, hash(&key), START + 2000), Found::Fresh(_)));
        }
        for (key, _) in &good {
            assert!(cache.stale(key, hash(key), START + 2000).is_some());
        }
        assert_eq!((cache.len(), cache.failure_count), (16, 3));
        // A failure becomes an answer, and those that are over make room for others.
        let (key, message) = answer("bad99.", 0, &[(1, rtype::A, 300)]);
        assert!(cache.put(&key, hash(&key), &message, START + 2500));
        assert_eq!((cache.len(), cache.failure_count), (16, 2));
        put(&mut cache, &answer("new.", 0, &[(1, rtype::A, 300)]), START + 4000);
        assert_eq!((cache.len(), cache.failure_count), (16, 1));
        assert!(good.iter().all(|(key, _)| cache.stale(key, hash(key), START + 4000).is_some()));
    }

    #[test]
    fn octets_are_bounded_too() {
        let mut cache = Cache::new(8);
        let large: Vec<_> = (0..64).map(|n| (1, rtype::A, 300 + n)).collect();
        let all: Vec<_> = ["a.", "b.", "c.", "d.", "e.", "f."].map(|of| answer(of, 0, &large)).into();
        for one in &all {
            put(&mut cache, one, START);
            put(&mut cache, one, START);
            assert!(cache.octets <= 8 * OCTETS_PER_ENTRY);
        }
        let left: Vec<_> = all.iter().map(|one| get(&mut cache, one, START) != Found::Nothing).collect();
        assert_eq!(left, [false, false, false, true, true, true]);
        assert_eq!(cache.octets, cache.entries.iter().map(Entry::octets).sum::<usize>());
    }
}
