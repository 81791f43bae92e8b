//! Fuzz target: whatever a registry and its token server answer, curl is told nothing but what the engine means: one
//! URL with headers and form fields, each a quoted line of its config; https alone, unless the user's own words allow
//! http; a user's login goes to the registry and to the token server that it names, a token to the registry alone.
//!
//! The input is in parts: an image's name; a mirror, or nothing; config.json; and curl's answers, one after the other:
//! its exit code, a space, the head; an empty line; the body.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::claims::{is_digest, texts_and_parts, told};
use mydocker_fuzz::manifest::{choose, contents, Platform};
use mydocker_fuzz::reference::Reference;
use mydocker_fuzz::registry::Registry;
use mydocker_fuzz::sys::{self, Answer, Play, Run};

fuzz_target!(|data: &[u8]| {
    let Some(([name, mirror, config], answers)) = texts_and_parts(data) else { return };
    let Ok(reference) = Reference::parse(name) else { return };
    let mirror = Some(mirror).filter(|mirror| !mirror.is_empty());
    let config = Some(config.into()).filter(|config: &Vec<u8>| !config.is_empty());
    let answers: Vec<Answer> = answers.into_iter().map(answer).collect();
    sys::play(Play { config, answers: answers.clone(), ..Play::default() });
    pull(&reference, mirror);
    let runs = sys::take().runs;
    assert!(runs.len() <= 200, "{} requests", runs.len());
    let mut seen = Seen::new(&reference, mirror);
    for (run, answer) in runs.iter().zip(answers.iter().cloned().chain(std::iter::repeat(Answer::default()))) {
        seen.check(run);
        seen.hear(&answer);
    }
});

fn answer(part: &[u8]) -> Answer {
    let at = part.windows(2).position(|two| two == b"\n\n").unwrap_or(part.len());
    let (head, body) = (&part[..at], part.get(at + 2..).unwrap_or_default());
    let head = String::from_utf8_lossy(head);
    let (code, head) = head.split_once(' ').unwrap_or(("0", &head));
    Answer { output: body.to_vec(), errors: head.as_bytes().to_vec(), code: code.parse::<u8>().unwrap_or(0).into() }
}

/// What pull.rs does, up to the first layer.
fn pull(reference: &Reference, mirror: Option<&str>) -> Option<()> {
    let (mut registry, top) = told(Registry::open(reference, mirror))?;
    assert!(is_digest(&top.digest));
    assert!(reference.digest.as_ref().is_none_or(|digest| *digest == top.digest));
    let platform = Platform::parse("linux/amd64").ok()?;
    let (manifest, json) = told(choose(top, &platform, "it", &mut |descriptor| registry.nested(descriptor)))?;
    assert_eq!(manifest.digest, sys::digest(&manifest.bytes));
    let (config, layers) = told(contents(&json))?;
    let bytes = told(registry.document(&config))?;
    assert_eq!((config.size, config.digest), (bytes.len() as u64, sys::digest(&bytes)));
    let layer = layers.first()?;
    let file = sys::memfd_create("blob").ok()?;
    let file = sys::open(file.path(), libc::O_RDWR | libc::O_APPEND, 0).ok()?;
    if told(registry.blob(layer, &file).map_err(Into::into)).is_some() {
        assert_eq!(sys::fstat(&file).ok()?.size(), layer.size);
    }
    Some(())
}

/// What curl may be told at all, and an `=` behind what has a value.
const ARGUMENTS: &[&str] = &[
    "-q",
    "--globoff",
    "--silent",
    "--show-error",
    "--suppress-connect-headers",
    "--proto",
    "=https",
    "=http,https",
    "--connect-timeout",
    "20",
    "--speed-limit",
    "1",
    "--speed-time",
    "30",
    "--dump-header",
    "/proc/self/fd/2",
    "--write-out",
    "%{stderr}redirect_url %{redirect_url}\\n",
    "--continue-at",
    "--noproxy",
    "*",
    "--config",
    "-",
];

/// What has been seen so far of a pull.
struct Seen<'a> {
    reference: &'a Reference,
    mirror: Option<&'a str>,
    /// Where the registry may be: `scheme://host[:port]`.
    homes: Vec<String>,
    /// Token servers, as registries named them.
    realms: HashSet<String>,
}

