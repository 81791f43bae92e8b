//! Where things are kept: one directory, no daemon, no database. What is there can be read with `ls`.
//!
//! ```text
//! $MYDOCKER_HOME, or $HOME/.config/mydocker     mode 0700: it holds setuid files of strangers
//!   images/docker.io+library+busybox:latest  -> <image>, a symlink for each reference
//!   images/<image>/config, manifest             as they came, digests checked
//!   images/<image>/0, 1, ...                 -> ../../layers/<layer>, the lowest first
//!   layers/<layer>/                             one directory for each layer, stacked by overlayfs
//!   skeleton/                                   the layer above them: what the kernel's file systems are mounted on
//!   containers/<id>/                            one OCI bundle for each container
//!   tmp/                                        things in the making; renamed into place when whole
//! ```
//!
//! An image is named by the digest of its config, a layer by its diff_id, both followed by
//! [`IdMap::key`] and [`Marks::ending`]. Everything appears by one rename(2) and is removed by a rename into `tmp` first:
//! a kill at any moment leaves a whole thing, or nothing that counts.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::job;
use crate::sys::{self, Entry, Fd};
use crate::whiteout::{Marks, OPAQUE};

/// A store.
#[derive(Debug, Clone)]
pub struct Store {
    pub root: PathBuf,
    /// How new layers are marked, known from [`Store::create`].
    pub marks: Marks,
}

impl Store {
    /// The caller's store; nothing is made yet.
    pub fn of_caller() -> Result<Store> {
        let store = Store::place()?;
        sys::why("if there is one: the store must be the caller's own");
        store.check_owner()?;
        Ok(store)
    }

    fn place() -> Result<Store> {
        let root = match (std::env::var_os("MYDOCKER_HOME"), std::env::var_os("HOME")) {
            (Some(root), _) if !root.is_empty() => PathBuf::from(root),
            (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".config/mydocker"),
            _ => return Err(Error::new("neither MYDOCKER_HOME nor HOME is set").hint("they say where the store is")),
        };
        if !root.is_absolute() {
            let text = format!("the store {} is no absolute path", root.display());
            return Err(Error::new(text).hint("it comes from MYDOCKER_HOME, or HOME"));
        }
        Ok(Store { root, marks: Marks::User })
    }

    /// A store belongs to whom it serves: what somebody else can write (links to layers, names of containers) would
    /// be followed with the caller's rights.
    fn check_owner(&self) -> Result<()> {
        let place = self.root.display();
        match sys::stat(&self.root) {
            Ok(stat) if stat.uid() != sys::euid() => {
                Err(Error::new(format!("the store {place} belongs to user {}, not to {}", stat.uid(), sys::euid()))
                    .hint("set MYDOCKER_HOME; sudo may have kept HOME"))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(format_args!("stat {place}")),
            // Ours, or not there yet.
            _ => Ok(()),
        }
    }

    /// Makes what is missing, and finds out what the file system carries; the skeleton appears by one rename.
    pub fn create(&self) -> Result<Store> {
        self.make_root()?;
        for (dir, reason) in [
            (self.images(), "unless it is there: a directory for each image, a symlink for each reference"),
            (self.layers(), "unless it is there: a directory for each layer"),
            (self.tmp(), "unless it is there: for what is in the making"),
            (self.containers(), "unless it is there: a directory for each container"),
        ] {
            sys::why(reason);
            make_dir(&dir, 0o700)?;
        }
        let store = Store { root: self.root.clone(), marks: self.probe()? };
        sys::why("if there is one: the layer that lies above those of every image");
        if exists(store.skeleton(store.marks))? {
            return Ok(store);
        }
        let making = self.fresh_tmp("skeleton")?;
        make_skeleton(&making, store.marks)?;
        sys::why("unless it is there: whole, it appears at once");
        match sys::rename(&making, store.skeleton(store.marks)) {
            // Another engine was faster.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
                remove_tree(&making).context(format_args!("remove {}", making.display()))?;
            }
            renamed => renamed.context(format_args!("rename {}", making.display()))?,
        }
        Ok(store)
    }

    /// Makes the store's own directory, and those above it that are missing.
    fn make_root(&self) -> Result<()> {
        let mut missing = Vec::new();
        for dir in self.root.ancestors() {
            sys::why("if there is one: the store, or the way to it");
            if exists(dir)? {
                break;
            }
            missing.push(dir);
        }
        for dir in missing.into_iter().rev() {
            let is_store = dir == self.root;
            let reason = "closed to others: it holds setuid files of strangers";
            sys::why(if is_store { reason } else { "the way to the store" });
            make_dir(dir, if is_store { 0o700 } else { 0o777 })?;
        }
        Ok(())
    }

