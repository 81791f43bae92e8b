//! The program's pull.rs, played in part: a load ends where it would fetch layers, with claims on what it would fetch.

pub use crate::puller::*;

use crate::claims::is_digest;
use crate::error::{Error, Result};
use crate::idmap::IdMap;
use crate::store::Store;
use crate::sys::{self, Fd};
use crate::workers::{Supply, Task};

/// The error of a load that got so far.
pub const WOULD_FETCH: &str = "it would be fetched now";

/// Alone as we are, nobody is locked out, and nothing was left to sweep away.
pub fn lock_and_sweep(_store: &Store, _map: &IdMap) -> Result<Fd> {
    sys::memfd_create("lock").map_err(Error::new)
}

/// What would be unpacked goes by digests alone, and lies inside the archive.
pub fn fetch(_store: &Store, supply: &mut Supply, tasks: &[Task], _map: &IdMap, _lock: &Fd) -> Result<()> {
    for Task { descriptor, diff_id, name } in tasks {
        assert!(is_digest(&descriptor.digest) && is_digest(diff_id) && name.len() >= 64 && !name.contains('/'));
    }
    if let Supply::Archive(shelf) = supply {
        for (digest, file) in &shelf.files {
            assert!(is_digest(digest));
            assert!(matches!(shelf.archive.size(file), Ok(Some(_))), "{file}");
        }
    }
    Err(Error::new(WOULD_FETCH))
}
