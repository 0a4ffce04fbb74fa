//! The table of settings: one place for flags, help and documentation.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable, which also names the flag: `HTTP_ADDR` is `--http-addr`.
    pub name: &'static str,
    /// The value where none is given; `None` makes the setting required.
    pub default: Option<&'static str>,
    /// A secret is never shown, and can be read from the file that `NAME_FILE` names.
    pub secret: bool,
    /// What it does, in one sentence.
    pub help: &'static str,
}

impl Setting {
    /// A setting with a default.
    #[must_use]
    pub const fn new(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, default: Some(default), secret: false, help }
    }

    /// A setting that must be given.
    #[must_use]
    pub const fn required(name: &'static str, help: &'static str) -> Self {
        Self { name, default: None, secret: false, help }
    }

    /// The same setting as a secret.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The flag, without its dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }
}

/// The settings that every process has; only the address differs by default.
#[must_use]
pub const fn common_settings(http_addr: &'static str) -> [Setting; 6] {
    [
        Setting::new(
            "AMQP_URL",
            "amqp://guest:guest@127.0.0.1:5672/%2f",
            "Where RabbitMQ is: amqp:// or amqps://, user, password, host, port, virtual host.",
        )
        .secret(),
        Setting::new("EXCHANGE", "orders", "The fan-out exchange; the names of all queues derive from it."),
        Setting::new(
            "HTTP_ADDR",
            http_addr,
            "Where this process serves HTTP: health and metrics, and the producer its API.",
        ),
        Setting::new("LOG_FORMAT", "text", "How logs look: text or json."),
        Setting::new("LOG_LEVEL", "info", "Which logs are written: a level, or directives such as info,common=debug."),
        Setting::new(
            "SHUTDOWN_GRACE",
            "25s",
            "How long a drain may take after SIGTERM; what is not finished then is left for redelivery.",
        ),
    ]
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
