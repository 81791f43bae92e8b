//! Names from files in the form of hosts(5): `ADDRESS NAME...`, `#` begins a comment.
//!
//! Before a query is looked at, [`Hosts::refresh`] asks each file with one stat(2) whether it is still
//! the one that was read: a name is there as soon as it is written, whichever way the file was changed
//! (in place, by rename, below a link or a mount), and nobody has to send a signal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::dns_name::Name;
use crate::error::{say, Context, Error, Result};
use crate::sys;

const MAX_SIZE: usize = 64 * 1024 * 1024;
/// Timestamps of files are only as fine as the kernel's tick: a file that was changed this shortly
/// before it was read is read once more, that many microseconds later.
const TICK: u64 = 20_000;
/// Microseconds between two changes that are no series.
const A_WHILE: u64 = 1_000_000;

struct File {
    path: PathBuf,
    /// The file as it was when it was read last.
    version: Option<sys::Version>,
    /// When to read it again whatever its version.
    again_at: Option<u64>,
}

/// All names of all files.
#[derive(Default)]
pub struct Hosts {
    files: Vec<File>,
    /// By the name on the wire, in lower case.
    addresses: BTreeMap<Box<[u8]>, Vec<IpAddr>>,
    /// The first name of the first line for an address.
    names: BTreeMap<IpAddr, Name>,
    /// What was wrong at the last reading.
    complaint: Option<String>,
    /// When the last reading ended, and before when there is no other: what takes long to read and changes
    /// all the time is not read all the time.
    last_time: u64,
    next_time: u64,
}

impl Hosts {
    /// Reads the files; fails for one that cannot be read or has a line that is wrong.
    pub fn read(paths: &[PathBuf], now: u64) -> Result<Hosts> {
        let file = |path: &PathBuf| File { path: path.clone(), version: None, again_at: None };
        let mut hosts = Hosts { files: paths.iter().map(file).collect(), ..Hosts::default() };
        hosts.reread(now)?;
        Ok(hosts)
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub fn addresses(&self, name: &[u8]) -> Option<&[IpAddr]> {
        self.addresses.get(name).map(|addresses| &addresses[..])
    }

    pub fn name(&self, address: &IpAddr) -> Option<&Name> {
        self.names.get(address)
    }

    /// Reads again what has changed; what does so again and again for a fifth of the time at most. Where that fails the old names stay, and a line on standard error
    /// says so, once for each change.
    pub fn refresh(&mut self, now: u64) {
        let is_old = |file: &File| {
            sys::why("if possible: has the hosts file changed?");
            file.again_at.is_some_and(|time| now >= time)
                || sys::stat(&file.path).ok().map(|stat| stat.version()) != file.version
        };
        if now >= self.next_time && self.files.iter().any(is_old) {
            let complaint = self.reread(now).err().map(|error| error.message);
            if let Some(error) = complaint.as_ref().filter(|_| complaint != self.complaint) {
                say(format_args!("warning: {error}; the old names stay"));
            }
            self.complaint = complaint;
            let end = sys::clock();
            if now - self.last_time < A_WHILE {
                self.next_time = end + 4 * (end - now);
            }
            self.last_time = end;
        }
    }

    fn reread(&mut self, now: u64) -> Result<()> {
        let (mut addresses, mut names) = (BTreeMap::new(), BTreeMap::new());
        let mut outcome = Ok(());
        for file in &mut self.files {
            let read = file.read(now).and_then(|text| parse(&file.path, &text, &mut addresses, &mut names));
            outcome = outcome.and(read);
        }
        if outcome.is_ok() {
            (self.addresses, self.names) = (addresses, names);
        }
        outcome
    }
}

impl File {
    fn read(&mut self, now: u64) -> Result<Vec<u8>> {
        let path = self.path.display();
        // Asked before the reading: a change in the middle of it is seen the next time.
        sys::why("the hosts file as it is now, to see when it changes");
        let stat = sys::stat(&self.path);
        let first_time = self.again_at.take().is_none();
        self.version = stat.as_ref().ok().map(|stat| stat.version());
        let stat = stat.context(format_args!("hosts file {path}"))?;
        if stat.kind() != libc::S_IFREG {
            return Err(Error::new(format!("hosts file {path}: not a regular file")));
        }
        if first_time && sys::now() - stat.changed() <= 1 {
            self.again_at = Some(now + TICK);
        }
        sys::why("names that are answered here");
        sys::read_file(&self.path, MAX_SIZE).context(format_args!("hosts file {path}"))
    }
}

fn parse(
    path: &Path,
    text: &[u8],
    addresses: &mut BTreeMap<Box<[u8]>, Vec<IpAddr>>,
    names: &mut BTreeMap<IpAddr, Name>,
) -> Result<()> {
    for (number, line) in text.split(|octet| *octet == b'\n').enumerate() {
        let wrong = |what: String| {
            let error = Error::new(format!("hosts file {}:{}: {what}", path.display(), number + 1));
            error.hint("a line is ADDRESS NAME..., # begins a comment: hosts(5)")
        };
        let line = String::from_utf8_lossy(line);
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if first.contains('%') {
            continue; // good on one interface alone: no address that a DNS answer could give
        }
        let address: IpAddr = first.parse().map_err(|_| wrong(format!("{first:?} is no IP address")))?;
        for word in words {
            let name = Name::from_text(word).map_err(|what| wrong(format!("{word:?} is no name: {what}")))?;
            let entry = addresses.entry(name.octets().to_ascii_lowercase().into()).or_default();
            // A look at the last few: a name with thousands of addresses is not to cost their square.
            if !entry.iter().rev().take(64).any(|known| *known == address) {
                entry.push(address);
            }
            names.entry(address).or_insert(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Hosts> {
        let mut hosts = Hosts::default();
        parse(Path::new("h"), text.as_bytes(), &mut hosts.addresses, &mut hosts.names)?;
        Ok(hosts)
    }

    #[test]
    fn what_people_write() {
        let hosts = parsed(
            "# comment\n\n127.0.0.1\tlocalhost\n10.0.0.1 Router.lan router # the router\r\n\
             fd00::1 router.lan\nfe80::1%lo0 odd\n192.0.2.9\n10.0.0.1 other. router",
        )
        .unwrap();
        let of = |name: &[u8]| hosts.addresses(name).map(|all| all.iter().map(|ip| ip.to_string()).collect::<Vec<_>>());
        assert_eq!(of(b"\x06router\x03lan\0").unwrap(), ["10.0.0.1", "fd00::1"]);
        assert_eq!(of(b"\x06router\0").unwrap(), ["10.0.0.1"]);
        assert_eq!(of(b"\x05other\0").unwrap(), ["10.0.0.1"]);
        assert_eq!(of(b"\x03odd\0"), None);
        assert_eq!(hosts.name(&"10.0.0.1".parse().unwrap()).unwrap().to_string(), "Router.lan.");
        assert_eq!(hosts.name(&"192.0.2.9".parse().unwrap()), None);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, place) in [("127.0.0.1 a\nexample 10.0.0.1", "h:2: \"example\""), ("10.0.0.1 a..b", "h:1: \"a..b\"")]
        {
            let error = parsed(text).err().unwrap();
            assert!(error.message.contains(place), "{error}");
        }
    }
}
