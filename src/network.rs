//! The container's network: slirp4netns(1), and the files of /etc that belong to it.
//!
//! slirp4netns is a TCP/IP stack in user space. It puts a device `tap0` into the container's network
//! namespace and speaks for it with ordinary sockets of the user outside: no root, no bridge, no
//! firewall rule. The host's loopback is closed to it, and it shuts itself into an empty root and a
//! seccomp filter. It ends when the pipe that the engine holds is closed, however the engine ends.
//!
//! [`start`] starts it, [`Helper::ready`] waits until the device is up, [`write_etc`] writes
//! /etc/hosts, /etc/hostname and /etc/resolv.conf.

use std::ffi::CString;
use std::io;
use std::path::Path;

use crate::bundle::Network;
use crate::error::{printable, say, Context, Error, Result};
use crate::facts::{Attributes, Etc, PLAIN};
use crate::sys::{self, Fd, Pid, Program};

/// slirp4netns's own name server, at its default address; it asks those of the host.
const SLIRP_DNS: &str = "10.0.2.3";

/// slirp4netns at work.
pub struct Helper {
    pid: Pid,
    /// It writes one byte here when the device is up.
    ready: Fd,
    /// It ends when this is closed.
    alive: Option<Fd>,
    /// What it printed, for an error message.
    said: Fd,
}

/// Starts slirp4netns for the network namespace of `pid`. `None`, with one line on standard error,
/// where it is not installed: then the container has loopback alone. On a rootfs (`on_rootfs`) it cannot make its
/// empty root, initramfs.rs; its seccomp filter stays.
pub fn start(pid: Pid, asked_for: bool, on_rootfs: bool) -> Result<Option<Helper>> {
    sys::step("network");
    sys::why("slirp4netns writes here when its device is up");
    let (ready, ready_there) = sys::pipe2().context("pipe2")?;
    sys::why("slirp4netns ends when the engine's end of this is closed, however the engine ends");
    let (alive_there, alive) = sys::pipe2().context("pipe2")?;
    sys::why("what slirp4netns says: for an error message only");
    let (said, says) = sys::pipe2().context("pipe2")?;
    sys::why("nobody reads on once it is ready: what does not fit any more is dropped");
    sys::set_nonblocking(&says).context("fcntl(F_SETFL)")?;
    let flags = ["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"];
    let flags = flags.into_iter().filter(|flag| !(on_rootfs && *flag == "--enable-sandbox"));
    let fds = [format!("--ready-fd={}", ready_there.raw()), format!("--exit-fd={}", alive_there.raw())];
    let arguments = flags.map(str::to_string).chain(fds).chain([pid.to_string(), "tap0".to_string()]);
    let program = Program {
        name: "slirp4netns",
        arguments: arguments.map(Into::into).collect(),
        environment: vec![CString::from(c"PATH=/usr/sbin:/usr/bin:/sbin:/bin")],
    };
    sys::why("the container's way out: a TCP/IP stack in user space");
    let streams = [None, Some(&says), Some(&says)];
    match sys::spawn(&program, streams, &[&ready_there, &alive_there]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => none_installed(asked_for),
        started => {
            let pid = started.context("start slirp4netns")?;
            Ok(Some(Helper { pid, ready, alive: Some(alive), said }))
        }
    }
}

fn none_installed(asked_for: bool) -> Result<Option<Helper>> {
    let message = "slirp4netns is not installed: no network but loopback";
    let advice = "apt-get install slirp4netns, or say --network none";
    if asked_for {
        return Err(Error::new(message).hint(advice));
    }
    say(format_args!("warning: {message} ({advice})"));
    Ok(None)
}

impl Helper {
    /// Waits until the device is up. A helper that ended instead is an error with what it said.
    pub fn ready(&self) -> Result<()> {
        let mut byte = [0; 1];
        sys::why("wait until tap0 is up");
        if sys::read(self.ready.raw(), &mut byte).context("read from slirp4netns")? == 1 {
            return Ok(());
        }
        sys::why("it has ended instead: what did it say?");
        let said = sys::if_possible(|| sys::read_to_end(&self.said, 64 * 1024)).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let telling = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['*', '+']));
        let said: Vec<&str> = telling.filter(|line| !line.starts_with("WARNING")).collect();
        let said = printable(&said.join("; "));
        sys::why("if possible: can the device that it needs be opened at all?");
        let advice = if sys::open("/dev/net/tun", libc::O_RDWR, 0).is_err() {
            "/dev/net/tun must exist (modprobe tun) and be open to this user (chmod 666), or say --network none"
        } else {
            "or say --network none"
        };
        Err(Error::new(format!("slirp4netns failed: {said}")).hint(advice))
    }
}

