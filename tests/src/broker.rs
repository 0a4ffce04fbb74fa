//! RabbitMQ for tests, demo and bench.

mod installation;

use std::{ffi::OsStr, fmt::Write as _, fs, net::Ipv4Addr, ops::ControlFlow, process::Command};

use anyhow::{Result, anyhow, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
};
use uuid::Uuid;

pub use self::installation::Installation;
use crate::{
    command,
    leash::{Leashed, LeashedCommand, Signal, path},
    ports::Port,
    server::{self, Directory, Image, Package, Private, Server, Software},
    usage::{self, Usage},
    waiting::{PATIENCE, until},
};

/// A RabbitMQ to use.
pub type Broker = Server<RabbitMq>;
/// A private RabbitMQ node.
pub type PrivateNode = Private<RabbitMq>;

/// Each node has a separate port mapper, so that all can have this name.
const NODE: &str = "rabbit@localhost";
const USER: &str = "tandem";

/// The ports and secrets of one RabbitMQ node.
#[derive(Debug)]
pub struct RabbitMq {
    amqp: Port,
    distribution: Port,
    mapper: Port,
    password: String,
    /// Erlang's port mapper daemon; none in a container.
    epmd: Option<Leashed>,
}

impl Software for RabbitMq {
    const NAME: &'static str = "RabbitMQ";
    const VARIABLE: &'static str = "AMQP_URL";
    const EXAMPLE: &'static str = "amqp://user:password@127.0.0.1:5672/%2f";
    const DOWNLOADS: &'static str = "`brew install rabbitmq` (macOS), or https://www.rabbitmq.com/docs/download";
    const SEARCHED: &'static str =
        "no rabbitmq-server with Erlang's epmd on PATH nor below /usr/lib/rabbitmq, /opt/rabbitmq";
    const PACKAGE: Package = Package { name: "rabbitmq-server", service: Some("rabbitmq-server"), first: None };
    const UP: &'static [&'static str] = &["completed with ", "Server startup complete"];
    const STOP: Signal = Signal::Terminate;
    const CRASH: Signal = Signal::Kill;

    type Options = ();
    type Installation = Installation;

    fn choose((): ()) -> Result<Self> {
        let [amqp, distribution, mapper] = [Port::choose()?, Port::choose()?, Port::choose()?];
        Ok(Self { amqp, distribution, mapper, password: secret(), epmd: None })
    }

    fn installation() -> Option<Installation> {
        Installation::find()
    }

    async fn prepare(&mut self, installation: &Installation, directory: &Directory) -> Result<()> {
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\ndefault_user = {USER}\ndefault_pass = {}\n",
            self.amqp.number(),
            self.password
        );
        fs::write(directory.join("rabbitmq.conf"), settings)?;
        fs::write(directory.join("enabled_plugins"), "[].\n")?;
        fs::create_dir(directory.join("home"))?;
        // Erlang refuses a cookie that others may read.
        directory.write_secret("home/.erlang.cookie", &secret())?;
        self.start_mapper(installation, directory).await
    }

    fn command(&self, installation: &Installation, directory: &Directory) -> LeashedCommand {
        let mut command = LeashedCommand::new(installation.server());
        self.settle(installation, directory, command.program());
        command
    }

    fn image(&self) -> Image {
        Image {
            name: "rabbitmq",
            tag: "4",
            published: self.amqp.number(),
            port: 5672,
            environment: vec![
                ("RABBITMQ_DEFAULT_USER", USER.to_owned()),
                ("RABBITMQ_DEFAULT_PASS", self.password.clone()),
            ],
            command: Vec::new(),
        }
    }

    fn url(&self) -> String {
        format!("amqp://{USER}:{}@127.0.0.1:{}/%2f", self.password, self.amqp.number())
    }

    /// Waits for a response to the greeting of AMQP.
    async fn connect(&self) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.amqp.number())).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        // Connection.Start begins as a method frame on channel 0.
        let mut start = [0; 3];
        stream.read_exact(&mut start).await?;
        ensure!(start == [1, 0, 0], "the response is not AMQP 0-9-1");
        Ok(())
    }

    async fn set_up(&self) -> Result<()> {
        Ok(())
    }

    fn usage(pid: u32) -> Result<Usage> {
        usage::of(pid)
    }
}

