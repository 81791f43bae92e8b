//! One blob becomes one directory: decompressed, its diff_id checked, unpacked by tar, and its
//! whiteouts turned into those of overlayfs.
//!
//! ```text
//! blob --> igzip -> pipe --tee(2)----> pipe -> openssl dgst      the diff_id
//!                        `-splice(2)-> pipe -> tar               inside the user namespace
//! ```
//!
//! The engine moves pages between the pipes and never sees the bytes. tar runs as root of the
//! container's user namespace: it can give files to whom the image says, and to nobody else, and it
//! can make nothing that the container could not have. Every layer has a directory of its own, so a
//! symbolic link of one can never lead the files of the next astray (CVE-2025-45582).
//!
//! [`unpack`] is the whole of it; [`Tar::installed`] says once which tar there is. Where the bytes come from is a
//! [`Source`]: a blob that was fetched, or a member of an archive that is loaded, which needs no file of its own.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::digest::{self, Hasher};
use crate::error::{not_started, printable, Context, Error, Result};
use crate::idmap::IdMap;
use crate::parents;
use crate::sys::{self, Fd, Pid, Program};
use crate::whiteout::{self, Marks};

/// Decompressors by the first bytes of what they read, the fastest first. What the media type says
/// does not count: registries mislabel layers, and the first bytes never lie.
const FORMATS: &[Format] = &[
    // RFC 1952 section 2.3.1
    Format { magic: &[0x1f, 0x8b], programs: &["igzip", "pigz", "gzip"] },
    // RFC 8878 section 3.1.1; skippable frames, section 3.1.2, may come first
    Format { magic: &[0x28, 0xb5, 0x2f, 0xfd], programs: &["zstd"] },
    Format { magic: &[0x50, 0x2a, 0x4d, 0x18], programs: &["zstd"] },
];

struct Format {
    magic: &'static [u8],
    /// All of them read standard input and write standard output with `-dc`.
    programs: &'static [&'static str],
}

/// What moves the bytes of a file that is not compressed through a pipe.
const PLAIN: &[&str] = &["cat"];

/// tar(5): one block, and where `ustar` stands in it.
const BLOCK: usize = 512;
const USTAR: std::ops::Range<usize> = 257..262;

/// As large as a user may make a pipe: /proc/sys/fs/pipe-max-size.
const PIPE: i32 = 1 << 20;

/// The kinds of tar whose options we know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tar {
    Gnu,
    /// Keeps no xattrs.
    Busybox,
}

/// Those that GNU tar keeps; overlayfs obeys its own, and an image must not set them.
const XATTRS: &[&str] =
    &["--xattrs", "--xattrs-include=security.capability", "--xattrs-include=user.*", "--xattrs-exclude=user.overlay.*"];

/// Names and times are the image's: a clock at 1970 is older than all of them.
const NO_WARNING: &[&str] = &["--warning=no-timestamp"];

/// GNU tar's options. Names and times are the image's: no translation, no warning about a clock.
const GNU_TAR: &[&str] = &[
    "--extract",
    "--file=-",
    "--numeric-owner", // a name of the image says nothing about the ids of this host
    "--preserve-permissions",
    "--delay-directory-restore", // members of a directory may come after others
    "--warning=no-timestamp",
    "--warning=no-unknown-keyword",
    XATTRS[0],
    XATTRS[1],
    XATTRS[2],
    XATTRS[3],
    "--anchored",
    "--exclude=dev/*", // the container gets a /dev of its own
    "--exclude=./dev/*",
    "--blocking-factor=512",
];

const BUSYBOX_TAR: &[&str] = &["-x", "-p", "--numeric-owner", "-f", "-"];

