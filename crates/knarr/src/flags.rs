//! What the process was started with, as `/flagz` shows it.

use std::{collections::BTreeMap, sync::OnceLock};

use clap::{ArgMatches, Command};

static SHOWN: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Notes the flags of the command that runs.
pub fn note(command: &Command, matches: &ArgMatches) {
    let _ = SHOWN.set(told(command, matches));
}

/// The flags that were noted, by name.
pub fn shown() -> BTreeMap<String, String> {
    SHOWN.get().cloned().unwrap_or_default()
}

/// Every flag of the subcommand that has a value, given or not. Pure.
fn told(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let Some((name, matches)) = matches.subcommand() else {
        return BTreeMap::new();
    };
    let flags = command.find_subcommand(name);
    let flags = flags.into_iter().flat_map(Command::get_arguments);
    let value = |id: &str| {
        let values = matches.try_get_raw(id).ok()??;
        let values: Vec<_> = values.map(|v| v.to_string_lossy().into_owned()).collect();
        Some(match &values[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(",")),
        })
    };
    flags
        .filter_map(|flag| Some((flag.get_long()?.to_owned(), value(flag.get_id().as_str())?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    #[test]
    fn flags_are_told_by_name() {
        let run = Command::new("run")
            .arg(Arg::new("port").long("secure-port").default_value("6443"))
            .arg(Arg::new("modes").long("modes").value_delimiter(','))
            .arg(Arg::new("on").long("on").action(ArgAction::SetTrue))
            .arg(Arg::new("unset").long("unset"));
        let command = Command::new("knarr").subcommand(run);
        let words = ["knarr", "run", "--modes", "Node,RBAC", "--on"];
        let matches = command.clone().get_matches_from(words);
        let told = told(&command, &matches);
        let told: Vec<String> = told.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(told, ["modes=[Node,RBAC]", "on=true", "secure-port=6443"]);
        assert!(super::told(&command, &command.clone().get_matches_from(["knarr"])).is_empty());
    }
}
