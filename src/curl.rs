//! One HTTP request, made by curl.
//!
//! curl speaks TLS, HTTP/2 and proxies for us; what it may do is fixed here. It reads no ~/.curlrc
//! (`-q`), expands no brackets in a URL (`--globoff`), speaks `https` alone unless the caller allows
//! `http`, and follows no redirect: that is [`crate::registry`]'s to decide. Whatever came from
//! outside or is secret (the URL, headers, form fields) travels on its standard input as a quoted
//! line of a config file (`-K -`, curl(1)), so it is never an option and never seen in `ps`.
//!
//! The body comes on curl's standard output: a pipe to us, or the blob's file itself. The response's
//! head comes on standard error (`-D`), before curl's own words.

use std::ffi::CString;

use crate::error::{not_started, printable, Context, Error, Result};
use crate::job::setting;
use crate::sys::{self, Fd, Pid, Program};

/// Seconds until a connection must stand, and seconds in which at least one byte must come.
const CONNECT_TIMEOUT: &str = "20";
const STALL_TIMEOUT: &str = "30";

/// A head or an error message longer than this is cut off.
const MAX_HEAD: usize = 256 * 1024;

/// The config must fit into curl's pipe, whether curl reads it or not: pipe(7), 16 pages.
const MAX_CONFIG: usize = 60 * 1024;

/// What of our environment curl may see: proxies and places of certificates, curl(1) ENVIRONMENT.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

#[derive(Default)]
pub struct Request<'a> {
    pub url: &'a str,
    /// `Name: value`
    pub headers: Vec<String>,
    /// Appended to the URL's query, or with `post` the body; curl does the percent-encoding.
    pub form: Vec<(&'a str, String)>,
    pub post: bool,
    /// Ask for the bytes from here on only.
    pub resume: u64,
    /// Plain HTTP is fine too.
    pub http: bool,
    /// The host is this machine: no proxy is asked for it.
    pub loopback: bool,
    /// The answer is a secret: a token.
    pub secret: bool,
}

impl Request<'_> {
    /// Whether it says who the user is: by a login or token, or by a URL that a registry has signed.
    fn is_secret(&self) -> bool {
        self.secret || self.headers.iter().any(|header| header.starts_with("Authorization")) || self.url.contains('?')
    }
}

/// Where the body goes.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// Into memory, so many bytes at most.
    Memory(usize),
    /// Into a file open for appending, which grows to so many bytes at most. Whatever the status: the caller
    /// cuts off what is no content.
    File { file: &'a Fd, limit: u64 },
}

#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The absolute URL of a redirect, as curl resolved it.
    pub redirect: Option<String>,
    /// Empty where the body went into a file.
    pub body: Vec<u8>,
}

impl Response {
    /// All values of a header; `name` in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A transfer that came to no good end.
#[derive(Debug)]
pub struct Failure {
    /// curl's exit code, 0 where curl was not to blame.
    pub code: i32,
    /// The HTTP status, 0 where none came.
    pub status: u16,
    pub message: String,
}

impl Failure {
    /// Whether the same request may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        EXITS.iter().any(|exit| exit.code == self.code && exit.transient)
    }