impl Tar {
    /// Asks tar which one it is.
    pub fn installed() -> Result<Tar> {
        sys::why("what tar says of itself");
        let (output, writer) = sys::pipe2().context("pipe2")?;
        let program = Program { name: "tar", arguments: vec!["--version".into()], environment: Vec::new() };
        sys::why("GNU tar keeps xattrs, busybox tar does not know the option");
        let pid = sys::spawn(&program, [None, Some(&writer), Some(&writer)], &[]).map_err(|e| not_started("tar", e))?;
        drop(writer);
        let text = sys::read_to_end(&output, 64 * 1024).context("read tar's version")?;
        sys::why("no zombie stays");
        sys::wait(pid).context("wait4")?;
        let gnu = String::from_utf8_lossy(&text).contains("GNU tar");
        Ok(if gnu { Tar::Gnu } else { Tar::Busybox })
    }

    /// For an archive of all that is in `dir`, on standard output.
    pub fn copy_from(self, dir: &Path) -> Vec<OsString> {
        let xattrs = if self == Tar::Gnu { XATTRS } else { &[] };
        let words = ["-c", "-f", "-", "-C"].iter().map(OsString::from);
        words.chain([dir.into()]).chain(xattrs.iter().map(OsString::from)).chain([".".into()]).collect()
    }

    /// For such an archive's files in `dir`.
    pub fn copy_to(self, dir: &Path, map: &IdMap) -> Vec<OsString> {
        let (xattrs, owner) = match (self, map.is_single()) {
            (Tar::Gnu, false) => (&[XATTRS, NO_WARNING].concat()[..], "--same-owner"),
            (Tar::Gnu, true) => (&[XATTRS, NO_WARNING].concat()[..], "--no-same-owner"),
            (Tar::Busybox, false) => (&[][..], "-p"),
            (Tar::Busybox, true) => (&[][..], "-o"),
        };
        let words = ["-x", "-p", "--numeric-owner", owner, "-f", "-", "-C"];
        let words = words.into_iter().map(OsString::from).chain([dir.into()]);
        words.chain(xattrs.iter().map(OsString::from)).collect()
    }

    fn arguments(self, map: &IdMap) -> Vec<OsString> {
        let (options, owner) = match (self, map.is_single()) {
            (Tar::Gnu, false) => (GNU_TAR, "--same-owner"),
            (Tar::Gnu, true) => (GNU_TAR, "--no-same-owner"),
            (Tar::Busybox, false) => (BUSYBOX_TAR, "-p"),
            (Tar::Busybox, true) => (BUSYBOX_TAR, "-o"),
        };
        options.iter().chain([&owner]).map(OsString::from).collect()
    }
}

/// Bytes on their way: a file, or a pipe and the helpers that fill it.
pub struct Source {
    /// `None` when nobody reads any more.
    stream: Option<Fd>,
    /// In the order in which they were started.
    helpers: Vec<Pid>,
}

impl Source {
    /// A file, open at its beginning.
    pub fn file(file: Fd) -> Source {
        Source { stream: Some(file), helpers: Vec::new() }
    }

    /// What comes out of the helper that `start` starts, when it reads these bytes and writes to that pipe.
    pub fn through(mut self, start: &mut dyn FnMut(Option<&Fd>, &Fd) -> Result<Pid>) -> Result<Source> {
        let (reader, writer) = large_pipe()?;
        self.helpers.push(start(self.stream.as_ref(), &writer)?);
        self.stream = Some(reader);
        Ok(self)
    }

    pub fn stream(&self) -> Result<&Fd> {
        self.stream.as_ref().ok_or_else(|| Error::new("the bytes were read already"))
    }

    fn is_pipe(&self) -> bool {
        !self.helpers.is_empty()
    }

    /// The pipe, for a reader of its own; the helpers stay here.
    pub fn take(&mut self) -> Result<Fd> {
        self.stream.take().ok_or_else(|| Error::new("the bytes were read already"))
    }

    /// The first block, or less where there is not so much.
    pub fn first_block(self) -> Result<Vec<u8>> {
        let mut block = vec![0; BLOCK];
        let length = read_block(self.stream()?, &mut block).context("read the first block")?;
        block.truncate(length);
        Ok(block)
    }

