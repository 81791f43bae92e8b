//! A registry's HTTP API: manifests and blobs of one repository, OCI distribution-spec.
//!
//! Each request is one run of curl. Three things happen between a request and its answer, all here:
//! a `401` names where a token is to be had (`WWW-Authenticate`), a redirect leads to where the
//! bytes are (never with our `Authorization`, unless it stays at the same origin: CVE-2020-15157), and
//! a blob that was cut off is resumed where it ended.
//!
//! [`Registry::open`] finds the registry that has the manifest, [`Registry::document`] and
//! [`Registry::blob`] bring what it points to.

use crate::curl::{self, Body, Failure, Request, Response};
use crate::digest;
use crate::error::{printable, Context, Error, Result};
use crate::json::{self, Json};
use crate::login::{self, Login};
use crate::manifest::{Descriptor, Document, MEDIA_TYPES};
use crate::reference::{Reference, HUB};
use crate::sys::{self, Fd};

/// Where the Hub's API is.
const HUB_URL: &str = "https://registry-1.docker.io";

/// Longer manifests and configs are refused, as by other registries and clients.
pub const MAX_DOCUMENT: usize = 4 << 20;
const MAX_TOKEN: usize = 1 << 20;
const MAX_REDIRECTS: usize = 5;

/// How often a blob is asked for again without getting on, and what counts as getting on.
const MAX_TRIES: u32 = 5;
const PROGRESS: u64 = 1 << 20;
/// Milliseconds before a request is made again.
const RETRY_DELAY: i32 = 250;

type Answer<T> = std::result::Result<T, Failure>;

/// One repository of one registry.
pub struct Registry {
    /// `https://host[:port]`, or a mirror's whole URL; no slash at its end.
    base: String,
    /// As docker's config names it.
    host: String,
    repository: String,
    /// When another registry may be asked for what this one has not.
    pass: Pass,
    /// The `Authorization` of the next request.
    authorization: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Never,
    /// Nobody speaks TLS there.
    NoTls,
    /// Whatever went wrong.
    Always,
}