    /// Whether nobody speaks TLS there: refused, or an answer that is no TLS.
    pub fn is_no_tls(&self) -> bool {
        matches!(self.code, 7 | 35)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::new(failure.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { code: 0, status: 0, message: error.message }
    }
}

/// An exit code of curl(1), in our words.
struct Exit {
    code: i32,
    transient: bool,
    sentence: &'static str,
}

pub const EXIT_RANGE: i32 = 33;

const EXITS: &[Exit] = &[
    Exit { code: 1, transient: false, sentence: "plain HTTP is not allowed here" },
    Exit { code: 3, transient: false, sentence: "the URL is malformed" },
    Exit { code: 5, transient: false, sentence: "the proxy's name cannot be resolved (https_proxy)" },
    Exit { code: 6, transient: false, sentence: "the name cannot be resolved: is there a network?" },
    Exit { code: 7, transient: true, sentence: "cannot connect" },
    Exit { code: 16, transient: true, sentence: "the HTTP/2 connection broke" },
    Exit { code: 18, transient: true, sentence: "the transfer was cut off" },
    Exit { code: 23, transient: false, sentence: "cannot write what was received: is the disk full?" },
    Exit { code: 28, transient: true, sentence: "no answer in time" },
    Exit { code: EXIT_RANGE, transient: false, sentence: "the server cannot resume a transfer" },
    Exit { code: 35, transient: false, sentence: "no TLS connection" },
    Exit { code: 52, transient: true, sentence: "the server closed the connection without an answer" },
    Exit { code: 55, transient: true, sentence: "the connection broke" },
    Exit { code: 56, transient: true, sentence: "the connection broke" },
    Exit {
        code: 60,
        transient: false,
        sentence: "the server's certificate is not trusted (MYDOCKER_CACERT=FILE names another CA)",
    },
    Exit {
        code: 77,
        transient: false,
        sentence: "the CA certificates cannot be read (apt-get install ca-certificates, or MYDOCKER_CACERT=FILE)",
    },
    Exit { code: 92, transient: true, sentence: "the HTTP/2 stream broke" },
    // setrlimit(2): SIGXFSZ, the file would have grown past its limit.
    Exit { code: 128 + libc::SIGXFSZ, transient: false, sentence: "the server sends more bytes than announced" },
];

/// Makes the request; any HTTP status is a `Response`.
pub fn fetch(request: &Request, body: Body) -> std::result::Result<Response, Failure> {
    let call = Call::new(request)?;
    let (pid, bytes, head) = match body {
        Body::File { file, limit } => call.into_file(file, limit)?,
        Body::Memory(limit) => call.into_memory(limit)?,
    };
    sys::why("its exit code says what became of the request");
    let status = sys::wait(pid).context("wait4")?;
    if matches!(body, Body::Memory(limit) if bytes.len() > limit) {
        // What follows a `?` may be a signature.
        let url = printable(request.url.split('?').next().unwrap_or_default());
        return Err(Error::new(format!("{url}: the answer is too long")).into());
    }
    let (mut response, words) = read_head(&String::from_utf8_lossy(&head));
    response.body = bytes;
    match status.code() {
        0 => Ok(response),
        code => Err(failure(request.url, code, response.status, &words)),
    }
}

/// One request on its way: what curl is told and what it says, but for the body.
struct Call<'a> {
    request: &'a Request<'a>,
    config: String,
    /// curl's standard input, and the end that it is written by.
    input: (Fd, Fd),
    /// The end that curl's standard error is read by, and that.
    error: (Fd, Fd),
}

/// curl's pid, the body, the head with curl's own words.
type Answer = (Pid, Vec<u8>, Vec<u8>);

