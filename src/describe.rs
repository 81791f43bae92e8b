//! What the user wants of an image: its config and the options of `run`, made one bundle.
//!
//! Image-spec `config.md` and `conversion.md` say how an image's config becomes a runtime's; docker says how
//! options come into it. Pure but for the clock: whatever was to be found out was found out before.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::bundle::{self, Bundle, Network};
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::idmap::IdMap;
use crate::json::Json;
use crate::options::RunOptions;
use crate::order;
use crate::reference::Reference;
use crate::sys;
use crate::user;

/// Docker's PATH for an image that names none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image's config and the user's options, made one: OCI image-spec `config.md`, "Conversion to OCI
/// Runtime Configuration".
pub fn bundle(
    options: &RunOptions,
    image: &Facts,
    found: user::Found,
    map: &IdMap,
    id: &str,
    name: &str,
    terminal: bool,
) -> Result<Bundle> {
    let config = image.config.get("config");
    let hostname = options.hostname.clone().unwrap_or_else(|| id.to_string());
    let network = options.network.unwrap_or(Network::Slirp);
    let cwd = match &options.workdir {
        Some(dir) => dir,
        None => directory(config)?,
    };
    Ok(Bundle {
        args: command(options, config)?,
        env: environment(options, config, &hostname, found.home.as_deref(), terminal)?,
        cwd: cwd.into(),
        user: found.user,
        terminal,
        hostname,
        read_only: options.read_only,
        mounts: bundle::mounts(network, map, options.mounts.clone()),
        network,
        limits: options.limits.clone(),
        confinement: options.confinement.clone(),
        uids: map.uids.clone(),
        gids: map.gids.clone(),
        image: image.id.clone(),
        layers: image.layers,
        reference: Reference::parse(&options.image)?.to_string(),
        name: name.to_string(),
        created: sys::now(),
    })
}

/// A member of the image's config that is a list of strings, `null` where it is empty. What is anything else is
/// refused: left out or read otherwise, another command would run than the one that the image names.
fn strings(config: &Json, member: &str) -> Result<Vec<OsString>> {
    let list = config.get(member);
    let elements = match list {
        Json::Null => Some(Vec::new()),
        Json::List(elements) => elements.iter().map(|e| e.bytes().map(|b| OsStr::from_bytes(b).into())).collect(),
        _ => None,
    };
    elements.ok_or_else(|| malformed(member, "a list of strings"))
}

/// A member that is a string, empty where there is none.
pub fn string<'a>(config: &'a Json, member: &str) -> Result<&'a str> {
    match config.get(member) {
        Json::Null => Ok(""),
        value => value.str().ok_or_else(|| malformed(member, "a string")),
    }
}

fn malformed(member: &str, kind: &str) -> Error {
    Error::new(format!("the image's config is malformed: {member} is not {kind} (OCI image-spec, config.md)"))
}

/// Where the command starts, if the user says nothing of it.
fn directory(config: &Json) -> Result<&str> {
    match string(config, "WorkingDir")? {
        "" => Ok("/"),
        dir if dir.starts_with('/') => Ok(dir),
        dir => {
            Err(Error::new(format!("the image's working directory {dir:?} is not absolute"))
                .hint("-w DIR takes another"))
        }
    }
}

/// Entrypoint and Cmd; `--entrypoint` takes the place of both, arguments take the place of Cmd.
fn command(options: &RunOptions, config: &Json) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = match options.entrypoint.as_deref() {
        None => strings(config, "Entrypoint")?,
        Some("") => Vec::new(),
        Some(program) => vec![program.into()],
    };
    if !options.command.is_empty() {
        args.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        args.extend(strings(config, "Cmd")?);
    }
    if args.is_empty() {
        return Err(
            Error::new(format!("the image {} names no command", options.image)).hint("say one behind the image's name")
        );
    }
    Ok(args)
}

