//! The stub: the program that pid 1 of a container is for two system calls, just before it is the command.
//!
//! A container can reach the program that its processes run through /proc/PID/exe, and a root in there whose id is the
//! owner's can write to it. An image whose command is /proc/self/exe, or a script that begins with
//! `#!/proc/self/exe`, has execve(2) itself follow that link (CVE-2019-5736). So it is not the engine that makes
//! this last execve, but a program with nothing in it: the instructions below behind the headers that elf(5) asks
//! for, about 300 bytes, in a memfd that is sealed: nobody can change it, root included.
//!
//! `stub FILE ARGUMENT...` becomes FILE. Descriptor 3, the control socket, closes at that moment, which tells the
//! engine that the command has started; where there is no such moment, the stub says why over it. It has no C
//! library: to start one takes as long as to make all of a container's mounts.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Context, Error, Result, NOT_EXECUTABLE, NOT_FOUND};
use crate::sys::{self, Fd};

/// The descriptor of the control socket in the stub.
pub const CONTROL: i32 = 3;

// execve(2), "The initial stack": argc, argv[0] (`stub`), argv[1] (FILE), argv[2]..., NULL, the environment, NULL.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.stub, \"a\"",
    ".globl stub_begin, stub_end",
    "stub_begin:",
    "mov edi, 3", // fcntl(3, F_SETFD, FD_CLOEXEC)
    "mov esi, 2",
    "mov edx, 1",
    "mov eax, 72",
    "syscall",
    "xor edx, edx",
    "test eax, eax",
    "jnz 3f",
    "pop rax", // execve(FILE, &argv[2], the environment)
    "pop rsi",
    "pop rdi",
    "mov rsi, rsp",
    "lea rdx, [rsp + rax*8 - 8]",
    "mov eax, 59",
    "syscall",
    "mov edx, -1", // it has failed: how long is FILE?
    "2: inc edx",
    "cmp byte ptr [rdi + rdx], 0",
    "jne 2b",
    "3: push rax", // writev(3, {{-errno, 8 bytes}, {FILE, its length}}, 2)
    "mov rcx, rsp",
    "push rdx",
    "push rdi",
    "push 8",
    "push rcx",
    "mov edi, 3",
    "mov rsi, rsp",
    "mov edx, 2",
    "mov eax, 20",
    "syscall",
    "mov edi, 127", // exit_group(127)
    "mov eax, 231",
    "syscall",
    "stub_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.stub, \"a\"",
    ".globl stub_begin, stub_end",
    "stub_begin:",
    "mov x0, 3", // fcntl(3, F_SETFD, FD_CLOEXEC)
    "mov x1, 2",
    "mov x2, 1",
    "mov x8, 25",
    "svc 0",
    "mov x3, sp",
    "mov x4, 0",
    "cbnz x0, 3f",
    "ldr x3, [sp]", // execve(FILE, &argv[2], the environment)
    "ldr x0, [sp, 16]",
    "add x1, sp, 24",
    "add x2, sp, x3, lsl 3",
    "add x2, x2, 16",
    "mov x8, 221",
    "svc 0",
    "ldr x3, [sp, 16]", // it has failed: how long is FILE?
    "mov x4, -1",
    "2: add x4, x4, 1",
    "ldrb w5, [x3, x4]",
    "cbnz w5, 2b",
    "3: str x0, [sp, -16]!", // writev(3, {{-errno, 8 bytes}, {FILE, its length}}, 2)
    "mov x5, sp",
    "mov x6, 8",
    "stp x3, x4, [sp, -16]!",
    "stp x5, x6, [sp, -16]!",
    "mov x0, 3",
    "mov x1, sp",
    "mov x2, 2",
    "mov x8, 66",
    "svc 0",
    "mov x0, 127", // exit_group(127)
    "mov x8, 94",
    "svc 0",
    "stub_end:",
    ".popsection",
);

/// e_machine: EM_X86_64, EM_AARCH64.
const MACHINE: u64 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// The program: elf(5), an Ehdr and two Phdrs, and the instructions.
fn program(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    const ADDRESS: u64 = 0x40_0000;
    const PAGE: u64 = 0x1_0000; // the largest of any machine
    let size = HEADERS + code.len() as u64;
    // ELFCLASS64, ELFDATA2LSB, EV_CURRENT.
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut fields = |width: usize, numbers: &[u64]| {
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()[..width]));
    };
    fields(2, &[2, MACHINE]); // ET_EXEC
    fields(4, &[1]);
    fields(8, &[ADDRESS + HEADERS, 64, 0]); // entry, program headers, no section headers
    fields(4, &[0]);
    fields(2, &[64, 56, 2, 64, 0, 0]); // the sizes and numbers of all headers
    fields(4, &[1, 4 | 1]); // PT_LOAD, PF_R|PF_X: all of the file
    fields(8, &[0, ADDRESS, ADDRESS, size, size, PAGE]);
    fields(4, &[0x6474_e551, 4 | 2]); // PT_GNU_STACK, PF_R|PF_W: no code on the stack
    fields(8, &[0; 6]);
    bytes.extend_from_slice(code);
    bytes
}