impl<'a> Call<'a> {
    fn new(request: &'a Request) -> Result<Call<'a>> {
        let config = config(request)?;
        sys::why("curl's standard input");
        let input = sys::pipe2().context("pipe2")?;
        sys::why("curl's standard error: the answer's head, then its own words");
        let error = sys::pipe2().context("pipe2")?;
        Ok(Call { request, config, input, error })
    }

    fn start(&self, output: &Fd) -> Result<Pid> {
        let program = Program { name: "curl", arguments: arguments(self.request), environment: environment() };
        let streams = [Some(&self.input.0), Some(output), Some(&self.error.1)];
        sys::why("one HTTP request");
        sys::spawn(&program, streams, &[]).map_err(|error| not_started(program.name, error))
    }

    /// Tells curl what to do. Returns what its answer's head comes through.
    fn tell(self) -> Result<Pipe> {
        let (input, error) = (self.input.1, self.error.0);
        drop(self.error.1);
        sys::why("URL, headers, secrets: no option of curl's, and not to be seen in ps");
        let write = || sys::write_all(input.raw(), self.config.as_bytes());
        hidden_if(self.request.is_secret(), write).context("write curl's config")?;
        // It may hold anything: cookies, signed URLs.
        let what = "the answer's head, and curl's own words";
        Ok(Pipe { fd: Some(error), limit: MAX_HEAD, is_secret: true, what })
    }

    fn into_file(self, file: &Fd, limit: u64) -> Result<Answer> {
        sys::why("curl's process has one end, which execve closes");
        let (becoming, end) = sys::pipe2().context("pipe2")?;
        let pid = self.start(file)?;
        drop(end);
        sys::why("until curl runs, which waits for its config: what is limited from here on is curl alone");
        sys::read_to_end(&becoming, 0).context("read from a pipe")?;
        sys::why("a server that never stops sending shall not fill the disk");
        sys::lower_limit(pid, libc::RLIMIT_FSIZE as _, limit).context("prlimit")?;
        let [head] = drain([self.tell()?])?;
        Ok((pid, Vec::new(), head))
    }

    fn into_memory(self, limit: usize) -> Result<Answer> {
        sys::why("curl's standard output: the answer's body");
        let (output, writer) = sys::pipe2().context("pipe2")?;
        let pid = self.start(&writer)?;
        drop(writer);
        let is_secret = self.request.secret;
        let body = Pipe { fd: Some(output), limit, is_secret, what: "the answer's body" };
        let [bytes, head] = drain([body, self.tell()?])?;
        Ok((pid, bytes, head))
    }
}

fn arguments(request: &Request) -> Vec<std::ffi::OsString> {
    let mut arguments = vec!["-q", "--globoff", "--silent", "--show-error", "--suppress-connect-headers"];
    arguments.extend(["--proto", if request.http { "=http,https" } else { "=https" }]);
    arguments.extend(["--connect-timeout", CONNECT_TIMEOUT, "--speed-limit", "1", "--speed-time", STALL_TIMEOUT]);
    // Opened anew, since curl knows no name for its standard error that needs no file.
    arguments.extend(["--dump-header", "/proc/self/fd/2", "--write-out", "%{stderr}redirect_url %{redirect_url}\\n"]);
    let resume = request.resume.to_string();
    if request.resume > 0 {
        arguments.extend(["--continue-at", &resume]);
    }
    if request.loopback {
        arguments.extend(["--noproxy", "*"]);
    }
    let mut arguments: Vec<std::ffi::OsString> = arguments.into_iter().map(Into::into).collect();
    if let Some(bundle) = std::env::var_os("MYDOCKER_CACERT").filter(|bundle| !bundle.is_empty()) {
        arguments.extend(["--cacert".into(), bundle]);
    }
    arguments.extend(["--config".into(), "-".into()]);
    arguments
}

fn environment() -> Vec<CString> {
    ENVIRONMENT
        .iter()
        .filter_map(|name| {
            let mut line = std::ffi::OsString::from(format!("{name}="));
            line.push(std::env::var_os(name)?);
            sys::cstr(line).ok()
        })
        .collect()
}

/// The config file: one `option = "value"` a line.
fn config(request: &Request) -> Result<String> {
    let mut config = String::new();
    let mut line = |option: &str, value: &str| -> Result<()> {
        if value.chars().any(char::is_control) {
            return Err(Error::new(format!("a control character in \"{}\"", printable(value))));
        }
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        config.push_str(&format!("{option} = \"{quoted}\"\n"));
        Ok(())
    };
    line("url", request.url)?;
    for header in &request.headers {
        line("header", header)?;
    }
    for (name, value) in &request.form {
        line("data-urlencode", &format!("{name}={value}"))?;
    }
    if !request.form.is_empty() && !request.post {
        config.push_str("get\n");
    }
    if config.len() > MAX_CONFIG {
        return Err(Error::new("a token or URL from the registry is too long"));
    }
    Ok(config)
}

/// A pipe that a helper writes to.
pub struct Pipe {
    /// `None`: all of it has come.
    pub fd: Option<Fd>,
    /// In bytes.
    pub limit: usize,
    pub is_secret: bool,
    /// What comes through it.
    pub what: &'static str,
}

/// Reads pipes to their end, side by side, so that no writer waits for a reader of the other. One
/// that brings more than its limit is closed: its writer gets SIGPIPE.
pub fn drain<const N: usize>(mut pipes: [Pipe; N]) -> Result<[Vec<u8>; N]> {
    let mut bytes = [const { Vec::new() }; N];
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // A negative descriptor is skipped: poll(2).
        let mut fds = pipes.each_ref().map(|pipe| libc::pollfd {
            fd: pipe.fd.as_ref().map_or(-1, Fd::raw),
            events: libc::POLLIN,
            revents: 0,
        });
        if fds.iter().all(|entry| entry.fd < 0) {
            return Ok(bytes);
        }
        sys::why("until the helper says something, or has ended");
        sys::poll(&mut fds, -1).context("poll")?;
        for (i, entry) in fds.iter().enumerate().filter(|(_, entry)| entry.revents != 0) {
            sys::why(pipes[i].what);
            let read = || sys::read(entry.fd, &mut buffer);
            let length = hidden_if(pipes[i].is_secret, read).context("read what a helper says")?;
            bytes[i].extend_from_slice(&buffer[..length]);
            if length == 0 || bytes[i].len() > pipes[i].limit {
                pipes[i].fd = None;
            }
        }
    }
}

/// Makes calls whose bytes the narrator must not show, if they are a secret.
fn hidden_if<T>(secret: bool, calls: impl FnOnce() -> T) -> T {
    match secret {
        true => sys::secretly(calls),
        false => calls(),
    }
}

