//! Where things are kept: one directory, no daemon, no database. What is there can be read with `ls`.
//!
//! ```text
//! $MYDOCKER_HOME, or $HOME/.config/mydocker     mode 0700: it holds setuid files of strangers
//!   images/docker.io+library+busybox:latest  -> <image>, a symlink for each reference
//!   images/<image>/config, manifest             as the registry sent them, digests checked
//!   images/<image>/0, 1, ...                 -> ../../layers/<layer>, the lowest first
//!   layers/<layer>/                             one directory for each layer, stacked by overlayfs
//!   skeleton/                                   the layer above them: what the kernel's file systems are mounted on
//!   containers/<id>/                            one OCI bundle for each container
//!   tmp/                                        things in the making; renamed into place when whole
//! ```
//!
//! An image is named by the digest of its config, a layer by its diff_id, both followed by
//! [`IdMap::key`]. Everything appears by one rename(2) and is removed by a rename into `tmp` first:
//! a kill at any moment leaves a whole thing, or nothing that counts.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::sys::{self, Fd};
use crate::whiteout::OPAQUE_XATTR;

/// The root of the store.
#[derive(Debug, Clone)]
pub struct Store {
    pub root: PathBuf,
}

impl Store {
    /// The caller's store; nothing is made yet.
    pub fn of_caller() -> Result<Store> {
        let store = Store::place()?;
        sys::why("the store must be the caller's own");
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
        Ok(Store { root })
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

    /// Makes what is missing; the skeleton appears by one rename.
    pub fn create(&self) -> Result<()> {
        let parent = self.root.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(parent).context(format_args!("mkdir {}", parent.display()))?;
        for dir in [&self.root, &self.images(), &self.layers(), &self.tmp(), &self.containers()] {
            make_dir(dir, 0o700)?;
        }
        if exists(self.skeleton())? {
            return Ok(());
        }
        let making = self.fresh_tmp("skeleton")?;
        make_skeleton(&making)?;
        match sys::rename(&making, self.skeleton()) {
            // Another engine was faster.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
                remove_tree(&making).context(format_args!("remove {}", making.display()))
            }
            renamed => renamed.context(format_args!("rename {}", making.display())),
        }
    }

    pub fn skeleton(&self) -> PathBuf {
        self.root.join("skeleton")
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
        rename_mapped(path, &doomed, map)?;
        remove_tree_mapped(&doomed, map)
    }
}

