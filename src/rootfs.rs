//! What the container sees of the world: every mount, and the step into the new root.
//!
//! The image is a stranger's: any path in it may be a symbolic link to somewhere else. So its layers are
//! stacked below a layer of our own, the skeleton, whose /proc, /sys and /dev are real directories and hide
//! whatever the image has there; what is mounted on those needs no further care. Every other place in the
//! image, a volume's for one, is opened with the image for its root (openat2) and mounted on by descriptor.
//! Then `pivot_root` makes the tree `/`, and the host's is detached.
//!
//! [`build`] is the whole story; runtime-spec `config.md` and `config-linux.md` say what a bundle wants.

use std::io;
use std::path::{Path, PathBuf};

use libc::{c_ulong, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT};

use crate::bundle::{Bundle, Mount, MASKED_DIRECTORIES, MASKED_FILES, READ_ONLY_PATHS};
use crate::confine;
use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::init::Plan;
use crate::initramfs;
use crate::merge;
use crate::store::DEVICES;
use crate::sys::{self, Fd};
use crate::whiteout::Marks;

/// Makes the mounts that were inherited our own, on a `/` that can be left.
pub fn detach(plan: &Plan) -> Result<()> {
    // The mounts were inherited shared: what is mounted here would appear on the host,
    // mount_namespaces(7). Private, they are ours alone.
    sys::why("what is mounted from here on stays in this mount namespace");
    sys::mount("", "/", "", MS_REC | MS_PRIVATE, "").context("mount(MS_PRIVATE) /")?;
    if plan.on_rootfs {
        initramfs::step_off(false)?;
    }
    Ok(())
}

/// Builds the container's root and steps into it. `layers` is the overlay where the engine had to make it.
pub fn build(plan: &Plan, layers: Option<Fd>) -> Result<()> {
    let root = tree(plan, layers)?;
    sys::why("from here on the container's places have relative paths");
    sys::chdir(&root).context(format_args!("chdir {}", root.display()))?;
    plan.bundle.mounts.iter().try_for_each(attach)?;
    devices()?;
    let proc = genuine("proc", libc::PROC_SUPER_MAGIC)?;
    genuine("sys", libc::SYSFS_MAGIC)?;
    confine::forbid_namespaces(&proc, plan.bundle.confinement.may_mount())?;
    mask()?;
    read_only_paths()?;
    step_into()
}

/// The layers as one tree, a mount. Returns where it is, seen from the working directory.
fn tree(plan: &Plan, layers: Option<Fd>) -> Result<PathBuf> {
    let image = plan.store.images().join(&plan.bundle.image);
    sys::why("the image's directory, where its layers have short names");
    sys::chdir(&image).context(format_args!("chdir {}", image.display()))?;
    let root = Path::new("../../containers").join(plan.id).join("rootfs");
    let place = root.display();
    match (layers, plan.marks) {
        (Some(layers), _) => {
            sys::why("the layers are one tree now, which the engine has made");
            sys::move_mount(&layers, &root).context(format_args!("move_mount on {place}"))?;
        }
        (None, Marks::Files) => {
            sys::why("the engine has copied the layers here; pivot_root(2) wants a mount");
            sys::mount(&root, &root, "", MS_BIND, "").context(format_args!("mount(MS_BIND) {place} on itself"))?;
        }
        (None, _) => {
            let options = overlay(plan).map(|(key, value)| format!("{key}={value}")).join(",");
            sys::why("the layers are one tree now; writes go to the container's own directory");
            // userxattr: overlayfs keeps its marks in user.overlay.*, for trusted.* is closed to a user
            // namespace (Linux 5.11, overlayfs.rst "User xattr").
            let mounted = sys::mount("overlay", &root, "overlay", 0, format!("{options},userxattr"));
            mounted.context(format_args!("mount overlay on {place}")).map_err(overlay_failed)?;
        }
    }
    Ok(root)
}