    /// How layers are marked: as the store's file system and the kernel's overlayfs can have it. tmpfs before Linux 6.6
    /// carries only `trusted.*`, which are for root of the first user namespace and its overlay; ramfs carries none.
    fn probe(&self) -> Result<Marks> {
        if !has_overlay()? {
            return Ok(Marks::Files);
        }
        sys::why("if possible: overlayfs's marks in a user namespace");
        if self.carries(Marks::User)? {
            return Ok(Marks::User);
        }
        sys::why("if possible: overlayfs's marks for the host's root (else: files, and no overlay)");
        Ok(if self.carries(Marks::Trusted)? { Marks::Trusted } else { Marks::Files })
    }

    fn carries(&self, marks: Marks) -> Result<bool> {
        match marks.set(&self.layers(), "probe") {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => Ok(false),
            set => set.context(format_args!("lsetxattr on {}", self.layers().display())).map(|()| true),
        }
    }

    /// The layer above those of every image.
    pub fn skeleton(&self, marks: Marks) -> PathBuf {
        self.root.join(format!("skeleton{}", marks.ending()))
    }

    /// The name of an image or layer whose digest has these digits.
    pub fn name(&self, digits: &str, map: &IdMap) -> String {
        format!("{digits}{}{}", map.key(), self.marks.ending())
    }

    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A name under `tmp` that nothing else has.
    pub fn fresh_tmp(&self, prefix: &str) -> Result<PathBuf> {
        Ok(self.tmp().join(format!("{prefix}-{}", random_hex()?)))
    }

    /// Removes a tree of the store: out of sight by one rename, then piece by piece.
    /// What belongs to subordinate ids is removed inside the id map.
    pub fn remove(&self, path: &Path, map: &IdMap) -> Result<()> {
        let doomed = self.fresh_tmp("removed")?;
        sys::why("out of sight at once: what is left of it after a kill counts for nothing");
        rename_mapped(path, &doomed, map)?;
        remove_tree_mapped(&doomed, map)
    }
}

/// Whether the kernel has overlayfs, or can load it: filesystems(5) lists what is there already.
fn has_overlay() -> Result<bool> {
    sys::why("has the kernel overlayfs?");
    let list = sys::read_file("/proc/filesystems", 64 * 1024).context("read /proc/filesystems");
    let list = list.map_err(|error| error.hint("mount -t proc proc /proc"))?;
    if String::from_utf8_lossy(&list).lines().any(|line| line.ends_with("\toverlay")) {
        return Ok(true);
    }
    sys::why("not yet, but asked for it the kernel may load it: a root with mounts of its own asks");
    let errno = job::in_child(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, &|| {
        sys::why("if possible: overlayfs (ENODEV: there is none)");
        sys::fsopen("overlay").map(drop)
    });
    Ok(i32::from(errno) != libc::ENODEV)
}

/// Moves a file or directory, if need be as root of the user namespace that it belongs to: a directory
/// that gets another parent must be writable itself, for its `..` changes; rename(2), EACCES.
pub fn rename_mapped(from: &Path, to: &Path, map: &IdMap) -> Result<()> {
    mapped(map, || sys::rename(from, to).context(format_args!("rename {} to {}", from.display(), to.display())))
}

/// Removes a tree, if need be as root of the user namespace that its files belong to.
pub fn remove_tree_mapped(path: &Path, map: &IdMap) -> Result<()> {
    mapped(map, || remove_tree(path).context(format_args!("remove {}", path.display())))
}

/// Does something with files as the caller, and where that may not, as root of the user namespace of their ids.
fn mapped(map: &IdMap, job: impl Fn() -> Result<()>) -> Result<()> {
    let done = if map.is_root() { job() } else { sys::if_possible(&job) };
    let again = match done.as_ref().map_err(|error| error.errno) {
        Ok(()) => false,
        // Of root, too: one without its capabilities.
        Err(Some(libc::EACCES | libc::EPERM)) => true,
        // There is something else in its place.
        Err(Some(libc::EEXIST | libc::ENOTEMPTY)) => false,
        Err(_) => !map.is_root(),
    };
    if !again {
        return done;
    }
    sys::why("the files are of ids that the user has: root of those may do it");
    let job = || {
        sys::why("now as their root");
        job()
    };
    map.enter(job)?.wait()
}

