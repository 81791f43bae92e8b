//! A filter on system calls, seccomp(2): what a container may ask of the kernel at all.
//!
//! Most of what has ever broken out of a container did so through a call that no container needs. So the kernel is
//! given a program of its own small machine, BPF, which sees the number and the arguments of each call before the call
//! is made, and says: go on, EPERM, or ENOSYS. The calls stand in seccomp_table.rs; here they become that program,
//! a binary search over runs of numbers with one answer, and docker's JSON of the same.
//!
//! A program for another architecture (i386, x32) is ended: its numbers mean something else.

use libc::{sock_filter, BPF_JEQ, BPF_JGE, BPF_JSET};

use crate::capabilities::{DEFAULT, SYS_ADMIN};
use crate::error::{Context, Result};
use crate::json::Json;
use crate::seccomp_table::{Calls, Row, When, TABLE};
use crate::seccomp_table::{FAMILIES, LINUX32, PERSONALITIES, REFUSED_FAMILIES, UNAME26, WHICH_PERSONALITY};
use crate::show;
use crate::sys;

/// Installs the filter for a process with these capabilities. Without no_new_privs it needs CAP_SYS_ADMIN.
pub fn install(capabilities: u64) -> Result<()> {
    let program = program(capabilities);
    sys::why(
        "from here on docker's list of system calls, the rest is refused (EINVAL: a kernel without seccomp filters)",
    );
    sys::seccomp(&program).context("seccomp(SECCOMP_SET_MODE_FILTER)").map_err(|error| match error.errno {
        Some(libc::EINVAL | libc::ENOSYS) => error
            .hint("a kernel without CONFIG_SECCOMP_FILTER: --security-opt seccomp=unconfined leaves the filter off"),
        _ => error,
    })
}

/// For `check`: whether this process can be put under the default filter.
pub fn try_on() -> std::io::Result<()> {
    sys::why("docker's list of system calls, as for a container");
    sys::seccomp(&program(DEFAULT))
}

// ---- the answers ----

/// What the filter says to a number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Allow,
    /// EPERM
    Refuse,
    /// ENOSYS
    Unknown,
    /// It depends on the arguments.
    Socket,
    Personality,
    Clone,
}

fn holds(capabilities: u64, any_of: &[u32]) -> bool {
    any_of.iter().any(|number| capabilities & 1 << number != 0)
}

fn answer(when: When, capabilities: u64) -> Answer {
    let is_admin = holds(capabilities, &[SYS_ADMIN]);
    match when {
        When::Always => Answer::Allow,
        When::Never => Answer::Refuse,
        When::With(any_of) if holds(capabilities, any_of) => Answer::Allow,
        When::With(_) => Answer::Refuse,
        When::Socket => Answer::Socket,
        When::Personality => Answer::Personality,
        When::CloneFlags | When::Clone3 if is_admin => Answer::Allow,
        When::CloneFlags => Answer::Clone,
        When::Clone3 => Answer::Unknown,
    }
}

/// Numbers from here on have this answer, up to the next run.
struct Run {
    first: u32,
    answer: Answer,
}

/// No architecture has numbers beyond.
const NUMBERS: usize = 512;

fn runs(capabilities: u64) -> Vec<Run> {
    let mut answers = [Answer::Unknown; NUMBERS];
    for row in TABLE {
        for number in row.calls.numbers {
            answers[usize::from(*number) % NUMBERS] = answer(row.when, capabilities);
        }
    }
    let starts = (0..NUMBERS).filter(|&number| number == 0 || answers[number] != answers[number - 1]);
    starts.map(|number| Run { first: number as u32, answer: answers[number] }).collect()
}

// ---- the program: linux/filter.h, linux/seccomp.h ----

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: (u32, &str) = (0xc000_003e, "SCMP_ARCH_X86_64");
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: (u32, &str) = (0xc000_00b7, "SCMP_ARCH_AARCH64");

/// Where things lie in struct seccomp_data; of the 64 bits of the first argument the lower half comes first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT: u32 = 16;
const ARGUMENT_HIGH: u32 = 20;

