//! The story of a load: what images an archive holds, which of their layers are missing here, and they appear.
//!
//! Two formats are read, from archive.rs's files with names:
//! - an **OCI image layout** (image-spec image-layout.md): `oci-layout`, `index.json`, and every blob under its digest,
//!   `blobs/sha256/HEX`. What `docker save` writes since 25 is one, too, and is read as one.
//! - a **docker-archive**, as `docker save` before that, skopeo, podman and bazel write it: `manifest.json` lists for
//!   each image its config, its layers and its names, docker's image/tarexport.
//!
//! From here on an image goes the way of a pull: the same plan, the same workers, the same rename(2). All documents
//! are read before the first layer is unpacked, and all layers stand before the first image appears, so a bad archive
//! leaves nothing.

use std::path::Path;

use crate::archive::{self, refused, Archive, Shelf};
use crate::digest::{self, is_hex};
use crate::error::{printable, Result};
use crate::idmap::IdMap;
use crate::image::{self, Image};
use crate::json::{self, object, Json};
use crate::manifest::{self, Descriptor, Document, Platform, Shape};
use crate::pull;
use crate::reference::Reference;
use crate::registry::MAX_DOCUMENT;
use crate::store::Store;
use crate::sys;
use crate::workers::Supply;

/// An archive with more images is refused.
const MAX_IMAGES: usize = 256;

/// The names of an image's tag in an index: containerd's holds a whole reference, the OCI's (image-spec
/// annotations.md) what its writer likes.
const WHOLE_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image of the archive.
struct Found {
    names: Vec<Reference>,
    /// The config's digest.
    digest: String,
    config: Vec<u8>,
    /// What the archive has in the place of a registry's manifest.
    manifest: Vec<u8>,
    /// The lowest first.
    layers: Vec<Descriptor>,
}

/// Brings the images of an archive into the store: the one at `path`, or on standard input. Returns what docker
/// would say.
pub fn load(store: &Store, path: Option<&Path>, platform: Option<&str>, map: &IdMap) -> Result<String> {
    let store = &store.create()?;
    let named = platform.is_some();
    let platform = platform.map_or(Ok(Platform::here()), Platform::parse)?;
    // A pipe may be slow: nobody waits for us meanwhile.
    let mut shelf = Shelf { archive: Archive::open(path, store)?, files: Vec::new() };
    let lock = pull::lock_and_sweep(store, map)?;
    let images = images(&mut shelf, &platform, path)?;
    let (mut tasks, mut missing) = (Vec::new(), Vec::new());
    for found in &images {
        let image = Image::read(id(store, found, map), &found.config)?;
        pull::check_platform(&image.config, &platform, named)?;
        if image::read_config(store, &image.id)?.is_none() || !image::is_whole(store, &image.id, image.layers)? {
            let layers = pull::plan(store, &image, &found.layers, map, &mut tasks)?;
            missing.push((found, image, layers));
        }
    }
    pull::fetch(store, &mut Supply::Archive(&shelf), &tasks, map, &lock)?;
    sys::step("put");
    for (found, image, layers) in &missing {
        pull::put(store, image, [&found.config, &found.manifest], layers, map, &lock)?;
    }
    let mut said = String::new();
    for found in &images {
        for name in &found.names {
            image::link(store, name, &id(store, found, map))?;
            said.push_str(&format!("Loaded image: {}\n", name.familiar()));
        }
        if found.names.is_empty() {
            said.push_str(&format!("Loaded image ID: {}\n", found.digest));
        }
    }
    Ok(said)
}

/// Its name in the store.
fn id(store: &Store, found: &Found, map: &IdMap) -> String {
    store.name(found.digest.trim_start_matches("sha256:"), map)
}