    /// Nobody reads any more: helpers that still write end by SIGPIPE.
    fn close(&mut self) {
        self.stream = None;
    }

    /// How the last helper ended.
    pub fn end(&mut self) -> io::Result<Option<sys::Status>> {
        self.close();
        let mut last = None;
        for pid in std::mem::take(&mut self.helpers) {
            sys::why("no zombie stays; half a stream is no whole one");
            last = Some(sys::wait(pid)?);
        }
        Ok(last)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Who wants to know how they ended has asked.
        let _zombies = self.end();
    }
}

/// Where a layer is unpacked, and how.
pub struct Target<'a> {
    /// Not there yet.
    pub dir: &'a Path,
    pub tar: Tar,
    pub map: &'a IdMap,
    pub marks: Marks,
}

/// Unpacks a layer. `open` starts its bytes from the beginning, each time that it is called; `checked` is their
/// digest, where it is known and nobody else can have changed them since. Returns how many device nodes were left
/// out: nobody can make one in a user namespace.
pub fn unpack(
    open: &dyn Fn() -> Result<Source>,
    checked: Option<&str>,
    diff_id: &str,
    target: &Target,
) -> Result<usize> {
    let dir = target.dir;
    sys::why("every layer has a directory of its own: no link of another leads out of it");
    sys::mkdir(dir, 0o755).context(format_args!("mkdir {}", dir.display()))?;
    sys::why("as if tar had made it, until it finds an entry for it");
    sys::chmod(dir, parents::IMPLIED_MODE).context("chmod")?;
    sys::why("gzip, zstd or a plain tar? the first bytes say");
    let format = decompressor(&open()?.first_block()?, "the layer")?;
    sys::why("over this the job says how many device nodes were left out");
    let (reader, note) = sys::pipe2().context("pipe2")?;
    sys::why("the archive from its beginning");
    let source = open()?;
    let seen = match (format, checked) {
        (None, Some(digest)) => {
            sys::why(ROOT_INSIDE);
            target.map.enter(|| extract(target, source.stream()?, &note))?.wait()?;
            digest.to_string()
        }
        (None, None) if source.is_pipe() => unpack_hashed(source, None, target, &note)?,
        (format, _) => unpack_hashed(source, Some(format.unwrap_or(PLAIN)), target, &note)?,
    };
    if seen != diff_id {
        return Err(digest::mismatch("the layer's content", diff_id, &seen));
    }
    if target.marks == Marks::Trusted {
        sys::why("the marks are those of the host's root: nobody else may set them");
        let job = target.map.enter_for(target.marks, || {
            sys::why("the layer, by a short name");
            sys::chdir(target.dir).context(format_args!("chdir {}", target.dir.display()))?;
            convert_whiteouts(target.marks)
        });
        job?.wait()?;
    }
    drop(note);
    sys::why("how many device nodes were left out?");
    let nodes = sys::read_to_end(&reader, 64).context("read what was left out")?;
    Ok(String::from_utf8_lossy(&nodes).parse().unwrap_or(0))
}

fn read_block(file: &Fd, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match sys::read(file.raw(), &mut block[length..])? {
            0 => break,
            n => length += n,
        }
    }
    Ok(length)
}

/// Why a layer is unpacked in a user namespace.
const ROOT_INSIDE: &str = "root in there, nobody outside: tar can make the image's owners, and nothing of the host's";

/// The programs that decompress what begins with these bytes; `None` for a tar as it is.
pub fn decompressor(start: &[u8], what: &str) -> Result<Option<&'static [&'static str]>> {
    let mut magic = start.iter().take(4).copied().collect::<Vec<u8>>();
    if let [first @ 0x50..=0x5f, 0x2a, 0x4d, 0x18] = magic[..] {
        magic[0] = first & 0xf0;
    }
    if let Some(format) = FORMATS.iter().find(|format| magic.starts_with(format.magic)) {
        return Ok(Some(format.programs));
    }
    let is_tar = start.len() == BLOCK && (&start[USTAR] == b"ustar" || start.iter().all(|byte| *byte == 0));
    if is_tar {
        return Ok(None);
    }
    Err(Error::new(format!("{what} is neither gzip, nor zstd, nor a tar archive")))
}