/// Devices that every container has (runtime-spec config-linux.md, "Default Devices").
pub const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Symbolic links in /dev: their names, and where they point (runtime-spec, "Dev symbolic links").
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The layer that lies above those of every image: real directories for /proc, /sys and /dev, empty files
/// for the devices to be bound on. They are opaque, so what an image has under these names, a symbolic
/// link to somewhere else for one (CVE-2019-19921, CVE-2025-31133), is never seen.
fn make_skeleton(place: &Path, marks: Marks) -> Result<()> {
    sys::why("the layer above those of every image, in the making");
    make_dir(place, 0o755)?;
    for name in ["proc", "sys", "dev", "dev/pts", "dev/shm", "dev/mqueue"] {
        let dir = place.join(name);
        sys::why("a file system of the kernel's is mounted here");
        make_dir(&dir, 0o755)?;
        if !name.contains('/') {
            set_opaque(&dir, marks)?;
        }
    }
    for name in DEVICES {
        let file = place.join("dev").join(name);
        sys::why("an empty file: the host's device is bound over it");
        sys::mknod(&file, libc::S_IFREG | 0o666, 0).context(format_args!("mknod {}", file.display()))?;
    }
    for (name, target) in DEVICE_LINKS {
        let link = place.join("dev").join(name);
        sys::why("a name that programs expect in /dev");
        sys::symlink(target, &link).context(format_args!("symlink {}", link.display()))?;
    }
    Ok(())
}

/// Marks a directory that hides what lies below it.
fn set_opaque(dir: &Path, marks: Marks) -> Result<()> {
    sys::why("a mark: what an image has under this name is never seen (CVE-2019-19921)");
    match marks {
        Marks::Files => sys::mknod(dir.join(OsStr::from_bytes(OPAQUE)), libc::S_IFREG | 0o600, 0),
        _ => marks.set(dir, "opaque"),
    }
    .context(format_args!("mark {} opaque", dir.display()))
}

/// 48 random bits in 12 hex digits, as docker shortens its ids to.
pub fn random_hex() -> Result<String> {
    sys::why("a name that nothing else has");
    let bytes: [u8; 6] = sys::random().context("getrandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes a directory; one that is there is fine.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match sys::mkdir(path, mode) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).context(format_args!("mkdir {}", path.display()))
        }
        _ => Ok(()),
    }
}

pub fn exists(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    sys::why_else("if there is one: then it is left as it is");
    match sys::lstat(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(format_args!("lstat {}", path.display())),
    }
}

/// More entries at the top of a tree are not told one by one.
const FEW: usize = 20;

/// Removes a directory and all that is in it. No symbolic link is followed. A tree of any depth needs two
/// descriptors and no recursion: what lies deeper is moved up beside its parent first.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    sys::why("if there is one: it is emptied through this, whatever becomes of its name");
    let top = match sys::open(path, LISTING, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        top => top?,
    };
    loop {
        sys::why("what is to be removed");
        let some = sys::list_some(&top)?;
        let (count, mut full) = (some.len(), Vec::new());
        let clear = || remove_entries(&top, some, &mut full);
        match count {
            0..=FEW => clear(),
            _ => sys::fold("what is at its top", clear),
        }?;
        if !full.is_empty() {
            sys::fold("what lies deeper: emptied, and its own directories moved up first", || level(&top, full))?;
        }
        sys::why("if it is empty: now itself (ENOENT: somebody was faster)");
        match sys::rmdir(path) {
            Err(error) if is_taken(&error) && count > 0 => {} // the next entries
            removed => return removed.or_else(gone_is_fine),
        }
    }
}

/// How a directory is opened to be listed or emptied: itself, not what a link leads to.
const LISTING: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// Removes these directories of `top`; what lies in them is moved up to `top` before its turn comes.
fn level(top: &Fd, mut full: Vec<OsString>) -> io::Result<()> {
    let mut moved = 0u64;
    while let Some(name) = full.pop() {
        // Not into another mount: what is there is somebody else's.
        let dir = match sys::openat2_same_mount(top, &name, LISTING) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            dir => dir?,
        };
        loop {
            let some = sys::list_some(&dir)?;
            let (count, mut inner) = (some.len(), Vec::new());
            remove_entries(&dir, some, &mut inner)?;
            for deeper in inner {
                full.push(move_up(&dir, &deeper, top, &mut moved)?);
            }
            match sys::unlinkat(top, &name, libc::AT_REMOVEDIR) {
                Err(error) if is_taken(&error) && count > 0 => {} // the next entries
                removed => break removed.or_else(gone_is_fine)?,
            }
        }
    }
    Ok(())
}

