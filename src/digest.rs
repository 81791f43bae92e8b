//! Digests: `sha256:` and 64 hex digits, computed by the fastest program at hand.
//!
//! `openssl dgst` uses the processor's own SHA instructions, sha256sum mostly does not: four times
//! the speed on a layer. sha256sum starts in a quarter of the time, which is what counts for a
//! manifest. Both print the digits first.

use crate::error::{Context, Error, Result};
use crate::helper::{self, Choice};
use crate::manifest::Descriptor;
use crate::sys::{self, Fd, Pid};

/// Programs that print the sha256 of their standard input, the fastest for long inputs first.
pub const HASHERS: &[Choice] = &[("openssl", &["dgst", "-sha256", "-r"]), ("sha256sum", &[])];

/// `sha256:` and 64 lower-case hex digits: the one algorithm in use, and one spelling of each digest.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex)
}

/// 64 lower-case hex digits.
pub fn is_hex(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A hashing program at work.
pub struct Hasher {
    pid: Pid,
    output: Fd,
}

impl Hasher {
    /// Starts to hash what is read from `input`.
    pub fn start(input: &Fd) -> Result<Hasher> {
        Hasher::start_of(&mut HASHERS.iter(), input)
    }

    fn start_of(choices: &mut dyn Iterator<Item = &Choice>, input: &Fd) -> Result<Hasher> {
        sys::why("where the digits come out");
        let (output, writer) = sys::pipe2().context("pipe2")?;
        sys::why("the sha256 of what it reads");
        let (_, pid) = helper::start_first(choices, [Some(input), Some(&writer), None], "sha256sum")?;
        Ok(Hasher { pid, output })
    }

    /// The digest, once the input has come to its end.
    pub fn finish(self) -> Result<String> {
        sys::why("the digits");
        let text = sys::read_to_end(&self.output, 4096).context("read the digest")?;
        sys::why("no digest counts of a program that failed");
        let status = sys::wait(self.pid).context("wait4")?;
        let digest = format!("sha256:{}", String::from_utf8_lossy(&text[..text.len().min(64)]));
        if status.success() && is_digest(&digest) {
            Ok(digest)
        } else {
            Err(Error::new(format!("openssl or sha256sum computed no digest: {status}")))
        }
    }
}

/// The digest of a document in memory.
pub fn of_bytes(bytes: &[u8]) -> Result<String> {
    // Not through a pipe: a hasher that dies early would take us along with SIGPIPE.
    sys::why("a file in memory, for the hasher to read");
    let memory = sys::memfd_create("document").context("memfd_create")?;
    sys::write_all(memory.raw(), bytes).context("write to a memfd")?;
    sys::why("opened anew, it is read from its beginning");
    let input = sys::open(memory.path(), libc::O_RDONLY, 0).context("open a memfd")?;
    Hasher::start_of(&mut HASHERS.iter().rev(), &input)?.finish()
}

/// The refusal of bytes that are not what their name says.
pub fn mismatch(what: &str, expected: &str, seen: &str) -> Error {
    Error::new(format!("{what} is damaged or forged: expected {expected}, received {seen}"))
}

/// Refuses what has another size than its descriptor says.
pub fn check_size(what: &str, descriptor: &Descriptor, size: u64) -> Result<()> {
    if size == descriptor.size {
        return Ok(());
    }
    Err(mismatch(what, &format!("{} bytes", descriptor.size), &format!("{size} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc").unwrap(), expected);
        let (reader, writer) = sys::pipe2().unwrap();
        let hasher = Hasher::start(&reader).unwrap();
        sys::write_all(writer.raw(), b"abc").unwrap();
        drop(writer);
        assert_eq!(hasher.finish().unwrap(), expected);
    }

    #[test]
    fn one_spelling_only() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(is_digest(&format!("sha256:{hex}")));
        for text in [
            hex.clone(),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}/", &hex[..63]),
            "sha256:".into(),
        ] {
            assert!(!is_digest(&text), "{text}");
        }
    }
}
