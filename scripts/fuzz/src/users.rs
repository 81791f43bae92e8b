//! Fuzz target: whatever an image's passwd and group hold, a user is who was asked for: uid 0 comes of `0`, of nothing
//! at all, or of a name whose line says 0; a number is that uid; a group likewise. Nobody gets a group whose line does
//! not name him, and no id that the map does not have.
//!
//! The input is three parts: USER, passwd, group.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::bundle::User;
use mydocker_fuzz::claims::{texts_and_parts, told};
use mydocker_fuzz::idmap::{IdMap, Range};
use mydocker_fuzz::user::find;

static MAP: OnceLock<IdMap> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let Some(([wanted, passwd, group], _)) = texts_and_parts(data) else { return };
    let map = MAP.get_or_init(|| {
        let all = |count| vec![Range { inside: 0, outside: 0, count }];
        let mut map = IdMap::of_caller().expect("a map");
        (map.uids, map.gids) = (all(u32::MAX), all(100_000));
        map
    });
    let Some(found) = told(find(wanted, passwd, group, map)) else { return };
    let User { uid, gid, groups } = found.user;
    assert!(map.maps_uid(uid) && groups.iter().all(|group| map.maps_gid(*group)));
    assert_eq!(groups.first(), Some(&gid), "the primary group belongs to the list");
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (if wanted.is_empty() { "0" } else { wanted }, None),
    };
    // Those that name the user and his group, and say these numbers.
    let users = lines(passwd).filter(|line| line.len() >= 6 && says(line[2], uid));
    let mut users = users.filter(|line| says(name, uid) || !is_number(name) && !name.is_empty() && line[0] == name);
    let his = users.next();
    match number(name) {
        Some(asked) => assert_eq!(uid, asked, "{name} became {uid}"),
        None => assert!(his.is_some(), "{name} became {uid}"),
    }
    match group_name {
        Some(name) => match number(name) {
            Some(asked) => assert_eq!(gid, asked, "{name} became {gid}"),
            None => {
                let mut named = lines(group).filter(|line| line.len() >= 3 && line[0] == name && says(line[2], gid));
                assert!(named.next().is_some() && !name.is_empty(), "{name} became {gid}");
            }
        },
        None => {
            let mut lines = his.into_iter().chain(users);
            let is_his = lines.any(|line| says(line[3], gid));
            assert!(is_his || gid == 0 && number(name).is_some(), "a group from nowhere: {gid}");
        }
    }
    for more in groups.iter().filter(|more| **more != gid) {
        let member = |line: &Vec<&str>| {
            let named = |member: &str| {
                !member.is_empty()
                    && lines(passwd).any(|user| user[0] == member && user.len() >= 6 && says(user[2], uid))
            };
            line.len() >= 4 && says(line[2], *more) && line[3].split(',').any(named)
        };
        assert!(group_name.is_none() && lines(group).any(|line| member(&line)), "group {more} from nowhere");
    }
    assert!(found.home.is_none_or(|home| lines(passwd).any(|line| line.len() >= 6 && line[5] == home)));
});

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.trim_end().split(':').collect())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number without a sign, less than (uid_t) -1.
fn number(text: &str) -> Option<u32> {
    if !is_number(text) {
        return None;
    }
    let mut digits = text.bytes().map(|byte| u64::from(byte - b'0'));
    let value = digits.try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(digit));
    value.filter(|value| *value < 0xffff_ffff).map(|value| value as u32)
}

fn says(text: &str, id: u32) -> bool {
    is_number(text) && number(text) == Some(id)
}
