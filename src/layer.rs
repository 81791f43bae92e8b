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
//! can make nothing that the container could not have. It has a mount namespace of its own in which the layer's directory
//! alone can be written, so no name in the archive leads out of it. Every layer has a directory of its own, so a
//! symbolic link of one can never lead the files of the next astray (CVE-2025-45582).
//!
//! [`unpack`] is the whole of it. Where the bytes come from is source.rs, what tar is told and says tar.rs.

use std::io;
use std::path::Path;

use libc::CLONE_NEWNS;

use crate::digest::{self, Hasher};
use crate::error::{not_started, Context, Result};
use crate::helper::Choice;
use crate::idmap::IdMap;
use crate::job::Job;
use crate::parents;
use crate::source::{decompress, decompressor, judge_decompressor, large_pipe, Source, PIPE, PLAIN};
use crate::sys::{self, Fd, Program};
use crate::tar::{self, Complaints, Tar};
use crate::whiteout::{self, Marks};

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
            target.map.enter_with(CLONE_NEWNS, || extract(target, source.stream()?, &note))?.wait()?;
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

/// Why a layer is unpacked in a user namespace.
const ROOT_INSIDE: &str = "root in there, nobody outside: tar can make the image's owners, and nothing of the host's";

/// Starts the programs of the picture above, tar first, and moves the bytes. `programs` are those that the bytes
/// go through, if any. Returns the diff_id.
fn unpack_hashed(source: Source, programs: Option<&[Choice]>, target: &Target, note: &Fd) -> Result<String> {
    sys::why("to tar");
    let (archive, to_tar) = large_pipe()?;
    // The job is a copy of this process: it must let go of its copy of the writing end, or tar would
    // never see the end of its input.
    let to_tar = std::cell::Cell::new(Some(to_tar));
    sys::why(ROOT_INSIDE);
    let job = target.map.enter_with(CLONE_NEWNS, || {
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
    let mut job = Some(job);
    let mut unpacked = || job.take().map_or(Ok(()), Job::wait);
    let copy = || pump(from, to_hasher, to_tar.into_inner(), &mut unpacked);
    let moved = sys::fold("what tar unpacks is hashed on its way", copy);
    plain.close();
    let decompressed = complaints.map_or(Ok(()), |(program, words)| judge_decompressor(&mut plain, program, &words));
    let diff_id = hasher.finish();
    // First what came first: where tar has ended early, the rest was not looked at; else half a stream is no tar
    // archive either.
    moved?;
    decompressed?;
    unpacked()?;
    diff_id
}

/// Copies a pipe into two. tar may end before its input does (what follows the end of an archive is
/// nothing to it): if all was `unpacked` well, the rest goes to the hasher alone. SIGPIPE must be blocked.
fn pump(source: &Fd, to_hasher: Fd, to_tar: Option<Fd>, unpacked: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let mut to_tar = to_tar;
    loop {
        let Some(tar) = &to_tar else {
            match sys::splice(source, &to_hasher, PIPE as usize).context("splice a layer into the hasher")? {
                0 => return Ok(()),
                _ => continue,
            }
        };
        let mut left = sys::tee(source, &to_hasher, PIPE as usize).context("tee a layer into the hasher")?;
        if left == 0 {
            return Ok(());
        }
        let mut ended = false;
        while left > 0 && !ended {
            match sys::splice(source, tar, left) {
                Ok(moved) => left -= moved,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ended = true,
                Err(error) => return Err(error).context("splice a layer into tar"),
            }
        }
        if ended {
            to_tar = None;
            unpacked()?;
            discard(source, left).context("read the rest of a layer")?;
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
    tar::contain(target.dir)?;
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
    let complaints = Complaints::listen(&words, pid).context("read what tar says")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_copied_into_two_and_tar_may_end_early() {
        sys::block_signals().unwrap(); // SIGPIPE
        let (source, writer) = sys::pipe2().unwrap();
        let (hashed, to_hasher) = sys::pipe2().unwrap();
        let (archive, to_tar) = sys::pipe2().unwrap();
        sys::write_all(writer.raw(), b"all of it").unwrap();
        drop((writer, archive));
        pump(&source, to_hasher, Some(to_tar), &mut || Ok(())).unwrap();
        assert_eq!(sys::read_to_end(&hashed, 100).unwrap(), b"all of it");
        sys::unblock_signals().unwrap();
    }
}