/// Takes the last response head (an informational one may stand before it) and curl's own words.
fn read_head(text: &str) -> (Response, String) {
    let mut response = Response::default();
    let mut words = String::new();
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r');
        if let Some(rest) = line.strip_prefix("HTTP/") {
            let status = rest.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            response = Response { status, ..Response::default() };
        } else if let Some(message) = line.strip_prefix("curl: ") {
            words = message.to_string();
        } else if let Some(url) = line.strip_prefix("redirect_url ") {
            response.redirect = Some(url.to_string()).filter(|url| !url.is_empty());
        } else if let Some((name, value)) = line.split_once(':') {
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    (response, words)
}

/// Before this second, the beginning of 2024, no clock is right that shows a program which was written later.
const EARLIEST: i64 = 1_704_067_200;

/// What to do about a clock that was never set: certificates are "not yet valid" for it.
pub fn wrong_clock() -> Option<String> {
    const YEAR: i64 = 31_556_952;
    let now = sys::now();
    let year = 1970 + now.div_euclid(YEAR);
    let advice = format!("the clock says {year}: date -s 'YYYY-MM-DD hh:mm', or ntpd -n -q -p SERVER");
    (now < EARLIEST).then_some(advice)
}

/// What to do where nobody is there to be asked for addresses.
pub const NO_NAME_SERVER: &str =
    "no registry's name can be resolved: /etc/resolv.conf names none: echo nameserver ADDRESS >/etc/resolv.conf";

/// Whether /etc/resolv.conf names anybody, resolv.conf(5).
pub fn has_name_server() -> bool {
    setting("/etc/resolv.conf").lines().any(|line| line.starts_with("nameserver"))
}

/// What curl's exit code does not tell, but this host does.
fn reason_here(code: i32, words: &str) -> Option<String> {
    match code {
        6 if !has_name_server() => Some(NO_NAME_SERVER.to_string()),
        // No handshake, a certificate that is not valid, or no longer read as one.
        35 | 51 | 58 | 60 | 91 => wrong_clock(),
        _ if words.contains("not yet valid") => wrong_clock(),
        _ => None,
    }
}

fn failure(url: &str, code: i32, status: u16, words: &str) -> Failure {
    let place = origin(url).unwrap_or(url);
    let sentence = EXITS.iter().find(|exit| exit.code == code).map(|exit| exit.sentence);
    let words = if words.is_empty() { format!("exit code {code}") } else { words.to_string() };
    let message = match sentence {
        Some(sentence) => format!("{}: {sentence}; curl: {}", printable(place), printable(&words)),
        None => format!("{}: curl: {}", printable(place), printable(&words)),
    };
    let message = match reason_here(code, &words) {
        Some(reason) => format!("{message} ({reason})"),
        None => message,
    };
    Failure { code, status, message }
}

/// `scheme://host[:port]` of a URL: what RFC 6454 calls its origin.
pub fn origin(url: &str) -> Option<&str> {
    let after = url.find("://")? + 3;
    let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |end| after + end);
    Some(&url[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_never_become_options() {
        let request = Request {
            url: "https://h/\"x\\",
            headers: vec!["Accept: a".to_string()],
            form: vec![("scope", "repository:a:pull".to_string())],
            ..Request::default()
        };
        let expected = "url = \"https://h/\\\"x\\\\\"\nheader = \"Accept: a\"\ndata-urlencode = \"scope=repository:a:pull\"\nget\n";
        assert_eq!(config(&request).unwrap(), expected);
        assert!(config(&Request { url: "https://h/\noutput = x", ..Request::default() }).is_err());
    }

    #[test]
    fn the_last_head_counts() {
        let text = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/2 307 \r\nLocation: /b\r\nWWW-Authenticate: Basic\r\n\r\nredirect_url https://h/b\ncurl: (18) cut\n";
        let (response, words) = read_head(text);
        assert_eq!((response.status, response.redirect.as_deref()), (307, Some("https://h/b")));
        assert_eq!(response.values("www-authenticate").collect::<Vec<_>>(), ["Basic"]);
        assert_eq!(response.values("link").count(), 0);
        assert_eq!(words, "(18) cut");
    }

    #[test]
    fn an_origin_ends_with_the_host() {
        assert_eq!(origin("https://a:5000/v2/"), Some("https://a:5000"));
        assert_eq!(origin("https://a"), Some("https://a"));
        assert_eq!(origin("a/b"), None);
    }
}