impl<'a> Seen<'a> {
    fn new(reference: &'a Reference, mirror: Option<&'a str>) -> Seen<'a> {
        let host = if reference.host == "docker.io" { "registry-1.docker.io" } else { &reference.host };
        let mut homes = vec![format!("https://{host}")];
        if is_loopback(host) {
            homes.push(format!("http://{host}"));
        }
        homes.extend(mirror.map(|mirror| origin(mirror).to_string()));
        Seen { reference, mirror, homes, realms: HashSet::new() }
    }

    fn may_http(&self) -> bool {
        is_loopback(&self.reference.host) || self.mirror.is_some_and(|mirror| mirror.starts_with("http://"))
    }

    fn check(&self, run: &Run) {
        assert_eq!(run.name, "curl");
        let mut arguments = run.arguments.iter().map(String::as_str).peekable();
        while let Some(argument) = arguments.next() {
            assert!(ARGUMENTS.contains(&argument), "curl {argument}");
            if argument == "--continue-at" {
                arguments.next().and_then(|number| number.parse::<u64>().ok()).expect("a number");
            }
        }
        let proto = run.arguments.iter().position(|argument| argument == "--proto").expect("--proto");
        assert!(run.arguments[proto + 1] == "=https" || self.may_http(), "http is allowed for {}", self.reference);
        assert!(run.environment.iter().all(|line| !line.contains("DOCKER")), "{:?}", run.environment);
        self.check_config(std::str::from_utf8(&run.input).expect("UTF-8"));
    }

    /// curl(1), `-K`: `option = "value"`, a backslash before `"` and itself.
    fn check_config(&self, config: &str) {
        let rest = config.strip_suffix("get\n").unwrap_or(config);
        assert!(rest.ends_with("\"\n"), "{config}");
        let mut urls = Vec::new();
        let mut headers = Vec::new();
        let mut fields = Vec::new();
        for line in rest.trim_end_matches('\n').split('\n') {
            let (option, value) = line.split_once(" = ").expect("an option");
            let value = unquote(value).unwrap_or_else(|| panic!("{line}"));
            assert!(!value.chars().any(char::is_control), "{value:?}");
            match option {
                "url" => urls.push(value),
                "header" => headers.push(value),
                "data-urlencode" => fields.push(value),
                _ => panic!("curl is told {option}"),
            }
        }
        let [url] = &urls[..] else { panic!("{} URLs", urls.len()) };
        assert!(url.starts_with("https://") || url.starts_with("http://") && self.may_http(), "{url}");
        assert!(!url.contains(' '), "{url}");
        let place = origin(url);
        let is_home = self.homes.iter().any(|home| home == place);
        for header in headers {
            match header.split_once(": ").expect("a header") {
                ("Accept", _) => {}
                ("Authorization", value) => {
                    let (scheme, value) = value.split_once(' ').expect("a scheme");
                    assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
                    let may = is_home || scheme == "Basic" && self.realms.contains(url);
                    assert!(may, "{scheme} goes to {url}");
                }
                (other, _) => panic!("a header {other}"),
            }
        }
        for field in fields {
            let (name, _) = field.split_once('=').expect("a field");
            assert!(["scope", "service", "grant_type", "refresh_token", "client_id"].contains(&name), "{field}");
            assert!(self.realms.contains(url), "{name} goes to {url}");
        }
    }

    /// Where a registry says that tokens are: whatever stands behind `realm=`, in quotes or not.
    fn hear(&mut self, answer: &Answer) {
        let head = String::from_utf8_lossy(&answer.errors);
        let lower = head.to_ascii_lowercase();
        for (at, _) in lower.match_indices("realm") {
            let rest = head[at + 5..].trim_start_matches([' ', '\t', '=']);
            let value = match rest.strip_prefix('"') {
                None => rest.split([' ', '\t', ',', '\n', '\r']).next().unwrap_or_default().to_string(),
                Some(quoted) => {
                    let mut value = String::new();
                    let mut characters = quoted.chars();
                    while let Some(c) = characters.next().filter(|c| *c != '"' && *c != '\n') {
                        value.extend(if c == '\\' { characters.next() } else { Some(c) });
                    }
                    value
                }
            };
            self.realms.insert(value.trim_end_matches('\r').to_string());
            self.realms.insert(value);
        }
    }
}

/// What stands in quotes, if the last one ends the line.
fn unquote(text: &str) -> Option<String> {
    let mut characters = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(value),
            '\\' => value.push(characters.next().filter(|c| ['"', '\\'].contains(c))?),
            c => value.push(c),
        }
    }
}

/// As RFC 3986 has it, a user's name and all: what is before the first `/`, `?`, `#` or `\` behind the scheme.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#', '\\']).map_or(url.len(), |end| start + end);
    &url[..end]
}

fn is_loopback(host: &str) -> bool {
    let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let name = name.unwrap_or_default().trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
