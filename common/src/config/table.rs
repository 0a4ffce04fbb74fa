//! Settings, and the table that documents them.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable, which also names the flag: `HTTP_ADDR` is `--http-addr`.
    pub name: &'static str,
    /// The value if none is given; `None` makes the setting required.
    pub default: Option<&'static str>,
    /// A secret is never shown, and can also be read from a file, which `NAME_FILE` names.
    pub secret: bool,
    /// What it does, in a sentence.
    pub help: &'static str,
}

impl Setting {
    /// A setting with a default.
    #[must_use]
    pub const fn new(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, default: Some(default), secret: false, help }
    }

    /// A required setting.
    #[must_use]
    pub const fn required(name: &'static str, help: &'static str) -> Self {
        Self { name, default: None, secret: false, help }
    }

    /// The same setting with a default.
    #[must_use]
    pub const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same setting as a secret.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The flag, without the dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }
}

/// The settings as a Markdown table, for the documentation.
#[must_use]
pub fn markdown_table(settings: &[Setting]) -> String {
    let mut table = String::from("| Variable | Default | What it does |\n|---|---|---|\n");
    for setting in settings {
        let default = setting.default.map_or_else(|| "required".to_owned(), |value| format!("`{value}`"));
        let file = if setting.secret { format!(" Secret: also `{}_FILE`.", setting.name) } else { String::new() };
        table.push_str(&format!("| `{}` | {default} | {}{file} |\n", setting.name, setting.help));
    }
    table
}