/// The images of an archive, each once.
fn images(shelf: &mut Shelf, platform: &Platform, path: Option<&Path>) -> Result<Vec<Found>> {
    let mut images = Vec::new();
    if shelf.archive.size("oci-layout")?.is_some() && shelf.archive.size("index.json")?.is_some() {
        of_layout(&shelf.archive, platform, path.and_then(base_name).as_deref(), &mut images)?;
    } else if shelf.archive.size("manifest.json")?.is_some() {
        of_docker(shelf, &mut images)?;
    } else {
        return Err(refused("neither oci-layout and index.json nor manifest.json is in it")
            .hint("docker save, or skopeo copy ... oci-archive:FILE"));
    }
    if images.is_empty() {
        return Err(refused("there is no image in it"));
    }
    Ok(images)
}

fn add(images: &mut Vec<Found>, found: Found) -> Result<()> {
    if let Some(known) = images.iter_mut().find(|known| known.digest == found.digest) {
        known.names.extend(found.names);
        return Ok(());
    }
    if images.len() == MAX_IMAGES {
        return Err(refused(&format!("there are more than {MAX_IMAGES} images in it")));
    }
    images.push(found);
    Ok(())
}

/// A document as JSON.
fn read(archive: &Archive, name: &str) -> Result<Json> {
    parse(name, &archive.read(name, MAX_DOCUMENT)?)
}

fn parse(name: &str, bytes: &[u8]) -> Result<Json> {
    json::parse(bytes).map_err(|error| refused(&format!("{}: {error}", printable(name))))
}

// ---- OCI image layout ----

fn of_layout(archive: &Archive, platform: &Platform, base: Option<&str>, images: &mut Vec<Found>) -> Result<()> {
    let version = read(archive, "oci-layout")?;
    let version = version.get("imageLayoutVersion").str().unwrap_or_default();
    if version != "1.0.0" {
        return Err(refused(&format!("its imageLayoutVersion is \"{}\", not 1.0.0", printable(version))));
    }
    let (shape, index) = manifest::read(&archive.read("index.json", MAX_DOCUMENT)?, "")?;
    if shape != Shape::Index {
        return Err(refused("index.json is no index"));
    }
    for (name, entries) in groups(&index, base)? {
        add(images, of_group(archive, platform, name, entries)?)?;
    }
    Ok(())
}

/// What an entry of `index.json` is called, and the entries of that name.
type Group = (Option<Reference>, Vec<Json>);

/// The entries of `index.json` that are one image each: those of one name, for different platforms; one without a
/// name and platform; all those without a name but with platforms. Statements about images are none.
fn groups(index: &Json, base: Option<&str>) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in index.get("manifests").list() {
        let platform = entry.get("platform");
        if platform.get("os").str() == Some("unknown") {
            continue;
        }
        let name = entry_name(entry, base)?;
        let is_alone = |entry: &Json| name.is_none() && entry.get("platform").is_null();
        let same = |(known, entries): &&mut Group| *known == name && !is_alone(entry) && !is_alone(&entries[0]);
        match groups.iter_mut().find(same) {
            Some((_, entries)) => entries.push(entry.clone()),
            None => groups.push((name, vec![entry.clone()])),
        }
    }
    Ok(groups)
}

/// What an entry of `index.json` is called. Many writers have only a tag: `latest` in the layout `./busybox` is
/// `busybox:latest`, as skopeo's `oci:busybox:latest` and umoci's `--image busybox:latest` say.
fn entry_name(entry: &Json, base: Option<&str>) -> Result<Option<Reference>> {
    let annotation = |name| entry.get("annotations").get(name).str();
    let name = match (annotation(WHOLE_NAME), annotation(REF_NAME), base) {
        (Some(whole), ..) => Some(Reference::parse(whole)?),
        (None, Some(name), _) if name.contains([':', '/']) => Reference::parse(name).ok(),
        (None, Some(tag), Some(base)) => Reference::parse(&format!("{base}:{tag}")).ok(),
        _ => None,
    };
    match &name {
        Some(lie) if lie.digest.is_some() && lie.digest.as_deref() != entry.get("digest").str() => {
            Err(refused(&format!("{lie} has another digest in it")))
        }
        _ => Ok(name),
    }
}