impl Drop for Helper {
    /// Ends the helper and takes its exit status, so that no zombie stays.
    fn drop(&mut self) {
        sys::why("if possible: slirp4netns ends when this is closed");
        drop(self.alive.take());
        sys::why("if possible: no zombie stays");
        let _its_status_says_nothing = sys::wait(self.pid);
    }
}

/// Writes the three files into the overlay's upper directory, where they hide whatever the image has
/// under those names: a link, a pipe, a file of a gigabyte. `etc` is the image's own /etc, whose
/// mode and owner its new upper half takes over; an image whose /etc is no directory gets no files.
pub fn write_etc(upper: &Path, etc: Etc, network: Network, hostname: &str) -> Result<()> {
    let attributes = match etc {
        Etc::Directory(attributes) => attributes,
        Etc::Nothing => PLAIN,
        Etc::Other => return Ok(()),
    };
    let dir = upper.join("etc");
    sys::why("for the files of /etc that depend on the network");
    make_like(&dir, attributes)?;
    let files = [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts(network, hostname)),
        ("resolv.conf", resolv_conf(network)),
    ];
    for (name, text) in files {
        sys::why("hides the image's own");
        let file = dir.join(name);
        sys::write_file(&file, 0o644, text.as_bytes()).context(format_args!("write {}", file.display()))?;
    }
    Ok(())
}

/// Makes a directory of the upper layer that is like the one below it. Owners other than root are left out
/// where a user runs the engine: outside the namespace only root may give files away.
pub fn make_like(dir: &Path, attributes: Attributes) -> Result<()> {
    sys::mkdir(dir, 0o755).context(format_args!("mkdir {}", dir.display()))?;
    if (attributes.uid, attributes.gid) != (0, 0) && sys::euid() == 0 {
        sys::why("it belongs to whom the image says");
        sys::lchown(dir, attributes.uid, attributes.gid).context(format_args!("chown {}", dir.display()))?;
    }
    if attributes.mode != 0o755 {
        sys::why("its mode is the image's");
        sys::chmod(dir, attributes.mode).context(format_args!("chmod {}", dir.display()))?;
    }
    Ok(())
}

fn hosts(network: Network, hostname: &str) -> String {
    let own = match network {
        // slirp4netns's default address for the container.
        Network::Slirp => "10.0.2.100",
        Network::None => "127.0.0.1",
        Network::Host => return host_file("/etc/hosts"),
    };
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n{own}\t{hostname}\n"
    )
}

fn resolv_conf(network: Network) -> String {
    match network {
        Network::None => "# --network none: there is nobody to ask\n".to_string(),
        Network::Host => host_file("/etc/resolv.conf"),
        Network::Slirp => {
            let host = host_file("/etc/resolv.conf");
            let kept = host.lines().filter(|line| line.starts_with("search ") || line.starts_with("options "));
            kept.map(|line| format!("{line}\n")).chain([format!("nameserver {SLIRP_DNS}\n")]).collect()
        }
    }
}

/// A file of the host; one that is missing (an initramfs has none) counts as empty.
fn host_file(path: &str) -> String {
    sys::why("what the host knows, the container is to know");
    let text = sys::if_possible(|| sys::read_file(path, 1 << 20)).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_knows_its_own_name() {
        assert!(hosts(Network::Slirp, "web").ends_with("10.0.2.100\tweb\n"));
        assert!(hosts(Network::None, "web").ends_with("127.0.0.1\tweb\n"));
        assert!(!resolv_conf(Network::None).contains("nameserver"));
        assert!(resolv_conf(Network::Slirp).ends_with("nameserver 10.0.2.3\n"));
    }
}