/// Starts the programs of the picture above, tar first, and moves the bytes. `programs` are those that the bytes
/// go through, if any. Returns the diff_id.
fn unpack_hashed(source: Source, programs: Option<&[&'static str]>, target: &Target, note: &Fd) -> Result<String> {
    sys::why("to tar");
    let (archive, to_tar) = large_pipe()?;
    // The job is a copy of this process: it must let go of its copy of the writing end, or tar would
    // never see the end of its input.
    let to_tar = std::cell::Cell::new(Some(to_tar));
    sys::why(ROOT_INSIDE);
    let job = target.map.enter(|| {
        drop(to_tar.take());
        extract(target, &archive, note)
    })?;
    drop(archive);
    let (mut plain, complaints) = match programs {
        Some(programs) => {
            let (plain, program, words) = decompress(source, programs)?;
            (plain, Some((program, words)))
        }
        None => (source, None),
    };
    sys::why("to the hasher");
    let (hashed, to_hasher) = large_pipe()?;
    let hasher = Hasher::start(&hashed)?;
    drop(hashed);
    let from = plain.stream()?;
    let copy = || pump(from, to_hasher, to_tar.into_inner());
    let moved = sys::fold("what tar unpacks is hashed on its way", copy).context("splice a layer into tar");
    plain.close();
    let decompressed = complaints.map_or(Ok(()), |(program, words)| judge_decompressor(&mut plain, program, &words));
    let diff_id = hasher.finish();
    let unpacked = job.wait();
    // First what came first: half a stream is no tar archive either.
    decompressed?;
    unpacked?;
    moved?;
    diff_id
}

/// The bytes behind one of these programs, its name, and what it will complain of.
fn decompress(source: Source, programs: &[&'static str]) -> Result<(Source, &'static str, Fd)> {
    sys::why("what the decompressor complains of");
    let (words, complain) = sys::pipe2().context("pipe2")?;
    let mut program = "";
    sys::why("from the decompressor");
    let plain = source.through(&mut |from, to| {
        let (name, pid) = start_decompressor(programs, [from, Some(to), Some(&complain)])?;
        program = name;
        Ok(pid)
    })?;
    Ok((plain, program, words))
}

fn judge_decompressor(plain: &mut Source, program: &str, words: &Fd) -> Result<()> {
    sys::why("did it complain?");
    let words = sys::read_to_end(words, 64 * 1024).context("read what the decompressor says")?;
    match plain.end().context("wait4")? {
        Some(status) if !status.success() => {
            let words = printable(String::from_utf8_lossy(&words).lines().next().unwrap_or_default());
            Err(Error::new(format!("the layer cannot be decompressed: {program}: {status}: {words}")))
        }
        _ => Ok(()),
    }
}

/// Starts the first of these that is installed.
pub fn start_decompressor(programs: &[&'static str], streams: [Option<&Fd>; 3]) -> Result<(&'static str, Pid)> {
    for name in programs {
        let arguments = if programs == PLAIN { Vec::new() } else { vec!["-dc".into()] };
        let program = Program { name, arguments, environment: Vec::new() };
        sys::why("into a pipe");
        match sys::spawn(&program, streams, &[]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            started => return started.map(|pid| (*name, pid)).map_err(|error| not_started(name, error)),
        }
    }
    Err(not_started(programs.last().unwrap_or(&"gzip"), io::ErrorKind::NotFound.into()))
}

fn large_pipe() -> Result<(Fd, Fd)> {
    let (reader, writer) = sys::pipe2().context("pipe2")?;
    // Refused when the user has many pipes already (pipe(7), pipe-user-pages-soft): then it is slower.
    sys::why("if possible: a larger pipe, for fewer turns");
    let _smaller_then = sys::set_pipe_size(&reader, PIPE);
    Ok((reader, writer))
}

/// Copies a pipe into two. tar may end before its input does (what follows the end of an archive is
/// nothing to it): the rest goes to the hasher alone. SIGPIPE must be blocked.
fn pump(source: &Fd, to_hasher: Fd, to_tar: Option<Fd>) -> io::Result<()> {
    let mut to_tar = to_tar;
    loop {
        let Some(tar) = &to_tar else {
            match sys::splice(source, &to_hasher, PIPE as usize)? {
                0 => return Ok(()),
                _ => continue,
            }
        };
        let mut left = sys::tee(source, &to_hasher, PIPE as usize)?;
        if left == 0 {
            return Ok(());
        }
        let mut ended = false;
        while left > 0 && !ended {
            match sys::splice(source, tar, left) {
                Ok(moved) => left -= moved,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ended = true,
                Err(error) => return Err(error),
            }
        }
        if ended {
            to_tar = None;
            discard(source, left)?;
        }
    }
}

/// Takes bytes from a pipe that the hasher has already.
fn discard(source: &Fd, mut left: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = left.min(buffer.len());
        match sys::read(source.raw(), &mut buffer[..room])? {
            0 => return Ok(()),
            n => left -= n,
        }
    }
    Ok(())
}

// ---- inside the user namespace ----

/// tar, then the whiteouts where root in here may mark them. Writes to `note` how many device nodes were left out.
fn extract(target: &Target, archive: &Fd, note: &Fd) -> Result<()> {
    sys::why("tar unpacks here");
    sys::chdir(target.dir).context(format_args!("chdir {}", target.dir.display()))?;
    sys::why("an odd one: by it the directories are known that the archive does not list");
    sys::umask(parents::UMASK);
    sys::why("what tar says");
    let (words, complain) = sys::pipe2().context("pipe2")?;
    let environment = vec![c"LC_ALL=C".to_owned()];
    let program = Program { name: "tar", arguments: target.tar.arguments(target.map), environment };
    let streams = [Some(archive), Some(&complain), Some(&complain)];
    sys::why("unpacks the archive, as root of this namespace alone");
    let pid = sys::spawn(&program, streams, &[]).map_err(|error| not_started("tar", error))?;
    drop(complain);
    let complaints = Complaints::listen(&words).context("read what tar says")?;
    sys::why("did it make all of it?");
    let status = sys::wait(pid).context("wait4")?;
    let nodes = complaints.nodes;
    complaints.judge(status)?;
    if target.marks != Marks::Trusted {
        convert_whiteouts(target.marks)?;
    }
    sys::why("how many device nodes were left out: nobody can make one in here");
    sys::write_all(note.raw(), nodes.to_string().as_bytes()).context("write what was left out")
}

/// Of the layer in the working directory.
fn convert_whiteouts(marks: Marks) -> Result<()> {
    let convert = || whiteout::convert_all(Path::new("."), marks);
    sys::fold("marks of what the layer takes away become overlayfs's", convert)
}

/// What tar said, in little memory however much it was.
#[derive(Default)]
struct Complaints {
    /// Device nodes that nobody can make in a user namespace.
    nodes: usize,
    /// The first complaint of another kind.
    first: Option<String>,
}

impl Complaints {
    fn listen(words: &Fd) -> io::Result<Complaints> {
        let mut complaints = Complaints::default();
        let mut line = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            sys::why("what it says");
            let length = sys::read(words.raw(), &mut buffer)?;
            for byte in &buffer[..length] {
                match byte {
                    b'\n' => complaints.hear(&String::from_utf8_lossy(&std::mem::take(&mut line))),
                    // A name has up to 4096 bytes, four times as many where each is escaped.
                    byte if line.len() < 20 * 1024 => line.push(*byte),
                    _ => {}
                }
            }
            if length == 0 {
                return Ok(complaints);
            }
        }
    }

    fn hear(&mut self, line: &str) {
        let node = line.ends_with(": Cannot mknod: Operation not permitted")
            || line.starts_with("tar: can't create node ") && line.ends_with(": Operation not permitted");
        let remark = line.starts_with("tar: Removing leading ") || line.starts_with("tar: Exiting with failure status");
        if node {
            self.nodes += 1;
        } else if !remark && self.first.is_none() {
            self.first = Some(line.to_string());
        }
    }

    /// tar(1): 0 all is well, 2 something could not be made.
    fn judge(self, status: sys::Status) -> Result<()> {
        match self.first {
            _ if status.success() => Ok(()),
            None if status.code() == 2 && self.nodes > 0 => Ok(()),
            None => Err(Error::new(format!("tar failed: {status}"))),
            Some(first) => {
                let hint = HINTS.iter().find(|(words, _)| first.contains(words));
                let error = Error::new(printable(&first));
                Err(hint.map_or_else(|| Error::new(printable(&first)), |(_, advice)| error.hint(advice)))
            }
        }
    }
}

/// What to do about a complaint of tar.
const HINTS: &[(&str, &str)] = &[
    ("Cannot change ownership", "the image uses ids that you have not: more in /etc/subuid and /etc/subgid would help"),
    ("Wrote only", "is the disk full?"),
    ("Cannot write", "is the disk full?"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        let mut block = [0; BLOCK];
        assert_eq!(decompressor(&block, "it").unwrap(), None); // an empty archive
        block[USTAR].copy_from_slice(b"ustar");
        block[0] = b'a';
        assert_eq!(decompressor(&block, "it").unwrap(), None);
        assert!(decompressor(&[0x1f, 0x8b, 8], "it").unwrap().is_some_and(|programs| programs.contains(&"gzip")));
        assert_eq!(decompressor(&[0x28, 0xb5, 0x2f, 0xfd], "it").unwrap(), Some(&["zstd"][..]));
        assert_eq!(decompressor(&[0x5c, 0x2a, 0x4d, 0x18], "it").unwrap(), Some(&["zstd"][..]));
        for odd in [&b""[..], b"BZh9", b"<html>", &[0; 100], &[0x1f]] {
            assert!(decompressor(odd, "it").is_err(), "{odd:?}");
        }
    }

    #[test]
    fn only_nodes_that_cannot_be_made_are_forgiven() {
        let judge = |text: &str, code: i32| {
            let mut complaints = Complaints::default();
            text.lines().for_each(|line| complaints.hear(line));
            complaints.judge(sys::Status::exited(code))
        };
        let node = "tar: a/b: Cannot mknod: Operation not permitted\n";
        let end = "tar: Exiting with failure status due to previous errors\n";
        assert!(judge(&format!("{node}{node}{end}"), 2).is_ok());
        assert!(judge("tar: Removing leading `/' from member names\n", 0).is_ok());
        assert!(judge(end, 2).is_err());
        assert!(judge(node, 1).is_err());
        assert!(judge(&format!("{node}tar: x: Cannot open: No space left on device\n"), 2).is_err());
        assert!(judge("tar: x\\: Cannot mknod: Operation not permitted: Cannot open: File exists", 2).is_err());
        let ids = "tar: a: Cannot change ownership to uid 70000, gid 5: Invalid argument\n";
        assert!(judge(ids, 2).unwrap_err().message.contains("/etc/subuid"));
    }

    #[test]
    fn a_pipe_is_copied_into_two_and_tar_may_end_early() {
        sys::block_signals().unwrap(); // SIGPIPE
        let (source, writer) = sys::pipe2().unwrap();
        let (hashed, to_hasher) = sys::pipe2().unwrap();
        let (archive, to_tar) = sys::pipe2().unwrap();
        sys::write_all(writer.raw(), b"all of it").unwrap();
        drop((writer, archive));
        pump(&source, to_hasher, Some(to_tar)).unwrap();
        assert_eq!(sys::read_to_end(&hashed, 100).unwrap(), b"all of it");
        sys::unblock_signals().unwrap();
    }
}
