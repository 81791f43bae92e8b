//! Directories that a layer names only in passing.
//!
//! A layer may hold `tmp/x` and no entry for `tmp/`: then it says nothing about /tmp, whose mode, owner
//! and time are those of the layers below (image-spec layer.md: a layer is a set of changes). tar has
//! to make a directory all the same, and overlayfs shows the topmost one, so /tmp would lose its sticky
//! bit. Layers are unpacked apart from each other, so the one that knows better is not at hand then.
//!
//! So tar works with an odd umask, by which those directories are known afterwards, and each is
//! [`mark`]ed. When the image is put together, [`restore`] stacks one more directory on the layers, the
//! image's own: in it are the marked directories alone, as the highest layer has them that lists them.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::idmap::IdMap;
use crate::order;
use crate::sys::{self, Stat};
use crate::whiteout::Marks;

/// The umask for tar, and the mode by which the directories that it makes on its own are known.
pub const UMASK: u32 = 0o070;
pub const IMPLIED_MODE: u32 = 0o777 & !UMASK;

/// The mode that such a directory has when no layer lists it.
pub const USUAL_MODE: u32 = 0o755;

/// On each such directory; overlayfs hides xattrs that begin like its own.
const IMPLIED: &str = "implied";
/// On the root of a layer that has such directories further down, so that others need no search.
const BELOW: &str = "implied-below";

/// Marks a directory of the layer unpacked in `root`, if tar made it on its own. Where there are no xattrs its mode
/// stays the mark.
pub fn mark(root: &Path, dir: &Path, stat: &Stat, marks: Marks) -> Result<()> {
    if stat.mode() != IMPLIED_MODE || marks == Marks::Files {
        return Ok(());
    }
    sys::chmod(dir, USUAL_MODE).context("chmod")?;
    marks.set(dir, IMPLIED).context("lsetxattr")?;
    if dir != root {
        marks.set(root, BELOW).context("lsetxattr")?;
    }
    Ok(())
}

/// Whether tar made a directory on its own, where only its mode says so.
pub fn is_implied(stat: &Stat) -> bool {
    stat.mode() == IMPLIED_MODE
}

/// Makes the directory `<layers>` in the image directory `image`, on top of the links `0..layers`. Where layers are
/// merged (merge.rs) there is nothing to restore: it is empty, and implied itself.
pub fn restore(image: &Path, layers: usize, map: &IdMap, marks: Marks) -> Result<()> {
    if marks == Marks::Files {
        let top = image.join(layers.to_string());
        sys::why("nothing is lost where layers are merged into one tree: an empty directory");
        sys::mkdir(&top, 0o700).context("mkdir")?;
        sys::why("that says nothing itself");
        return sys::chmod(&top, IMPLIED_MODE).context("chmod");
    }
    sys::why("for directories that no upper layer describes: the owners are those of the namespace");
    let job = map.enter_for(marks, || {
        sys::why("the layers are 0, 1, ... in here");
        sys::chdir(image).context(format_args!("chdir {}", image.display()))?;
        let mut marked = Vec::new();
        for layer in 1..layers {
            let layer = PathBuf::from(layer.to_string());
            marked_in(&layer, &mut marked, marks).context("look for directories")?;
        }
        let here = Path::new(".");
        let is_lost =
            |path: &PathBuf| matches!(find(here, path, layers, marks), Some(Found { marked_above: true, .. }));
        sys::fold("if possible: does a lower layer describe them?", || marked.retain(is_lost));
        make(Path::new(&layers.to_string()), &marked, layers, marks)
    });
    job?.wait()
}