/// What the image sets, what the engine adds, what the user says: of a name that occurs twice the last one
/// counts, in the place of the first. Nothing of the caller's environment goes along.
fn environment(
    options: &RunOptions,
    config: &Json,
    hostname: &str,
    home: Option<&str>,
    terminal: bool,
) -> Result<Vec<OsString>> {
    let home = format!("HOME={}", home.filter(|dir| !dir.is_empty()).unwrap_or("/"));
    let mut env: Vec<OsString> = vec![DEFAULT_PATH.into(), format!("HOSTNAME={hostname}").into(), home.into()];
    env.extend(terminal.then(|| "TERM=xterm".into()));
    env.extend(strings(config, "Env")?);
    env.extend(options.env.iter().cloned());
    Ok(last_words(env))
}

/// Sorted by name, for an image may set as many variables as it likes.
fn last_words(env: Vec<OsString>) -> Vec<OsString> {
    let name = |place: &usize| env[*place].as_bytes().split(|byte| *byte == b'=').next();
    let mut places: Vec<usize> = (0..env.len()).collect();
    order::sort_by(&mut places, |a, b| name(a).cmp(&name(b)));
    let same = places.chunk_by(|a, b| name(a) == name(b));
    let mut kept: Vec<(usize, usize)> = same.filter_map(|same| Some((*same.first()?, *same.last()?))).collect();
    order::sort_by_key(&mut kept, |(first, _)| *first);
    kept.into_iter().map(|(_, last)| env[last].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn options(arguments: &[&str]) -> RunOptions {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        RunOptions::parse(&arguments).unwrap().unwrap()
    }

    fn config() -> Json {
        json::parse(br#"{"Entrypoint":["/e"],"Cmd":["c","d"],"Env":["PATH=/bin","A=1"]}"#).unwrap()
    }

    fn args(arguments: &[&str]) -> Vec<String> {
        let args = command(&options(arguments), &config()).unwrap();
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn entrypoint_and_cmd_as_docker_joins_them() {
        assert_eq!(args(&["i"]), ["/e", "c", "d"]);
        assert_eq!(args(&["i", "x"]), ["/e", "x"]);
        assert_eq!(args(&["--entrypoint", "/n", "i"]), ["/n"]);
        assert_eq!(args(&["--entrypoint", "", "i", "x", "y"]), ["x", "y"]);
        assert!(command(&options(&["--entrypoint", "", "i"]), &config()).is_err());
    }

    #[test]
    fn the_last_word_on_a_variable_counts() {
        let env = environment(&options(&["-e", "A=2", "-e", "B=3", "i"]), &config(), "h", Some("/root"), false);
        assert_eq!(env.unwrap(), ["PATH=/bin", "HOSTNAME=h", "HOME=/root", "A=2", "B=3"]);
    }

    #[test]
    fn a_malformed_config_is_refused() {
        for (member, value) in
            [("Cmd", r#"["sh",7]"#), ("Entrypoint", r#""sh""#), ("Cmd", r#"[null]"#), ("Env", r#"{}"#)]
        {
            let config = json::parse(format!(r#"{{"Cmd":["c"],"{member}":{value}}}"#).as_bytes()).unwrap();
            let options = options(&["i"]);
            let made = command(&options, &config).and_then(|_| environment(&options, &config, "h", None, false));
            assert!(made.unwrap_err().message.contains(member), "{member}: {value}");
        }
        let config = json::parse(b"{\"Cmd\":[\"a\xff\"],\"User\":1000,\"WorkingDir\":\"x\",\"Env\":null}").unwrap();
        assert_eq!(strings(&config, "Cmd").unwrap(), [OsStr::from_bytes(b"a\xff")], "bytes, as execve(2) has them");
        assert!(string(&config, "User").is_err() && directory(&config).is_err());
        assert_eq!((string(&config, "Labels").unwrap(), strings(&config, "Env").unwrap().len()), ("", 0));
    }
}
