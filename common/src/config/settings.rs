//! Reading settings: flags take precedence over the environment, which takes precedence over defaults.

use std::{collections::HashMap, fmt::Display, path::Path, str::FromStr, time::Duration};

use reqwest::header::HeaderValue;
use secrecy::SecretString;

use super::{Fault, Faults, Setting, duration};

/// Where values come from. Nothing else in Tandem reads the environment.
///
/// It has no `Debug` because it holds secrets.
#[derive(Default)]
pub struct Source {
    /// Environment variables.
    pub env: HashMap<String, String>,
    /// Flags from the command line, by the name of their setting.
    pub flags: HashMap<String, String>,
    /// Environment variables whose value is not UTF-8.
    pub unreadable: Vec<String>,
}

impl Source {
    /// Reads the environment and the command line of the process, for a binary with these settings.
    ///
    /// `--help`, `--version` and an unknown flag are handled by clap, which prints and exits.
    #[must_use]
    pub fn from_process(binary: &'static str, about: &'static str, settings: &[Setting]) -> (Self, Option<Command>) {
        let matches = command_line(binary, about, settings).get_matches();
        let mut flags = HashMap::new();
        for setting in settings {
            for name in names(setting) {
                if let Some(value) = matches.get_one::<String>(&name) {
                    flags.insert(name, value.clone());
                }
            }
        }
        let mut env = HashMap::new();
        let mut unreadable = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(env.insert(name, value)),
                (Ok(name), Err(_)) => unreadable.push(name),
                (Err(_), _) => {}
            }
        }
        let command = matches.subcommand_name().map(|_| Command::Healthcheck);
        (Self { env, flags, unreadable }, command)
    }
}

/// What a binary can do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks the process that runs with this configuration whether it is ready, and exits with 0 or 1.
    Healthcheck,
}

fn names(setting: &Setting) -> Vec<String> {
    if setting.secret {
        vec![setting.name.to_owned(), format!("{}_FILE", setting.name)]
    } else {
        vec![setting.name.to_owned()]
    }
}

fn command_line(binary: &'static str, about: &'static str, settings: &[Setting]) -> clap::Command {
    let mut command = clap::Command::new(binary)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(
            "Each flag can also be set by the environment variable of the name shown. Durations have a unit: 250ms, 5s, 10m, 2h, 3d.",
        )
        .subcommand(
            clap::Command::new("healthcheck")
                .about("Asks the process that runs with the same HTTP_ADDR whether it is ready, and exits with 0 or 1"),
        );
    for setting in settings {
        let default = setting.default.map_or_else(|| "required".to_owned(), |value| format!("default: {value}"));
        for name in names(setting) {
            let help = if name == setting.name {
                format!("{} [{default}]", setting.help)
            } else {
                format!("A file that contains {}.", setting.name)
            };
            let flag = name.to_ascii_lowercase().replace('_', "-");
            command = command.arg(clap::Arg::new(name.clone()).long(flag).value_name(name).help(help));
        }
    }
    command
}

/// Reads settings one by one and collects what is wrong with them.
pub struct Settings {
    source: Source,
    table: Vec<Setting>,
    faults: Vec<Fault>,
}

impl Settings {
    /// Reads the settings in `table` from `source`.
    #[must_use]
    pub fn new(source: Source, table: &[Setting]) -> Self {
        Self { source, table: table.to_vec(), faults: Vec::new() }
    }

