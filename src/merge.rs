//! Without overlayfs: the layers copied into one tree.
//!
//! Where the kernel has no overlayfs, or the store's file system no xattrs for its marks (ramfs), each container gets
//! a copy of its image: the layers one upon the other, the lowest first, then the skeleton (store.rs), then what the
//! engine has written for this container. It costs the image's size in time and room for each container.
//!
//! A process of the engine's does it, as root of a user namespace like the container's. What is there already gives
//! way first: whatever a whiteout or an opaque directory hides, and whatever is no directory on both sides. So
//! wherever the layer has a directory there is a directory or nothing, and tar, which copies the layer, never meets a
//! symbolic link on its way (CVE-2025-45582). [`into_one_tree`] is the whole of it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{not_started, Context, Error, Result};
use crate::idmap::IdMap;
use crate::init::Plan;
use crate::parents;
use crate::store;
use crate::sys::{self, Entry, Program, Stat};
use crate::tar::Tar;
use crate::whiteout::{self, Hides, Marks};

/// Copies the layers of the image into the container's `rootfs`.
pub fn into_one_tree(plan: &Plan, map: &IdMap) -> Result<()> {
    let tar = Tar::installed()?;
    sys::why("the owners are those of the namespace");
    let job = map.enter(|| {
        let image = plan.store.images().join(&plan.bundle.image);
        sys::why("the image's directory, where its layers have short names");
        sys::chdir(&image).context(format_args!("chdir {}", image.display()))?;
        let own = Path::new("../../containers").join(plan.id);
        let skeleton = PathBuf::from(format!("../../skeleton{}", plan.marks.ending()));
        // The dot: it is what the link leads to.
        let layers = (0..plan.bundle.layers).map(|number| PathBuf::from(number.to_string()).join("."));
        let root = own.join("rootfs");
        layers.chain([skeleton, own.join("upper")]).try_for_each(|layer| add(&layer, &root, tar, map))
    });
    job?.wait()
}

/// One layer more.
fn add(layer: &Path, root: &Path, tar: Tar, map: &IdMap) -> Result<()> {
    let seen = sys::fold("what a higher layer hides or replaces goes", || make_way(layer, root))?;
    copy(layer, root, tar, map)?;
    sys::fold("the layer's marks are not for the container", || seen.settle(layer, root))
}

/// What tar is going to copy and should not have: to be put right afterwards.
#[derive(Default)]
struct Seen {
    /// Whiteouts and opaque marks, by their directories.
    marks: Vec<(PathBuf, Entry)>,
    /// Directories that the layer only passes through, and what they were like before, if they were.
    implied: Vec<(PathBuf, Option<Stat>)>,
}

/// Removes from `root` what `layer` hides or replaces. Directories first, what is in them after: so no link of
/// `root` is ever on the way.
fn make_way(layer: &Path, root: &Path) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        let (from, to) = (layer.join(&dir), root.join(&dir));
        let before = there(&to)?;
        if Marks::Files.is_opaque(&from) && before.is_some() {
            empty(&to)?;
        }
        let stat = sys::lstat(&from).context(format_args!("lstat {}", from.display()))?;
        if parents::is_implied(&stat) {
            seen.implied.push((dir.clone(), before));
        }
        for entry in sys::list_path(&from).context(format_args!("list {}", from.display()))? {
            let mark = entry.name.as_bytes().starts_with(whiteout::PREFIX);
            let (name, is_dir) = match mark.then(|| whiteout::hides(&entry.name)).flatten() {
                Some(Hides::Name(name)) => (name, false),
                _ => (entry.name.as_os_str(), entry.kind == libc::S_IFDIR && !mark),
            };
            match there(&to.join(name))? {
                Some(old) if !(old.is_dir() && is_dir) => remove(&to.join(name), &old)?,
                _ => {}
            }
            if is_dir {
                pending.push(dir.join(&entry.name));
            } else if mark {
                seen.marks.push((dir.clone(), entry));
            }
        }
    }
    Ok(seen)
}

fn there(path: &Path) -> Result<Option<Stat>> {
    match sys::lstat(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        stat => stat.context(format_args!("lstat {}", path.display())).map(Some),
    }
}

fn remove(path: &Path, stat: &Stat) -> Result<()> {
    let removed = if stat.is_dir() { store::remove_tree(path) } else { sys::unlink(path) };
    removed.context(format_args!("remove {}", path.display()))
}

fn empty(dir: &Path) -> Result<()> {
    for entry in sys::list_path(dir).context(format_args!("list {}", dir.display()))? {
        let path = dir.join(&entry.name);
        if let Some(stat) = there(&path)? {
            remove(&path, &stat)?;
        }
    }
    Ok(())
}

/// `tar -c | tar -x`: files, links, owners, modes, times, and the xattrs that tar keeps.
fn copy(layer: &Path, root: &Path, tar: Tar, map: &IdMap) -> Result<()> {
    sys::why("from one tar to the other");
    let (reader, writer) = sys::pipe2().context("pipe2")?;
    let start = |arguments, streams: [Option<&_>; 3]| {
        let program = Program { name: "tar", arguments, environment: vec![c"LC_ALL=C".to_owned()] };
        sys::spawn(&program, streams, &[]).map_err(|error| not_started("tar", error))
    };
    sys::why("the layer as an archive");
    let from = start(tar.copy_from(layer), [None, Some(&writer), None])?;
    drop(writer);
    // So that -v tells of one tar after the other.
    sys::why("until it has begun");
    let mut begun = [libc::pollfd { fd: reader.raw(), events: libc::POLLIN, revents: 0 }];
    sys::poll(&mut begun, -1).context("poll")?;
    sys::why("the archive as files of the container");
    let to = start(tar.copy_to(root, map), [Some(&reader), None, None])?;
    drop(reader);
    // The writer is killed by SIGPIPE when the reader fails, so that one's failure counts first.
    for pid in [to, from] {
        sys::why("half a copy is none");
        let status = sys::wait(pid).context("wait4")?;
        if !status.success() {
            return Err(Error::new(format!("tar failed: {status}")).hint("is there no room left?"));
        }
    }
    Ok(())
}

impl Seen {
    /// Takes the marks away that tar has copied, and gives each directory that the layer only passes through the
    /// attributes that it had.
    fn settle(&self, layer: &Path, root: &Path) -> Result<()> {
        for (dir, mark) in &self.marks {
            let path = root.join(dir).join(&mark.name);
            let stat = sys::lstat(&path).context(format_args!("lstat {}", path.display()))?;
            remove(&path, &stat)?;
            let dir = dir.as_path();
            let time = sys::lstat(layer.join(dir)).context("lstat a directory of the layer")?;
            sys::set_times(root.join(dir), &time).context(format_args!("utimensat {}", root.join(dir).display()))?;
        }
        self.implied.iter().rev().try_for_each(|(dir, before)| {
            let path = root.join(dir);
            let restored = match before {
                Some(stat) => sys::lchown(&path, stat.uid(), stat.gid())
                    .and_then(|()| sys::chmod(&path, stat.mode()))
                    .and_then(|()| sys::set_times(&path, stat)),
                None => sys::chmod(&path, parents::USUAL_MODE),
            };
            restored.context(format_args!("restore the attributes of {}", path.display()))
        })
    }
}
