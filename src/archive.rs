//! An image archive as files with names: a directory, or a tar(5), which may be compressed as a whole.
//!
//! ```text
//! FILE --> [gzip -> pipe ->] tar -xO MEMBER -> pipe        as often as the member is wanted
//! ```
//!
//! Nothing is unpacked to be read, and nothing is held twice. A file of a directory is opened where it lies. A
//! member of a tar comes out of tar's standard output; tar itself writes no file. Only what comes through a pipe is
//! kept meanwhile, as it came, in a file that has no name.
//!
//! The archive is a stranger's. In a directory no link is followed out of it (openat2(2), RESOLVE_IN_ROOT); in a
//! tar the symbolic and hard links, by which `docker save` once named a layer that occurs twice, lead to members of
//! that tar or nowhere. What tar lists is believed of nobody: every byte has a digest, or is refused as JSON.
//!
//! [`Archive::open`] takes what there is, [`Archive::read`] and [`Archive::source`] give what is in it.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::curl::{drain, Pipe};
use crate::digest;
use crate::error::{not_started, printable, Context, Error, Result};
use crate::helper::Choice;
use crate::manifest::Descriptor;
use crate::source::{self, Source};
use crate::store::Store;
use crate::sys::{self, Fd, Program};
use crate::tar::Tar;
use crate::terminal;

/// A longer list is refused: 480 layers need 150 KB.
const MAX_LIST: usize = 8 << 20;
const MAX_WORDS: usize = 64 << 10;

/// A link may lead to links; a longer row of them is a circle.
const MAX_LINKS: usize = 8;

pub struct Archive {
    pub tar: Tar,
    place: Place,
}

enum Place {
    Directory(Fd),
    Tar {
        file: Fd,
        /// What decompresses all of it.
        programs: Option<&'static [Choice]>,
        members: Vec<Member>,
        /// What a helper says of a single member is nobody's business: its digest tells.
        null: Fd,
    },
}

/// What tar lists.
#[derive(Debug, PartialEq)]
struct Member {
    /// As tar wants it back.
    listed: String,
    /// Without a leading `./`.
    name: String,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// Its size in bytes.
    File(u64),
    Symlink(String),
    /// The name of another member.
    Hard(String),
}

impl Archive {
    /// The archive at `path`, or on standard input.
    pub fn open(path: Option<&Path>, store: &Store) -> Result<Archive> {
        let tar = Tar::installed()?;
        let file = match path {
            Some(path) => {
                sys::why("the archive");
                let file = sys::open(path, libc::O_RDONLY, 0).context(format_args!("open {}", path.display()))?;
                sys::why("a directory, a file, or a pipe?");
                match sys::fstat(&file).context("fstat the archive")?.kind() {
                    libc::S_IFDIR => return Ok(Archive { tar, place: Place::Directory(file) }),
                    libc::S_IFREG => file,
                    _ => spool(store, file.raw())?,
                }
            }
            None => standard_input(store)?,
        };
        sys::why("gzip, zstd or a plain tar? the first bytes say");
        let block = Source::file(open_anew(&file)?).first_block()?;
        let programs = source::decompressor(&block, "the archive")?;
        sys::why("nobody wants to hear what tar says of a single member: its digest tells");
        let null = sys::open("/dev/null", libc::O_WRONLY, 0).context("open /dev/null")?;
        let mut archive = Archive { tar, place: Place::Tar { file, programs, members: Vec::new(), null } };
        let listed = archive.list()?;
        if let Place::Tar { members, .. } = &mut archive.place {
            *members = listed;
        }
        Ok(archive)
    }

