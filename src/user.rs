//! Who the command runs as: `USER`, `UID`, `USER:GROUP`, as a Dockerfile or `-u` writes it, looked up in
//! the image's own passwd(5) and group(5).
//!
//! What the files hold comes from a stranger: a number that is no id is an error, never 0 (CVE-2026-30892).
//! Pure: the text of both comes from facts.rs.

use crate::bundle::User;
use crate::error::{printable, Error, Result};
use crate::idmap::IdMap;

/// The user, and its home directory where the image names one.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub user: User,
    pub home: Option<String>,
}

/// Looks `wanted` up; an empty one is root. Every id found must be in the container's id map.
pub fn find(wanted: &str, passwd: &str, group: &str, map: &IdMap) -> Result<Found> {
    let mut found = resolve(wanted, passwd, group)?;
    check(&found.user, map)?;
    // A group of the image's that the map does not have is left out: nobody asked for it by name.
    found.user.groups.retain(|group| map.maps_gid(*group));
    Ok(found)
}

fn check(user: &User, map: &IdMap) -> Result<()> {
    let advice = "not enough ids: see /etc/subuid and /etc/subgid";
    if !map.maps_uid(user.uid) {
        return Err(Error::new(format!("user id {} is not in the container's id map", user.uid)).hint(advice));
    }
    if !map.maps_gid(user.gid) {
        return Err(Error::new(format!("group id {} is not in the container's id map", user.gid)).hint(advice));
    }
    Ok(())
}

/// `USER[:GROUP]` with the text of both files.
fn resolve(wanted: &str, passwd: &str, group: &str) -> Result<Found> {
    let wanted = if wanted.is_empty() { "0" } else { wanted };
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted, None),
    };
    let number = parse_id(name)?;
    // name:password:uid:gid:gecos:home:shell
    // A number is a uid and never a name: `1000:x:0:0::/:` makes nobody root.
    let is_it = |f: &[&str]| match number {
        Some(number) => parse_id(f[2]).is_ok_and(|id| id == Some(number)),
        None => !name.is_empty() && f[0] == name,
    };
    let entry = lines(passwd).find(|f| f.len() >= 6 && is_it(f));
    let entry = entry.map(|f| (f[0], parse_id(f[2]), parse_id(f[3]), f[5]));
    let (uid, own_gid, own_name, home) = match (number, entry) {
        (_, Some((name, uid, gid, home))) => (uid?, gid?, Some(name), Some(home.to_string())),
        (Some(number), None) => (Some(number), Some(0), None, None),
        (None, None) => return Err(Error::new(format!("user {} is not in the image's /etc/passwd", printable(name)))),
    };
    let (Some(uid), Some(own_gid)) = (uid, own_gid) else {
        return Err(Error::new(format!("the image's /etc/passwd has no numbers for user {}", printable(name))));
    };
    let (gid, groups) = match group_name {
        Some(name) => (resolve_group(name, group)?, Vec::new()),
        None => (own_gid, own_name.map(|name| groups_of(name, group)).unwrap_or_default()),
    };
    Ok(Found { user: User { uid, gid, groups: with_primary(gid, groups) }, home })
}

fn resolve_group(name: &str, group: &str) -> Result<u32> {
    if let Some(number) = parse_id(name)? {
        return Ok(number);
    }
    // name:password:gid:members
    let found = lines(group).find(|f| f.len() >= 3 && !name.is_empty() && f[0] == name).map(|f| parse_id(f[2]));
    match found {
        Some(gid) => {
            gid?.ok_or_else(|| Error::new(format!("the image's /etc/group has no number for {}", printable(name))))
        }
        None => Err(Error::new(format!("group {} is not in the image's /etc/group", printable(name)))),
    }
}

/// The supplementary groups of a user: those whose member list names it.
fn groups_of(user: &str, group: &str) -> Vec<u32> {
    let member = |f: &[&str]| f.len() >= 4 && f[3].split(',').any(|member| !member.is_empty() && member == user);
    lines(group).filter(|f| member(f)).filter_map(|f| parse_id(f[2]).ok().flatten()).collect()
}

/// The primary group belongs to the list too: else a process could leave it by setgid(2), and with it what
/// the group is denied (CVE-2022-36109).
fn with_primary(gid: u32, groups: Vec<u32>) -> Vec<u32> {
    let mut all = vec![gid];
    for group in groups {
        if !all.contains(&group) {
            all.push(group);
        }
    }
    all
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.trim_end().split(':').collect())
}

/// A number is an id from 0 to 4294967294, or an error; anything else is a name.
fn parse_id(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id < u32::MAX && !text.starts_with('+') => Ok(Some(id)),
        _ => Err(Error::new(format!("{text} is no user or group id (0 to 4294967294)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\nbad:x:-1:0::/:\nshort:x\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\nweb:x:33:app\nbad:x:99999999999:\n";

    fn found(wanted: &str) -> Found {
        resolve(wanted, PASSWD, GROUP).unwrap()
    }

    fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
        User { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(found(""), Found { user: user(0, 0, &[0, 10]), home: Some("/root".into()) });
        assert_eq!(found("app"), Found { user: user(1000, 1001, &[1001, 10, 33]), home: Some("/srv/app".into()) });
        assert_eq!(found("1000").user, user(1000, 1001, &[1001, 10, 33]));
        assert_eq!(found("app:web").user, user(1000, 33, &[33]));
        assert_eq!(found("77"), Found { user: user(77, 0, &[0]), home: None });
        assert_eq!(found("77:88").user, user(77, 88, &[88]));
    }

    #[test]
    fn odd_ones_are_errors_and_never_root() {
        for wanted in ["nobody", "app:none", "-1", "4294967295", "99999999999", "+5", "bad", "app:bad", ":5", "app:"] {
            assert!(resolve(wanted, PASSWD, GROUP).is_err(), "{wanted} was accepted");
        }
    }

    #[test]
    fn a_number_is_no_name_and_nothing_is_none() {
        let resolve =
            |wanted: &str| resolve(wanted, "1000:x:0:0::/:\n::0:7::/:\n::5:7::/:\n", "10:x:0:\n::0:\ng:x:9:\n");
        assert_eq!(resolve("1000:10").unwrap().user, user(1000, 10, &[10]));
        assert_eq!(resolve("5").unwrap().user, user(5, 7, &[7]));
        assert!(resolve(":1").is_err() && resolve("1:").is_err());
    }
}