/// Moves a directory to `top`, under the first free name after number `moved`.
fn move_up(dir: &Fd, name: &OsStr, top: &Fd, moved: &mut u64) -> io::Result<OsString> {
    loop {
        *moved += 1;
        let free = OsString::from(format!(".removed-{moved}"));
        match sys::renameat(dir, name, top, &free) {
            // Not so free: the tree comes from a stranger.
            Err(error) if is_taken(&error) => {}
            renamed => return renamed.map(|()| free),
        }
    }
}

/// Removes these entries of `dir`, files and empty directories; other directories are added to `full`. An empty one
/// goes even where the caller may not look into it: overlayfs leaves such a one.
fn remove_entries(dir: &Fd, some: Vec<Entry>, full: &mut Vec<OsString>) -> io::Result<()> {
    for entry in some {
        if entry.kind == libc::S_IFDIR {
            sys::why("if possible: it may be empty");
            match sys::unlinkat(dir, &entry.name, libc::AT_REMOVEDIR) {
                Ok(()) => {}
                Err(_) => full.push(entry.name),
            }
        } else {
            sys::why("if there is one: only an empty directory can be removed");
            sys::unlinkat(dir, &entry.name, 0).or_else(gone_is_fine)?;
        }
    }
    Ok(())
}

/// There is something in the directory, or of that name.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR))
}

/// Somebody else has removed it.
fn gone_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// The bytes that a tree takes on disk by its files' lengths, links counted once each.
pub fn tree_size(path: &Path) -> u64 {
    let mut pending = vec![path.to_path_buf()];
    let mut total = 0;
    while let Some(dir) = pending.pop() {
        // A directory of another id may be closed to the user: its bytes are then not counted.
        let Ok(open) = sys::open(&dir, LISTING, 0) else { continue };
        while let Some(some) = sys::list_some(&open).ok().filter(|some| !some.is_empty()) {
            for Entry { name, kind } in some {
                match kind {
                    libc::S_IFDIR => pending.push(dir.join(name)),
                    libc::S_IFREG => total += sys::fstatat(&open, &name).map_or(0, |stat| stat.size()),
                    _ => {}
                }
            }
        }
    }
    total
}

/// Whether `name` may be the name of a file in the store: not empty, no slash, not hidden.
pub fn is_plain_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes.len() <= 255 && bytes[0] != b'.' && !bytes.contains(&b'/') && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("mydocker-store-{}", random_hex().unwrap()));
        sys::mkdir(&dir, 0o700).unwrap();
        dir
    }

    #[test]
    fn a_deep_tree_is_removed_and_links_are_not_followed() {
        let dir = scratch();
        let canary = dir.join("canary");
        std::fs::write(&canary, "alive").unwrap();
        let tree = dir.join("tree");
        let mut deep = tree.clone();
        for level in 0..300 {
            deep = deep.join(format!("d{}", level % 3));
        }
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&dir, tree.join("d0/link")).unwrap();
        std::os::unix::fs::symlink(&canary, deep.join("link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!exists(&tree).unwrap());
        assert_eq!(std::fs::read(&canary).unwrap(), b"alive");
        remove_tree(&dir).unwrap();
        remove_tree(&dir).unwrap(); // a second time: nothing there, nothing wrong
    }

    #[test]
    fn a_strangers_tree_is_removed_whatever_its_names_and_modes() {
        let dir = scratch();
        let tree = dir.join("tree");
        for path in ["a/b/c", "a/d/e", ".removed-1/x/y", ".removed-2/x", ".removed-3", "closed/inside", "none"] {
            std::fs::create_dir_all(tree.join(path)).unwrap();
        }
        std::fs::write(tree.join("a/b/.removed-1"), "x").unwrap();
        for number in 0..3000 {
            std::fs::write(tree.join(format!("a/{number:0>200}")), "").unwrap(); // more than one getdents64
            std::fs::create_dir(tree.join(format!("{number:0>200}"))).unwrap();
        }
        sys::chmod(tree.join("none"), 0).unwrap(); // empty: nobody needs to look into it
        remove_tree(&tree).unwrap();
        assert!(!exists(&tree).unwrap());
        remove_tree(&dir).unwrap();
    }

    #[test]
    fn names_with_slashes_or_dots_are_no_names() {
        let plain = |name: &str| is_plain_name(name.as_ref());
        assert!(plain("web") && !plain("") && !plain("../x") && !plain("a/b") && !plain(".") && !plain(".hidden"));
    }
}