impl Registry {
    /// Finds a registry that has the manifest, and the manifest.
    ///
    /// A mirror is asked before the Hub. On a loopback address plain HTTP is tried where nobody
    /// speaks TLS, as docker does; nowhere else, unless a mirror is written as `http://`.
    pub fn open(reference: &Reference, mirror: Option<&str>) -> Result<(Registry, Document)> {
        let mut registries = Registry::candidates(reference, mirror)?.into_iter();
        let mut next = registries.next();
        while let Some(mut registry) = next {
            next = registries.next();
            match registry.manifest(reference) {
                Ok(document) => return Ok((registry, document)),
                Err(failure) if next.is_some() && registry.may_pass(&failure) => {
                    if registry.pass == Pass::Always {
                        sys::print_error(format!("mydocker: mirror: {}; asking {HUB}\n", failure.message).as_bytes());
                    }
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Error::new("no registry to ask"))
    }

    fn candidates(reference: &Reference, mirror: Option<&str>) -> Result<Vec<Registry>> {
        let registry = |base: &str, host: &str, pass| Registry {
            base: base.trim_end_matches('/').to_string(),
            host: host.to_string(),
            repository: reference.path.clone(),
            pass,
            authorization: None,
        };
        let host = reference.host.as_str();
        if host == HUB {
            let hub = registry(HUB_URL, HUB, Pass::Never);
            return match mirror {
                Some(url) => Ok(vec![registry(url, mirror_host(url)?, Pass::Always), hub]),
                None => Ok(vec![hub]),
            };
        }
        let https = format!("https://{host}");
        if is_loopback(host) {
            let http = format!("http://{host}");
            return Ok(vec![registry(&https, host, Pass::NoTls), registry(&http, host, Pass::Never)]);
        }
        Ok(vec![registry(&https, host, Pass::Never)])
    }

    fn may_pass(&self, failure: &Failure) -> bool {
        let remote = failure.code != 0 || failure.status != 0;
        match self.pass {
            Pass::Never => false,
            Pass::NoTls => failure.is_no_tls(),
            Pass::Always => remote,
        }
    }

    fn manifest(&mut self, reference: &Reference) -> Answer<Document> {
        let what = reference.to_string();
        self.fetch_manifest(reference.version(), &what)
    }

    /// A manifest or index that an index points to.
    pub fn nested(&mut self, descriptor: &Descriptor) -> Result<Document> {
        let what = format!("manifest {}", descriptor.digest);
        let document = self.fetch_manifest(&descriptor.digest, &what)?;
        digest::check_size(&what, descriptor, document.bytes.len() as u64)?;
        Ok(document)
    }

    fn fetch_manifest(&mut self, version: &str, what: &str) -> Answer<Document> {
        let path = format!("/v2/{}/manifests/{version}", self.repository);
        let accept: Vec<&str> = MEDIA_TYPES.iter().map(|(media_type, _)| *media_type).collect();
        let headers = vec![format!("Accept: {}", accept.join(", "))];
        let response = self.document_at(&path, &headers, what)?;
        let seen = digest::of_bytes(&response.body)?;
        if digest::is_digest(version) && seen != version {
            return Err(digest::mismatch(what, version, &seen).into());
        }
        let content_type = response.values("content-type").next().unwrap_or_default().to_string();
        Ok(Document { bytes: response.body, digest: seen, content_type })
    }

    /// A small blob: an image's config.
    pub fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let path = format!("/v2/{}/blobs/{}", self.repository, descriptor.digest);
        let what = format!("config {}", descriptor.digest);
        let response = self.document_at(&path, &[], &what)?;
        digest::check_size(&what, descriptor, response.body.len() as u64)?;
        let seen = digest::of_bytes(&response.body)?;
        if seen != descriptor.digest {
            return Err(digest::mismatch(&what, &descriptor.digest, &seen));
        }
        Ok(response.body)
    }

    /// A body that fits into memory. A server in trouble is asked a second time.
    fn document_at(&mut self, path: &str, headers: &[String], what: &str) -> Answer<Response> {
        let mut again = true;
        loop {
            let response = self.send(path, headers, 0, Body::Memory(MAX_DOCUMENT));
            let answer = response.and_then(|response| self.expect_content(&response, what).map(|()| response));
            match answer {
                Err(failure) if again && failure.is_transient() && !failure.is_no_tls() => {
                    sys::why("the server may be well again in a moment");
                    sys::poll(&mut [], RETRY_DELAY).context("poll")?;
                    again = false;
                }
                answer => return answer,
            }
        }
    }

    /// A blob of any size, into a file open for appending; what the file holds already is taken for
    /// the blob's beginning. The size is checked here, the digest by the caller.
    pub fn blob(&mut self, descriptor: &Descriptor, file: &Fd) -> Answer<()> {
        let mut tries = 0;
        let mut best = 0;
        loop {
            sys::why("how much of it has come, in this pull or an earlier one?");
            let have = sys::fstat(file).context("fstat the blob")?.size();
            if have == descriptor.size {
                return Ok(());
            }
            if have > descriptor.size {
                empty(file)?;
                continue;
            }
            let failure = match self.blob_from(have, descriptor, file) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            sys::why("did it get on?");
            let now = sys::fstat(file).context("fstat the blob")?.size();
            let start_over = failure.code == curl::EXIT_RANGE || failure.status == 416;
            tries = if now >= best + PROGRESS { 0 } else { tries + 1 };
            best = best.max(now);
            if tries == MAX_TRIES || !(start_over || failure.is_transient()) {
                return Err(failure);
            }
            if start_over {
                empty(file)?;
            } else {
                // Twice as long each time: the registry may be restarting.
                sys::why("the server may be well again in a moment");
                sys::poll(&mut [], RETRY_DELAY << tries).context("poll")?;
            }
        }
    }

    /// One request for the blob's bytes from `have` on.
    fn blob_from(&mut self, have: u64, descriptor: &Descriptor, file: &Fd) -> Answer<()> {
        let path = format!("/v2/{}/blobs/{}", self.repository, descriptor.digest);
        // Room for an error's text is left.
        let limit = descriptor.size.saturating_add(64 * 1024);
        let response = self.send(&path, &[], have, Body::File { file, limit })?;
        self.expect_content(&response, "the blob")?;
        sys::why("has all of it come?");
        let size = sys::fstat(file).context("fstat the blob")?.size();
        Ok(digest::check_size("the blob", descriptor, size)?)
    }

    /// Makes a request, gets a token if one is wanted, and follows redirects.
    fn send(&mut self, path: &str, headers: &[String], resume: u64, body: Body) -> Answer<Response> {
        let mut url = format!("{}{path}", self.base);
        let mut renewed = false;
        let mut redirects = 0;
        loop {
            let ours = curl::origin(&url) == curl::origin(&self.base);
            let mut request = Request { url: &url, headers: headers.to_vec(), resume, ..self.request(&url) };
            request.headers.extend(self.authorization.iter().filter(|_| ours).map(|a| format!("Authorization: {a}")));
            let answer = curl::fetch(&request, body);
            let status = answer.as_ref().map_or_else(|failure| failure.status, |response| response.status);
            if let (Body::File { file, .. }, false) = (body, is_content(status)) {
                sys::why("what came was no part of the blob");
                sys::ftruncate(file, resume).context("truncate the blob")?;
            }
            let response = answer?;
            match response.status {
                401 if ours && !renewed => {
                    self.authorize(&response)?;
                    renewed = true;
                }
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        return Err(Error::new(format!("{}: more than {MAX_REDIRECTS} redirects", self.base)).into());
                    }
                    url = self.redirected(&response)?;
                }
                _ => return Ok(response),
            }
        }
    }

    /// A request as this registry allows it.
    fn request<'a>(&self, url: &'a str) -> Request<'a> {
        let host = curl::origin(url).and_then(|origin| origin.split_once("://")).map_or("", |(_, host)| host);
        Request { url, http: self.is_http(), loopback: is_loopback(host), ..Request::default() }
    }

    fn is_http(&self) -> bool {
        self.base.starts_with("http://")
    }

    /// Whether a URL that the registry names may be asked for: RFC 3986 has no space in one, nor a control character.
    fn allows(&self, url: &str) -> bool {
        let scheme = url.starts_with("https://") || self.is_http() && url.starts_with("http://");
        scheme && !url.contains(|c: char| c.is_control() || c.is_whitespace())
    }

    fn redirected(&self, response: &Response) -> Result<String> {
        let target = response.redirect.as_deref().unwrap_or_default();
        if !self.allows(target) {
            return Err(Error::new(format!("{}: refused redirect to \"{}\"", self.base, printable(target))));
        }
        Ok(target.to_string())
    }

    /// Answers a 401: gets a token, or sends the user's name and password.
    fn authorize(&mut self, response: &Response) -> Answer<()> {
        let challenges: Vec<_> = response.values("www-authenticate").flat_map(login::challenges).collect();
        let login = login::of_host(&self.host)?;
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        if let Some(bearer) = find("bearer") {
            let token = self.token(bearer, login)?;
            self.authorization = Some(format!("Bearer {token}"));
            return Ok(());
        }
        match (find("basic"), login) {
            (Some(_), Some(Login::Basic(basic))) => {
                self.authorization = Some(format!("Basic {basic}"));
                Ok(())
            }
            (Some(_), _) => Err(self.denied(401, "it wants a name and a password")),
            (None, _) => Err(self.denied(401, "it asks for a way to log in that is neither Bearer nor Basic")),
        }
    }

    fn denied(&self, status: u16, reason: &str) -> Failure {
        let hint = format!("docker login {}, or write ~/.docker/config.json", self.host);
        let error = Error::new(format!("{}: access denied: {reason}", self.host)).hint(hint);
        Failure { status, ..error.into() }
    }

    /// distribution-spec, docker's token authentication: GET with a name and password or nobody's, POST
    /// with an identity token (OAuth2).
    fn token(&self, bearer: &login::Challenge, login: Option<Login>) -> Answer<String> {
        let realm = bearer.get("realm").unwrap_or_default();
        if !self.allows(realm) {
            return Err(Error::new(format!("{}: refused token server \"{}\"", self.host, printable(realm))).into());
        }
        let scope = format!("repository:{}:pull", self.repository);
        let mut request = Request { secret: true, ..self.request(realm) };
        request.form = vec![("scope", bearer.get("scope").map_or(scope, str::to_string))];
        request.form.extend(bearer.get("service").map(|service| ("service", service.to_string())));
        match login {
            Some(Login::Basic(basic)) => request.headers.push(format!("Authorization: Basic {basic}")),
            Some(Login::Identity(token)) => {
                request.post = true;
                request.form.extend([("grant_type", "refresh_token".to_string()), ("refresh_token", token)]);
                request.form.push(("client_id", "mydocker".to_string()));
            }
            None => {}
        }
        let response = curl::fetch(&request, Body::Memory(MAX_TOKEN))?;
        if response.status != 200 {
            let reason = format!("{} answers {}", curl::origin(realm).unwrap_or(realm), response.status);
            return Err(self.denied(response.status, &printable(&reason)));
        }
        let answer = json::parse(&response.body).unwrap_or(Json::Null);
        let token = ["token", "access_token"].into_iter().find_map(|name| answer.get(name).str());
        match token {
            Some(token) if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_string()),
            _ => Err(self.denied(response.status, "the token server sent no token")),
        }
    }

    /// Turns a status that brings no content into an error.
    fn expect_content(&self, response: &Response, what: &str) -> Answer<()> {
        if is_content(response.status) {
            return Ok(());
        }
        let answer = json::parse(&response.body).unwrap_or(Json::Null);
        let said = answer.get("errors").list().first().and_then(|error| error.get("message").str());
        let said = said.map(|said| format!(": {}", printable(said))).unwrap_or_default();
        let message = match response.status {
            401 | 403 => return Err(self.denied(response.status, &format!("{what} does not exist, or needs a login"))),
            404 => format!("{what}: not found at {} (is the name right, and the tag?)", self.base),
            429 => format!("{what}: {} got too many requests from here, try again later{said}", self.base),
            status => format!("{what}: {} answers {status}{said}", self.base),
        };
        // A server in trouble may be well again in a moment: as if the connection had broken.
        let code = if response.status >= 500 { 56 } else { 0 };
        Err(Failure { code, status: response.status, message })
    }
}

