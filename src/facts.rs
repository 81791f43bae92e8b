//! What a run needs to know of an image, in one file: `images/<image>/facts.json`.
//!
//! Everything in it could be found out at each run: the config is there, and the layers have the image's
//! own /etc/passwd and /etc/group. But it is always the same, so the pull finds it out once, and a run opens
//! one file where it would open four and stat two.
//!
//! The layers are looked through by the rules that overlayfs will follow: the topmost one that knows a path
//! decides, a whiteout ends the search. What is in them comes from a stranger: only a regular file of bounded
//! size is read (CVE-2024-9676), and no link leads out of its layer.

use std::io;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::image::{self, Image};
use crate::json::{self, object, Json};
use crate::reference::Reference;
use crate::rmi;
use crate::store::Store;
use crate::sys::{self, Fd, Stat};
use crate::whiteout::Marks;

/// Overlayfs stacks no more than 500 (OVL_MAX_STACK).
const MAX_LAYERS: usize = 500;

/// So many digits of an image's ID are shown.
const SHORT_ID: usize = 12;

/// A longer passwd or group file is refused.
const MAX_FILE: usize = 1 << 20;

/// The facts of an image.
pub struct Facts {
    /// The image's directory under `images`.
    pub id: String,
    /// How its layers are marked, as its name says.
    pub marks: Marks,
    /// The image config, image-spec config.md.
    pub config: Json,
    pub layers: usize,
    /// The text of /etc/passwd and /etc/group, empty where there is none.
    pub passwd: String,
    pub group: String,
    /// The attributes of `/` and of `/etc`.
    pub root: Attributes,
    pub etc: Etc,
}

/// Mode and owner of a directory, in ids of the container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What an image has under /etc.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Etc {
    Directory(Attributes),
    Nothing,
    /// A link or a file: it is left as it is.
    Other,
}

/// What a directory is like that nobody described.
pub const PLAIN: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };

/// The facts of the image that a reference stands for, if it is in the store and made for this id map.
pub fn find(store: &Store, reference: &Reference, map: &IdMap) -> Result<Option<Facts>> {
    read(store, &reference.file_name(), map)
}

/// The facts of an image that is called by its ID, as `images` shows it or longer: some have no name.
pub fn find_id(store: &Store, id: &str, map: &IdMap) -> Result<Option<Facts>> {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    if digits.len() < SHORT_ID || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    sys::why("if there is one: is it the ID of an image?");
    for name in rmi::names(&store.images())?.iter().filter(|name| name.starts_with(digits)) {
        if let Some(facts) = read(store, name, map)? {
            return Ok(Some(facts));
        }
    }
    Ok(None)
}

/// By the name of a file under `images`.
fn read(store: &Store, name: &str, map: &IdMap) -> Result<Option<Facts>> {
    let path = store.images().join(name).join("facts.json");
    sys::why("if there is one: what a run needs to know of the image");
    let text = match sys::read_file(&path, 16 << 20) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.context(format_args!("read {}", path.display()))?,
    };
    let wrong = |what: &str| Error::new(format!("{}: {what}", path.display())).hint("mydocker rmi and pull it again");
    let json = json::parse(&text).map_err(|error| wrong(&error))?;
    let facts = Facts::read(&json).ok_or_else(|| wrong("a field is missing"))?;
    Ok(image::marks_for_map(&facts.id, &map.key()).map(|marks| Facts { marks, ..facts }))
}

/// Finds the facts out and writes them; `dir` is the image's directory, its links to the layers made.
pub fn write(dir: &Path, image: &Image, map: &IdMap, marks: Marks) -> Result<()> {
    let layers = image.layers;
    let [passwd, group] = users(dir, layers, marks)?;
    // The topmost layer's directory is what the image says of `/`.
    sys::why("if possible: mode and owner of / are those of the topmost layer's directory");
    let root = layers.checked_sub(1).and_then(|top| sys::lstat(dir.join(top.to_string()).join(".")).ok());
    let root = root.map_or(PLAIN, |stat| attributes(&stat, map));
    let etc = match lookup(dir, layers, "etc", marks) {
        None => Etc::Nothing,
        Some(stat) if stat.is_dir() => Etc::Directory(attributes(&stat, map)),
        Some(_) => Etc::Other,
    };
    let (id, config) = (image.id.clone(), image.config.clone());
    let facts = Facts { id, marks, config, layers, passwd, group, root, etc };
    let path = dir.join("facts.json");
    sys::why("all that a run will need to know of the image, in one file");
    sys::write_file(&path, 0o600, facts.to_json().to_string().as_bytes())
        .context(format_args!("write {}", path.display()))
}

fn attributes(stat: &Stat, map: &IdMap) -> Attributes {
    Attributes { mode: stat.mode(), uid: map.uid_inside(stat.uid()), gid: map.gid_inside(stat.gid()) }
}

// ---- the file ----

impl Attributes {
    fn to_json(self) -> Json {
        object([("mode", self.mode.into()), ("uid", self.uid.into()), ("gid", self.gid.into())])
    }

