//! Fuzz target: whatever octets come in as a message, every reader of the program ends without a panic, and what
//! it makes of them is right: it reads again as it was, and it is what a client may get.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::dns_answer::Reply;
use mydocker_fuzz::dns_cache::{Cache, Found};
use mydocker_fuzz::dns_message::{rtype, Header, Reader, Record, HEADER_LENGTH};
use mydocker_fuzz::dns_name::{Name, Parsed};
use mydocker_fuzz::dns_query::{write_upstream_query, Key, Query, Refusal};
use mydocker_fuzz::dns_whole::Message;

fuzz_target!(|message: &[u8]| {
    if message.len() > 65535 {
        return;
    }
    what_is_written_is_read(message);
    for over_tcp in [false, true] {
        a_query_is_answered(message, over_tcp);
    }
    a_reply_is_passed_on(message);
});

fn what_is_written_is_read(message: &[u8]) {
    let Ok(whole) = Message::read(message) else { return };
    let written = whole.write();
    let again = Message::read(&written).expect("our own message");
    assert_eq!(again, whole);
    // Names compare without case; printed, they are as they were spelled.
    assert_eq!(format!("{again:?}"), format!("{whole:?}"));
    for (owner, _, _, rdata) in whole.records.iter().flatten() {
        let text = owner.to_string();
        assert_eq!(Name::from_text(&text).expect("our own text").octets(), owner.octets());
        assert!(rdata.to_string().bytes().all(|octet| matches!(octet, b' '..=b'~')));
    }
}

/// The reply to a client, made of this one's query: it can be read, is no longer than it may be, and repeats
/// ID and question.
fn check_reply(reply: &[u8], query: &Query, question: &[u8]) -> Header {
    assert!(reply.len() <= query.limit, "{} octets for {}", reply.len(), query.limit);
    let header = Header::read(reply).unwrap();
    assert!(header.qr() && !header.z() && header.id() == query.header.id());
    assert_eq!(header.qdcount(), u16::from(!question.is_empty()));
    assert_eq!(&reply[HEADER_LENGTH..][..question.len()], question);
    let records = records(reply, HEADER_LENGTH + question.len()).expect("our own reply");
    let opts = records.iter().filter(|record| record.rtype == rtype::OPT).count();
    assert_eq!(opts, usize::from(query.edns.is_some()));
    header
}

fn key_of(question: &[u8], query: &Query) -> Key {
    let mut key = Key::default();
    key.set(b"\x05other\0\0\x01\0\x01", query); // a key is used again and again
    key.set(question, query);
    key
}

fn a_query_is_answered(message: &[u8], over_tcp: bool) {
    let (query, rcode) = match Query::read(message, over_tcp) {
        Ok(query) => (query, 0),
        Err(Refusal::Reply(query, rcode)) => (query, rcode),
        Err(Refusal::Silence) => return,
    };
    let question = &message[HEADER_LENGTH..query.question_end];
    let mut out = vec![0; 65535];
    for is_served in [false, true] {
        let length = query.write_error(&mut out, question, rcode, is_served);
        check_reply(&out[..length], &query, question);
    }
    if rcode > 0 {
        return;
    }
    let length = query.write_truncated(&mut out, question);
    assert!(check_reply(&out[..length], &query, question).tc());
    let key = key_of(question, &query);
    let (its_question, _flags) = key.octets().split_at(question.len());
    assert!(its_question.eq_ignore_ascii_case(question));
    let length = write_upstream_query(&mut out, key.octets(), 0xabcd, false);
    Query::read(&out[..length], true).expect("our own query");
    let length = write_upstream_query(&mut out, key.octets(), 0xabcd, true);
    let ours = Query::read(&out[..length], true).expect("our own query");
    let its_key = key_of(&out[HEADER_LENGTH..ours.question_end], &ours);
    assert_eq!(key.octets(), its_key.octets(), "an upstream is asked for what the client wants");
}

/// The question of a message, in lower case and without pointers, as we would have asked it.
fn question_of(message: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(message);
    reader.question().ok()?;
    let mut question = message[HEADER_LENGTH..reader.at].to_vec();
    let name = question.len() - 4;
    question[..name].make_ascii_lowercase();
    Some(question)
}

fn records(message: &[u8], at: usize) -> Parsed<Vec<Record>> {
    let mut reader = Reader::new(message);
    reader.at = at;
    (0..Header::read(message).map_or(0, |header| header.records())).map(|_| reader.record()).collect()
}