/// `busybox` of `./busybox/`, `busybox.tar`, `busybox.tar.gz`.
fn base_name(path: &Path) -> Option<String> {
    let mut name = path.file_name()?.to_str()?;
    for ending in [".gz", ".zst", ".tgz", ".tar", ".oci"] {
        name = name.strip_suffix(ending).unwrap_or(name);
    }
    Some(name.to_string())
}

fn of_group(archive: &Archive, platform: &Platform, name: Option<Reference>, entries: Vec<Json>) -> Result<Found> {
    let what = name.as_ref().map_or("an image of the archive".to_string(), Reference::to_string);
    let index = object([("manifests", Json::List(entries))]);
    let mut fetch = |descriptor: &Descriptor| document(archive, descriptor);
    let (document, json) = manifest::choose_below(&index, platform, &what, &mut fetch)?;
    let (config, layers) = manifest::contents(&json)?;
    let config = fetch(&config)?;
    let (digest, config) = (config.digest, config.bytes);
    Ok(Found { names: name.into_iter().collect(), digest, config, manifest: document.bytes, layers })
}

/// A document of the layout, checked against its descriptor.
fn document(archive: &Archive, descriptor: &Descriptor) -> Result<Document> {
    let name = descriptor.blob_name();
    let bytes = archive.read(&name, MAX_DOCUMENT)?;
    digest::check_size(&name, descriptor, bytes.len() as u64)?;
    let digest = digest::of_bytes(&bytes)?;
    match digest == descriptor.digest {
        true => Ok(Document { bytes, digest, content_type: String::new() }),
        false => Err(digest::mismatch(&name, &descriptor.digest, &digest)),
    }
}

// ---- docker-archive ----

fn of_docker(shelf: &mut Shelf, images: &mut Vec<Found>) -> Result<()> {
    let list = read(&shelf.archive, "manifest.json")?;
    for entry in list.list() {
        add(images, of_entry(shelf, entry)?)?;
    }
    Ok(())
}

/// One image of `manifest.json`.
fn of_entry(shelf: &mut Shelf, entry: &Json) -> Result<Found> {
    let file = text(entry.get("Config"))?;
    let config = shelf.archive.read(file, MAX_DOCUMENT)?;
    let digest = digest::of_bytes(&config)?;
    match digest_in(file) {
        Some(named) if named != digest => return Err(digest::mismatch(&printable(file), &named, &digest)),
        _ => {}
    }
    let diff_ids = manifest::diff_ids(&parse(file, &config)?)?;
    let files = entry.get("Layers").list();
    manifest::check_count(files.len(), diff_ids.len())?;
    let mut layers = Vec::new();
    for (file, diff_id) in files.iter().zip(diff_ids) {
        layers.push(layer(shelf, text(file)?, diff_id)?);
    }
    let mut names = Vec::new();
    for tag in entry.get("RepoTags").list() {
        names.push(docker_name(text(tag)?)?);
    }
    Ok(Found { names, digest, config, manifest: entry.to_string().into_bytes(), layers })
}

fn text(json: &Json) -> Result<&str> {
    json.str().ok_or_else(|| refused("a name is missing in manifest.json"))
}

/// A layer has a digest of its own only where it is called by it; else it goes by that of its content.
fn layer(shelf: &mut Shelf, file: &str, diff_id: String) -> Result<Descriptor> {
    let size = shelf.archive.size(file)?.ok_or_else(|| archive::missing(file))?;
    let own = if file.starts_with("blobs/sha256/") { digest_in(file) } else { None };
    let digest = own.unwrap_or(diff_id);
    shelf.files.push((digest.clone(), file.to_string()));
    Ok(Descriptor { digest, size })
}

