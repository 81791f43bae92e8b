//! Whiteouts: how a layer says what of the layers below is gone.
//!
//! In an archive a file `.wh.NAME` hides NAME, and `.wh..wh..opq` in a directory hides all that the
//! layers below have in it (image-spec layer.md, "Whiteouts"). Overlayfs wants a character device 0/0
//! called NAME, and an xattr on the directory. [`convert_all`] walks over an unpacked layer and turns
//! the ones into the others, inside the user namespace, where mknod(2) of 0/0 is allowed to all.
//!
//! Which xattr depends on what the store's file system carries, and on who we are: [`Marks`]. Where it carries
//! none, there will be no overlay, and the archive's own marks stay for merge.rs.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{printable, Context, Error, Result};
use crate::parents;
use crate::store;
use crate::sys::{self, Entry, Stat};

/// More bytes of names than these are not held in memory.
const MAX_PENDING: usize = 64 << 20;

pub const PREFIX: &[u8] = b".wh.";
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// How the layers of a store say what is gone, and what else there is to say of a directory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Marks {
    /// As overlayfs reads them in a user namespace, in `user.overlay.*` (overlayfs.rst, "User xattr").
    User,
    /// As overlayfs reads them for the host's root, in `trusted.overlay.*`: tmpfs has no others before Linux 6.6.
    Trusted,
    /// As they came, in files `.wh.*`: the file system carries no xattrs (ramfs), or only the host's root
    /// might set them.
    Files,
}

/// The marks, and what the name of a layer or image with them ends with.
const ENDINGS: &[(Marks, &str)] = &[(Marks::User, ""), (Marks::Trusted, ".trusted"), (Marks::Files, ".files")];

impl Marks {
    /// What the name of a layer or image with these marks ends with.
    pub fn ending(self) -> &'static str {
        ENDINGS.iter().find(|(marks, _)| *marks == self).map_or("", |(_, ending)| ending)
    }

    /// The marks of what has a name with this ending.
    pub fn of_ending(ending: &str) -> Option<Marks> {
        ENDINGS.iter().find(|(_, known)| *known == ending).map(|(marks, _)| *marks)
    }

    /// Where such a mark is kept: `opaque` is overlayfs's, the others are ours, parents.rs. `None`: nowhere.
    pub fn xattr(self, name: &str) -> Option<String> {
        match self {
            Marks::User => Some(format!("user.overlay.{name}")),
            Marks::Trusted => Some(format!("trusted.overlay.{name}")),
            Marks::Files => None,
        }
    }

    /// Sets a mark on a directory.
    pub fn set(self, dir: &Path, name: &str) -> io::Result<()> {
        self.xattr(name).map_or(Ok(()), |xattr| sys::setxattr(dir, &xattr, b"y"))
    }

    /// Whether a directory has a mark. ENODATA: it has not.
    pub fn has(self, dir: &Path, name: &str) -> bool {
        self.xattr(name).is_some_and(|xattr| sys::getxattr(dir, &xattr).is_ok_and(|value| value == b"y"))
    }

    /// Whether a directory of a layer shows nothing of the layers below it.
    pub fn is_opaque(self, dir: &Path) -> bool {
        match self {
            Marks::Files => sys::lstat(dir.join(OsStr::from_bytes(OPAQUE))).is_ok(),
            _ => self.has(dir, "opaque"),
        }
    }

    /// Whether a file beside it hides `path` in the layers below. (Overlayfs's own mark stands in its place.)
    pub fn hide(self, layer: &Path, path: &str) -> bool {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        sys::why_else("if possible: a mark beside it");
        self == Marks::Files && sys::lstat(layer.join(dir).join(format!(".wh.{name}"))).is_ok()
    }
}

