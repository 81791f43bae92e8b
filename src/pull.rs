//! The story of a pull: index, manifest, config, layers side by side, and the image appears.
//!
//! Everything is named by the digest of what it holds, so what is in the store already is not asked
//! for again, and a pull of an unchanged tag costs one request. Before the last rename(2) there is no
//! image, after it there is a whole one.

use std::ffi::OsString;
use std::path::Path;

use crate::error::{printable, Context, Error, Result};
use crate::idmap::IdMap;
use crate::image::{self, Image};
use crate::json::Json;
use crate::manifest::{self, Descriptor, Platform};
use crate::reference::Reference;
use crate::registry::Registry;
use crate::store::{self, Store};
use crate::sys::{self, Fd};
use crate::tar::Tar;
use crate::workers::{self, Site, Supply, Task};

/// Seconds after which what a killed pull left is of no use any more: a blob to resume, anything else.
const BLOB_AGE: i64 = 24 * 3600;
const OTHER_AGE: i64 = 3600;

#[derive(Default)]
pub struct Options {
    /// `os/arch[/variant]`, else Linux on this machine.
    pub platform: Option<String>,
    /// Asked before the Hub; else `MYDOCKER_MIRROR`, else the store's file `mirror`.
    pub mirror: Option<String>,
}

/// Brings an image into the store, or finds that it is there unchanged.
pub fn pull(store: &Store, reference: &Reference, options: &Options, map: &IdMap) -> Result<Image> {
    let store = &store.create()?;
    let lock = lock_and_sweep(store, map)?;
    let platform = options.platform.as_deref().map_or(Ok(Platform::here()), Platform::parse)?;
    let mirror = mirror(options.mirror.as_deref(), &store.root.join("mirror"))?;
    sys::step("ask");
    let (mut registry, top) = Registry::open(reference, mirror.as_deref())?;
    let top_digest = top.digest.clone();
    let mut nested = |descriptor: &Descriptor| registry.nested(descriptor);
    let (manifest, json) = manifest::choose(top, &platform, &reference.to_string(), &mut nested)?;
    let (config, layers) = manifest::contents(&json)?;
    let id = store.name(config.hex(), map);
    let known = image::read_config(store, &id)?;
    let is_new = known.is_none();
    let config = known.map_or_else(|| registry.document(&config), Ok)?;
    let image = Image::read(id, &config)?;
    check_platform(&image.config, &platform, options.platform.is_some())?;
    let changed = is_new || !image::is_whole(store, &image.id, image.layers)?;
    if changed {
        let mut tasks = Vec::new();
        let names = plan(store, &image, &layers, map, &mut tasks)?;
        fetch(store, &mut Supply::Registry(&mut registry), &tasks, map, &lock)?;
        sys::step("put");
        put(store, &image, [&config, &manifest.bytes], &names, map, &lock)?;
    }
    sys::step("put");
    image::link(store, reference, &image.id)?;
    let event = if changed { "pulled" } else { "up to date" };
    sys::print_error(format!("mydocker: {reference}: {event}, {top_digest}\n").as_bytes());
    Ok(image)
}

/// The mirror to ask: the option's, the environment's, or the one in the store's file `mirror`, for
/// sudo clears the environment.
fn mirror(option: Option<&str>, file: &Path) -> Result<Option<String>> {
    if let Some(url) = option {
        return Ok(Some(url.to_string()));
    }
    let text = |value: OsString| value.into_string().map_err(|_| Error::new("MYDOCKER_MIRROR is not UTF-8"));
    if let Some(url) = std::env::var_os("MYDOCKER_MIRROR").filter(|url| !url.is_empty()) {
        return text(url).map(Some);
    }
    sys::why("if there is one: the mirror's address, since sudo clears the environment");
    match sys::secretly(|| sys::read_file(file, 4096)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_string()).filter(|url| !url.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format_args!("read {}", file.display())),
    }
}

/// An image for another platform may well run (binfmt_misc), so it is refused only where the user has
/// said which one it must be.
pub fn check_platform(config: &Json, platform: &Platform, explicit: bool) -> Result<()> {
    if platform.rank(config).is_some() {
        return Ok(());
    }
    let [os, architecture] = ["os", "architecture"].map(|name| printable(config.get(name).str().unwrap_or("?")));
    let text = format!("the image is for {os}/{architecture}, not for {platform}");
    if explicit {
        return Err(Error::new(text));
    }
    sys::print_error(format!("mydocker: warning: {text}\n").as_bytes());
    Ok(())
}

