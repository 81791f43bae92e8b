//! What the command line may say about power: `--cap-add`, `--cap-drop`, `--security-opt`, `--ulimit`,
//! `--oom-score-adj`.

use getopts::{Matches, Options};

use crate::capabilities;
use crate::confine::Confinement;
use crate::error::{Error, Result};
use crate::options::last;
use crate::rlimits;

pub fn table(options: &mut Options) {
    options.optmulti("", "cap-add", "a capability more than docker's set; ALL for all", "CAPABILITY");
    options.optmulti("", "cap-drop", "a capability less; ALL for all", "CAPABILITY");
    options.optmulti("", "oom-score-adj", "killed sooner when memory is short, or later: -1000 to 1000", "N");
    options.optmulti("", "security-opt", "no-new-privileges, or seccomp=unconfined", "OPTION");
    options.optmulti("", "ulimit", "a limit for each process, such as nofile=1024:4096", "NAME=SOFT[:HARD]");
}

pub fn parse(matches: &Matches) -> Result<Confinement> {
    let mut confinement = Confinement {
        capabilities: capabilities::changed(&matches.opt_strs("cap-add"), &matches.opt_strs("cap-drop"))?,
        rlimits: rlimits::parse(&matches.opt_strs("ulimit"))?,
        oom_score: last(matches, "oom-score-adj").map(oom_score).transpose()?,
        ..Confinement::default()
    };
    for text in matches.opt_strs("security-opt") {
        security(&text, &mut confinement)?;
    }
    Ok(confinement)
}

/// As docker writes them; a colon is its old spelling of `=`.
fn security(text: &str, confinement: &mut Confinement) -> Result<()> {
    match text.replacen(':', "=", 1).as_str() {
        "no-new-privileges" | "no-new-privileges=true" => confinement.no_new_privileges = true,
        "no-new-privileges=false" => confinement.no_new_privileges = false,
        "seccomp=unconfined" => confinement.seccomp = false,
        other => {
            let error =
                Error::new(format!("--security-opt {text:?}: no-new-privileges[=true|false] or seccomp=unconfined"));
            return Err(if other.starts_with("seccomp=") {
                error.hint("there is one profile, docker's: mydocker seccomp prints it")
            } else {
                error
            });
        }
    }
    Ok(())
}

/// proc_pid_oom_score_adj(5)
fn oom_score(text: String) -> Result<i32> {
    text.parse()
        .ok()
        .filter(|score| (-1000..=1000).contains(score) && !text.starts_with('+'))
        .ok_or_else(|| Error::new(format!("--oom-score-adj {text:?}: a number from -1000 to 1000")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Confinement> {
        let mut options = Options::new();
        table(&mut options);
        parse(&options.parse(arguments).unwrap())
    }

    #[test]
    fn what_docker_has_by_default() {
        assert_eq!(read(&[]).unwrap(), Confinement::default());
    }

    #[test]
    fn security_options() {
        let one = |text: &str| read(&["--security-opt", text]).map(|c| (c.no_new_privileges, c.seccomp)).ok();
        assert_eq!(one("no-new-privileges"), Some((true, true)));
        assert_eq!(one("no-new-privileges:true"), Some((true, true)));
        assert_eq!(one("no-new-privileges=false"), Some((false, true)));
        assert_eq!(one("seccomp=unconfined"), Some((false, false)));
        assert_eq!(one("seccomp:unconfined"), Some((false, false)));
        for odd in ["", "seccomp", "seccomp=profile.json", "no-new-privileges=1", "apparmor=x"] {
            assert_eq!(one(odd), None, "{odd}");
        }
    }

    #[test]
    fn scores() {
        let one = |text: &str| read(&["--oom-score-adj", text]).map(|c| c.oom_score).ok();
        assert_eq!((one("-1000"), one("500")), (Some(Some(-1000)), Some(Some(500))));
        for odd in ["", "1001", "-1001", "x", "+5", "1.5"] {
            assert_eq!(one(odd), None, "{odd}");
        }
    }
}
