//! Flags and their environment twins, and the two reports that end silent misconfiguration: every `WEFT_` variable that
//! no flag knows is named, and the effective value of each flag is logged with where it came from.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Parser};

/// Variables with this prefix belong to us, so one that nobody reads is a mistake.
pub const PREFIX: &str = "WEFT_";

/// What the process was started with; log it once logging is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// Each flag with its value.
    pub effective: Vec<Setting>,
    /// `WEFT_` variables that no flag of this program reads.
    pub unknown: Vec<String>,
}

/// One flag's effective value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Flag without dashes.
    pub name: String,
    /// Value as given; several are joined by a comma.
    pub value: String,
    /// `flag`, `environment` or `default`.
    pub origin: &'static str,
}

/// Parses the command line and the environment; ends the process with usage text when they are wrong, as clap does.
#[must_use]
pub fn parse<C: Parser>() -> (C, Startup) {
    let mut command = C::command();
    let matches = command.clone().get_matches();
    let startup = Startup::new(
        &command,
        &matches,
        std::env::vars_os().map(|(name, _)| name),
    );
    match C::from_arg_matches(&matches) {
        Ok(config) => (config, startup),
        Err(error) => error.format(&mut command).exit(),
    }
}

impl Startup {
    /// Collects both reports; `variables` are the names in the environment.
    pub fn new(
        command: &Command,
        matches: &ArgMatches,
        variables: impl IntoIterator<Item = OsString>,
    ) -> Self {
        Self {
            effective: effective(command, matches),
            unknown: unknown(command, variables),
        }
    }

    /// Logs one line with the effective configuration and one warning per unknown variable.
    pub fn report(&self, program: &str, version: &str) {
        let config: Vec<String> = self
            .effective
            .iter()
            .map(|setting| format!("{}={} ({})", setting.name, setting.value, setting.origin))
            .collect();
        tracing::info!(program, version, config = config.join(" "), "starting");
        for name in &self.unknown {
            tracing::warn!(
                variable = name,
                "unknown variable is ignored; --help lists the names that are read"
            );
        }
    }
}

fn effective(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let arguments = command.get_arguments().filter_map(|argument| {
        let id = argument.get_id().as_str();
        let origin = match matches.value_source(id)? {
            ValueSource::CommandLine => "flag",
            ValueSource::EnvVariable => "environment",
            _ => "default",
        };
        let value: Vec<_> = matches
            .get_raw(id)?
            .map(|value| value.to_string_lossy())
            .collect();
        let name = argument.get_long().unwrap_or(id).to_owned();
        Some(Setting {
            name,
            value: value.join(","),
            origin,
        })
    });
    arguments.collect()
}

fn unknown(command: &Command, variables: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(clap::Arg::get_env)
        .collect();
    let mut unknown: Vec<String> = variables
        .into_iter()
        .filter(|name| {
            name.to_string_lossy().starts_with(PREFIX) && !known.contains(&name.as_os_str())
        })
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    unknown.sort();
    unknown
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Config {
        /// Node.
        #[arg(long, env = "WEFT_NODE_NAME")]
        node_name: String,
        /// Level.
        #[arg(long, env = "WEFT_LOG_LEVEL", default_value = "info")]
        log_level: String,
    }

    #[test]
    fn misspelt_variables_are_named_and_others_left_alone() {
        let matches = Config::command().get_matches_from(["x", "--node-name", "n"]);
        let names = ["WEFT_NODENAME", "WEFT_NODE_NAME", "PATH"].map(OsString::from);
        let startup = Startup::new(&Config::command(), &matches, names);
        assert_eq!(startup.unknown, ["WEFT_NODENAME"]);
    }

    #[test]
    fn effective_values_name_their_origin() {
        let matches = Config::command().get_matches_from(["x", "--node-name", "n"]);
        let startup = Startup::new(&Config::command(), &matches, []);
        let shown: Vec<String> = startup
            .effective
            .iter()
            .map(|setting| format!("{}={} {}", setting.name, setting.value, setting.origin))
            .collect();
        assert_eq!(shown, ["node-name=n flag", "log-level=info default"]);
    }
}
