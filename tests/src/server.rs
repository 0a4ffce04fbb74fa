//! A server for tests, demo and benchmark: found, or started by this process and ended with it.

mod apt;
mod container;
mod directory;
mod private;
pub(crate) mod search;

use std::{env, fmt};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::OnceCell;

pub use self::{
    apt::Package,
    container::{Container, Image},
    directory::{Directory, User},
    private::Private,
};
use crate::{
    leash::{LeashedCommand, Signal},
    usage::Usage,
};

/// A kind of server: what has to be known to find or start one. A value is one server, by its ports and secrets, which
/// are chosen before the start.
pub trait Software: fmt::Debug + Sized + Send + Sync + 'static {
    /// Its name for people.
    const NAME: &'static str;
    /// The variable that gives the URL of one to use.
    const VARIABLE: &'static str;
    /// An example of such a URL.
    const EXAMPLE: &'static str;
    /// Where to get it, other than from Debian.
    const DOWNLOADS: &'static str;
    /// What is looked for, and where.
    const SEARCHED: &'static str;
    /// Debian's package.
    const PACKAGE: Package;
    /// What it prints when it accepts connections.
    const UP: &'static [&'static str];
    /// The signal that ends it normally, without waiting for its clients.
    const STOP: Signal;
    /// The signal that ends it like a crash.
    const CRASH: Signal;

    /// What a caller may choose.
    type Options: Copy + Send + Sync;
    /// Where the programs are.
    type Installation: Send + Sync + fmt::Debug;

    /// Chooses ports and secrets.
    ///
    /// # Errors
    /// No port is free.
    fn choose(options: Self::Options) -> Result<Self>;

    /// Looks for installed programs that any user may run.
    fn installation() -> Option<Self::Installation>;

    /// The user who runs it, if not that of this process.
    ///
    /// # Errors
    /// It needs another user, and there is none.
    fn user() -> Result<Option<User>> {
        Ok(None)
    }

    /// Prepares the first start, in the directory and by starting what the server depends on.
    ///
    /// # Errors
    /// Something cannot be written or started.
    fn prepare(&mut self, installation: &Self::Installation, directory: &Directory)
    -> impl Future<Output = Result<()>>;

    /// The command that becomes the server.
    fn command(&self, installation: &Self::Installation, directory: &Directory) -> LeashedCommand;

    /// How to start it in a container.
    fn image(&self) -> Image;

    /// Where to connect, with all rights.
    fn url(&self) -> String;

    /// Connects once.
    ///
    /// # Errors
    /// It does not accept connections.
    fn connect(&self) -> impl Future<Output = Result<()>>;

    /// Sets up what is needed once, after the first start.
    ///
    /// # Errors
    /// The server refuses.
    fn set_up(&self) -> impl Future<Output = Result<()>>;

    /// What the server with this first process has used.
    ///
    /// # Errors
    /// It is gone, or this is not Linux.
    fn usage(pid: u32) -> Result<Usage>;
}

/// A server to use.
#[derive(Debug)]
pub enum Server<S: Software> {
    /// One that was running already, by its URL. It is used, and never controlled.
    External(String),
    /// One of the installed software, started by this process.
    Private(Private<S>),
    /// A container, started by this process.
    Container(Container<S>),
}

impl<S: Software> Server<S> {
    /// The value of [`Software::VARIABLE`]; an empty one counts as absent.
    #[must_use]
    pub fn given() -> Option<String> {
        env::var_os(S::VARIABLE)?.into_string().ok().filter(|url| !url.is_empty())
    }

    /// Whether one is available without a download.
    #[must_use]
    pub fn is_at_hand() -> bool {
        Self::given().is_some() || S::installation().is_some()
    }

    /// The one that the variable gives, or a started one.
    pub(crate) async fn find_or_start_with(options: S::Options) -> Result<Self> {
        match Self::given() {
            Some(url) => Ok(Self::External(url)),
            None => Self::start_with(options).await,
        }
    }

