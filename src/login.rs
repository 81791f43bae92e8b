//! Who the user is to a registry: challenges (`WWW-Authenticate`) and docker's file of credentials.
//!
//! Passwords are never decoded here: docker keeps `base64(name:password)`, which is what a Basic
//! `Authorization` wants (RFC 7617).

use std::path::PathBuf;

use crate::error::{Context, Error, Result};
use crate::json::{self, Json};
use crate::reference::HUB;
use crate::sys;

/// One challenge of a `WWW-Authenticate` header, RFC 9110 section 11.6.1.
#[derive(Debug, PartialEq)]
pub struct Challenge {
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value, its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header. A comma parts both challenges and parameters: a word that `=` follows
/// is a parameter, any other is the scheme of the next challenge.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let mut after = after.trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, behind) = parameter_value(value.trim_start_matches([' ', '\t']));
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            }
            after = behind;
        } else {
            challenges.push(Challenge { scheme: word.to_string(), parameters: Vec::new() });
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

/// A token, or a string in quotes with backslash escapes; and what stands behind it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_string(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// What docker's config holds for a registry.
#[derive(Debug, PartialEq)]
pub enum Login {
    /// base64 of `name:password`
    Basic(String),
    /// A refresh token of OAuth2.
    Identity(String),
}

/// Looks a registry up in `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`.
pub fn of_host(host: &str) -> Result<Option<Login>> {
    let directory = match (std::env::var_os("DOCKER_CONFIG"), std::env::var_os("HOME")) {
        (Some(directory), _) if !directory.is_empty() => PathBuf::from(directory),
        (_, Some(home)) => PathBuf::from(home).join(".docker"),
        _ => return Ok(None),
    };
    let file = directory.join("config.json");
    sys::why("if there is one: where docker login keeps names and passwords");
    match sys::secretly(|| sys::read_file(&file, 1 << 20)) {
        Ok(bytes) => in_config(&bytes, host).context(file.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format_args!("read {}", file.display())),
    }
}

fn in_config(bytes: &[u8], host: &str) -> Result<Option<Login>> {
    let config = json::parse(bytes).map_err(Error::new)?;
    let entries: Vec<&Json> = members_of(config.get("auths"), host);
    for entry in &entries {
        let member = |name| entry.get(name).str().filter(|text| !text.is_empty());
        if let Some(token) = member("identitytoken") {
            return Ok(Some(Login::Identity(token.to_string())));
        }
        if let Some(basic) = member("auth") {
            let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
            if !basic.bytes().all(base64) {
                return Err(Error::new(format!("the auth of {host} is not base64")));
            }
            return Ok(Some(Login::Basic(basic.to_string())));
        }
    }
    // `docker login` leaves an empty entry where a helper program has the password.
    let in_store = !entries.is_empty() && !config.get("credsStore").is_null();
    if in_store || !members_of(config.get("credHelpers"), host).is_empty() {
        let warning = format!(
            "mydocker: warning: the login of {host} is with a credential helper of docker, which is not asked: \
             only auths of config.json are used\n"
        );
        sys::print_error(warning.as_bytes());
    }
    Ok(None)
}

/// What an object that is sorted by registries holds for a host.
fn members_of<'a>(object: &'a Json, host: &str) -> Vec<&'a Json> {
    object.members().iter().filter(|(name, _)| is_name_of(name, host)).map(|(_, value)| value).collect()
}

/// docker writes the Hub as `https://index.docker.io/v1/`, others by host, old ones as a URL.
fn is_name_of(name: &str, host: &str) -> bool {
    let name = name.trim_start_matches("https://").trim_start_matches("http://");
    let name = name.split('/').next().unwrap_or_default();
    name == host || host == HUB && matches!(name, "index.docker.io" | "registry-1.docker.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_challenge() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull,push""#;
        let all = challenges(header);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].scheme, "Bearer");
        assert_eq!(all[0].get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(all[0].get("scope"), Some("repository:library/busybox:pull,push"));
    }

    #[test]
    fn several_challenges_in_any_order_and_odd_quotes() {
        let all = challenges(r#"Negotiate, basic Realm = "a \"b\", c" , charset=UTF-8,Bearer service=s,realm="x"#);
        let schemes: Vec<&str> = all.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert_eq!(schemes, ["Negotiate", "basic", "Bearer"]);
        assert_eq!((all[1].get("realm"), all[1].get("charset")), (Some("a \"b\", c"), Some("UTF-8")));
        assert_eq!((all[2].get("service"), all[2].get("realm")), (Some("s"), Some("x")));
        for odd in ["", ",,", "=", "a==", "\"", "Bearer realm=\"\\", "Bearer ===,,=\"\"\""] {
            challenges(odd); // ends, and does not panic
        }
    }

    #[test]
    fn logins_are_found_by_the_names_that_docker_writes() {
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"r.io:5000":{"identitytoken":"t"},"bad":{"auth":"\n"}}}"#;
        assert_eq!(in_config(config, HUB).unwrap(), Some(Login::Basic("YTpi".to_string())));
        assert_eq!(in_config(config, "r.io:5000").unwrap(), Some(Login::Identity("t".to_string())));
        assert_eq!(in_config(config, "r.io").unwrap(), None);
        assert!(in_config(config, "bad").is_err());
    }
}