impl RabbitMq {
    /// Starts a private port mapper, in the foreground: one that RabbitMQ starts stays indefinitely.
    async fn start_mapper(&mut self, installation: &Installation, directory: &Directory) -> Result<()> {
        let port = self.mapper.number();
        let mut command = LeashedCommand::new(installation.epmd());
        command.program().args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        directory.settle(command.program());
        let (epmd, _output) = command.spawn()?;
        let listening = async || match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            _ if epmd.exit_status().is_some() => ControlFlow::Break(Err(anyhow!("epmd ended: port already in use"))),
            Ok(_) => ControlFlow::Break(Ok(())),
            Err(fault) => ControlFlow::Continue(fault.to_string()),
        };
        until("epmd to listen", PATIENCE, listening).await??;
        self.epmd = Some(epmd);
        Ok(())
    }

    /// Sets everything that RabbitMQ reads from its environment, for the server and `rabbitmqctl`, so that nothing is the
    /// system's.
    ///
    /// The Erlang VM's schedulers are left as RabbitMQ sets them: one per core, no busy waiting.
    fn settle(&self, installation: &Installation, directory: &Directory, command: &mut Command) {
        let mut erlang = "-kernel inet_dist_use_interface {127,0,0,1}".to_owned();
        for code in installation.core_code() {
            let code = code.to_string_lossy();
            // The scripts split this at white space.
            if !code.contains(char::is_whitespace) {
                let _ = write!(erlang, " -pa {code}");
            }
        }
        let file = |name: &str| directory.join(name);
        command
            .env("PATH", path())
            .env("LANG", "C.UTF-8")
            .env("HOME", file("home"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.mapper.number().to_string())
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("RABBITMQ_NODENAME", NODE)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp.number().to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.number().to_string())
            .env("RABBITMQ_MNESIA_BASE", file("data"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang)
            // Several `rabbitmqctl` at a time, each listening on loopback.
            .env("RABBITMQ_CTL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CTL_DIST_PORT_MIN", "32000")
            .env("RABBITMQ_CTL_DIST_PORT_MAX", "32700")
            // The script then becomes the Erlang VM instead of starting it, so that the child process is the VM.
            .env("RUNNING_UNDER_SYSTEMD", "true");
    }
}

impl Broker {
    /// The one at `AMQP_URL`, or a started one.
    ///
    /// # Errors
    /// None is available; the text says why, and what to do.
    pub async fn find_or_start() -> Result<Self> {
        Self::find_or_start_with(()).await
    }

    /// A started one, even if `AMQP_URL` is set.
    ///
    /// # Errors
    /// None is available; the text says why, and what to do.
    pub async fn start() -> Result<Self> {
        Self::start_with(()).await
    }

    /// `rabbitmqctl` with these arguments, which takes about 2 s; what it prints.
    ///
    /// # Errors
    /// This process did not start it, or the command fails; the text has what it printed.
    pub async fn ctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        match self {
            Self::External(_) => Err(server::is_external::<RabbitMq>()),
            Self::Private(Private { software, installation, directory, .. }) => {
                let mut ctl = Command::new(installation.ctl());
                ctl.env_clear().args(["-q", "-n", NODE]).args(arguments);
                software.settle(installation, directory, &mut ctl);
                command::run(&mut ctl.into(), PATIENCE).await
            }
            Self::Container(container) => {
                let arguments = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned());
                container.run(["rabbitmqctl", "-q"].map(str::to_owned).into_iter().chain(arguments).collect()).await
            }
        }
    }
}

/// The RabbitMQ that the tests of this process share. A test that stops one calls [`Broker::start`].
///
/// # Errors
/// None is available; every caller gets the same error.
pub async fn shared() -> Result<&'static Broker> {
    static SHARED: OnceCell<Result<Broker, String>> = OnceCell::const_new();
    server::shared(&SHARED, ()).await
}

fn secret() -> String {
    Uuid::new_v4().simple().to_string()
}