/// Turns the whiteouts of a layer, unpacked in `root`, into those of overlayfs. No symbolic link is
/// followed, nothing recurses. On the way it marks the directories that the archive does not list.
pub fn convert_all(root: &Path, kind: Marks) -> Result<()> {
    let mut pending = vec![root.to_path_buf()];
    let mut held = pending[0].as_os_str().len();
    while let Some(dir) = pending.pop() {
        held -= dir.as_os_str().len();
        sys::why("its time is the image's, and is set again after our changes");
        let before = sys::lstat(&dir).map_err(|error| failed(error, "lstat", &dir))?;
        let mut marks = Vec::new();
        let mut mark_bytes = 0;
        let open =
            sys::open(&dir, libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(|error| failed(error, "open", &dir))?;
        loop {
            let some = sys::list_some(&open).map_err(|error| failed(error, "list", &dir))?;
            if some.is_empty() {
                break;
            }
            for entry in some {
                if entry.name.as_bytes().starts_with(PREFIX) {
                    mark_bytes += entry.name.len();
                    marks.push(entry);
                } else if entry.kind == libc::S_IFDIR {
                    let path = dir.join(entry.name);
                    held += path.as_os_str().len();
                    pending.push(path);
                }
            }
            if held + mark_bytes > MAX_PENDING {
                return Err(Error::new("the layer is refused: too many names"));
            }
        }
        convert_marks(&dir, &marks, &before, kind)?;
        parents::mark(root, &dir, &before, kind).context(shown(&dir))?;
    }
    Ok(())
}

/// An error of looking at `path`, which may be longer than the kernel takes: a layer can make such a
/// tree through symbolic links.
fn failed(error: io::Error, call: &str, path: &Path) -> Error {
    match error.raw_os_error() {
        Some(libc::ENAMETOOLONG) => Error::new("the layer is refused: it has paths of more than 4096 bytes"),
        _ => Err::<(), _>(error).context(format_args!("{call} {}", shown(path))).unwrap_err(),
    }
}

/// The beginning of a name that came from outside.
fn shown(path: &Path) -> String {
    let text = printable(&path.to_string_lossy());
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn convert_marks(dir: &Path, marks: &[Entry], before: &Stat, kind: Marks) -> Result<()> {
    if marks.is_empty() {
        return Ok(());
    }
    for mark in marks {
        convert(dir, mark, kind).context(format_args!("whiteout {}", shown(&dir.join(&mark.name))))?;
    }
    // The directory's time is the image's, not that of our changes.
    sys::set_times(dir, before).context(format_args!("utimensat {}", shown(dir)))
}

fn convert(dir: &Path, mark: &Entry, kind: Marks) -> Result<()> {
    let path = dir.join(&mark.name);
    let hides = hides(&mark.name).ok_or_else(|| Error::new("the layer is refused: a whiteout of no name"))?;
    if kind == Marks::Files && hides != Hides::Nothing {
        return Ok(()); // merge.rs will obey it as it is
    }
    match mark.kind {
        libc::S_IFDIR => store::remove_tree(&path),
        _ => sys::unlink(&path),
    }
    .context("unlink")?;
    let path = match hides {
        Hides::Below => return kind.set(dir, "opaque").context("lsetxattr"),
        Hides::Nothing => return Ok(()),
        Hides::Name(name) => dir.join(name),
    };
    match sys::mknod(&path, libc::S_IFCHR, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.context("mknod"),
    }
    // The layer brings something of that name itself, and that hides what was below, unless both
    // are directories.
    match sys::lstat(&path).context("lstat")?.is_dir() {
        true => kind.set(&path, "opaque").context("lsetxattr"),
        false => Ok(()),
    }
}

/// What a name that begins with [`PREFIX`] hides.
#[derive(Debug, PartialEq)]
pub enum Hides<'a> {
    /// All that the layers below have in the directory.
    Below,
    /// What they have there under this name.
    Name(&'a OsStr),
    /// Names such as `.wh..wh.plnk` are aufs's own notes.
    Nothing,
}

/// What such a mark hides; `None` if it has no name to hide.
pub fn hides(mark: &OsStr) -> Option<Hides<'_>> {
    match &mark.as_bytes()[PREFIX.len()..] {
        _ if mark.as_bytes() == OPAQUE => Some(Hides::Below),
        b"" | b"." | b".." => None,
        reserved if reserved.starts_with(PREFIX) => Some(Hides::Nothing),
        name => Some(Hides::Name(OsStr::from_bytes(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_become_devices_and_links_are_not_followed() {
        let scratch = std::env::temp_dir().join(format!("mydocker-whiteout-{}", store::random_hex().unwrap()));
        let (root, outside) = (scratch.join("layer"), scratch.join("outside"));
        for dir in [&root.join("a/own"), &root.join("opaque"), &outside] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let marks = ["a/.wh.gone", "a/.wh.own", "a/.wh..wh.aufs", "opaque/.wh..wh..opq", "a/file"];
        for file in marks.map(|mark| root.join(mark)).iter().chain([&outside.join(".wh.victim")]) {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        if sys::setxattr(&root, "user.probe", b"y").is_err() {
            return store::remove_tree(&scratch).unwrap(); // no user xattrs in TMPDIR: nothing to see here
        }
        let time = || std::fs::metadata(root.join("a")).unwrap().modified().unwrap();
        let before = time();
        convert_all(&root, Marks::User).unwrap();
        let opaque = |dir: &str| Marks::User.is_opaque(&root.join(dir));
        assert!(sys::lstat(root.join("a/gone")).unwrap().is_whiteout());
        assert!(opaque("a/own") && opaque("opaque") && !opaque("a"));
        assert_eq!(time(), before);
        assert!(marks[..4].iter().all(|mark| !store::exists(root.join(mark)).unwrap()));
        assert!(store::exists(root.join("a/file")).unwrap() && store::exists(outside.join(".wh.victim")).unwrap());
        std::fs::write(root.join(".wh."), "").unwrap();
        assert!(convert_all(&root, Marks::User).unwrap_err().message.contains("no name"));
        store::remove_tree(&scratch).unwrap();
    }
}