/// The digest that a file's name says: `HEX.json` of docker, `blobs/sha256/HEX`, `sha256:HEX` of bazel.
fn digest_in(file: &str) -> Option<String> {
    let name = file.rsplit('/').next().unwrap_or_default();
    let digits = name.strip_suffix(".json").unwrap_or(name);
    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
    is_hex(digits).then(|| format!("sha256:{digits}"))
}

fn docker_name(tag: &str) -> Result<Reference> {
    let name = Reference::parse(tag)?;
    match name.digest {
        // There is no manifest whose digest it could be.
        Some(_) => Err(refused(&format!("{name} has a digest, which nothing in it proves"))),
        None => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_one_image() {
        let names = |text: &str| -> Vec<(String, usize)> {
            let groups = groups(&json(text), Some("base")).unwrap();
            groups.iter().map(|(name, e)| (name.as_ref().map_or("-".into(), |n| n.familiar()), e.len())).collect()
        };
        let tag = |tag: &str| format!(r#""annotations":{{"{REF_NAME}":"{tag}"}}"#);
        let platform = r#""platform":{"os":"linux","architecture":"arm64"}"#;
        let unknown = r#"{"platform":{"os":"unknown","architecture":"unknown"}}"#;
        let index = |entries: &str| format!(r#"{{"manifests":[{entries}]}}"#);
        assert_eq!(names(&index("{},{}")), [("-".into(), 1), ("-".into(), 1)]);
        assert_eq!(
            names(&index(&format!("{{{platform}}},{unknown},{{{platform}}},{{}}"))),
            [("-".into(), 2), ("-".into(), 1)]
        );
        let (a, b) = (tag("1.0"), tag("x.test/y"));
        assert_eq!(
            names(&index(&format!("{{{a}}},{{{b}}},{{{a},{platform}}},{{}}"))),
            [("base:1.0".into(), 2), ("x.test/y:latest".into(), 1), ("-".into(), 1)]
        );
    }

    #[test]
    fn names_of_entries() {
        let name = |annotations: &str, base| {
            let entry = json(&format!(r#"{{"digest":"sha256:{}","annotations":{annotations}}}"#, "0".repeat(64)));
            entry_name(&entry, base).map(|name| name.map(|name| name.to_string()))
        };
        let both = format!(r#"{{"{WHOLE_NAME}":"docker.io/library/a:1","{REF_NAME}":"1"}}"#);
        assert_eq!(name(&both, None).unwrap(), Some("docker.io/library/a:1".into()));
        let tag = format!(r#"{{"{REF_NAME}":"1"}}"#);
        assert_eq!((name(&tag, None).unwrap(), name(&tag, Some("A b")).unwrap()), (None, None));
        assert_eq!(name(&tag, Some("a")).unwrap(), Some("docker.io/library/a:1".into()));
        assert!(name(&format!(r#"{{"{WHOLE_NAME}":"No Name"}}"#), None).is_err());
        let forged = |digit: &str| format!(r#"{{"{REF_NAME}":"a@sha256:{}"}}"#, digit.repeat(64));
        assert!(name(&forged("1"), None).unwrap_err().message.contains("another digest"));
        assert!(name(&forged("0"), None).unwrap().is_some());
    }

    #[test]
    fn names_of_files() {
        let hex = "ab".repeat(32);
        for file in [format!("{hex}.json"), format!("blobs/sha256/{hex}"), format!("sha256:{hex}")] {
            assert_eq!(digest_in(&file), Some(format!("sha256:{hex}")), "{file}");
        }
        assert_eq!((digest_in("config.json"), digest_in(&format!("{hex}/layer.tar"))), (None, None));
        for (path, base) in [("/x/busybox.tar.gz", "busybox"), ("./busybox/", "busybox"), ("a.b.tgz", "a.b")] {
            assert_eq!(base_name(Path::new(path)).as_deref(), Some(base));
        }
        assert!(docker_name("a:1").is_ok() && docker_name(&format!("a@sha256:{hex}")).is_err());
    }
}
