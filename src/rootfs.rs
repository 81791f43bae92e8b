//! What the container sees of the world: every mount, and the step into the new root.
//!
//! The order is the safety. First the image's layers become one tree, an overlay. Then `pivot_root`
//! makes that tree `/`: from there on the kernel itself resolves every path of ours inside the image,
//! so no symbolic link in it leads out. The host's tree, still there under the working directory, is
//! where bind mounts come from, by relative paths. /proc is mounted last: until then no magic link
//! (`/proc/self/cwd`) exists that could reach the host's tree. Then that tree is detached, and what is
//! left is the container's alone.
//!
//! [`build`] is the whole story; runtime-spec `config.md` and `config-linux.md` say what a bundle wants.

use std::io;
use std::path::{Path, PathBuf};

use libc::{c_ulong, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT};

use crate::bundle::{Bundle, Mount, MASKED_DIRECTORIES, MASKED_FILES, READ_ONLY_PATHS};
use crate::error::{Context, Error, Result};
use crate::sys::{self, Fd};

/// Devices that every container has (runtime-spec config-linux.md, "Default Devices"). In a user
/// namespace nobody can make a device, so the host's are bound.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Symbolic links in /dev: where they point, and their names (runtime-spec, "Dev symbolic links").
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Builds the container's root and steps into it. `store` is the store's root, `id` the container's.
pub fn build(bundle: &Bundle, store: &Path, id: &str) -> Result<()> {
    // The mounts were inherited shared: what is mounted here would appear on the host,
    // mount_namespaces(7). Private, they are ours alone.
    sys::why("what is mounted from here on stays in this mount namespace");
    sys::mount("", "/", "", MS_REC | MS_PRIVATE, "").context("make / private")?;
    let root = overlay(bundle, store, id)?;
    let host = step_into(&root)?;
    for mount in &bundle.mounts {
        attach(mount, &host)?;
    }
    mask()?;
    read_only(READ_ONLY_PATHS)
}

/// Stacks the layers, topmost first, below a directory of the container's own. mount(2) takes one page
/// of options: from inside the image's directory the layers are called `2:1:0`, so 127 of them fit,
/// and a store whose path has a `:` or `,` in it is not cut there.
fn overlay(bundle: &Bundle, store: &Path, id: &str) -> Result<PathBuf> {
    let image = store.join("images").join(&bundle.image);
    sys::chdir(&image).context(format_args!("chdir {}", image.display()))?;
    let lower: Vec<String> = (0..bundle.layers).rev().map(|n| n.to_string()).collect();
    let container = Path::new("../../containers").join(id);
    let place = container.display();
    // userxattr: overlayfs keeps its marks in user.overlay.*, for trusted.* is closed to a user
    // namespace (Linux 5.11, overlayfs.rst "User xattr").
    let options = format!("lowerdir={},upperdir={place}/upper,workdir={place}/work,userxattr", lower.join(":"));
    let root = container.join("rootfs");
    sys::why("the layers are one tree now; writes go to the container's own directory");
    sys::mount("overlay", &root, "overlay", 0, &options)
        .context(format_args!("mount overlay on {}", root.display()))
        .map_err(overlay_failed)?;
    Ok(root)
}

fn overlay_failed(error: Error) -> Error {
    let advice = match error.errno {
        Some(libc::ENODEV) => "this kernel has no overlayfs: modprobe overlay",
        Some(libc::EINVAL) => "the store's file system cannot carry an overlay's upper directory, dmesg says why: set MYDOCKER_HOME to a directory on ext4, xfs, btrfs or tmpfs",
        Some(libc::EPERM) => "overlayfs in a user namespace needs Linux 5.11",
        _ => return error,
    };
    error.hint(advice)
}

/// pivot_root(2): `root` becomes `/`, and what was `/` is stacked there too, reachable only through the
/// descriptor returned, which is also the working directory.
fn step_into(root: &Path) -> Result<Fd> {
    let host = sys::open("/", libc::O_PATH | libc::O_DIRECTORY, 0).context("open /")?;
    sys::chdir(root).context(format_args!("chdir {}", root.display()))?;
    sys::why("the image's tree becomes /: from here on no path of ours can leave it");
    sys::pivot_root(".", ".").context("pivot_root")?;
    sys::why("the host's tree stays the working directory, for what is bound from it");
    sys::fchdir(&host).context("fchdir")?;
    Ok(host)
}