    /// A value that `parse` accepts.
    ///
    /// # Errors
    /// The fault, which [`Settings::finish`] reports too: read every setting before the first `?`.
    pub fn parsed<T>(&mut self, setting: &Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Faults> {
        let found = self.text(setting).and_then(|text| match text {
            Some(text) => parse(&text),
            None => Err("is required and not set".to_owned()),
        });
        found.map_err(|detail| self.fault(setting, detail))
    }

    /// A number within a range.
    ///
    /// # Errors
    /// As for [`Settings::parsed`].
    pub fn number<T>(&mut self, setting: &Setting, range: std::ops::RangeInclusive<T>) -> Result<T, Faults>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.parsed(setting, |text| match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {} to {}, is {text:?}", range.start(), range.end())),
        })
    }

    /// A duration with its unit, up to a week.
    ///
    /// # Errors
    /// As for [`Settings::parsed`].
    pub fn duration(&mut self, setting: &Setting) -> Result<Duration, Faults> {
        self.parsed(setting, duration::duration)
    }

    /// The base address of an API: `http` or `https`, without query or fragment.
    ///
    /// # Errors
    /// As for [`Settings::parsed`].
    pub fn url(&mut self, setting: &Setting) -> Result<reqwest::Url, Faults> {
        self.parsed(setting, |text| {
            let url: reqwest::Url = text.parse().map_err(|fault| format!("is not a URL: {fault}"))?;
            let web = matches!(url.scheme(), "http" | "https") && url.has_host();
            if !web || url.query().is_some() || url.fragment().is_some() {
                return Err("must be an http:// or https:// address without query or fragment".to_owned());
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err("must not contain credentials: they would appear in logs".to_owned());
            }
            Ok(url)
        })
    }

    /// A secret, whose value never appears in a fault, a log or debug output.
    ///
    /// # Errors
    /// As for [`Settings::parsed`].
    pub fn secret(&mut self, setting: &Setting) -> Result<SecretString, Faults> {
        self.parsed(setting, |text| Ok(SecretString::from(text)))
    }

    /// A secret that is sent as the value of an HTTP header, after `prefix` (such as `"Bearer "`). It is
    /// marked as sensitive, so that debug output hides it.
    ///
    /// # Errors
    /// As for [`Settings::parsed`].
    pub fn secret_header(&mut self, setting: &Setting, prefix: &str) -> Result<HeaderValue, Faults> {
        self.parsed(setting, |text| {
            let mut value = HeaderValue::from_str(&format!("{prefix}{text}"))
                .map_err(|_| "must consist of visible ASCII characters".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        })
    }

    /// A value whose name derives from another setting, such as `NAME_KEY_TTL` for each name in a list. It is
    /// not in the table, so it is not a flag: it is read from the environment alone.
    ///
    /// # Errors
    /// As for [`Settings::parsed`].
    pub fn named<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Faults> {
        if self.source.unreadable.iter().any(|variable| variable == name) {
            return Err(self.fault_of(name, "is not valid UTF-8"));
        }
        let given = self.source.env.get(name).filter(|value| !value.is_empty()).cloned();
        given.map(|text| parse(&text)).transpose().map_err(|detail| self.fault_of(name, detail))
    }

    /// Adds a fault that only shows when several values are compared.
    pub fn fault(&mut self, setting: &Setting, detail: impl Into<String>) -> Faults {
        self.fault_of(setting.name, detail)
    }

    fn fault_of(&mut self, name: &str, detail: impl Into<String>) -> Faults {
        let fault = Fault { variable: name.to_owned(), detail: detail.into() };
        self.faults.push(fault.clone());
        Faults(vec![fault])
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn finish(self) -> Result<(), Faults> {
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }

    /// The value from the flag, the environment or the default. An empty value counts as absent, because a
    /// template that renders `TOKEN=` has no value for it.
    fn text(&self, &Setting { name, .. }: &Setting) -> Result<Option<String>, String> {
        // The table has the default of this binary.
        let Some(setting) = self.table.iter().find(|setting| setting.name == name) else {
            return Err("is missing from this binary's table of settings".to_owned());
        };
        let file_name = format!("{name}_FILE");
        if self.source.unreadable.iter().any(|variable| variable == name || (setting.secret && *variable == file_name))
        {
            return Err("is not valid UTF-8".to_owned());
        }
        // A flag takes precedence over the environment, whichever of the two forms it has.
        for level in [&self.source.flags, &self.source.env] {
            let given = |name: &str| level.get(name).filter(|value| !value.is_empty());
            let file = given(&file_name).filter(|_| setting.secret);
            match (given(name), file) {
                (Some(_), Some(_)) => return Err(format!("is set twice, directly and by {file_name}")),
                (Some(value), None) => return Ok(Some(value.clone())),
                (None, Some(path)) => return read_secret(Path::new(path)).map(Some),
                (None, None) => {}
            }
        }
        Ok(setting.default.map(str::to_owned))
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|fault| format!("cannot be read from {}: {fault}", path.display()))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err(format!("is empty in {}", path.display())) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const COUNT: Setting = Setting::new("COUNT", "3", "A count.");
    const PAUSE: Setting = Setting::new("PAUSE", "5s", "A pause.");
    const TOKEN: Setting = Setting::required("TOKEN", "A token.").secret();
    const TABLE: [Setting; 3] = [COUNT, PAUSE, TOKEN];

    fn settings(env: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Settings::new(Source { env: owned(env), flags: owned(flags), unreadable: Vec::new() }, &TABLE)
    }

    #[test]
    fn all_faults_are_reported_at_once_by_variable() {
        let mut settings = settings(&[("COUNT", "many"), ("PAUSE", "5")], &[]);
        let _ = settings.number::<u32>(&COUNT, 1..=9);
        let _ = settings.duration(&PAUSE);
        let _ = settings.secret(&TOKEN);
        let Err(Faults(faults)) = settings.finish() else { panic!("no fault found") };
        let variables: Vec<_> = faults.iter().map(|fault| fault.variable.as_str()).collect();
        assert_eq!(variables, ["COUNT", "PAUSE", "TOKEN"]);
    }

    #[test]
    fn a_flag_precedes_the_environment_which_precedes_the_default() {
        assert_eq!(settings(&[], &[]).number(&COUNT, 1..=9), Ok(3));
        assert_eq!(settings(&[("COUNT", "4")], &[]).number(&COUNT, 1..=9), Ok(4));
        assert_eq!(settings(&[("COUNT", "4")], &[("COUNT", "5")]).number(&COUNT, 1..=9), Ok(5));
    }

    #[test]
    fn a_derived_name_is_read_from_the_environment() {
        let number = |text: &str| text.parse::<u8>().map_err(|_| "must be a number".to_owned());
        let mut read = settings(&[("NORTH_KEY_TTL", "7"), ("SOUTH_KEY_TTL", "x"), ("EAST_KEY_TTL", "")], &[]);
        assert_eq!(read.named("NORTH_KEY_TTL", number), Ok(Some(7)));
        assert_eq!(read.named("EAST_KEY_TTL", number), Ok(None));
        assert_eq!(read.named("WEST_KEY_TTL", number), Ok(None));
        assert!(read.named("SOUTH_KEY_TTL", number).is_err());
        let Err(Faults(faults)) = read.finish() else { panic!("no fault found") };
        assert_eq!(faults[0].variable, "SOUTH_KEY_TTL");
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        assert!(settings(&[("TOKEN", "")], &[]).secret(&TOKEN).is_err());
        assert_eq!(settings(&[("COUNT", "")], &[]).number(&COUNT, 1..=9), Ok(3));
    }

    #[test]
    fn a_secret_is_read_from_its_file_and_never_shown() -> Result<(), Box<dyn std::error::Error>> {
        let path = std::env::temp_dir().join(format!("tandem-secret-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, "hush\n")?;
        let name = path.display().to_string();
        let mut read = settings(&[("TOKEN_FILE", &name)], &[]);
        let token = read.secret(&TOKEN)?;
        assert_eq!(token.expose_secret(), "hush");
        assert!(!format!("{token:?}").contains("hush"));
        let twice = settings(&[("TOKEN", "a"), ("TOKEN_FILE", &name)], &[]).secret(&TOKEN);
        assert!(twice.is_err());
        std::fs::remove_file(path)?;
        Ok(())
    }
}