/// The names of an image's layers in the store, the lowest first; those that are missing are added to `tasks`.
pub fn plan(
    store: &Store,
    image: &Image,
    layers: &[Descriptor],
    map: &IdMap,
    tasks: &mut Vec<Task>,
) -> Result<Vec<String>> {
    let diff_ids = manifest::diff_ids(&image.config)?;
    manifest::check_count(layers.len(), diff_ids.len())?;
    let mut names = Vec::new();
    for diff_id in image::stacked(&diff_ids) {
        let name = store.name(diff_id.trim_start_matches("sha256:"), map);
        sys::why("if there is one: a layer that is here is not asked for again");
        if !store::exists(store.layers().join(&name))? && !tasks.iter().any(|task| task.name == name) {
            let (descriptor, _) = layers.iter().zip(&diff_ids).find(|(_, id)| *id == diff_id).ok_or_else(no_layer)?;
            tasks.push(Task { descriptor: descriptor.clone(), diff_id: diff_id.to_string(), name: name.clone() });
        }
        names.push(name);
    }
    Ok(names)
}

/// Brings the missing layers into the store.
pub fn fetch(store: &Store, supply: &mut Supply, tasks: &[Task], map: &IdMap, lock: &Fd) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let tar = match supply {
        Supply::Registry(_) => {
            sys::step("fetch");
            Tar::installed()?
        }
        Supply::Archive(shelf) => {
            sys::step("unpack");
            shelf.archive.tar
        }
    };
    workers::fetch_all(tasks, supply, &Site { store, map, tar }).map_err(|unfinished| {
        if !unfinished.resumable {
            forget_layers(store, map, lock);
        }
        unfinished.error
    })
}

/// The image, whose layers are all there, appears in the store; where it cannot, its layers go.
pub fn put(
    store: &Store,
    image: &Image,
    documents: [&[u8]; 2],
    layers: &[String],
    map: &IdMap,
    lock: &Fd,
) -> Result<()> {
    let put = image::put(store, image, documents, layers, map);
    put.inspect_err(|_| forget_layers(store, map, lock))
}

fn no_layer() -> Error {
    Error::new("the image is malformed: a diff_id without a layer")
}

/// Of an image that was refused nothing stays, not even its good layers; unless another pull is under
/// way, which may have found one of them. Then they stay until the next `rmi`.
fn forget_layers(store: &Store, map: &IdMap, lock: &Fd) {
    sys::why("if possible: alone, to remove what came of the image");
    if sys::flock(lock, libc::LOCK_EX | libc::LOCK_NB).is_ok() {
        // The refusal is the error to report.
        let _kept_for_rmi = sys::if_possible(|| crate::rmi::collect_garbage(store, map));
    }
}

/// Locks the store for adding; when nobody else is at work, removes first what killed pulls have left.
pub fn lock_and_sweep(store: &Store, map: &IdMap) -> Result<Fd> {
    sys::why("the directory whose lock guards the images");
    if let Some(_alone) = image::try_lock(store, libc::LOCK_EX | libc::LOCK_NB)? {
        sweep(store, map)?;
    }
    sys::why("the directory whose lock guards the images");
    image::lock(store, libc::LOCK_SH)
}

fn sweep(store: &Store, map: &IdMap) -> Result<()> {
    let now = sys::now();
    sys::why("what have killed pulls left here?");
    for entry in sys::list_path(store.tmp()).context("list the store's tmp")? {
        let name = entry.name.to_string_lossy();
        let path = store.tmp().join(&entry.name);
        // A layer, an image or a reference in the making is written under this lock alone; other
        // things are moved through here without it, but not for an hour.
        let in_the_making = name.contains(".layer") || name.starts_with("image-") || name.starts_with("reference-");
        let age = match () {
            () if in_the_making => 0,
            () if name.ends_with(".blob") => BLOB_AGE,
            () => OTHER_AGE,
        };
        sys::why("if possible: how old is it?");
        let Ok(stat) = sys::lstat(&path) else { continue };
        if now - stat.changed() >= age {
            // What cannot be removed is in nobody's way.
            sys::why("too old to be of use");
            let _next_time = sys::if_possible(|| match stat.is_dir() {
                true => store::remove_tree_mapped(&path, map),
                false => sys::unlink(&path).context("unlink"),
            });
        }
    }
    Ok(())
}
