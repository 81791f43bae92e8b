//! The images of the store: what one is, and how it appears. rmi.rs lists and removes them.
//!
//! An image is a directory of symbolic links to its layers beside the two documents that name them
//! (store.rs draws it), and a reference is a symbolic link to an image. What a `run` needs to know of
//! an image stands in a file of its own, facts.rs.
//!
//! Whoever adds to the store holds `flock(tmp, LOCK_SH)`, whoever removes images holds `LOCK_EX`: see
//! [`lock`]. So a layer that a pull has found cannot vanish before its image stands.

use std::io;
use std::path::Path;

use crate::digest::is_hex;
use crate::error::{Context, Error, Result};
use crate::facts;
use crate::idmap::IdMap;
use crate::json::{self, Json};
use crate::manifest;
use crate::parents;
use crate::reference::Reference;
use crate::store::{self, Store};
use crate::sys::{self, Fd};
use crate::whiteout::Marks;

/// An image of the store.
pub struct Image {
    /// The name of its directory under `images`.
    pub id: String,
    /// The image config, image-spec config.md.
    pub config: Json,
    /// Its layers are `0`, the lowest, to this, exclusive.
    pub layers: usize,
}

impl Image {
    /// Makes sense of an image's config.
    pub fn read(id: String, config: &[u8]) -> Result<Image> {
        let config = json::parse(config).map_err(|error| Error::new(format!("the image's config: {error}")))?;
        let layers = height(stacked(&manifest::diff_ids(&config)?).len());
        Ok(Image { id, config, layers })
    }
}

/// How many directories are stacked: on top of several layers lies one of the image's own, parents.rs.
fn height(layers: usize) -> usize {
    layers + usize::from(layers > 1)
}

/// The layers as overlayfs needs them: of one that occurs twice, the topmost alone shows anything, and
/// overlayfs refuses to stack it twice.
pub fn stacked(diff_ids: &[String]) -> Vec<&str> {
    let topmost = diff_ids.iter().enumerate().filter(|(i, id)| !diff_ids[i + 1..].contains(id));
    topmost.map(|(_, id)| id.as_str()).collect()
}

/// The config of an image that is there.
pub fn read_config(store: &Store, id: &str) -> Result<Option<Vec<u8>>> {
    let path = store.images().join(id).join("config");
    sys::why("if there is one: the image's config, when the image is here already");
    match sys::read_file(&path, 4 << 20) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format_args!("read {}", path.display())),
    }
}

/// The marks of an image or layer, if it belongs to the map with this key: `<64 hex digits><key><marks>`.
pub fn marks_for_map(name: &str, key: &str) -> Option<Marks> {
    let (digits, rest) = name.split_at_checked(64)?;
    Marks::of_ending(rest.strip_prefix(key)?).filter(|_| is_hex(digits))
}

/// Locks the store: `LOCK_SH` to add, `LOCK_EX` to remove. Held until the descriptor is closed.
pub fn lock(store: &Store, operation: i32) -> Result<Fd> {
    let mut patience = 50;
    loop {
        if let Some(lock) = try_lock(store, operation | libc::LOCK_NB)? {
            return Ok(lock);
        }
        // Most are held for a moment only. Then the user is told, and the kernel wakes us.
        patience -= 1;
        if patience == 0 {
            sys::print_error(b"mydocker: waiting for another mydocker to be done with the images\n");
            let locked = try_lock(store, operation)?;
            return locked.ok_or_else(|| Error::new("flock: the store stays locked"));
        }
        sys::why("most hold the lock for a moment only");
        sys::poll(&mut [], 20).context("poll")?;
    }
}

/// flock(2) on the store; `None` where `LOCK_NB` was given and another has it.
pub fn try_lock(store: &Store, operation: i32) -> Result<Option<Fd>> {
    let path = store.tmp();
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    sys::why_else("if there is one: the directory whose lock guards the images");
    let fd = sys::open(&path, flags, 0).context(format_args!("open {}", path.display()))?;
    let alone = operation & libc::LOCK_EX != 0;
    sys::why(if alone {
        "alone, nobody uses or adds images meanwhile"
    } else {
        "shared, nobody removes images meanwhile"
    });
    if operation & libc::LOCK_NB == 0 {
        return sys::flock(&fd, operation).context(format_args!("flock {}", path.display())).map(|()| Some(fd));
    }
    Ok(sys::if_possible(|| sys::flock(&fd, operation)).is_ok().then_some(fd))
}

