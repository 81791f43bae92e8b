//! Where the bytes of a layer come from: a blob that was fetched, or a member of an archive that is loaded, which needs
//! no file of its own; compressed or not.
//!
//! A [`Source`] is a descriptor to read from and the helpers that fill it. [`decompressor`] says by the first bytes
//! which programs can decompress, [`decompress`] puts the first that is installed behind a source.

use std::io;

use crate::error::{printable, Context, Error, Result};
use crate::helper::{self, Choice};
use crate::sys::{self, Fd, Pid};

/// Programs for gzip, RFC 1952, and zstd, RFC 8878, the fastest first.
pub const GZIP: &[Choice] = &[("igzip", &["-dc"]), ("pigz", &["-dc"]), ("gzip", &["-dc"])];
pub const ZSTD: &[Choice] = &[("zstd", &["-dc"])];

/// Decompressors by the first bytes of what they read. What the media type says
/// does not count: registries mislabel layers, and the first bytes never lie.
const FORMATS: &[Format] = &[
    // RFC 1952 section 2.3.1
    Format { magic: &[0x1f, 0x8b], programs: GZIP },
    // RFC 8878 section 3.1.1; skippable frames, section 3.1.2, may come first
    Format { magic: &[0x28, 0xb5, 0x2f, 0xfd], programs: ZSTD },
    Format { magic: &[0x50, 0x2a, 0x4d, 0x18], programs: ZSTD },
];

struct Format {
    magic: &'static [u8],
    /// All of them read standard input and write standard output.
    programs: &'static [Choice],
}

/// What moves the bytes of a file that is not compressed through a pipe.
pub const PLAIN: &[Choice] = &[("cat", &[])];

/// tar(5): one block, and where `ustar` stands in it.
pub const BLOCK: usize = 512;
const USTAR: std::ops::Range<usize> = 257..262;

/// As large as a user may make a pipe: /proc/sys/fs/pipe-max-size.
pub const PIPE: i32 = 1 << 20;

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

    pub fn is_pipe(&self) -> bool {
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
    pub fn close(&mut self) {
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

// ---- decompression ----

/// The programs that decompress what begins with these bytes; `None` for a tar as it is.
pub fn decompressor(start: &[u8], what: &str) -> Result<Option<&'static [Choice]>> {
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

/// The bytes behind one of these programs, its name, and what it will complain of.
pub fn decompress(source: Source, programs: &[Choice]) -> Result<(Source, &'static str, Fd)> {
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

pub fn judge_decompressor(plain: &mut Source, program: &str, words: &Fd) -> Result<()> {
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
pub fn start_decompressor(programs: &[Choice], streams: [Option<&Fd>; 3]) -> Result<(&'static str, Pid)> {
    sys::why("into a pipe");
    helper::start_first(&mut programs.iter(), streams, programs.last().map_or("gzip", |(name, _)| name))
}

pub fn large_pipe() -> Result<(Fd, Fd)> {
    let (reader, writer) = sys::pipe2().context("pipe2")?;
    // Refused when the user has many pipes already (pipe(7), pipe-user-pages-soft): then it is slower.
    sys::why("if possible: a larger pipe, for fewer turns");
    let _smaller_then = sys::set_pipe_size(&reader, PIPE);
    Ok((reader, writer))
}

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
        assert!(decompressor(&[0x1f, 0x8b, 8], "it").unwrap().is_some_and(|programs| programs == GZIP));
        assert_eq!(decompressor(&[0x28, 0xb5, 0x2f, 0xfd], "it").unwrap(), Some(ZSTD));
        assert_eq!(decompressor(&[0x5c, 0x2a, 0x4d, 0x18], "it").unwrap(), Some(ZSTD));
        for odd in [&b""[..], b"BZh9", b"<html>", &[0; 100], &[0x1f]] {
            assert!(decompressor(odd, "it").is_err(), "{odd:?}");
        }
    }
}