/// A stub that nobody can change any more, ready to be executed.
pub fn make() -> Result<Fd> {
    sys::why(
        "if there is one: a file in memory for the stub, which becomes the command (EINVAL: no MFD_EXEC before Linux 6.3)",
    );
    let stub = sys::memfd_create_executable("stub").context("memfd_create").map_err(|error| match error.errno {
        Some(libc::EACCES) => error.hint("it must be executable: sysctl -w vm.memfd_noexec=1"),
        Some(libc::ENOSYS) => error.hint("the kernel needs CONFIG_MEMFD_CREATE"),
        _ => error,
    })?;
    sys::why("about 300 bytes, none of them the engine's");
    sys::write_all(stub.raw(), &program(sys::stub_code())).context("write to a memfd")?;
    sys::why("nobody can write it from here on (CVE-2019-5736)");
    sys::seal(&stub).context("fcntl(F_ADD_SEALS)")?;
    Ok(stub)
}

/// Becomes the stub, and the stub becomes the file. It returns only if the first of both fails.
pub fn become_file(stub: &Fd, file: &Path, arguments: &[OsString], environment: &[OsString]) -> Result<Infallible> {
    let strings = |list: &[OsString]| list.iter().map(sys::cstr).collect::<std::io::Result<Vec<CString>>>();
    let words = [OsString::from("stub"), file.into()].into_iter().chain(arguments.iter().cloned()).collect::<Vec<_>>();
    let words = strings(&words).map_err(|_| Error::new("the command, or an argument of it, holds a NUL byte"))?;
    let environment = strings(environment).map_err(|_| Error::new("a variable holds a NUL byte"))?;
    sys::why("the stub: from here on /proc/PID/exe is no program of the host's");
    let error = sys::execveat(stub, &words, &environment, &|| {
        sys::why("the control socket closes when the command starts: that tells the engine so");
        sys::foretell_close_on_exec(CONTROL);
        sys::why("the user's command");
        sys::foretell_execve(&words[1], &words[2..], &environment);
    });
    Err(error).context("execveat of the stub, which becomes the command").map_err(|error| match error.errno {
        Some(libc::E2BIG) => error.hint("the command's arguments and variables are too long: execve(2), \"Limits\""),
        _ => error,
    })
}

/// What the stub has said, as an error: 8 bytes of -errno, then the file; none where it did not come so far.
pub fn failure(message: &[u8]) -> Option<Error> {
    let (number, file) = message.split_first_chunk::<8>()?;
    let errno = match i64::from_le_bytes(*number) {
        number @ -4095..0 => -number as i32,
        _ => return None,
    };
    let error = std::io::Error::from_raw_os_error(errno);
    if file.is_empty() {
        return Err::<(), _>(error).context("fcntl(F_SETFD) of the stub").err();
    }
    let advice = match errno {
        libc::EACCES => "is it executable, and no directory?",
        libc::ENOEXEC => "is it a program of this machine's architecture, or a script that begins with #! ?",
        libc::ENOENT => "the file is there, but not the interpreter that it names",
        _ => "see execve(2)",
    };
    let code = if errno == libc::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE };
    let file = Path::new(std::ffi::OsStr::from_bytes(file)).display();
    let error = Err::<(), _>(error).context(format_args!("execve {file}"));
    error.err().map(|error| error.with_code(code).hint(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_from_an_error_in_words() {
        let said = |errno: i64, file: &[u8]| failure(&[&(-errno).to_le_bytes()[..], file].concat());
        let error = said(8, b"/bin/x").unwrap();
        assert!(error.message.starts_with("execve /bin/x: Exec format error"), "{}", error.message);
        assert_eq!((error.code, said(2, b"/x").unwrap().code), (NOT_EXECUTABLE, NOT_FOUND));
        assert!(said(9, b"").unwrap().message.starts_with("fcntl(F_SETFD)"));
        assert!(said(0, b"/x").is_none() && said(4096, b"/x").is_none());
        assert!(failure(b"\x7dmount proc: no").is_none() && failure(b"").is_none());
    }

    #[test]
    fn the_stub_is_a_program() {
        let stub = make().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), stub.raw());
        let run = |script: &str| std::process::Command::new("sh").args(["-c", script, &path]).status().unwrap().code();
        assert_eq!(run("exec \"$0\" /bin/sh sh -c 'exit 7' 3</dev/null"), Some(7));
        assert_eq!(run("exec \"$0\" /bin/sh sh -c 'exit 7' 3<&-"), Some(127), "nobody's stub becomes anything");
        assert_eq!(run("\"$0\" /no/such/file 3>&1 | grep -q /no/such/file"), Some(0));
    }
}
