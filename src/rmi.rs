//! What is in the store, shown and taken away: `images`, `rmi`.
//!
//! An image goes when its last reference goes, and with it the layers that no other image has. A whole
//! image or layer is renamed out of sight first, so a kill leaves it there or gone, never half. The
//! exclusive lock (image.rs) keeps pulls out meanwhile.

use std::io;
use std::path::Path;

use crate::digest::is_hex;
use crate::error::{printable, Context, Error, Result};
use crate::idmap::IdMap;
use crate::image::{lock, marks_for_map, read_config};
use crate::json::{self, Json};
use crate::order;
use crate::reference::Reference;
use crate::state::{self, Listed, Status};
use crate::store::{self, Store};
use crate::sys;

/// A line of `mydocker images`.
struct Entry {
    /// As docker shortens it; `<none>` where no reference leads to the image any more.
    repository: String,
    tag: String,
    /// The directory's name; docker shows its first 12 digits.
    id: String,
    /// When the image was built, seconds since 1970.
    created: Option<i64>,
    /// Of its layers, unpacked, in bytes; a layer that two images share counts for both.
    size: u64,
}

/// What `mydocker images` prints, the newest image first.
pub fn table(store: &Store) -> Result<String> {
    sys::step("store");
    let mut entries = list(store)?;
    order::sort_by_key(&mut entries, |entry| std::cmp::Reverse(entry.created));
    let now = sys::now();
    let mut rows = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_string)];
    for Entry { repository, tag, id, created, size } in entries {
        let created = created.map_or("N/A".to_string(), |at| format!("{} ago", state::duration(now - at)));
        rows.push([repository, tag, id[..12].to_string(), created, human_size(size)]);
    }
    Ok(state::columns(&rows))
}

fn list(store: &Store) -> Result<Vec<Entry>> {
    let (ids, references) = contents(store)?;
    let mut sizes: Vec<(String, u64)> = Vec::new();
    let mut entries = Vec::new();
    for id in ids {
        let config = read_config(store, &id)?.and_then(|bytes| json::parse(&bytes).ok()).unwrap_or(Json::Null);
        let created = config.get("created").str().and_then(parse_time);
        let mut size = 0;
        for layer in layers_of(store, &id)? {
            let known = sizes.iter().find(|(name, _)| *name == layer).map(|(_, size)| *size);
            size += known.unwrap_or_else(|| {
                let measure = || store::tree_size(&store.layers().join(&layer));
                let size = sys::fold("if possible: how much is in the layer?", measure);
                sizes.push((layer, size));
                size
            });
        }
        let entry = |repository, tag| Entry { repository, tag, id: id.clone(), created, size };
        let none = || "<none>".to_string();
        let named: Vec<&Reference> = references.iter().filter(|(_, target)| *target == id).map(|(r, _)| r).collect();
        if named.is_empty() {
            entries.push(entry(none(), none()));
        }
        for reference in named {
            entries.push(entry(reference.repository(), reference.tag.clone().unwrap_or_else(none)));
        }
    }
    Ok(entries)
}

/// `mydocker rmi`: takes a reference away, and with the last one the image and the layers that no
/// other image has. `name` is a reference or the beginning of an id. Returns what was done, line by
/// line, in docker's words.
pub fn remove(store: &Store, name: &str, force: bool, map: &IdMap) -> Result<String> {
    let unknown = || Error::new(format!("no such image: {}", printable(name)));
    sys::step("store");
    sys::why("if there is one: is there a store at all?");
    if !store::exists(store.tmp())? {
        return Err(unknown());
    }
    sys::why("the directory whose lock guards the images");
    let _lock = lock(store, libc::LOCK_EX)?;
    let (ids, references) = contents(store)?;
    let exact = Reference::parse(name).ok().and_then(|wanted| references.iter().find(|(r, _)| *r == wanted));
    let (id, doomed): (&String, Vec<&Reference>) = match exact {
        Some((reference, id)) => (id, vec![reference]),
        None => {
            let id = by_prefix(&ids, name)?.ok_or_else(unknown)?;
            (id, references.iter().filter(|(_, target)| target == id).map(|(reference, _)| reference).collect())
        }
    };
    if exact.is_none() && doomed.len() > 1 && !force {
        let names: Vec<String> = doomed.iter().map(|reference| reference.to_string()).collect();
        return Err(
            Error::new(format!("image {name} has several names: {}", names.join(", "))).hint("rmi -f removes them all")
        );
    }
    let last = doomed.len() == references.iter().filter(|(_, target)| target == id).count();
    if last {
        refuse_if_used(store, id, force)?;
    }
    let mut done = String::new();
    for reference in doomed {
        let link = store.images().join(reference.file_name());
        sys::why("the name goes first: without one nobody finds the image");
        sys::unlink(&link).context(format_args!("unlink {}", link.display()))?;
        done.push_str(&format!("Untagged: {reference}\n"));
    }
    if last {
        if ids.contains(id) {
            store.remove(&store.images().join(id), map)?;
            done.push_str(&format!("Deleted: sha256:{}\n", &id[..64]));
        }
        for layer in collect_garbage(store, map)? {
            done.push_str(&format!("Deleted: sha256:{}\n", &layer[..64]));
        }
    }
    Ok(done)
}

/// Removes the layers of this map that no image has. The store must be locked exclusively.
pub fn collect_garbage(store: &Store, map: &IdMap) -> Result<Vec<String>> {
    let key = map.key();
    let mut used = Vec::new();
    for id in contents(store)?.0 {
        used.extend(layers_of(store, &id)?);
    }
    let unused = |name: &String| marks_for_map(name, &key).is_some() && !used.contains(name);
    let doomed: Vec<String> = names(&store.layers())?.into_iter().filter(unused).collect();
    for layer in &doomed {
        store.remove(&store.layers().join(layer), map)?;
    }
    Ok(doomed)
}