    /// Starts the first of these that is available: a private server of the installed software; a container, if a
    /// Docker Engine responds; a private server after installing Debian's package, as root, which is announced. It ends
    /// with this process, and so does its data.
    pub(crate) async fn start_with(options: S::Options) -> Result<Self> {
        if let Some(installation) = S::installation() {
            return Private::start(installation, options).await.map(Self::Private);
        }
        let no_container = match Container::start(options).await {
            Ok(container) => return Ok(Self::Container(container)),
            Err(fault) => fault,
        };
        let no_package = match apt::install(S::NAME, &S::PACKAGE).await {
            Ok(()) => match S::installation() {
                Some(installation) => return Private::start(installation, options).await.map(Self::Private),
                None => anyhow!("{} was installed, but its programs are not where they should be", S::PACKAGE.name),
            },
            Err(fault) => fault,
        };
        bail!(
            "{name} is needed, and none is available. Do one of these:\n\
             - set {variable} to one that runs, such as {example};\n\
             - install it: `sudo apt-get install --no-install-recommends {package}` (Debian, Ubuntu), {downloads};\n\
             - install Docker, with access to its engine.\n\
             What was tried:\n\
             - installed programs: {searched};\n\
             - Docker: {no_container:#};\n\
             - apt-get: {no_package:#}",
            name = S::NAME,
            variable = S::VARIABLE,
            example = S::EXAMPLE,
            package = S::PACKAGE.name,
            downloads = S::DOWNLOADS,
            searched = S::SEARCHED,
        )
    }

    /// Makes sure that tests can start one, and returns where they will get it. Downloads happen here, where their
    /// progress is visible, and not in a test.
    ///
    /// # Errors
    /// None is available; the text says why, and what to do.
    pub async fn prepare(options: S::Options) -> Result<String> {
        if Self::given().is_some() {
            return Ok(format!("{}: the one at {}", S::NAME, S::VARIABLE));
        }
        if S::installation().is_none() {
            eprintln!("{}: not installed here; trying Docker, then Debian's package", S::NAME);
            drop(Self::start_with(options).await?);
        }
        let from = if S::installation().is_some() { "private servers, as installed" } else { "containers" };
        Ok(format!("{}: {from}", S::NAME))
    }

    /// Where to connect.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::External(url) => url.clone(),
            Self::Private(private) => private.url(),
            Self::Container(container) => container.url(),
        }
    }

    /// Ends it normally; its data stays for [`Server::start_again`].
    ///
    /// # Errors
    /// This process did not start it, or it does not end.
    pub async fn stop(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(is_external::<S>()),
            Self::Private(private) => private.end(S::STOP).await,
            Self::Container(container) => container.stop().await,
        }
    }

    /// Ends it like a crash; what it has on disk stays.
    ///
    /// # Errors
    /// This process did not start it, or it does not run.
    pub async fn crash(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(is_external::<S>()),
            Self::Private(private) => private.end(S::CRASH).await,
            Self::Container(container) => container.kill().await,
        }
    }

    /// Starts it again after [`Server::stop`] or [`Server::crash`]: same port, same data. Returns when it accepts
    /// connections.
    ///
    /// # Errors
    /// This process did not start it, or it does not start.
    pub async fn start_again(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(is_external::<S>()),
            Self::Private(private) => private.start_again().await,
            Self::Container(container) => container.start_again().await,
        }
    }

    /// [`Server::stop`], then [`Server::start_again`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// What it has used since its last start; `None` unless it is a private server that runs.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Private(private) => private.usage().ok(),
            Self::External(_) | Self::Container(_) => None,
        }
    }
}

/// The server in this cell, for all tests of this process. The first caller finds or starts it.
///
/// Cancellation safe: another caller then starts it.
pub(crate) async fn shared<S: Software>(
    cell: &'static OnceCell<Result<Server<S>, String>>,
    options: S::Options,
) -> Result<&'static Server<S>> {
    let start = async || Server::find_or_start_with(options).await.map_err(|fault| format!("{fault:#}"));
    cell.get_or_init(start).await.as_ref().map_err(|fault| anyhow!("{fault}")).context(S::NAME)
}

pub(crate) fn is_external<S: Software>() -> anyhow::Error {
    anyhow!("the {} at {} was not started here, so it is not controlled from here", S::NAME, S::VARIABLE)
}
