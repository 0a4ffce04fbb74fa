//! How a command ended, and its exit code.

use std::{io, process::ExitCode};

use crate::problem::Problem;

/// The exit codes, as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    the API refused or failed, or the answer to a prompt was no
  2    the command line is wrong; nothing was sent
  3    finished, but not well: an order not delivered everywhere, a redrive
       stopped, cancelled or with new dead letters, an error found by the doctor
  4    the API could not be reached
  5    time ran out before the result was known
  130  interrupted";

/// How a command ended whose requests were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// What was watched or examined did not end well.
    Unsuccessful,
    /// The result was not known in time.
    Pending,
    /// No process answered; this has been reported.
    NoAnswer,
    /// The answer to a prompt was no.
    Declined,
}

/// Why a command did not get that far.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Refused(Box<Problem>),
    #[error("{server} cannot be reached: {cause}")]
    Unreachable { server: String, cause: String },
    #[error("{0}")]
    Other(String),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => problem.is_temporary(),
            _ => false,
        }
    }

    /// The text without its details.
    pub(crate) fn first_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }
}

/// Prints the failure, if any, and returns the exit code.
pub(crate) fn exit(ended: Result<Exit, Failure>) -> ExitCode {
    let code = code(&ended);
    match ended {
        Ok(_) | Err(Failure::Interrupted) => {}
        // The reader of the pipe has seen enough.
        Err(Failure::Output(fault)) if fault.kind() == io::ErrorKind::BrokenPipe => {}
        Err(Failure::Usage(fault)) => eprintln!("error: {fault}\n\nFor more information, try '--help'."),
        Err(fault) => {
            eprintln!("tandem: {fault}");
            if let Failure::Unreachable { .. } = fault {
                eprintln!("  Is it running? Set another address with --url or TANDEM_URL.");
            }
        }
    }
    ExitCode::from(code)
}

fn code(ended: &Result<Exit, Failure>) -> u8 {
    match ended {
        Ok(Exit::Success) => 0,
        Err(Failure::Output(fault)) if fault.kind() == io::ErrorKind::BrokenPipe => 0,
        Ok(Exit::Declined) | Err(Failure::Refused(_) | Failure::Other(_) | Failure::Output(_)) => 1,
        Err(Failure::Usage(_)) => 2,
        Ok(Exit::Unsuccessful) => 3,
        Ok(Exit::NoAnswer) | Err(Failure::Unreachable { .. }) => 4,
        Ok(Exit::Pending) => 5,
        Err(Failure::Interrupted) => 130,
    }
}

/// Runs until Ctrl-C. Whatever is drawn on the terminal is cleared when it is dropped.
pub(crate) async fn interruptible<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        ended = work => ended,
        caught = tokio::signal::ctrl_c() => match caught {
            Ok(()) => Err(Failure::Interrupted),
            Err(fault) => Err(Failure::Other(format!("cannot wait for Ctrl-C: {fault}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_lists_the_same_exit_codes_as_the_help() {
        let manual = include_str!("../../docs/cli.md");
        for entry in EXIT_CODES.replace("\n       ", " ").lines().skip(1) {
            let (code, meaning) = entry.trim().split_once(' ').unwrap();
            assert!(manual.contains(&format!("\n| {code} | {} |\n", meaning.trim())), "{entry}");
        }
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        let unreachable = || Failure::Unreachable { server: String::new(), cause: String::new() };
        for (ended, wanted) in [
            (Ok(Exit::Success), 0),
            (Ok(Exit::Declined), 1),
            (Err(Failure::Other(String::new())), 1),
            (Err(Failure::Usage(String::new())), 2),
            (Ok(Exit::Unsuccessful), 3),
            (Ok(Exit::NoAnswer), 4),
            (Err(unreachable()), 4),
            (Ok(Exit::Pending), 5),
            (Err(Failure::Interrupted), 130),
        ] {
            assert_eq!(code(&ended), wanted);
            let begins = format!("\n  {wanted} ");
            assert!(EXIT_CODES.contains(&begins), "{wanted}");
        }
        assert_eq!(code(&Err(io::Error::from(io::ErrorKind::BrokenPipe).into())), 0);
        assert_eq!(code(&Err(io::Error::from(io::ErrorKind::StorageFull).into())), 1);
    }
}
