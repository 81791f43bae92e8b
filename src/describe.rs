//! What the user wants of an image: its config and the options of `run`, made one bundle.
//!
//! Image-spec `config.md` and `conversion.md` say how an image's config becomes a runtime's; docker says how
//! options come into it. Pure but for the clock: whatever was to be found out was found out before.

use std::ffi::OsString;

use crate::bundle::{self, Bundle, Network};
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::idmap::IdMap;
use crate::json::Json;
use crate::options::RunOptions;
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
    let of_image = config.get("WorkingDir").str().filter(|dir| dir.starts_with('/'));
    Ok(Bundle {
        args: command(options, config)?,
        env: environment(options, config, &hostname, found.home.as_deref(), terminal),
        cwd: options.workdir.as_deref().or(of_image).unwrap_or("/").into(),
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

fn strings(list: &Json) -> impl Iterator<Item = OsString> + '_ {
    list.list().iter().filter_map(|element| element.str().map(OsString::from))
}

/// Entrypoint and Cmd; `--entrypoint` takes the place of both, arguments take the place of Cmd.
fn command(options: &RunOptions, config: &Json) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = match options.entrypoint.as_deref() {
        None => strings(config.get("Entrypoint")).collect(),
        Some("") => Vec::new(),
        Some(program) => vec![program.into()],
    };
    if !options.command.is_empty() {
        args.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        args.extend(strings(config.get("Cmd")));
    }
    if args.is_empty() {
        return Err(
            Error::new(format!("the image {} names no command", options.image)).hint("say one behind the image's name")
        );
    }
    Ok(args)
}

/// What the image sets, what the engine adds, what the user says: of a name that occurs twice the last one
/// counts. Nothing of the caller's environment goes along.
fn environment(
    options: &RunOptions,
    config: &Json,
    hostname: &str,
    home: Option<&str>,
    terminal: bool,
) -> Vec<OsString> {
    let home = format!("HOME={}", home.filter(|dir| !dir.is_empty()).unwrap_or("/"));
    let engine = [DEFAULT_PATH.to_string(), format!("HOSTNAME={hostname}"), home];
    let term = terminal.then(|| "TERM=xterm".to_string());
    let of_engine = engine.into_iter().chain(term).map(OsString::from);
    let of_user = options.env.iter().cloned();
    let mut env: Vec<OsString> = Vec::new();
    for entry in of_engine.chain(strings(config.get("Env"))).chain(of_user) {
        let name = |entry: &OsString| entry.to_string_lossy().split('=').next().map(str::to_string);
        match env.iter_mut().find(|known| name(known) == name(&entry)) {
            Some(known) => *known = entry,
            None => env.push(entry),
        }
    }
    env
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
        assert_eq!(env, ["PATH=/bin", "HOSTNAME=h", "HOME=/root", "A=2", "B=3"]);
    }
}