/// Takes the host's tree away: the mounts below it go, and nothing of it is left to reach. Then the
/// root itself is made read-only where that was asked for.
pub fn leave_host(bundle: &Bundle) -> Result<()> {
    sys::why("the host's tree is gone from here on");
    sys::umount2(".", libc::MNT_DETACH).context("umount2 of the host's tree")?;
    if bundle.read_only {
        sys::why("--read-only");
        sys::mount("", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY, "").context("remount / read-only")?;
    }
    Ok(())
}

// ---- one mount ----

/// Mount options that are flags of mount(2); every other option is the file system's own.
const FLAGS: &[(&str, c_ulong)] = &[
    ("ro", MS_RDONLY),
    ("rw", 0),
    ("nosuid", MS_NOSUID),
    ("nodev", MS_NODEV),
    ("noexec", MS_NOEXEC),
    ("suid", 0),
    ("dev", 0),
    ("exec", 0),
    ("strictatime", libc::MS_STRICTATIME),
    ("relatime", libc::MS_RELATIME),
    ("noatime", libc::MS_NOATIME),
    ("bind", MS_BIND),
    ("rbind", MS_BIND | MS_REC),
    ("rprivate", 0),
    ("private", 0),
];

/// Why each file system is there, for who reads along.
const REASONS: &[(&str, &str)] = &[
    ("/proc", "the container sees its own processes only; last, for its magic links could lead out"),
    ("/sys", "the kernel's view of this network namespace, read-only"),
    ("/sys/fs/cgroup", "the container's own cgroup reads as /"),
    ("/dev", "an empty /dev: none of the host's devices"),
    ("/dev/pts", "terminals of the container's own"),
    ("/dev/shm", "POSIX shared memory, shm_open(3)"),
    ("/dev/mqueue", "message queues of this IPC namespace, mq_overview(7)"),
];

fn attach(mount: &Mount, host: &Fd) -> Result<()> {
    let target = &mount.destination;
    if let Some((_, reason)) = REASONS.iter().find(|(path, _)| target == Path::new(path)) {
        sys::why(reason);
    }
    match (mount.kind.as_str(), target.to_str()) {
        ("bind", _) => bind(mount, host),
        ("cgroup", _) => cgroup(mount),
        (_, Some("/dev")) => {
            file_system(mount)?;
            devices()
        }
        (kind, path) if kind == "tmpfs" && path != Some("/dev/shm") => user_tmpfs(mount),
        _ => file_system(mount),
    }
}

/// A new instance of a file system, on a directory that is made where there is none. Our own /dev has
/// none at first.
fn file_system(mount: &Mount) -> Result<()> {
    let (flags, data) = flags_and_data(mount);
    let target = &mount.destination;
    if target.starts_with("/dev/") {
        make_dirs(target)?;
    }
    let attach = || sys::mount(&mount.source, target, &mount.kind, flags, &data);
    let mounted = match attach() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dirs(target)?;
            attach()
        }
        mounted => mounted,
    };
    mounted.context(format_args!("mount {} on {}", mount.kind, target.display()))
}

/// Every container has a cgroup2, where the kernel has it: with version 1 alone there is none to show.
fn cgroup(mount: &Mount) -> Result<()> {
    let (flags, _) = flags_and_data(mount);
    match sys::mount("cgroup", &mount.destination, "cgroup2", flags, "") {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => Ok(()),
        mounted => mounted.context(format_args!("mount cgroup2 on {}", mount.destination.display())),
    }
}

fn flags_and_data(mount: &Mount) -> (c_ulong, String) {
    let flag = |option: &String| FLAGS.iter().find(|(name, _)| name == option).map(|(_, flag)| *flag);
    let flags = mount.options.iter().filter_map(flag).fold(0, |all, flag| all | flag);
    let data: Vec<&str> = mount.options.iter().filter(|o| flag(o).is_none()).map(String::as_str).collect();
    (flags, data.join(","))
}

fn devices() -> Result<()> {
    for name in DEVICES {
        let path = format!("/dev/{name}");
        sys::mknod(&path, libc::S_IFREG | 0o666, 0).context(format_args!("mknod {path}"))?;
        sys::why("the host's device, by a bind mount: mknod of one is closed to a user namespace");
        sys::mount(format!("dev/{name}"), &path, "", MS_BIND, "").context(format_args!("bind {path}"))?;
    }
    for (target, path) in DEVICE_LINKS {
        sys::symlink(target, path).context(format_args!("symlink {path}"))?;
    }
    Ok(())
}

// ---- what the user asked for ----