/// What overlayfs is told: the layers, topmost first, below the skeleton, and a directory of the container's own.
/// mount(2) takes one page of options: from inside the image's directory the layers are called `2:1:0`, so 127
/// of them fit, and a store whose path has a `:` or `,` in it is not cut there.
fn overlay(plan: &Plan) -> [(&'static str, String); 3] {
    let layers: String = (0..plan.bundle.layers).rev().map(|n| format!(":{n}")).collect();
    let skeleton = format!("../../skeleton{}", plan.marks.ending());
    let own = |name| format!("../../containers/{}/{name}", plan.id);
    [("lowerdir", format!("{skeleton}{layers}")), ("upperdir", own("upper")), ("workdir", own("work"))]
}

/// The engine's part, where the child cannot do it all. Where the layers carry marks that are for the host's root
/// alone, the engine makes the overlay, and the child gets it as a descriptor; without devices, for nothing in it
/// ever was one. Where there is no overlay, the layers are copied into one tree.
pub fn prepare(plan: &Plan, map: &IdMap) -> Result<Option<Fd>> {
    match plan.marks {
        Marks::User => return Ok(None),
        Marks::Files => return merge::into_one_tree(plan, map).map(|()| None),
        Marks::Trusted => {}
    }
    let image = plan.store.images().join(&plan.bundle.image);
    sys::why("the image's directory, where its layers have short names");
    sys::chdir(&image).context(format_args!("chdir {}", image.display()))?;
    sys::why("the layers become one tree out here: their marks are for the host's root alone");
    let fs = sys::fsopen("overlay").context("fsopen overlay").map_err(overlay_failed)?;
    for (key, value) in overlay(plan) {
        sys::why("as in the options of mount(2)");
        sys::fsconfig_set(&fs, key, &value).context(format_args!("fsconfig {key}={value}")).map_err(overlay_failed)?;
    }
    sys::why("made with these");
    sys::fsconfig_create(&fs).context("fsconfig: make the overlay").map_err(overlay_failed)?;
    sys::why("a mount that is attached nowhere yet: the child gets it");
    sys::fsmount(&fs).context("fsmount").map(Some)
}

fn overlay_failed(error: Error) -> Error {
    let advice = match error.errno {
        Some(libc::ENODEV) => "this kernel has no overlayfs, and the image was made for one: modprobe overlay, or pull the image again",
        Some(libc::EINVAL) => "the store's file system cannot carry an overlay's upper directory, dmesg says why: set MYDOCKER_HOME to a directory on ext4, xfs, btrfs or tmpfs",
        Some(libc::ENOENT) => "a layer is missing: was the image removed just now? pull it again",
        Some(libc::EPERM) => "overlayfs in a user namespace needs Linux 5.11",
        _ => return error,
    };
    error.hint(advice)
}

/// Opens a directory of the skeleton on which one of the kernel's file systems was mounted. Nobody should be able to
/// have put another there (CVE-2019-19921, CVE-2025-52881); what is written below it is worth a look all the same.
fn genuine(name: &str, kind: i64) -> Result<Fd> {
    sys::why("a file system of the kernel's, held open");
    let place = sys::open(name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)
        .context(format_args!("open /{name} of the container"))?;
    sys::why("is it what it should be? (CVE-2025-52881)");
    if sys::fstatfs(&place).context(format_args!("fstatfs /{name} of the container"))? == kind {
        return Ok(place);
    }
    Err(Error::new(format!("fstatfs /{name} of the container: not the kernel's file system of that name")))
}

/// pivot_root(2): the working directory becomes `/`, and what was `/` is stacked on it, to be detached: what
/// was mounted there goes out of reach.
fn step_into() -> Result<()> {
    sys::why("the container's tree becomes /, the host's is stacked on it");
    sys::pivot_root(".", ".").context("pivot_root")?;
    sys::why("the host's tree is gone from here on");
    sys::umount2(".", libc::MNT_DETACH).context("umount2 of the host's tree")
}

/// `--read-only`: when nothing more is to be made.
pub fn seal(bundle: &Bundle) -> Result<()> {
    if bundle.read_only {
        sys::why("--read-only");
        sys::mount_root_read_only().context("mount_setattr / read-only")?;
    }
    Ok(())
}

// ---- one mount ----

/// Mount options that are flags of mount(2): the flag, and whether the option sets it or takes it away. Every
/// other option is the file system's own.
const FLAGS: &[(&str, c_ulong, bool)] = &[
    ("ro", MS_RDONLY, true),
    ("rw", MS_RDONLY, false),
    ("nosuid", MS_NOSUID, true),
    ("suid", MS_NOSUID, false),
    ("nodev", MS_NODEV, true),
    ("dev", MS_NODEV, false),
    ("noexec", MS_NOEXEC, true),
    ("exec", MS_NOEXEC, false),
];

/// Why each file system is there, for who reads along.
const REASONS: &[(&str, &str)] = &[
    ("/proc", "the container sees its own processes only"),
    ("/sys", "the kernel's view of this network namespace, read-only"),
    ("/sys/fs/cgroup", "if there is one: the container's own cgroup reads as / (ENODEV: a kernel without cgroups)"),
    ("/dev/pts", "terminals of the container's own (EINVAL: there is no group tty here)"),
    ("/dev/shm", "POSIX shared memory, shm_open(3)"),
    ("/dev/mqueue", "message queues of this IPC namespace, mq_overview(7)"),
];

fn attach(mount: &Mount) -> Result<()> {
    let standard = REASONS.iter().find(|(path, _)| mount.destination == Path::new(path));
    match (standard, mount.kind.as_str()) {
        (Some((_, reason)), kind) => {
            sys::why(reason);
            if kind == "bind" {
                bind_sys(mount)
            } else {
                file_system(mount)
            }
        }
        (None, "bind") => volume(mount),
        (None, _) => tmpfs(mount),
    }
}

/// A new instance of one of the kernel's file systems, on a directory of the skeleton or of /sys.
fn file_system(mount: &Mount) -> Result<()> {
    let (flags, data) = flags_and_data(mount);
    let target = below(&mount.destination);
    // runtime-spec says `cgroup`; where version 1 is in use beside an empty 2, the container gets that: the part of it
    // that the caller is in, to be read.
    let kind = if mount.kind == "cgroup" { "cgroup2" } else { &mount.kind };
    match sys::mount(&mount.source, target, kind, flags, &data) {
        // Root of a user namespace that has few ids: group 5 is not among them.
        Err(error) if kind == "devpts" && error.raw_os_error() == Some(libc::EINVAL) => {
            sys::why("terminals of root's group");
            sys::mount(&mount.source, target, kind, flags, data.replace(",gid=5", ""))
                .context("mount devpts on /dev/pts")
        }
        // A kernel without cgroups has none to show.
        Err(error) if kind == "cgroup2" && matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => Ok(()),
        mounted => mounted.context(format_args!("mount {kind} on {}", mount.destination.display())),
    }
}

/// The host's /sys: a new sysfs belongs to the owner of the network namespace, who is outside.
fn bind_sys(mount: &Mount) -> Result<()> {
    let target = below(&mount.destination);
    sys::mount(&mount.source, target, "", MS_BIND | MS_REC, "").context("mount(MS_BIND) /sys")?;
    sys::why("to be read, with all that is mounted below it");
    sys::mount_read_only(target).context("mount_setattr /sys read-only")
}

/// A path of the container, relative to its root: the working directory while it is built.
fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Of two options that contradict each other the later one counts.
fn flags_and_data(mount: &Mount) -> (c_ulong, String) {
    let mut flags = 0;
    let mut data = Vec::new();
    for option in &mount.options {
        match FLAGS.iter().find(|(name, ..)| name == option) {
            Some((_, flag, true)) => flags |= flag,
            Some((_, flag, false)) => flags &= !flag,
            None => data.push(option.as_str()),
        }
    }
    (flags, data.join(","))
}

/// In a user namespace nobody can make a device: the host's are bound on empty files of the skeleton. They are the
/// host's own nodes, and a root whose number is that of the host's root owns them: through a mount that is read-only it
/// can change neither mode nor owner nor times of them. To write to a device is no write to its file system. A bind
/// mount has the flags of what it is made of, so it is enough to change those of /dev, here, where it is ours.
fn devices() -> Result<()> {
    sys::why("if possible: the nodes stay as they are, mode and owner (else: each for itself, below)");
    let all_at_once = sys::mount_read_only("/dev").is_ok(); // no mount, or before Linux 5.12
    for name in DEVICES {
        let place = format!("dev/{name}");
        sys::why("a device of the host's: nobody can make one in a user namespace");
        sys::mount(format!("/dev/{name}"), &place, "", MS_BIND, "")
            .context(format_args!("mount(MS_BIND) /dev/{name}"))?;
        if !all_at_once {
            sys::why("the node stays as it is, mode and owner");
            remount(&place, MS_RDONLY | MS_NOSUID | MS_NOEXEC)
                .context(format_args!("mount(MS_REMOUNT) /dev/{name} read-only"))?;
        }
    }
    Ok(())
}

/// Changes the flags of a mount. In a user namespace those that it was inherited with must be kept: mount(2), MS_REMOUNT.
fn remount(place: impl AsRef<Path>, flags: c_ulong) -> io::Result<()> {
    sys::mount("", place, "", MS_REMOUNT | MS_BIND | flags, "")
}

// ---- what the user asked for ----

/// A volume. Its place is named by the user but lies in a stranger's tree, which may have a link there
/// (CVE-2021-30465). /proc/self/fd is how mount(2) takes a descriptor.
fn volume(mount: &Mount) -> Result<()> {
    sys::why("a directory or file of the host, held open");
    let source = sys::open(&mount.source, libc::O_PATH, 0)
        .context(format_args!("open the volume {}", mount.source.display()))?;
    sys::why("which of both?");
    let is_dir = sys::fstat(&source).context("fstat")?.is_dir();
    let place = place_inside(&mount.destination, is_dir)?;
    sys::why("what the user hands over, through descriptors: no link in the image leads elsewhere (CVE-2021-30465)");
    sys::mount(source.path(), place.path(), "", MS_BIND | MS_REC, "").context(format_args!(
        "mount(MS_BIND) {} on {}",
        mount.source.display(),
        mount.destination.display()
    ))?;
    if !mount.has("ro") {
        return Ok(());
    }
    // The descriptor still means the directory below the mount; opened again, it is the mount.
    let place = place_inside(&mount.destination, is_dir)?;
    sys::why("read-only, with all that is mounted below it");
    sys::mount_read_only(place.path()).context(format_args!("mount_setattr {} read-only", mount.destination.display()))
}

/// `--tmpfs`: its place is resolved like a volume's.
fn tmpfs(mount: &Mount) -> Result<()> {
    let (flags, data) = flags_and_data(mount);
    let place = place_inside(&mount.destination, true)?;
    sys::why("an empty directory in memory");
    sys::mount(&mount.source, place.path(), &mount.kind, flags, &data).context(format_args!(
        "mount {} on {}",
        mount.kind,
        mount.destination.display()
    ))
}

/// Opens a place inside the root, and makes what is missing of it: directories, at the end a directory or an
/// empty file. Whatever links there are, they end inside.
fn place_inside(destination: &Path, is_dir: bool) -> Result<Fd> {
    sys::why("the container's root, which no path leads out of");
    let root = sys::open(".", libc::O_PATH | libc::O_DIRECTORY, 0).context("open the container's root")?;
    let mut at: Option<Fd> = None;
    let mut done = PathBuf::new();
    let mut names = below(destination).iter().peekable();
    while let Some(name) = names.next() {
        done.push(name);
        sys::why("if there is one: the place in the container, resolved inside its root");
        let here = match sys::openat2_in_root(&root, &done, libc::O_PATH, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = at.as_ref().unwrap_or(&root);
                let as_file = names.peek().is_none() && !is_dir;
                let call = if as_file { "openat" } else { "mkdirat" };
                make_entry(parent, name.as_ref(), as_file)
                    .context(format_args!("{call} /{} in the container", done.display()))?;
                sys::why("now that it is there");
                sys::openat2_in_root(&root, &done, libc::O_PATH, 0)
            }
            opened => opened,
        };
        at = Some(here.context(format_args!("openat2 /{} in the container", done.display()))?);
    }
    at.ok_or_else(|| Error::new("nothing can be mounted on / of the container"))
}