// ---- an image appears ----

/// Makes the directory of an image whose layers (names under `layers`, the lowest first) are all there.
/// `documents` are its config and its manifest.
pub fn put(store: &Store, image: &Image, documents: [&[u8]; 2], layers: &[String], map: &IdMap) -> Result<()> {
    let making = store.fresh_tmp("image")?;
    put_by_way_of(&making, store, image, documents, layers, map).inspect_err(|_| {
        // The error is the one to tell.
        let _swept_later = sys::if_possible(|| store::remove_tree_mapped(&making, map));
    })
}

fn put_by_way_of(
    making: &Path,
    store: &Store,
    image: &Image,
    documents: [&[u8]; 2],
    layers: &[String],
    map: &IdMap,
) -> Result<()> {
    sys::why("an image in the making");
    store::make_dir(making, 0o700)?;
    for (name, bytes) in ["config", "manifest"].into_iter().zip(documents) {
        let path = making.join(name);
        sys::why("as it came, its digest checked");
        sys::write_file(&path, 0o600, bytes).context(format_args!("write {}", path.display()))?;
    }
    let hidden = hidden(store, layers);
    for (number, layer) in layers.iter().enumerate() {
        let name = making.join(number.to_string());
        if number < hidden {
            sys::why("stands for a layer that a higher one hides as a whole");
            store::make_dir(&name, 0o755)?;
        } else {
            let target = Path::new("../../layers").join(layer);
            sys::why("a layer of the image, the lowest is 0");
            sys::symlink(target, name).context(format_args!("symlink to layer {layer}"))?;
        }
    }
    if layers.len() > 1 {
        parents::restore(making, layers.len(), map, store.marks)?;
    }
    facts::write(making, image, map, store.marks)?;
    let place = store.images().join(&image.id);
    sys::why("unless it is there: the image is in the store from here on");
    match sys::rename(making, &place) {
        // Another pull was faster.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
            store::remove_tree_mapped(making, map)
        }
        renamed => renamed.context(format_args!("rename {} to {}", making.display(), place.display())),
    }
}

/// How many of the lowest layers a higher one hides as a whole. Overlayfs does not look at the opaque
/// mark of a layer's root, so an empty directory stands for each of those.
fn hidden(store: &Store, layers: &[String]) -> usize {
    let opaque = |layer: &String| {
        sys::why("if possible: does this layer hide all that is below it?");
        store.marks.is_opaque(&store.layers().join(layer))
    };
    layers.iter().rposition(opaque).unwrap_or(0)
}

/// Whether an image is there with all its layers, `count` in number.
pub fn is_whole(store: &Store, id: &str, count: usize) -> Result<bool> {
    for number in 0..count {
        // The dot makes lstat(2) follow the link before it.
        sys::why("if there is one: is the layer still there?");
        if !store::exists(store.images().join(id).join(number.to_string()).join("."))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets a reference lead to an image, in one step.
pub fn link(store: &Store, reference: &Reference, id: &str) -> Result<()> {
    let (making, place) = (store.fresh_tmp("reference")?, store.images().join(reference.file_name()));
    sys::why("the image's name, in the making: a symlink cannot be changed, only replaced");
    sys::symlink(id, &making).context(format_args!("symlink {}", making.display()))?;
    sys::why("the name leads to this image from here on, without a moment in between");
    sys::rename(&making, &place).context(format_args!("rename to {}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_layer_that_occurs_twice_the_topmost_is_kept() {
        let ids = ["a", "b", "a", "c"].map(String::from);
        assert_eq!(stacked(&ids), ["b", "a", "c"]);
    }

    #[test]
    fn names_belong_to_a_map() {
        let hex = "ab".repeat(32);
        let marks = |rest: &str, key| marks_for_map(&format!("{hex}{rest}"), key);
        assert_eq!((marks("", ""), marks(".0-1-1", ".0-1-1")), (Some(Marks::User), Some(Marks::User)));
        assert_eq!(
            (marks(".trusted", ""), marks(".0-1-1.files", ".0-1-1")),
            (Some(Marks::Trusted), Some(Marks::Files))
        );
        assert_eq!((marks("", ".0-1-1"), marks(".0-1-1", ""), marks_for_map("é", "")), (None, None, None));
    }
}