/// A volume. Its place is named by the user but lies in a stranger's tree, which may have a link there:
/// it is opened inside the root (openat2, CVE-2021-30465) and mounted on by descriptor. That is
/// reached through the host's /proc; the container's is not there yet.
fn bind(mount: &Mount, host: &Fd) -> Result<()> {
    // Relative to the host's tree: "." for "/".
    let source = Path::new(".").join(mount.source.strip_prefix("/").unwrap_or(&mount.source));
    let what = sys::openat(Some(host), source, libc::O_PATH, 0)
        .context(format_args!("open the volume {}", mount.source.display()))?;
    let is_dir = sys::fstat(&what).context("fstat")?.is_dir();
    let place = target_inside(&mount.destination, is_dir)?;
    let what_path = &what.path()[1..];
    sys::why("a directory or file of the host");
    sys::mount(what_path, &place.path()[1..], "", MS_BIND | MS_REC, "").context(format_args!(
        "bind {} on {}",
        mount.source.display(),
        mount.destination.display()
    ))?;
    if !mount.has("ro") {
        return Ok(());
    }
    // The descriptor still means the directory below the mount; opened again, it is the mount.
    let place = target_inside(&mount.destination, is_dir)?;
    sys::why("read-only, with all that is mounted below it");
    sys::mount_read_only(&place.path()[1..]).context(format_args!("make {} read-only", mount.destination.display()))
}

/// `--tmpfs`: as a volume, its place is resolved inside the root.
fn user_tmpfs(mount: &Mount) -> Result<()> {
    let (flags, data) = flags_and_data(mount);
    let place = target_inside(&mount.destination, true)?;
    sys::why("an empty directory in memory");
    sys::mount(&mount.source, &place.path()[1..], "tmpfs", flags, &data)
        .context(format_args!("mount tmpfs on {}", mount.destination.display()))
}

/// The place of a mount inside the root, made where it is missing: a directory, or an empty file.
fn target_inside(destination: &Path, is_dir: bool) -> Result<Fd> {
    let root = sys::open("/", libc::O_PATH | libc::O_DIRECTORY, 0).context("open /")?;
    let mut at = root;
    let path: PathBuf = destination.components().skip(1).collect();
    let open = |path: &Path| {
        let root = sys::open("/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
        sys::openat2_in_root(&root, path, libc::O_PATH, 0)
    };
    let mut done = PathBuf::new();
    let mut names = path.iter().peekable();
    while let Some(name) = names.next() {
        done.push(name);
        let last = names.peek().is_none();
        at = match open(&done) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if last && !is_dir {
                    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                    sys::openat(Some(&at), name, flags, 0o644).map(drop)
                } else {
                    sys::mkdirat(&at, name, 0o755)
                }
                .context(format_args!("make {} in the container", done.display()))?;
                open(&done)
            }
            opened => opened,
        }
        .context(format_args!("open {} in the container", done.display()))?;
    }
    Ok(at)
}

/// `mkdir -p`, of an absolute path in a root that is ours.
pub fn make_dirs(path: &Path) -> Result<()> {
    let made = match sys::mkdir(path, 0o755) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dirs(path.parent().unwrap_or(Path::new("/")))?;
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
    let files = MASKED_FILES.iter().map(|path| (path, "/dev/null", "", MS_BIND));
    let directories = MASKED_DIRECTORIES.iter().map(|path| (path, "tmpfs", "tmpfs", MS_RDONLY));
    for (path, source, kind, flags) in files.chain(directories) {
        sys::why("masked: it tells of the host");
        match sys::mount(source, path, kind, flags, "") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            masked => masked.context(format_args!("mask {path}"))?,
        }
    }
    Ok(())
}

/// Leaves these to be read alone. A bind mount of a path on itself is a mount of its own, whose flags
/// can then be changed; in a user namespace those that /proc has must be kept: mount(2), MS_REMOUNT.
fn read_only(paths: &[&str]) -> Result<()> {
    let flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    for path in paths {
        match sys::mount(path, path, "", MS_BIND, "") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bound => bound.context(format_args!("bind {path} on itself"))?,
        }
        sys::why("to be read, not written");
        sys::mount("", path, "", flags, "").context(format_args!("remount {path} read-only"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_the_file_systems_own_options_are_told_apart() {
        let mount = Mount::new("tmpfs", "tmpfs", "/dev", "nosuid,strictatime,mode=755,size=65536k");
        assert_eq!(flags_and_data(&mount), (MS_NOSUID | libc::MS_STRICTATIME, "mode=755,size=65536k".to_string()));
    }
}