fn make_entry(parent: &Fd, name: &Path, as_file: bool) -> io::Result<()> {
    sys::why("a place to mount on");
    if !as_file {
        return sys::mkdirat(parent, name, 0o755);
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    sys::openat(Some(parent), name, flags, 0o644).map(drop)
}

/// `mkdir -p`, of an absolute path, once the container's root is ours.
pub fn make_dirs(path: &Path) -> Result<()> {
    sys::why("if possible: a directory that the image has not");
    let made = match sys::mkdir(path, 0o755) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dirs(path.parent().unwrap_or(Path::new("/")))?;
            sys::why("now that what is above it is there");
            sys::mkdir(path, 0o755)
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.context(format_args!("mkdir {} in the container", path.display())),
    }
}

// ---- masks ----

/// Hides what tells of the host: a file below /dev/null, a directory below an empty one. A path that this
/// kernel does not have needs no mask.
fn mask() -> Result<()> {
    for path in MASKED_FILES {
        // The container's, which is read-only, and so is each bind of it.
        mask_with("dev/null", path, "", MS_BIND)?;
    }
    // One empty directory serves for all: making a file system takes longer than binding it once more.
    let mut empty: Option<&Path> = None;
    for path in MASKED_DIRECTORIES {
        let masked = match empty {
            Some(empty) => mask_with(empty, path, "", MS_BIND)?,
            None => mask_with("tmpfs", path, "tmpfs", MS_RDONLY)?,
        };
        if masked {
            empty = empty.or(Some(below(Path::new(path))));
        }
    }
    Ok(())
}