    fn read(json: &Json) -> Option<Attributes> {
        let number = |name| u32::try_from(json.get(name).int()?).ok();
        Some(Attributes { mode: number("mode")?, uid: number("uid")?, gid: number("gid")? })
    }
}

impl Facts {
    fn to_json(&self) -> Json {
        let etc = match self.etc {
            Etc::Directory(attributes) => attributes.to_json(),
            Etc::Nothing => Json::Null,
            Etc::Other => "no directory".into(),
        };
        object([
            ("id", self.id.as_str().into()),
            ("layers", (self.layers as i64).into()),
            ("root", self.root.to_json()),
            ("etc", etc),
            ("passwd", self.passwd.as_str().into()),
            ("group", self.group.as_str().into()),
            ("config", self.config.clone()),
        ])
    }

    fn read(json: &Json) -> Option<Facts> {
        let etc = match json.get("etc") {
            Json::Null => Etc::Nothing,
            Json::Str(_) => Etc::Other,
            described => Etc::Directory(Attributes::read(described)?),
        };
        Some(Facts {
            id: json.get("id").str()?.to_string(),
            marks: Marks::User,
            config: json.get("config").clone(),
            layers: usize::try_from(json.get("layers").int()?).ok().filter(|layers| *layers <= MAX_LAYERS)?,
            passwd: json.get("passwd").str()?.to_string(),
            group: json.get("group").str()?.to_string(),
            root: Attributes::read(json.get("root"))?,
            etc,
        })
    }
}

// ---- the layers ----

/// What the image has under a name at its top.
fn lookup(dir: &Path, layers: usize, name: &str, marks: Marks) -> Option<Stat> {
    for number in (0..layers).rev() {
        let layer = dir.join(number.to_string());
        sys::why("if possible: the topmost layer that knows the name decides");
        if let Ok(stat) = sys::lstat(layer.join(name)) {
            return Some(stat).filter(|stat| !stat.is_whiteout());
        }
        if marks.hide(&layer, name) {
            return None;
        }
    }
    None
}

/// /etc/passwd and /etc/group as the stacked layers show them; empty where there is none.
fn users(image: &Path, layers: usize, marks: Marks) -> Result<[String; 2]> {
    let mut found: [Option<String>; 2] = [None, None];
    for layer in (0..layers).rev() {
        let dir = image.join(layer.to_string());
        sys::why("the layer's root, which no link of a stranger's leads out of");
        let root =
            sys::open(&dir, libc::O_PATH | libc::O_DIRECTORY, 0).context(format_args!("open {}", dir.display()))?;
        for (file, name) in found.iter_mut().zip(["etc/passwd", "etc/group"]) {
            if file.is_none() {
                *file = read_from_layer(&root, &dir, name, marks)?;
            }
        }
    }
    Ok(found.map(Option::unwrap_or_default))
}

/// One file of one layer; empty where the layer hides it, `None` where the layers below decide.
fn read_from_layer(root: &Fd, dir: &Path, name: &str, marks: Marks) -> Result<Option<String>> {
    sys::why("if there is one: the names of users; not blocking, as a pipe would for ever");
    match sys::openat2_in_root(root, name, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0) {
        Ok(file) => {
            sys::why("a pipe or a device is not read (CVE-2024-9676)");
            let is_file = sys::fstat(&file).context("fstat")?.kind() == libc::S_IFREG;
            if !is_file {
                return Ok(Some(String::new()));
            }
            let bytes = sys::read_open_file(&file, MAX_FILE).context(format_args!("read the image's /{name}"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => {
                sys::why("if possible: does this layer hide those of the layers below?");
                let hidden = marks.is_opaque(&dir.join("etc")) || marks.hide(dir, "etc") || marks.hide(dir, name);
                Ok(hidden.then(String::new))
            }
            // A whiteout is a device that nobody drives, for the file (ENXIO) or for its directory (ENOTDIR);
            // what the user may not read (EACCES), and a link in a circle (ELOOP), names nobody.
            Some(libc::ENXIO | libc::ENOTDIR | libc::EACCES | libc::ELOOP) => Ok(Some(String::new())),
            _ => Err(error).context(format_args!("open the image's /{name}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let etc = Etc::Directory(Attributes { mode: 0o700, uid: 1, gid: 2 });
        let facts = |etc| Facts {
            id: "i".into(),
            marks: Marks::User,
            config: object([("os", "linux".into())]),
            layers: 3,
            passwd: "root:x:0:0::/:\n".into(),
            group: String::new(),
            root: PLAIN,
            etc,
        };
        for etc in [etc, Etc::Nothing, Etc::Other] {
            let read = Facts::read(&json::parse(facts(etc).to_json().to_string().as_bytes()).unwrap()).unwrap();
            assert_eq!((read.etc, read.root, read.layers), (etc, PLAIN, 3));
            assert_eq!((read.passwd.as_str(), read.config), ("root:x:0:0::/:\n", facts(etc).config));
        }
    }
}
