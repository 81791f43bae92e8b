//! The programs that the engine starts, each started with little to do, and what they need themselves.

use std::io;
use std::path::Path;

use crate::check::{Page, Word};
use crate::curl;
use crate::digest;
use crate::helper::Choice;
use crate::network;
use crate::source;
use crate::sys::{self, Pid, Program};

/// One job, which any of some programs can do.
struct Helper {
    what: &'static str,
    /// The first that is installed is taken.
    programs: &'static [Choice],
    input: &'static [u8],
    /// What is to be in its output.
    good: &'static str,
    /// What does not work where it is not, and whether that is all.
    lost: &'static str,
    word: Word,
    /// Without any of them.
    missing: &'static str,
}

const HELPERS: &[Helper] = &[
    Helper {
        what: "tar",
        programs: &[("tar", &["--version"])],
        input: b"",
        good: "GNU tar",
        lost: "not GNU's: capabilities and xattrs of an image's files are lost: apt-get install tar",
        word: Word::Limited,
        missing: "no image can be unpacked: apt-get install tar",
    },
    Helper {
        what: "sha256",
        programs: digest::HASHERS,
        input: b"abc",
        good: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // FIPS 180-4
        lost: "its digests are wrong",
        word: Word::Missing,
        missing: "no image can be checked: apt-get install openssl, or coreutils",
    },
    Helper {
        what: "gzip",
        programs: source::GZIP,
        input: b"\x1f\x8b\x08\0\0\0\0\0\0\x03KLJ\x06\0\xc2A$5\x03\0\0\0",
        good: "abc",
        lost: "it does not decompress",
        word: Word::Missing,
        missing: "most images are refused: apt-get install gzip",
    },
    Helper {
        what: "zstd",
        programs: source::ZSTD,
        input: b"\x28\xb5\x2f\xfd\x04\x58\x19\0\0abc\x99\x09\x77\xad",
        good: "abc",
        lost: "it does not decompress",
        word: Word::Missing,
        missing: "the few images with zstd layers are refused: apt-get install zstd",
    },
    Helper {
        what: "curl",
        programs: &[("curl", &["--version"])],
        input: b"",
        good: " https ",
        lost: "without https",
        word: Word::Limited,
        missing: "nothing can be pulled: apt-get install curl",
    },
];

/// Where the CA certificates are: Debian, Fedora, Alpine.
const BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub fn check(page: &mut Page) {
    page.part("pull, load");
    for helper in HELPERS {
        let installed = helper.programs.iter().find(|(name, _)| sys::find_program(name).is_some());
        let Some((name, arguments)) = installed else {
            page.line(Word::Missing, helper.what, format_args!("{}", helper.missing));
            continue;
        };
        match ask(name, arguments, helper.input) {
            Ok(answer) if answer.contains(helper.good) => page.line(Word::Ok, helper.what, format_args!("{name}")),
            _ => page.line(helper.word, helper.what, format_args!("{name}: {}", helper.lost)),
        }
    }
    certificates(page);
    match curl::wrong_clock() {
        None => page.line(Word::Ok, "clock", format_args!("it was set")),
        Some(advice) => page.line(Word::Missing, "clock", format_args!("HTTPS refuses certificates: {advice}")),
    }
    match curl::has_name_server() {
        true => page.line(Word::Ok, "name server", format_args!("in /etc/resolv.conf")),
        false => page.line(Word::Missing, "name server", format_args!("{}", curl::NO_NAME_SERVER)),
    }
}

/// What a program makes of a few bytes.
fn ask(name: &'static str, arguments: &[&str], question: &[u8]) -> io::Result<String> {
    sys::why("a few bytes to work on");
    let (input, writer) = sys::pipe2()?;
    sys::why("what becomes of them");
    let (output, answer) = sys::pipe2()?;
    sys::why("no more than a pipe holds");
    sys::write_all(writer.raw(), question)?;
    drop(writer);
    let arguments = arguments.iter().map(Into::into).collect();
    sys::why("does it work? an installed program may lack a library");
    let program = Program { name, arguments, environment: Vec::new() };
    let pid = sys::spawn(&program, [Some(&input), Some(&answer), Some(&answer)], &[])?;
    drop(answer);
    sys::why("its answer");
    let text = sys::read_to_end(&output, 64 * 1024)?;
    sys::why("no zombie stays");
    sys::wait(pid)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn certificates(page: &mut Page) {
    let named = ["MYDOCKER_CACERT", "CURL_CA_BUNDLE", "SSL_CERT_FILE"].iter().find_map(std::env::var_os);
    let found =
        named.as_deref().into_iter().chain(BUNDLES.iter().map(std::ffi::OsStr::new)).map(Path::new).find(|file| {
            sys::why("if possible: certificates of those whom HTTPS trusts");
            named.is_some() || sys::access(file, libc::R_OK).is_ok()
        });
    match found {
        Some(file) => page.line(Word::Ok, "certificates", format_args!("{}", file.display())),
        None => page.line(
            Word::Missing,
            "certificates",
            format_args!("no HTTPS: apt-get install ca-certificates, or MYDOCKER_CACERT=FILE"),
        ),
    }
}

/// slirp4netns for the network namespace of the child that waits, if there is one.
pub fn network(page: &mut Page, child: Option<Pid>, on_rootfs: bool) {
    const WHAT: &str = "slirp4netns";
    page.part("network");
    if sys::find_program(WHAT).is_none() {
        let text = format_args!("containers have loopback alone: apt-get install slirp4netns");
        return page.line(Word::Missing, WHAT, text);
    }
    let Some(child) = child else { return page.line(Word::Missing, WHAT, format_args!("no namespace to try it on")) };
    let tried =
        network::start(child, true, on_rootfs).and_then(|helper| helper.map_or(Ok(()), |helper| helper.ready()));
    sys::step("store");
    match tried {
        Ok(()) => page.line(Word::Ok, WHAT, format_args!("a container reaches what this host reaches")),
        Err(error) => page.line(Word::Missing, WHAT, format_args!("containers have loopback alone: {error}")),
    }
}