/// `false`: there is nothing to mask.
fn mask_with(source: impl AsRef<Path>, path: &str, kind: &str, flags: c_ulong) -> Result<bool> {
    sys::why("if there is one: masked, for it tells of the host");
    match sys::mount(source, below(Path::new(path)), kind, flags, "") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        masked => masked.map(|()| true).context(format_args!("mount over {path}, to mask it")),
    }
}

/// Leaves these to be read alone: while /proc as a whole is read-only, each becomes a mount of its own, which stays so.
fn read_only_paths() -> Result<()> {
    const FLAGS: c_ulong = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    sys::why("for a moment: what is bound now will be read-only");
    remount("proc", MS_RDONLY | FLAGS).context("mount(MS_REMOUNT) /proc read-only")?;
    for path in READ_ONLY_PATHS {
        let place = below(Path::new(path));
        sys::why("if there is one: to be read, not written");
        match sys::mount(place, place, "", MS_BIND, "") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            bound => bound.context(format_args!("mount(MS_BIND) {path} on itself"))?,
        }
    }
    sys::why("the rest can be written");
    remount("proc", FLAGS).context("mount(MS_REMOUNT) /proc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_the_file_systems_own_options_are_told_apart() {
        let mount = Mount::new("tmpfs", "tmpfs", "/x", "nosuid,noexec,mode=755,exec,size=65536k");
        assert_eq!(flags_and_data(&mount), (MS_NOSUID, "mode=755,size=65536k".to_string()));
    }
}