/// Moves a file or directory, if need be as root of the user namespace that it belongs to: a directory
/// that gets another parent must be writable itself, for its `..` changes; rename(2), EACCES.
pub fn rename_mapped(from: &Path, to: &Path, map: &IdMap) -> Result<()> {
    let rename = || sys::rename(from, to).context(format_args!("rename {} to {}", from.display(), to.display()));
    match rename() {
        Err(error) if matches!(error.errno, Some(libc::EACCES | libc::EPERM)) => map.enter(0, rename)?.wait(),
        renamed => renamed,
    }
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
fn make_skeleton(place: &Path) -> Result<()> {
    make_dir(place, 0o755)?;
    for name in ["proc", "sys", "dev", "dev/pts", "dev/shm", "dev/mqueue"] {
        let dir = place.join(name);
        make_dir(&dir, 0o755)?;
        if !name.contains('/') {
            set_opaque(&dir)?;
        }
    }
    for name in DEVICES {
        let file = place.join("dev").join(name);
        sys::mknod(&file, libc::S_IFREG | 0o666, 0).context(format_args!("mknod {}", file.display()))?;
    }
    for (name, target) in DEVICE_LINKS {
        let link = place.join("dev").join(name);
        sys::symlink(target, &link).context(format_args!("symlink {}", link.display()))?;
    }
    Ok(())
}

/// Overlayfs's mark for a directory that hides what lies below it.
fn set_opaque(dir: &Path) -> Result<()> {
    match sys::setxattr(dir, OPAQUE_XATTR, b"y") {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {
            let place = dir.display();
            Err(error).context(format_args!("lsetxattr user.overlay.opaque on {place}")).map_err(|error| {
                error.hint("the store's file system carries no user xattrs (ramfs; tmpfs before Linux 6.6), which overlayfs needs: set MYDOCKER_HOME to a directory on ext4, xfs, btrfs or tmpfs")
            })
        }
        set => set.context(format_args!("lsetxattr user.overlay.opaque on {}", dir.display())),
    }
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
    match sys::lstat(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(format_args!("lstat {}", path.display())),
    }
}

/// Removes a tree, if need be as root of the user namespace that its files belong to.
pub fn remove_tree_mapped(path: &Path, map: &IdMap) -> Result<()> {
    let removed = remove_tree(path);
    match &removed {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {}
        _ => return removed.context(format_args!("remove {}", path.display())),
    }
    map.enter(0, || remove_tree(path).context(format_args!("remove {}", path.display())))?.wait()
}

/// Removes a file or a whole tree. No symbolic link is followed. A tree of any depth needs three
/// descriptors and no recursion: what lies deeper is moved up beside its parent first.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = sys::open(parent, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    if remove_entry(&parent, Path::new(name))? {
        return Ok(());
    }
    let top = open_dir(&parent, Path::new(name))?;
    let mut moved = 0u64;
    loop {
        let full: Vec<PathBuf> = remove_entries(&top, path)?;
        if full.is_empty() {
            return sys::unlinkat(&parent, name, libc::AT_REMOVEDIR);
        }
        for dir in full {
            let inner = open_dir(&top, &dir)?;
            for deeper in remove_entries(&inner, &path.join(&dir))? {
                moved += 1;
                let free = format!(".removed-{moved}-{}", std::process::id());
                sys::renameat(&inner, &deeper, &top, free)?;
            }
            sys::unlinkat(&top, &dir, libc::AT_REMOVEDIR)?;
        }
    }
}

/// Removes what can be removed in `dir` and returns the directories that are not empty.
fn remove_entries(dir: &Fd, path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut full = Vec::new();
    for entry in std::fs::read_dir(dir.path()).map_err(|error| no_proc(error, path))? {
        let name = PathBuf::from(entry?.file_name());
        if !remove_entry(dir, &name)? {
            full.push(name);
        }
    }
    Ok(full)
}

/// `/proc/self/fd/N` is gone where /proc is not mounted; nothing else makes an open directory vanish.
fn no_proc(error: io::Error, path: &Path) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(format!("cannot list {}: is /proc mounted?", path.display())),
        _ => error,
    }
}

/// Removes one entry; `false` when it is a directory that is not empty. One that is not there is fine.
fn remove_entry(dir: &Fd, name: &Path) -> io::Result<bool> {
    let removed = match sys::unlinkat(dir, name, 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {
            sys::unlinkat(dir, name, libc::AT_REMOVEDIR)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => Ok(false),
        Err(error) => Err(error),
        Ok(()) => Ok(true),
    }
}

fn open_dir(dir: &Fd, name: &Path) -> io::Result<Fd> {
    sys::openat(Some(dir), name, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)
}

/// The bytes that a tree takes on disk by its files' lengths, links counted once each.
pub fn tree_size(path: &Path) -> u64 {
    let mut pending = vec![path.to_path_buf()];
    let mut total = 0;
    while let Some(dir) = pending.pop() {
        // A directory of another id may be closed to the user: its bytes are then not counted.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match sys::lstat(entry.path()) {
                Ok(stat) if stat.is_dir() => pending.push(entry.path()),
                Ok(stat) if stat.kind() == libc::S_IFREG => total += stat.size(),
                _ => {}
            }
        }
    }
    total
}

/// Whether `name` may be the name of a file in the store: not empty, no slash, not hidden.
pub fn is_plain_name(name: &std::ffi::OsStr) -> bool {
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
    fn names_with_slashes_or_dots_are_no_names() {
        let plain = |name: &str| is_plain_name(name.as_ref());
        assert!(plain("web") && !plain("") && !plain("../x") && !plain("a/b") && !plain(".") && !plain(".hidden"));
    }
}
