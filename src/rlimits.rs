//! What one process may use, getrlimit(2): `--ulimit`. A container starts with the caller's limits otherwise.
//!
//! A hard limit is raised by the host's root alone, so the engine does that, before the clone; all else is done by
//! the process that becomes the command, as late as can be: a limit on open files is not for the engine's own.

use crate::error::{Context, Error, Result};
use crate::json::{object, Json};
use crate::show::LIMIT;
use crate::sys;

/// A soft and a hard limit; RLIM_INFINITY is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Rlimit {
    /// RLIMIT_CPU, RLIMIT_NOFILE, ...: its number, and place in [`LIMIT`].
    resource: usize,
    soft: u64,
    hard: u64,
}

/// As `--ulimit` calls it, such as `nofile`.
fn name(resource: usize) -> String {
    LIMIT.get(resource).map_or("", |(_, name)| name).trim_start_matches("RLIMIT_").to_ascii_lowercase()
}

/// `NAME=SOFT[:HARD]`, -1 for no limit. Of one name that occurs twice the last counts.
pub fn parse(texts: &[String]) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for text in texts {
        let limit = parse_one(text).ok_or_else(|| {
            let names: Vec<String> = (0..LIMIT.len()).map(name).collect();
            Error::new(format!("--ulimit {text:?}: NAME=SOFT[:HARD], -1 for no limit, SOFT not above HARD"))
                .hint(format_args!("names are {}", names.join(", ")))
        })?;
        limits.retain(|known| known.resource != limit.resource);
        limits.push(limit);
    }
    Ok(limits)
}

fn parse_one(text: &str) -> Option<Rlimit> {
    let (wanted, value) = text.split_once('=')?;
    let resource = (0..LIMIT.len()).find(|resource| name(*resource) == wanted)?;
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let number = |text: &str| match text {
        "-1" => Some(libc::RLIM_INFINITY),
        _ => text.parse().ok().filter(|_| !text.starts_with('+')),
    };
    let limit = Rlimit { resource, soft: number(soft)?, hard: number(hard)? };
    (limit.soft <= limit.hard).then_some(limit)
}

/// The engine's part: hard limits that are higher than its own.
pub fn raise(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        sys::why("the caller's limit, which the container inherits");
        let (soft, hard) = sys::getrlimit(limit.resource).context("prlimit64")?;
        if limit.hard > hard {
            sys::why("only the host's root raises a hard limit, and only out here");
            let raised = sys::setrlimit(limit.resource, soft, limit.hard);
            raised.context(format_args!("raise the hard limit of --ulimit {}", name(limit.resource))).map_err(
                |error| error.hint(format_args!("{hard} is the caller's; CAP_SYS_RESOURCE on the host may raise it")),
            )?;
        }
    }
    Ok(())
}

/// The command's process sets them for itself.
pub fn set(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        sys::why("--ulimit");
        sys::setrlimit(limit.resource, limit.soft, limit.hard)
            .context(format_args!("prlimit64 for --ulimit {}", name(limit.resource)))?;
    }
    Ok(())
}

// ---- on paper ----

/// runtime-spec config.md, "POSIX process". The standard's numbers have 64 bits without a sign.
pub fn to_json(limit: &Rlimit) -> Json {
    let name = LIMIT.get(limit.resource).map_or("", |(_, name)| name);
    let number = |number: u64| Json::Number(number.to_string());
    object([("type", name.into()), ("soft", number(limit.soft)), ("hard", number(limit.hard))])
}

pub fn from_json(json: &Json) -> Option<Rlimit> {
    let number = |name| json.get(name).to_string().parse().ok();
    let resource = LIMIT.iter().position(|(_, name)| Some(*name) == json.get("type").str())?;
    Some(Rlimit { resource, soft: number("soft")?, hard: number("hard")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn one(text: &str) -> Option<Rlimit> {
        parse(&[text.to_string()]).ok()?.pop()
    }

    #[test]
    fn as_docker_writes_them() {
        let limit = |resource, soft, hard| Some(Rlimit { resource, soft, hard });
        assert_eq!(one("nofile=1024:4096"), limit(7, 1024, 4096));
        assert_eq!(one("cpu=5"), limit(0, 5, 5));
        assert_eq!(one("core=0:-1"), limit(4, 0, u64::MAX));
        for odd in [
            "",
            "nofile",
            "nofile=",
            "nofile=a",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=-2",
            "files=1",
            "nofile=1:2:3",
            "nofile=+1",
        ] {
            assert_eq!(one(odd), None, "{odd}");
        }
    }

    #[test]
    fn on_paper_and_back() {
        for text in ["nofile=1:2", "rttime=-1", "cpu=9223372036854775808"] {
            let limit = one(text).unwrap();
            let written = to_json(&limit).to_string();
            assert_eq!(from_json(&json::parse(written.as_bytes()).unwrap()), Some(limit));
        }
    }

    #[test]
    fn numbers_are_places() {
        assert!(LIMIT.iter().enumerate().all(|(place, (number, _))| place as u64 == *number));
    }
}
