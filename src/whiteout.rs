//! Whiteouts: how a layer says what of the layers below is gone.
//!
//! In an archive a file `.wh.NAME` hides NAME, and `.wh..wh..opq` in a directory hides all that the
//! layers below have in it (image-spec layer.md, "Whiteouts"). Overlayfs wants a character device 0/0
//! called NAME, and an xattr on the directory. [`convert_all`] walks over an unpacked layer and turns
//! the ones into the others, inside the user namespace, where mknod(2) of 0/0 is allowed to all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{printable, Context, Error, Result};
use crate::parents;
use crate::store;
use crate::sys::{self, Stat};

/// More bytes of names than these are not held in memory.
const MAX_PENDING: usize = 64 << 20;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Turns the whiteouts of an archive (image-spec layer.md) into those of overlayfs, in the tree below
/// the working directory. No symbolic link is followed, nothing recurses.
///
/// On the way it marks the directories that the archive does not list.
pub fn convert_all() -> Result<()> {
    let mut pending = vec![PathBuf::from(".")];
    let mut held = pending[0].as_os_str().len();
    while let Some(dir) = pending.pop() {
        held -= dir.as_os_str().len();
        let before = sys::lstat(&dir).map_err(|error| failed(error, "lstat", &dir))?;
        let mut marks = Vec::new();
        let mut mark_bytes = 0;
        for entry in std::fs::read_dir(&dir).map_err(|error| failed(error, "list", &dir))? {
            let entry = entry.map_err(|error| failed(error, "list", &dir))?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(PREFIX) {
                mark_bytes += name.len();
                marks.push(name);
            } else if entry.file_type().map_err(|error| failed(error, "lstat in", &dir))?.is_dir() {
                let path = dir.join(name);
                held += path.as_os_str().len();
                pending.push(path);
            }
            if held + mark_bytes > MAX_PENDING {
                return Err(Error::new("the layer is refused: too many names"));
            }
        }
        convert_marks(&dir, &marks, &before)?;
        parents::mark(&dir, &before).context(shown(&dir))?;
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

fn convert_marks(dir: &Path, marks: &[OsString], before: &Stat) -> Result<()> {
    if marks.is_empty() {
        return Ok(());
    }
    for mark in marks {
        convert(dir, mark).context(format_args!("whiteout {}", shown(&dir.join(mark))))?;
    }
    // The directory's time is the image's, not that of our changes.
    sys::set_times(dir, before).context(format_args!("utimensat {}", shown(dir)))
}

fn convert(dir: &Path, mark: &OsStr) -> Result<()> {
    store::remove_tree(&dir.join(mark)).context("unlink")?;
    let hidden = OsStr::from_bytes(&mark.as_bytes()[PREFIX.len()..]);
    match hidden.as_bytes() {
        _ if mark.as_bytes() == OPAQUE => return set_opaque(dir),
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