    /// The size of a file in bytes, if it is there.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        match &self.place {
            Place::Directory(dir) => Ok(open_inside(dir, name)?.map(|(_, size)| size)),
            Place::Tar { members, .. } => Ok(find(members, name)?.map(|(_, size)| size)),
        }
    }

    /// The bytes of a file, from the beginning, and how many there are.
    pub fn source(&self, name: &str) -> Result<(Source, u64)> {
        match &self.place {
            Place::Directory(dir) => {
                let (file, size) = open_inside(dir, name)?.ok_or_else(|| missing(name))?;
                Ok((Source::file(file), size))
            }
            Place::Tar { members, null, .. } => {
                let (member, size) = find(members, name)?.ok_or_else(|| missing(name))?;
                let mut arguments = vec!["-xO"];
                // Then it need not look for another one of that name: there is none.
                arguments.extend((self.tar == Tar::Gnu).then_some("--occurrence=1"));
                Ok((self.start(&arguments, &["--", &member.listed], null)?, size))
            }
        }
    }

    /// A file that fits into memory: `limit` bytes at most.
    pub fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>> {
        let (source, _) = self.source(name)?;
        sys::why("a document of the archive");
        sys::read_to_end(source.stream()?, limit).context(format_args!("read {}", printable(name)))
    }

    /// What tar says has a name and a size.
    fn list(&self) -> Result<Vec<Member>> {
        sys::why("what tar complains of");
        let (words, complain) = sys::pipe2().context("pipe2")?;
        let mut source = self.start(&["-tv", "--numeric-owner"], &[], &complain)?;
        drop(complain);
        let pipe = |fd, limit, what| Pipe { fd: Some(fd), limit, is_secret: false, what };
        let list = pipe(source.take()?, MAX_LIST, "what is in the archive");
        let [text, words] = drain([list, pipe(words, MAX_WORDS, "what tar complains of")])?;
        if text.len() > MAX_LIST {
            return Err(refused("its list of files is too long"));
        }
        match source.end().context("wait4")? {
            Some(status) if !status.success() => {
                let words = printable(String::from_utf8_lossy(&words).lines().next().unwrap_or_default());
                return Err(Error::new(format!("the archive cannot be read: tar: {status}: {words}")));
            }
            _ => {}
        }
        let mut members = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            members.extend(member(line));
        }
        Ok(members)
    }

    /// tar at the archive's beginning. It opens a file by itself, and so can skip what it is not asked for.
    fn start(&self, options: &[&str], names: &[&str], errors: &Fd) -> Result<Source> {
        let Place::Tar { file, programs, .. } = &self.place else {
            return Err(Error::new("a directory is no tar archive"));
        };
        let mut source = Source::file(open_anew(file)?);
        if let Some(programs) = programs {
            sys::why("the archive without its compression");
            source = source.through(&mut |from, to| {
                source::start_decompressor(programs, [from, Some(to), Some(errors)]).map(|(_, pid)| pid)
            })?;
        }
        let place = if programs.is_some() { "-" } else { "/proc/self/fd/0" };
        let arguments = options.iter().chain(&["-f", place]).chain(names).map(OsString::from).collect();
        let program = Program { name: "tar", arguments, environment: vec![c"LC_ALL=C".to_owned()] };
        sys::why("what tar finds in the archive");
        source.through(&mut |from, to| {
            sys::why("it writes to the pipe, and no file");
            sys::spawn(&program, [from, Some(to), Some(errors)], &[]).map_err(|error| not_started("tar", error))
        })
    }
}

/// The blobs of an archive by their digests.
pub struct Shelf {
    pub archive: Archive,
    /// Digests, and the files that have another name than a layout gives them.
    pub files: Vec<(String, String)>,
}

impl Shelf {
    /// A blob from its beginning. Its size is checked here, its digest by the caller.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Source> {
        let file = self.files.iter().find(|(digest, _)| *digest == descriptor.digest);
        let name = file.map_or_else(|| descriptor.blob_name(), |(_, name)| name.clone());
        let (source, size) = self.archive.source(&name)?;
        digest::check_size("the blob", descriptor, size)?;
        Ok(source)
    }
}

/// The refusal of an archive.
pub fn refused(reason: &str) -> Error {
    Error::new(format!("the archive is refused: {reason}"))
}

pub fn missing(name: &str) -> Error {
    refused(&format!("{} is not in it", printable(name)))
}

// ---- where it comes from ----

/// The same file with an offset of its own: others read it, too.
fn open_anew(file: &Fd) -> Result<Fd> {
    sys::why("the archive from its beginning");
    sys::open(file.path(), libc::O_RDONLY, 0).context("open the archive anew")
}