/// What is there cannot be the beginning of the blob.
fn empty(file: &Fd) -> Result<()> {
    sys::why("it cannot be the blob's beginning: from the start");
    sys::ftruncate(file, 0).context("truncate the blob")
}

/// 200, or 206 for a part: RFC 9110 section 15.3.
fn is_content(status: u16) -> bool {
    matches!(status, 200 | 206)
}

/// 127/8, ::1 or localhost, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn mirror_host(url: &str) -> Result<&str> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains(['@', '?', '#']) || url.chars().any(|c| c.is_control() || c == ' ') {
        // What stands before an @ is a login, which nobody shall read in a log.
        let shown = url.rsplit('@').next().unwrap_or_default();
        let left_out = if shown == url { "" } else { "...@" };
        let error = Error::new(format!("mirror \"{left_out}{}\" is no URL", printable(shown)));
        return Err(error.hint("https://host[:port]; a login belongs into ~/.docker/config.json"));
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_name() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]", "127.0.0.1.example", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn urls_of_a_registry_are_urls() {
        let reference = Reference::parse("ghcr.io/a").unwrap();
        let registry = Registry::candidates(&reference, None).unwrap().remove(0);
        assert!(registry.allows("https://cdn.example/blob?signature=a%20b"));
        for url in
            ["http://ghcr.io/a", "file:///etc/passwd", "-o/x", "https://h/a b", "https://h/\ny", "https://h/\u{85}", ""]
        {
            assert!(!registry.allows(url), "{url}");
        }
    }

    #[test]
    fn who_is_asked_and_in_which_order() {
        let bases = |name: &str, mirror| -> Vec<String> {
            let reference = Reference::parse(name).unwrap();
            Registry::candidates(&reference, mirror).unwrap().into_iter().map(|registry| registry.base).collect()
        };
        assert_eq!(bases("busybox", None), [HUB_URL]);
        assert_eq!(bases("busybox", Some("http://m:5000/")), ["http://m:5000", HUB_URL]);
        assert_eq!(bases("localhost:5000/a", Some("http://m")), ["https://localhost:5000", "http://localhost:5000"]);
        assert_eq!(bases("ghcr.io/a", None), ["https://ghcr.io"]);
        for url in ["m:5000", "ftp://m", "https://", "https://user@m", "https://m\nx"] {
            assert!(mirror_host(url).is_err(), "{url}");
        }
    }
}