/// Collects the marked directories of a layer, without its root. No link is followed.
fn marked_in(layer: &Path, marked: &mut Vec<PathBuf>, marks: Marks) -> io::Result<()> {
    sys::why("if possible: does the layer have directories that its archive did not list?");
    if !marks.has(&layer.join("."), BELOW) {
        return Ok(());
    }
    sys::fold("which directories of the layer did its archive not list?", || {
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            let open = sys::open(layer.join(&dir).join("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
            loop {
                let some = sys::list_some(&open)?;
                if some.is_empty() {
                    break;
                }
                for entry in some.iter().filter(|entry| entry.kind == libc::S_IFDIR) {
                    let path = dir.join(&entry.name);
                    if marks.has(&layer.join(&path), IMPLIED) {
                        marked.push(path.clone());
                    }
                    pending.push(path);
                }
            }
        }
        Ok(())
    })
}

/// Makes directories, and those they lie in, as the layers have them.
fn make(top: &Path, marked: &[PathBuf], layers: usize, marks: Marks) -> Result<()> {
    let mut all: Vec<&Path> = marked.iter().flat_map(|path| parts(path)).collect();
    order::sort_by(&mut all, |a, b| a.cmp(b)); // parents come before what is in them
    all.dedup();
    sys::why("the image's own layer, on top of the others");
    sys::mkdir(top, 0o700).context("mkdir")?;
    sys::fold("directories that upper layers do not describe, as lower ones have them", || {
        for path in &all {
            sys::mkdir(top.join(path), 0o700).context("mkdir")?;
        }
        // The other way round, since whatever is made in a directory changes its time.
        all.iter().rev().try_for_each(|path| describe(top, path, layers, marks))
    })?;
    describe(top, Path::new("."), layers, marks)
}

/// Gives a directory the owner, mode and time that the layers have for it.
fn describe(top: &Path, path: &Path, layers: usize, marks: Marks) -> Result<()> {
    let place = top.join(path);
    match find(Path::new("."), path, layers, marks) {
        Some(Found { stat, .. }) => {
            sys::why("the owner is the one in the layer that describes it");
            sys::lchown(&place, stat.uid(), stat.gid()).context("lchown")?;
            sys::why("so is the mode");
            sys::chmod(&place, stat.mode()).context("chmod")?;
            sys::why("and the time");
            sys::set_times(&place, &stat).context("utimensat")
        }
        None => {
            sys::why("no layer describes it: the usual mode");
            sys::chmod(&place, USUAL_MODE).context("chmod")
        }
    }
}

struct Found {
    stat: Stat,
    /// A higher layer has it too, and does not list it.
    marked_above: bool,
}

/// The directory in the highest layer that lists it, as far as it shows through those above.
fn find(image: &Path, path: &Path, layers: usize, marks: Marks) -> Option<Found> {
    let mut marked_above = false;
    for layer in (0..layers).rev() {
        let root = image.join(layer.to_string()).join(".");
        let mut below = true;
        for part in [Path::new(".")].into_iter().chain(parts(path)) {
            let here = root.join(part);
            sys::why("if possible: does this layer have it?");
            let Ok(stat) = sys::lstat(&here) else { break }; // this layer does not have it
            if !stat.is_dir() {
                return None; // a whiteout or a file: what is below does not show
            }
            sys::why("if possible: and does it hide what lies below it?");
            below &= !marks.is_opaque(&here);
            if part == path {
                sys::why("if possible: or does the layer name it in passing only?");
                match marks.has(&here, IMPLIED) {
                    true => marked_above = true,
                    false => return Some(Found { stat, marked_above }),
                }
            }
        }
        if !below {
            return None;
        }
    }
    None
}

/// `a`, `a/b`, `a/b/c`
fn parts(path: &Path) -> Vec<&Path> {
    let mut parts: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn a_directory_is_what_the_highest_layer_that_lists_it_says() {
        let image = std::env::temp_dir().join(format!("mydocker-parents-{}", store::random_hex().unwrap()));
        // Layer, path, mode: with IMPLIED_MODE, a directory that the layer does not list.
        let table = [
            (0, "tmp", 0o1777),
            (1, "tmp", IMPLIED_MODE),
            (0, "hidden", 0o700),
            (1, "hidden", 0o711),
            (1, "hidden/own", IMPLIED_MODE),
            (0, "hidden/own", 0o700),
            (2, "hidden", IMPLIED_MODE),
            (1, "new", IMPLIED_MODE),
        ];
        for (layer, path, mode) in table {
            let dir = image.join(layer.to_string()).join(path);
            std::fs::create_dir_all(&dir).unwrap();
            sys::chmod(&dir, mode).unwrap();
            if sys::setxattr(&dir, "user.probe", b"y").is_err() {
                return store::remove_tree(&image).unwrap(); // no user xattrs in TMPDIR: nothing to see here
            }
            mark(&image.join(layer.to_string()), &dir, &sys::lstat(&dir).unwrap(), Marks::User).unwrap();
        }
        Marks::User.set(&image.join("1/hidden"), "opaque").unwrap();
        let mode = |path: &str| find(&image, Path::new(path), 3, Marks::User).map(|f| (f.stat.mode(), f.marked_above));
        assert_eq!(mode("tmp"), Some((0o1777, true)));
        assert_eq!(mode("hidden"), Some((0o711, true)));
        assert_eq!((mode("hidden/own"), mode("new"), mode("none")), (None, None, None));
        let mut marked = Vec::new();
        marked_in(&image.join("1"), &mut marked, Marks::User).unwrap();
        marked.sort();
        assert_eq!(marked, ["hidden/own", "new", "tmp"].map(PathBuf::from));
        store::remove_tree(&image).unwrap();
    }

    #[test]
    fn the_parts_of_a_path() {
        assert_eq!(parts(Path::new("a/b/c")), ["a", "a/b", "a/b/c"].map(Path::new));
        assert_eq!(parts(Path::new(".")), [Path::new(".")]);
    }
}