/// Standard input: a file is used where it lies, all else is read to its end first.
fn standard_input(store: &Store) -> Result<Fd> {
    const PATH: &str = "/proc/self/fd/0";
    if terminal::is_terminal(sys::STDIN) {
        return Err(Error::new("load: standard input is a terminal").hint("mydocker load -i FILE, or load < FILE"));
    }
    sys::why("a file, or a pipe?");
    if sys::stat(PATH).context("stat standard input")?.kind() == libc::S_IFREG {
        // Somebody else may have opened it for us.
        sys::why("if possible: the same file with an offset of its own");
        if let Ok(file) = sys::open(PATH, libc::O_RDONLY, 0) {
            return Ok(file);
        }
    }
    spool(store, sys::STDIN)
}

/// A pipe can be read once only: a file takes its bytes. Its name is gone before the first one comes.
fn spool(store: &Store, from: i32) -> Result<Fd> {
    let path = store.fresh_tmp("load")?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    sys::why("a pipe can be read once only: this file takes what comes");
    let file = sys::open(&path, flags, 0o600).context(format_args!("open {}", path.display()))?;
    sys::why("without a name it goes with this process, however that ends");
    sys::unlink(&path).context(format_args!("unlink {}", path.display()))?;
    let mut buffer = vec![0; 64 * 1024];
    let copy = || loop {
        let length = sys::read(from, &mut buffer).context("read the archive")?;
        if length == 0 {
            return Ok(file);
        }
        sys::write_all(file.raw(), &buffer[..length]).context("write the archive to the store")?;
    };
    sys::fold("what comes through the pipe", copy)
}

// ---- names ----

/// A file of a directory and its size; links are followed inside the directory only.
fn open_inside(dir: &Fd, name: &str) -> Result<Option<(Fd, u64)>> {
    let path = resolve("", name)?;
    // Of a pipe the open would wait for a writer.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK;
    sys::why("if there is one: this file of the archive, no link leads out of it");
    let file = match sys::openat2_in_root(dir, &path, flags, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.context(format_args!("open {path} in the archive"))?,
    };
    sys::why("a plain file, and how long?");
    let stat = sys::fstat(&file).context("fstat")?;
    match stat.kind() {
        libc::S_IFREG => Ok(Some((file, stat.size()))),
        _ => Err(refused(&format!("{path} is no plain file"))),
    }
}

/// The member of that name and its size, or the one that links of that name lead to.
fn find<'a>(members: &'a [Member], name: &str) -> Result<Option<(&'a Member, u64)>> {
    let mut wanted = resolve("", name)?;
    for _ in 0..=MAX_LINKS {
        let mut found = members.iter().filter(|member| member.name == wanted);
        let Some(member) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(refused(&format!("{wanted} is in it twice")));
        }
        wanted = match &member.kind {
            Kind::File(size) => return Ok(Some((member, *size))),
            Kind::Hard(target) => resolve("", target)?,
            Kind::Symlink(target) => resolve(wanted.rsplit_once('/').map_or("", |(dir, _)| dir), target)?,
        };
    }
    Err(refused(&format!("{wanted} is a link to a link, and so on")))
}