const ALLOW: sock_filter = ret(libc::SECCOMP_RET_ALLOW);
const REFUSE: sock_filter = ret(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
const UNKNOWN: sock_filter = ret(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
const KILL: sock_filter = ret(libc::SECCOMP_RET_KILL_PROCESS);

/// Numbers of the x32 ABI have this bit: they come with the architecture of x86_64.
const X32: u32 = 0x4000_0000;

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Ends the program with an answer.
const fn ret(answer: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}

/// Loads 32 bits of the call.
const fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Compares what was loaded, and skips so many instructions if it is so, and so many if not.
const fn jump(comparison: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, k, jt, jf)
}

fn program(capabilities: u64) -> Vec<sock_filter> {
    let mut program = vec![load(ARCH), jump(BPF_JEQ, ARCHITECTURE.0, 1, 0), KILL, load(NUMBER)];
    if cfg!(target_arch = "x86_64") {
        // -1 is no number at all: a tracer has taken the call away.
        program.extend([jump(BPF_JGE, X32, 0, 2), jump(BPF_JEQ, u32::MAX, 1, 0), KILL]);
    }
    search(&runs(capabilities), &mut program);
    program
}

/// Binary search for the run of the number that was loaded. A jump skips 255 instructions at most; the whole program
/// has fewer, a test sees to that.
fn search(runs: &[Run], program: &mut Vec<sock_filter>) {
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let ([_, ..], [middle, ..]) = (lower, upper) else {
        return runs.iter().for_each(|run| leaf(run.answer, program));
    };
    let branch = program.len();
    program.push(UNKNOWN); // its place
    search(lower, program);
    let skipped = (program.len() - branch - 1) as u8;
    program[branch] = jump(BPF_JGE, middle.first, skipped, 0);
    search(upper, program);
}

fn leaf(answer: Answer, program: &mut Vec<sock_filter>) {
    match answer {
        Answer::Allow => program.push(ALLOW),
        Answer::Refuse => program.push(REFUSE),
        Answer::Unknown => program.push(UNKNOWN),
        Answer::Clone => program.extend([load(ARGUMENT), jump(BPF_JSET, NAMESPACES, 0, 1), REFUSE, ALLOW]),
        Answer::Personality => {
            program.extend([load(ARGUMENT_HIGH), jump(BPF_JEQ, 0, 1, 0), REFUSE, load(ARGUMENT)]);
            program.extend([jump(BPF_JEQ, WHICH_PERSONALITY, 1, 0), jump(BPF_JSET, !PERSONALITIES, 1, 0)]);
            program.extend([ALLOW, REFUSE]);
        }
        Answer::Socket => {
            program.extend([load(ARGUMENT_HIGH), jump(BPF_JEQ, 0, 1, 0), REFUSE, load(ARGUMENT)]);
            program.extend([jump(BPF_JGE, FAMILIES, 0, 1), REFUSE]);
            for family in REFUSED_FAMILIES {
                program.extend([jump(BPF_JEQ, *family, 0, 1), REFUSE]);
            }
            program.push(ALLOW);
        }
    }
}

/// All namespaces that clone(2) makes.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

// ---- docker's JSON ----

/// The filter of a process with these capabilities, as runtime-spec config-linux.md, "Seccomp", has it. Written at
/// once, not as a tree of values first: it is most of a `config.json`, and each run writes one.
pub fn of_bundle(capabilities: u64) -> Json {
    let mut text = String::with_capacity(32 << 10);
    text.extend(["{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":", ENOSYS]);
    text.extend([",\"architectures\":[\"", ARCHITECTURE.1, "\"],\"syscalls\":["]);
    let mut separator = "";
    rules(&mut |rule| {
        if rule.is_for(capabilities) {
            text.push_str(separator);
            rule.write(&mut text, false);
            separator = ",";
        }
    });
    text.push_str("]}");
    Json::Written(text)
}

/// 38 on every architecture: a test sees to that.
const ENOSYS: &str = "38";

/// The whole table as docker and podman read it, a rule a line.
pub fn profile() -> String {
    let mut text = String::new();
    text.extend(["{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":", ENOSYS]);
    text.extend([",\"archMap\":[{\"architecture\":\"", ARCHITECTURE.1, "\",\"subArchitectures\":[]}],\"syscalls\":["]);
    let mut separator = "\n  ";
    rules(&mut |rule| {
        text.push_str(separator);
        rule.write(&mut text, true);
        separator = ",\n  ";
    });
    text.push_str("\n]}\n");
    text
}

/// One rule of docker's.
struct Rule {
    calls: &'static Calls,
    allow: bool,
    argument: Option<Argument>,
    only: For,
}

/// A comparison of the first argument: its name, a value, and for a masked one the second value.
type Argument = (&'static str, u32, u32);

const EQUAL: &str = "SCMP_CMP_EQ";
const MASKED: &str = "SCMP_CMP_MASKED_EQ";

/// Whom a rule is for.
#[derive(Clone, Copy)]
enum For {
    All,
    /// Who has this capability.
    With(u32),
    /// Who has none of these.
    Without(&'static [u32]),
}

/// libseccomp, which reads such rules for other engines, takes the default for arguments that no rule names, and that
/// is ENOSYS here: so what gets EPERM has rules as well.
fn rules(take: &mut dyn FnMut(&Rule)) {
    for Row { when, calls } in TABLE {
        let mut rule = |allow, argument, only| take(&Rule { calls, allow, argument, only });
        match when {
            When::Always => rule(true, None, For::All),
            When::Never => rule(false, None, For::All),
            When::With(any_of) => {
                any_of.iter().for_each(|number| rule(true, None, For::With(*number)));
                rule(false, None, For::Without(any_of));
            }
            When::CloneFlags | When::Clone3 => {
                rule(true, None, For::With(SYS_ADMIN));
                if *when == When::CloneFlags {
                    clone_flags(&mut |allow, argument| rule(allow, Some(argument), For::Without(&[SYS_ADMIN])));
                }
            }
            When::Socket => families(&mut |allow, argument| rule(allow, Some(argument), For::All)),
            When::Personality => personalities(&mut |allow, argument| rule(allow, Some(argument), For::All)),
        }
    }
}

/// Takes whether to allow, and a comparison.
type Add<'a> = &'a mut dyn FnMut(bool, Argument);

fn clone_flags(add: Add) {
    add(true, (MASKED, NAMESPACES, 0));
    bits(NAMESPACES).for_each(|bit| add(false, (MASKED, bit, bit)));
}

fn families(add: Add) {
    add(true, ("SCMP_CMP_LT", REFUSED_FAMILIES[0], 0));
    for family in REFUSED_FAMILIES[0]..FAMILIES {
        add(!REFUSED_FAMILIES.contains(&family), (EQUAL, family, 0));
    }
    add(false, ("SCMP_CMP_GE", FAMILIES, 0));
}

/// A number is neither one of those allowed nor the question if it has a bit that is in none of them, without the
/// uppermost, or the uppermost without one of the rest.
fn personalities(add: Add) {
    for allowed in [0, LINUX32, UNAME26, PERSONALITIES, WHICH_PERSONALITY] {
        add(true, (EQUAL, allowed, 0));
    }
    let top = 1 << 31;
    bits(!PERSONALITIES & !top).for_each(|bit| add(false, (MASKED, bit | top, bit)));
    bits(!top).for_each(|bit| add(false, (MASKED, bit | top, top)));
    add(false, ("SCMP_CMP_GT", u32::MAX, 0));
}

fn bits(set: u32) -> impl Iterator<Item = u32> {
    (0..32).map(|number| 1 << number).filter(move |bit| set & bit != 0)
}

impl Rule {
    fn is_for(&self, capabilities: u64) -> bool {
        match self.only {
            For::All => true,
            For::With(number) => holds(capabilities, &[number]),
            For::Without(any_of) => !holds(capabilities, any_of),
        }
    }

    /// Whom it is for is docker's word alone: runtime-spec knows the container's capabilities.
    fn write(&self, text: &mut String, with_condition: bool) {
        text.push_str("{\"names\":");
        list(text, &mut self.calls.names());
        text.push_str(",\"action\":\"SCMP_ACT_");
        text.push_str(if self.allow { "ALLOW\"" } else { "ERRNO\",\"errnoRet\":1" });
        if let Some((comparison, value, second)) = self.argument {
            text.push_str(",\"args\":[{\"index\":0,\"value\":");
            number(text, value);
            text.push_str(",\"valueTwo\":");
            number(text, second);
            text.extend([",\"op\":\"", comparison, "\"}]"]);
        }
        if with_condition {
            let (word, one) = (["includes", "excludes"], |number: &u32| show::Capability(*number).to_string());
            let (word, caps) = match self.only {
                For::All => ("", Vec::new()),
                For::With(number) => (word[0], vec![one(&number)]),
                For::Without(any_of) => (word[1], any_of.iter().map(one).collect()),
            };
            if !caps.is_empty() {
                text.extend([",\"", word, "\":{\"caps\":"]);
                list(text, &mut caps.iter().map(String::as_str));
                text.push('}');
            }
        }
        text.push('}');
    }
}

/// What [`of_bundle`] spends most of its time on, if format! does it.
fn number(text: &mut String, number: u32) {
    if number >= 10 {
        self::number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Names, none of which needs an escape.
fn list(text: &mut String, names: &mut dyn Iterator<Item = &str>) {
    let mut before = "[\"";
    for name in names {
        text.push_str(before);
        text.push_str(name);
        before = "\",\"";
    }
    text.push_str("\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's machine does, linux/filter.h: the program's answer to a call.
    fn run(program: &[sock_filter], arch: u32, number: u32, argument: u64) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let taken = match u32::from(code) & 0xf0 {
                BPF_JEQ => loaded == k,
                BPF_JGE => loaded >= k,
                BPF_JSET => loaded & k != 0,
                _ => false,
            };
            match u32::from(code) & 7 {
                libc::BPF_RET => return k,
                libc::BPF_LD => {
                    loaded = match k {
                        NUMBER => number,
                        ARCH => arch,
                        ARGUMENT => argument as u32,
                        _ => (argument >> 32) as u32,
                    }
                }
                _ => at += usize::from(if taken { jt } else { jf }),
            }
        }
    }

    fn says(capabilities: u64, number: libc::c_long, argument: u64) -> u32 {
        run(&program(capabilities), ARCHITECTURE.0, number as u32, argument)
    }

    #[test]
    fn each_number_gets_the_tables_answer() {
        for capabilities in [0, DEFAULT, u64::MAX] {
            let program = program(capabilities);
            for row in TABLE {
                let wanted = match answer(row.when, capabilities) {
                    Answer::Allow => ALLOW.k,
                    Answer::Refuse => REFUSE.k,
                    Answer::Unknown => UNKNOWN.k,
                    _ => continue,
                };
                for number in row.calls.numbers {
                    assert_eq!(run(&program, ARCHITECTURE.0, (*number).into(), 0), wanted, "{number}");
                }
            }
            assert_eq!(run(&program, ARCHITECTURE.0, 511, 0), UNKNOWN.k);
            assert_eq!(run(&program, ARCHITECTURE.0, 0x3fff_ffff, 0), UNKNOWN.k);
            assert_eq!(run(&program, ARCHITECTURE.0, u32::MAX, 0), UNKNOWN.k);
            assert_eq!(run(&program, 0x4000_0003, 1, 0), KILL.k, "i386");
        }
    }

    #[test]
    fn all_of_the_program_can_be_jumped_over() {
        for capabilities in [0, DEFAULT, u64::MAX] {
            assert!(program(capabilities).len() < 256, "{}", program(capabilities).len());
        }
    }

    #[test]
    fn numbers_are_decimal() {
        let mut text = String::new();
        [0, 9, 10, 131080, u32::MAX].iter().for_each(|n| {
            number(&mut text, *n);
            text.push(' ');
        });
        assert_eq!(text, "0 9 10 131080 4294967295 ");
        assert_eq!(ENOSYS, libc::ENOSYS.to_string());
    }

    #[test]
    fn arguments_count() {
        let clone = |flags: i32| says(DEFAULT, libc::SYS_clone, flags as u64);
        assert_eq!((clone(libc::SIGCHLD), clone(libc::CLONE_NEWUSER)), (ALLOW.k, REFUSE.k));
        assert_eq!(says(u64::MAX, libc::SYS_clone, libc::CLONE_NEWUSER as u64), ALLOW.k);
        assert_eq!(says(DEFAULT, libc::SYS_clone3, 0), UNKNOWN.k);
        let socket = |family: u64| says(DEFAULT, libc::SYS_socket, family);
        assert_eq!([1, 2, 10, 16, 45].map(socket), [ALLOW.k; 5]);
        assert_eq!([38, 40, 46, 1 << 32 | 2].map(socket), [REFUSE.k; 4]);
        let personality = |persona: u64| says(DEFAULT, libc::SYS_personality, persona);
        assert_eq!([0, 8, 0x20000, 0x20008, 0xffff_ffff].map(personality), [ALLOW.k; 5]);
        assert_eq!([1, 0x40000, 0xffff_fffe, 1 << 32].map(personality), [REFUSE.k; 4]);
    }

    #[test]
    fn the_rules_of_personalities_leave_no_gap_and_do_not_overlap() {
        let persona =
            [0, 1, 7, 8, 9, 0x20000, 0x20001, 0x20008, 0x40008, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, u32::MAX];
        for persona in persona {
            let mut answers = Vec::new();
            personalities(&mut |allow, (comparison, value, second)| {
                let matches = match comparison {
                    EQUAL => persona == value,
                    MASKED => persona & value == second,
                    _ => false,
                };
                answers.extend(matches.then_some(allow));
            });
            let allowed = persona & !PERSONALITIES == 0 || persona == WHICH_PERSONALITY;
            assert!(
                !answers.is_empty() && answers.iter().all(|answer| *answer == allowed),
                "{persona:#x}: {answers:?}"
            );
        }
    }
}
