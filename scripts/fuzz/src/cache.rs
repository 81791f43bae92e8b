//! Fuzz target: the cache against a model that knows what was put in and when. The octets of the input are
//! operations, four for each: what, with which question, and two numbers.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::dns_cache::{Cache, Found, Time};
use mydocker_fuzz::dns_message::{class, rcode, rtype, Header, Question, Reader, Writer, HEADER_LENGTH};
use mydocker_fuzz::dns_name::Name;

const STALE: Time = 24 * 3600 * 1000;
const FAILURE: Time = 1000;

/// What the model knows of an answer that was put in.
struct Known {
    key: Vec<u8>,
    message: Vec<u8>,
    at: Time,
    expires: Time,
    failed_until: Time,
    is_failure: bool,
    /// Room for it there must have been at any time.
    sure: bool,
}

fuzz_target!(|data: &[u8]| {
    let Some((capacity, operations)) = data.split_first() else { return };
    let capacity = 1 + usize::from(capacity % 5);
    let mut cache = Cache::new(capacity);
    // From the one touched least recently to the newest.
    let mut model: Vec<Known> = Vec::new();
    let mut now: Time = 0;
    for operation in operations.chunks_exact(4).take(2000) {
        let [what, which, high, low] = operation.try_into().unwrap();
        let number = u16::from_be_bytes([high, low]);
        let key = key(which % 8);
        match what % 7 {
            0 | 1 => put(&mut cache, &mut model, answer(&key, what, high, low), now, &key),
            2 => put_failure(&mut cache, &mut model, now, &key),
            3 => check_get(&mut cache, &mut model, now, &key),
            4 => check_stale(&cache, &model, now, &key),
            5 => now = now.max(a_moment_that_matters(&model, &key, low).unwrap_or(now)),
            // Milliseconds, seconds or hours.
            _ => now += Time::from(number) * [1, 1000, 3_600_000][usize::from(which % 3)],
        }
        forget(&mut model, capacity);
        let sure = model.iter().filter(|known| known.sure).count();
        assert!((sure..=capacity).contains(&cache.len()));
    }
});

/// When something ends, or the last millisecond before.
fn a_moment_that_matters(model: &[Known], key: &[u8], which: u8) -> Option<Time> {
    let known = model.iter().find(|known| known.key == key)?;
    let moments = [known.expires, known.expires + STALE, known.failed_until, known.at + 1000];
    moments[usize::from(which % 4)].checked_sub(Time::from(which / 4 % 2))
}

fn key(which: u8) -> Vec<u8> {
    let name = Name::from_text(&format!("{}.", char::from(b'a' + which))).unwrap();
    [name.octets(), &rtype::A.to_be_bytes(), &class::IN.to_be_bytes(), &[0]].concat()
}

/// Few values, so that chains grow.
fn hash(key: &[u8]) -> u64 {
    u64::from(key[1] % 3) * 0x1_0000_0001
}

/// An answer and for how many seconds it may be kept: records, a NODATA or an NXDOMAIN; of very different sizes.
fn answer(key: &[u8], what: u8, ttl: u8, size: u8) -> (Vec<u8>, u32) {
    let question = Reader::new(&[&[0; HEADER_LENGTH], key].concat()).question().unwrap();
    let positive = size & 1 == 0;
    let mut header = Header::default();
    header.set_qr(true);
    header.set_qdcount(1);
    header.set_rcode(if what >= 128 && !positive { rcode::NXDOMAIN } else { rcode::NOERROR });
    header.set_ancount(u16::from(positive));
    header.set_nscount(u16::from(!positive));
    header.set_arcount(1);
    let mut writer = Writer::new(&header);
    let Question { name, .. } = &question;
    writer.question(&question);
    let ttl = u32::from(ttl) * if size >= 128 { 1 } else { 100 };
    if positive {
        writer.record(name, (rtype::A, class::IN), ttl, |w| w.octets(&[127, 0, 0, 1]));
    } else {
        writer.record(name, (rtype::SOA, class::IN), ttl, |w| {
            w.name(name);
            w.name(name);
            [1, 2, 3, 4, 600].into_iter().for_each(|number| w.u32(number));
        });
    }
    writer.record(name, (rtype::TXT, class::IN), 100_000, |w| w.octets(&vec![0; usize::from(size) * 8]));
    (writer.message, if positive { ttl } else { ttl.min(600) })
}

fn renew(model: &mut Vec<Known>, key: &[u8]) {
    if let Some(number) = model.iter().position(|known| known.key == key) {
        let known = model.remove(number);
        model.push(known);
    }
}