/// What `path` means in the directory `dir` of the archive, as a path from the archive's top. A name that leads
/// out of it is refused, and one that tar or a shell would read in two ways.
fn resolve(dir: &str, path: &str) -> Result<String> {
    let refuse = |why: &str| refused(&format!("the name \"{}\" {why}", printable(path)));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+:=@/".contains(&b);
    if !path.bytes().all(plain) {
        return Err(refuse("has a character that no file of an image needs"));
    }
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" => return Err(refuse("is no path inside it")),
            "." => {}
            ".." => drop(parts.pop().ok_or_else(|| refuse("leads out of it"))?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Reads a line of `tar -tv`: mode, owner, size, date, time, name, and where a link leads: GNU tar marks a hard
/// link with `h` and `link to`, busybox with an arrow. Other kinds of file, and names with spaces, are nothing to us.
fn member(line: &str) -> Option<Member> {
    let mut fields = line.split_whitespace();
    let mode = *fields.next()?.as_bytes().first()?;
    let size = fields.nth(1)?.parse().ok()?;
    let rest: Vec<&str> = fields.skip(2).collect();
    let (listed, kind) = match (mode, &rest[..]) {
        (b'-', [name]) => (name, Kind::File(size)),
        (b'l', [name, "->", target]) => (name, Kind::Symlink(target.to_string())),
        (b'-', [name, "->", target]) | (b'h', [name, "link", "to", target]) => (name, Kind::Hard(target.to_string())),
        _ => return None,
    };
    Some(Member { listed: listed.to_string(), name: resolve("", listed).ok()?, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_tars_list_is_read() {
        let file = |listed: &str, name: &str, kind| Some(Member { listed: listed.into(), name: name.into(), kind });
        assert_eq!(member("-rw-r--r-- 0/0      42 2026-11-24 15:08 ./a/b"), file("./a/b", "a/b", Kind::File(42)));
        assert_eq!(member("-rw-r--r-- root/root 42 2026-11-24 15:08:49 a"), file("a", "a", Kind::File(42)));
        assert_eq!(member("lrwxrwxrwx 0/0 0 2026-11-24 15:08 s -> ../f"), file("s", "s", Kind::Symlink("../f".into())));
        let hard = file("h", "h", Kind::Hard("f".into()));
        assert_eq!(member("hrw-r--r-- 0/0 0 2026-11-24 15:08 h link to f"), hard);
        assert_eq!(member("-rw-r--r-- root/root 0 2026-11-24 15:08:49 h -> f"), hard);
        for other in [
            "drwxr-xr-x 0/0 0 2026-11-24 15:08 a/",
            "crw-r--r-- 0/0 1,3 2026-11-24 15:08 null",
            "-rw-r--r-- 0/0 42 2026-11-24 15:08 two words",
            "-rw-r--r-- 0/0 42 2026-11-24 15:08 /etc/passwd",
            "-rw-r--r-- 0/0 42 2026-11-24 15:08 ../up",
            "-rw-r--r-- 0/0 -1 2026-11-24 15:08 a",
            "tar: Removing leading `/' from member names",
            "",
        ] {
            assert_eq!(member(other), None, "{other}");
        }
    }

    #[test]
    fn names_stay_inside() {
        assert_eq!(resolve("", "./blobs/sha256/ab").unwrap(), "blobs/sha256/ab");
        assert_eq!(resolve("a/b", "../../c/layer.tar").unwrap(), "c/layer.tar");
        assert_eq!(resolve("a", "./x/../y").unwrap(), "a/y");
        for path in ["", "/etc/passwd", "..", "a/../..", "a//b", "a/", "a b", "a*", "a\\b", "a\n", "é"] {
            assert!(resolve("", path).is_err(), "{path}");
        }
    }

    #[test]
    fn links_lead_to_members_and_circles_nowhere() {
        let lines = "-rw------- 0/0 9 1970-01-01 00:00 a/layer.tar\n\
            lrwxrwxrwx 0/0 0 1970-01-01 00:00 b/layer.tar -> ../a/layer.tar\n\
            hrw------- 0/0 0 1970-01-01 00:00 c link to b/layer.tar\n\
            lrwxrwxrwx 0/0 0 1970-01-01 00:00 loop -> loop\n\
            lrwxrwxrwx 0/0 0 1970-01-01 00:00 out -> ../../etc/passwd\n\
            lrwxrwxrwx 0/0 0 1970-01-01 00:00 root -> /etc/passwd\n\
            lrwxrwxrwx 0/0 0 1970-01-01 00:00 dangling -> nothing\n\
            -rw------- 0/0 1 1970-01-01 00:00 twice\n\
            -rw------- 0/0 2 1970-01-01 00:00 ./twice\n";
        let members: Vec<Member> = lines.lines().filter_map(|line| member(line.trim())).collect();
        for name in ["a/layer.tar", "b/layer.tar", "c", "./c"] {
            assert_eq!(
                find(&members, name).unwrap().map(|(m, size)| (m.name.as_str(), size)),
                Some(("a/layer.tar", 9))
            );
        }
        assert!(find(&members, "dangling").unwrap().is_none() && find(&members, "none").unwrap().is_none());
        for name in ["loop", "out", "root", "twice"] {
            assert!(find(&members, name).is_err(), "{name}");
        }
    }
}
