//! Whiteouts: how a layer says what of the layers below is gone.
//!
//! In an archive a file `.wh.NAME` hides NAME, and `.wh..wh..opq` in a directory hides all that the
//! layers below have in it (image-spec layer.md, "Whiteouts"). Overlayfs wants a character device 0/0
//! called NAME, and an xattr on the directory. [`convert_all`] walks over an unpacked layer and turns
//! the ones into the others, inside the user namespace, where mknod(2) of 0/0 is allowed to all.

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

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Turns the whiteouts of a layer, unpacked in `root`, into those of overlayfs. No symbolic link is
/// followed, nothing recurses. On the way it marks the directories that the archive does not list.
pub fn convert_all(root: &Path) -> Result<()> {
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
        convert_marks(&dir, &marks, &before)?;
        parents::mark(root, &dir, &before).context(shown(&dir))?;
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

fn convert_marks(dir: &Path, marks: &[Entry], before: &Stat) -> Result<()> {
    if marks.is_empty() {
        return Ok(());
    }
    for mark in marks {
        convert(dir, mark).context(format_args!("whiteout {}", shown(&dir.join(&mark.name))))?;
    }
    // The directory's time is the image's, not that of our changes.
    sys::set_times(dir, before).context(format_args!("utimensat {}", shown(dir)))
}

fn convert(dir: &Path, mark: &Entry) -> Result<()> {
    let path = dir.join(&mark.name);
    match mark.kind {
        libc::S_IFDIR => store::remove_tree(&path),
        _ => sys::unlink(&path),
    }
    .context("unlink")?;
    let mark = mark.name.as_bytes();
    let hidden = OsStr::from_bytes(&mark[PREFIX.len()..]);
    match hidden.as_bytes() {
        _ if mark == OPAQUE => return set_opaque(dir),
        b"" | b"." | b".." => return Err(Error::new("the layer is refused: a whiteout of no name")),
        // Other names of this kind are aufs's own notes.
        reserved if reserved.starts_with(PREFIX) => return Ok(()),
        _ => {}
    }
    let path = dir.join(hidden);
    match sys::mknod(&path, libc::S_IFCHR, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.context("mknod"),
    }
    // The layer brings something of that name itself, and that hides what was below, unless both
    // are directories.
    if sys::lstat(&path).context("lstat")?.is_dir() {
        set_opaque(&path)?;
    }
    Ok(())
}

/// Overlayfs's mark of a directory that shows nothing of the layers below it.
pub const OPAQUE_XATTR: &str = "user.overlay.opaque";

fn set_opaque(dir: &Path) -> Result<()> {
    sys::setxattr(dir, OPAQUE_XATTR, b"y").context("lsetxattr")
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
        convert_all(&root).unwrap();
        let opaque = |dir: &str| sys::getxattr(root.join(dir), OPAQUE_XATTR).is_ok();
        assert!(sys::lstat(root.join("a/gone")).unwrap().is_whiteout());
        assert!(opaque("a/own") && opaque("opaque") && !opaque("a"));
        assert_eq!(time(), before);
        assert!(marks[..4].iter().all(|mark| !store::exists(root.join(mark)).unwrap()));
        assert!(store::exists(root.join("a/file")).unwrap() && store::exists(outside.join(".wh.victim")).unwrap());
        std::fs::write(root.join(".wh."), "").unwrap();
        assert!(convert_all(&root).unwrap_err().message.contains("no name"));
        store::remove_tree(&scratch).unwrap();
    }
}