fn remember(model: &mut Vec<Known>, key: &[u8], message: Vec<u8>, now: Time, expires: Time, is_failure: bool) {
    model.retain(|known| known.key != key);
    model.push(Known { key: key.to_vec(), message, at: now, expires, failed_until: 0, is_failure, sure: true });
}

/// What does not fit, counted from the newest, may be gone: not more than `capacity`, and not more octets than 512
/// for each, of which an entry takes those of its message, those of its key, and some more. Failures have places of
/// their own, which answers can only lose: each counts as newer than all answers, and only the newest is sure.
fn forget(model: &mut [Known], capacity: usize) {
    let (mut octets, mut failures, mut answers) = (0, 0, 0);
    for (number, known) in model.iter_mut().rev().enumerate().filter(|(_, known)| known.is_failure) {
        octets += known.message.len() + known.key.len() + 256;
        failures += 1;
        known.sure &= number == 0 && capacity > 1;
    }
    failures = failures.min(capacity / 8 + 1);
    for known in model.iter_mut().rev().filter(|known| !known.is_failure) {
        octets += known.message.len() + known.key.len() + 256;
        known.sure &= answers == 0 && failures == 0 || answers + failures < capacity && octets <= capacity * 512;
        answers += 1;
    }
}

fn put(cache: &mut Cache, model: &mut Vec<Known>, (message, seconds): (Vec<u8>, u32), now: Time, key: &[u8]) {
    let kept = cache.put(key, hash(key), &message, now);
    assert_eq!(kept, seconds > 0);
    if kept {
        let expires = now + Time::from(seconds) * 1000;
        remember(model, key, message, now, expires, false);
        // The newest is always there.
        assert!(matches!(cache.get(key, hash(key), now), Found::Fresh(_)));
    }
}

fn put_failure(cache: &mut Cache, model: &mut Vec<Known>, now: Time, key: &[u8]) {
    let had_old = cache.stale(key, hash(key), now).is_some();
    let message = [&[0; HEADER_LENGTH], &key[..key.len() - 1]].concat();
    cache.put_failure(key, hash(key), &message, now);
    match model.iter_mut().find(|known| known.key == key) {
        Some(known) if had_old => known.failed_until = now + FAILURE,
        _ => remember(model, key, message, now, now + FAILURE, true),
    }
}

fn ttls(message: &[u8]) -> Vec<u32> {
    let mut reader = Reader::new(message);
    reader.question().unwrap();
    (0..Header::read(message).unwrap().records()).map(|_| reader.record().unwrap().ttl).collect()
}

/// It is this answer, and what its TTLs have lost is the same for all.
fn check_message(found: &[u8], known: &Known, now: Time, is_fresh: bool) {
    assert_eq!(found.len(), known.message.len());
    let elapsed = ((now - known.at) / 1000) as u32;
    let smallest = ((known.expires - known.at) / 1000) as u32;
    for (aged, original) in ttls(found).into_iter().zip(ttls(&known.message)) {
        assert!(aged <= original);
        assert!(!is_fresh || aged > 0 && (aged >= smallest - elapsed));
        assert!(!is_fresh || aged <= original - elapsed.min(original));
    }
}

fn check_get(cache: &mut Cache, model: &mut Vec<Known>, now: Time, key: &[u8]) {
    let Some(known) = model.iter().find(|known| known.key == key) else {
        return assert_eq!(cache.get(key, hash(key), now), Found::Nothing);
    };
    let too_old = now >= known.expires && (known.is_failure || now >= known.expires + STALE);
    match cache.get(key, hash(key), now) {
        Found::Nothing => assert!(!known.sure || too_old),
        Found::Fresh(message) => {
            assert!(now < known.expires);
            check_message(message, known, now, true);
        }
        Found::RunOut => assert!(now >= known.expires && !too_old && now >= known.failed_until),
        Found::Stale(message) => {
            assert!(now >= known.expires && !too_old && now < known.failed_until);
            check_message(message, known, now, false);
        }
    }
    renew(model, key);
}

fn check_stale(cache: &Cache, model: &[Known], now: Time, key: &[u8]) {
    let known = model.iter().find(|known| known.key == key);
    let usable = |known: &&Known| !known.is_failure && now < known.expires + STALE;
    match cache.stale(key, hash(key), now) {
        None => assert!(!known.filter(usable).is_some_and(|known| known.sure)),
        Some(message) => check_message(message, known.filter(usable).expect("a usable one"), now, false),
    }
}
