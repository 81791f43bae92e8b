//! Who the command runs as: `USER`, `UID`, `USER:GROUP`, as a Dockerfile or `-u` writes it, looked up in
//! the image's own passwd(5) and group(5).
//!
//! The files are read from the layers themselves, before anything is mounted, by the rules that
//! overlayfs will follow: the topmost layer that knows the path decides, a whiteout ends the search.
//! What they hold comes from a stranger: only a regular file of bounded size is read, and a number
//! that is no id is an error, never 0 (CVE-2026-30892).

use std::path::Path;

use crate::bundle::User;
use crate::error::{printable, Context, Error, Result};
use crate::idmap::IdMap;
use crate::sys::{self, Fd};

/// A longer passwd or group file is refused (CVE-2024-9676).
const MAX_FILE: usize = 1 << 20;

/// The user, and its home directory where the image names one.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub user: User,
    pub home: Option<String>,
}

/// Looks `wanted` up in the image at `image`, a directory of the store with `layers` layers. An empty
/// `wanted` is root.
pub fn find(image: &Path, layers: usize, wanted: &str, map: &IdMap) -> Result<Found> {
    let [passwd, group] = read_from_layers(image, layers)?;
    let found = resolve(wanted, &passwd, &group)?;
    check(&found.user, map)?;
    Ok(found)
}

/// Every id must exist in the container's id map. Groups of the image's group file that do not are left
/// out: nobody asked for them by name.
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
    let is_it = |f: &[&str]| f[0] == name || number.is_some_and(|number| f[2].parse() == Ok(number));
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
    Ok(Found { user: User { uid, gid, groups }, home })
}

fn resolve_group(name: &str, group: &str) -> Result<u32> {
    if let Some(number) = parse_id(name)? {
        return Ok(number);
    }
    // name:password:gid:members
    let found = lines(group).find(|f| f.len() >= 3 && f[0] == name).map(|f| parse_id(f[2]));
    match found {
        Some(gid) => {
            gid?.ok_or_else(|| Error::new(format!("the image's /etc/group has no number for {}", printable(name))))
        }
        None => Err(Error::new(format!("group {} is not in the image's /etc/group", printable(name)))),
    }
}

/// The supplementary groups of a user: those whose member list names it.
fn groups_of(user: &str, group: &str) -> Vec<u32> {
    let member = |f: &[&str]| f.len() >= 4 && f[3].split(',').any(|member| member == user);
    lines(group).filter(|f| member(f)).filter_map(|f| parse_id(f[2]).ok().flatten()).collect()
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

/// /etc/passwd and /etc/group as the stacked layers show them; empty where there is none.
fn read_from_layers(image: &Path, layers: usize) -> Result<[String; 2]> {
    let mut found: [Option<String>; 2] = [None, None];
    for layer in (0..layers).rev() {
        let dir = image.join(layer.to_string());
        let root =
            sys::open(&dir, libc::O_PATH | libc::O_DIRECTORY, 0).context(format_args!("open {}", dir.display()))?;
        for (file, name) in found.iter_mut().zip(["etc/passwd", "etc/group"]) {
            if file.is_none() {
                *file = read_from_layer(&root, &dir, name)?;
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(found.map(Option::unwrap_or_default))
}

/// One file of one layer; empty where the layer hides it, `None` where the layers below decide.
fn read_from_layer(root: &Fd, dir: &Path, name: &str) -> Result<Option<String>> {
    // Not blocking: a pipe would wait for a writer for ever.
    match sys::openat2_in_root(root, name, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0) {
        Ok(file) => {
            let bytes = sys::read_open_file(&file, MAX_FILE).context(format_args!("read the image's /{name}"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(sys::has_xattr(dir.join("etc"), "user.overlay.opaque").then(String::new)),
            // A whiteout is a device that nobody drives, for the file (ENXIO) or for its directory (ENOTDIR).
            Some(libc::ENXIO | libc::ENOTDIR) => Ok(Some(String::new())),
            _ => Err(error).context(format_args!("open the image's /{name}")),
        },
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
        assert_eq!(found(""), Found { user: user(0, 0, &[10]), home: Some("/root".into()) });
        assert_eq!(found("app"), Found { user: user(1000, 1001, &[10, 33]), home: Some("/srv/app".into()) });
        assert_eq!(found("1000").user, user(1000, 1001, &[10, 33]));
        assert_eq!(found("app:web").user, user(1000, 33, &[]));
        assert_eq!(found("77"), Found { user: user(77, 0, &[]), home: None });
        assert_eq!(found("77:88").user, user(77, 88, &[]));
    }

    #[test]
    fn odd_ones_are_errors_and_never_root() {
        for wanted in ["nobody", "app:none", "-1", "4294967295", "99999999999", "+5", "bad", "app:bad", ":5", "app:"] {
            assert!(resolve(wanted, PASSWD, GROUP).is_err(), "{wanted} was accepted");
        }
    }
}