/// The ids of all images, and all references with the ids they lead to.
#[allow(clippy::type_complexity)]
fn contents(store: &Store) -> Result<(Vec<String>, Vec<(Reference, String)>)> {
    let (mut ids, mut references) = (Vec::new(), Vec::new());
    for name in names(&store.images())? {
        if name.get(..64).is_some_and(is_hex) {
            ids.push(name);
        } else if let Some(reference) = Reference::of_file_name(&name) {
            let link = store.images().join(&name);
            sys::why("which image does the name stand for?");
            let target = sys::readlink(&link).context(format_args!("readlink {}", link.display()))?;
            references.push((reference, target.to_string_lossy().into_owned()));
        }
    }
    Ok((ids, references))
}

/// The names in a directory, sorted; none where there is no directory.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    sys::why_else("if there is one: what is in the store?");
    let entries = match sys::list_path(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(format_args!("list {}", dir.display()))?,
    };
    let mut names: Vec<String> = entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect();
    order::sort_by(&mut names, String::cmp);
    Ok(names)
}

/// The layers that an image's links lead to. The image's own, and one that stands for a layer that a higher one
/// hides, are directories.
fn layers_of(store: &Store, id: &str) -> Result<Vec<String>> {
    let dir = store.images().join(id);
    let mut layers = Vec::new();
    sys::why("if there is one: which layers does it stand on?");
    let entries = match sys::list_path(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(layers),
        entries => entries.context(format_args!("list {}", dir.display()))?,
    };
    for link in entries.iter().filter(|entry| entry.kind == libc::S_IFLNK).map(|entry| dir.join(&entry.name)) {
        sys::why("if there is one: a layer of this image");
        match sys::readlink(&link) {
            Ok(target) => layers.extend(target.file_name().map(|name| name.to_string_lossy().into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format_args!("readlink {}", link.display())),
        }
    }
    Ok(layers)
}

/// The one id that begins with these digits, four at least.
fn by_prefix<'a>(ids: &'a [String], name: &str) -> Result<Option<&'a String>> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    if digits.len() < 4 || !digits.is_char_boundary(4) {
        return Ok(None);
    }
    let mut found = ids.iter().filter(|id| id.starts_with(digits));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Error::new(format!("several images begin with {}", printable(name)))),
        (id, _) => Ok(id),
    }
}

/// Refuses to remove what a container stands on: one that runs always, one that has ended unless `force`.
fn refuse_if_used(store: &Store, id: &str, force: bool) -> Result<()> {
    let containers = state::list(store)?;
    let users = containers.iter().filter(|listed| listed.bundle.as_ref().is_some_and(|bundle| bundle.image == id));
    for Listed { id, status, .. } in users {
        let running = matches!(status, Status::Created | Status::Up { .. });
        if running {
            return Err(Error::new(format!("the image is in use by the running container {id}")));
        }
        if !force {
            let error = Error::new(format!("the image is in use by the container {id}"));
            return Err(error.hint(format_args!("mydocker rm {id}, or rmi -f")));
        }
    }
    Ok(())
}

// ---- how things are shown ----

/// RFC 3339, `2026-11-24T08:00:00.5Z`, as seconds since 1970. A fraction is cut off.
fn parse_time(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = text.get(19..)?.trim_start_matches('.').trim_start_matches(|c: char| c.is_ascii_digit());
    let offset = match (zone.get(..1)?, zone.get(1..3), zone.get(4..6)) {
        ("Z" | "z", ..) => 0,
        (sign, Some(hours), Some(minutes)) => {
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if sign == "-" {
                -seconds
            } else {
                seconds
            }
        }
        _ => return None,
    };
    // Days from civil: years begin in March, so that the leap day is the last one.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// Bytes as docker shows them, in powers of a thousand: `4.26MB`.
pub fn human_size(bytes: u64) -> String {
    let mut unit = 1;
    for name in ["B", "kB", "MB", "GB", "TB"] {
        let (whole, parts) = (bytes / unit, bytes % unit);
        if whole < 1000 || name == "TB" {
            return match whole {
                _ if unit == 1 => format!("{whole}{name}"),
                0..=9 => format!("{whole}.{:02}{name}", parts / (unit / 100)),
                10..=99 => format!("{whole}.{}{name}", parts / (unit / 10)),
                _ => format!("{whole}{name}"),
            };
        }
        unit *= 1000;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_their_beginning() {
        let ids = ["abcd1".to_string(), "abcd2".to_string(), "ffff".to_string()];
        assert_eq!(by_prefix(&ids, "sha256:ffff").unwrap(), Some(&ids[2]));
        assert_eq!(by_prefix(&ids, "fff").unwrap(), None);
        assert!(by_prefix(&ids, "abcd").is_err());
    }

    #[test]
    fn times_are_read() {
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_time("2026-11-24T08:00:00.123456789Z"), Some(1_795_507_200));
        assert_eq!(parse_time("2024-02-29T23:59:59+01:30"), Some(1_709_245_799));
        for odd in ["", "yesterday", "2026-11-24", "2026-11-24T08:00:00", "é026-11-24T08:00:00Z"] {
            assert_eq!(parse_time(odd), None, "{odd}");
        }
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([0, 999, 4260, 4_260_000, 123_400_000].map(human_size), ["0B", "999B", "4.26kB", "4.26MB", "123MB"]);
        assert_eq!(human_size(u64::MAX), "18446744TB");
    }
}