fn a_reply_is_passed_on(message: &[u8]) {
    let Some(id) = Header::read(message).map(|header| header.id()) else { return };
    let question = question_of(message).unwrap_or_else(|| b"\x01a\0\0\x01\0\x01".to_vec());
    let Some(reply) = Reply::read(message, id, &question) else { return };
    let mut answer = b"of the reply before".to_vec();
    reply.take_answer(message, &mut answer);
    let header = Header::read(&answer).unwrap();
    if header.qdcount() == 0 {
        return assert_eq!((header.rcode(), answer.len()), (1, HEADER_LENGTH));
    }
    its_records_are_the_same(message, &answer, HEADER_LENGTH + question.len());
    // To a client that has asked the same, with room and without.
    let mut out = vec![0; 65535];
    let length = write_upstream_query(&mut out, &[&question[..], &[1]].concat(), 7, true);
    for over_tcp in [true, false] {
        let query = Query::read(&out[..length], over_tcp);
        let Ok(query) = query else { continue }; // AXFR
        let length = query.write_answer(&mut out, &question, &answer, true);
        if length < answer.len() {
            assert!(Header::read(&out).unwrap().tc());
        }
        check_reply(&out[..length], &query, &question);
        let length = write_upstream_query(&mut out, &[&question[..], &[1]].concat(), 7, true);
        assert!(length < 512);
    }
    it_ages_in_the_cache(&question, &answer);
}

/// What we hand on of a reply: all but the OPT, and at most some additional records.
fn its_records_are_the_same(message: &[u8], answer: &[u8], at: usize) {
    let kept = records(answer, at).expect("our own answer");
    assert_eq!(kept.last().map_or(at, |record| record.rdata.end), answer.len());
    let (before, after) = (Header::read(message).unwrap(), Header::read(answer).unwrap());
    if before.tc() && kept.is_empty() {
        return; // cut in the middle: no more than "ask by TCP"
    }
    let all = records(message, at).expect("what was taken for a reply");
    let say = |message: &[u8], record: &Record| {
        let data = mydocker_fuzz::dns_record::Rdata::read(message, record);
        let class_and_ttl = (record.class, record.ttl);
        (record.owner(message), record.rtype, class_and_ttl, data.map_err(|malformed| malformed.what))
    };
    let all = all.iter().filter(|record| record.rtype != rtype::OPT).map(|record| say(message, record));
    let kept: Vec<_> = kept.iter().map(|record| say(answer, record)).collect();
    let all: Vec<_> = all.collect();
    assert!(all.starts_with(&kept));
    assert_eq!((after.ancount(), after.nscount()), (before.ancount(), before.nscount()));
}

/// Second by second its TTLs fall, and nothing else changes; it is fresh as long as all of them are positive.
fn it_ages_in_the_cache(question: &[u8], answer: &[u8]) {
    let mut cache = Cache::new(2);
    let key = [question, &[0]].concat();
    if !cache.put(&key, 5, answer, 0) {
        return assert_eq!(cache.get(&key, 5, 0), Found::Nothing);
    }
    let ttls: Vec<_> = records(answer, HEADER_LENGTH + question.len()).unwrap();
    let mut before: Option<Vec<u8>> = None;
    for seconds in 0..4 {
        let Found::Fresh(aged) = cache.get(&key, 5, seconds * 1000 + 999) else {
            assert!(seconds > 0, "an answer that is never fresh");
            let old = cache.stale(&key, 5, seconds * 1000 + 999).expect("the old answer");
            return assert_eq!(old.len(), answer.len());
        };
        let mut unaged = aged.to_vec();
        for ttl in &ttls {
            let at = ttl.ttl_at..ttl.ttl_at + 4;
            let number = |octets: &[u8]| u32::from_be_bytes(octets[at.clone()].try_into().unwrap());
            let now = number(aged);
            assert!((1..=ttl.seconds()).contains(&now), "{now} of {}", ttl.seconds());
            if let Some(before) = &before {
                assert_eq!(number(before), now + 1, "a second later");
            }
            unaged[at].copy_from_slice(&ttl.ttl.to_be_bytes());
        }
        let name = question.len() - 4;
        assert_eq!(unaged[..HEADER_LENGTH], answer[..HEADER_LENGTH]);
        assert_eq!(unaged[HEADER_LENGTH..][..name], question[..name]);
        assert_eq!(unaged[HEADER_LENGTH + name..], answer[HEADER_LENGTH + name..]);
        before = Some(aged.to_vec());
    }
}
