//! How a command ended, and the exit code that says so.

use std::{io, process::ExitCode};

use crate::problem::Problem;

/// What `--help` says about exit codes; docs/cli.md says the same.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the API refused or failed, or the answer to a question was no
  2    the command line is wrong; nothing was sent
  3    it ended, but not well: an order not delivered everywhere, a redrive
       stopped, cancelled or with new dead letters, an error found by the doctor
  4    the API could not be reached
  5    time ran out before the end was known
  130  interrupted";

/// How a command ended that got its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it should.
    Done,
    /// What was watched or examined did not end well.
    Bad,
    /// Its end was not known in time.
    Pending,
    /// Nobody answered, and that has been said.
    Unanswered,
    /// Whoever was asked said no.
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

/// Says what is left to say, and makes the exit code.
pub(crate) fn exit(ended: Result<Ending, Failure>) -> ExitCode {
    let code = code(&ended);
    match ended {
        Ok(_) | Err(Failure::Interrupted) => {}
        // Whoever read along has seen enough.
        Err(Failure::Output(fault)) if fault.kind() == io::ErrorKind::BrokenPipe => {}
        Err(Failure::Usage(fault)) => eprintln!("error: {fault}\n\nFor more information, try '--help'."),
        Err(fault) => {
            eprintln!("tandem: {fault}");
            if let Failure::Unreachable { .. } = fault {
                eprintln!("  Is it running? Another address is given by --url or TANDEM_URL.");
            }
        }
    }
    ExitCode::from(code)
}

fn code(ended: &Result<Ending, Failure>) -> u8 {
    match ended {
        Ok(Ending::Done) => 0,
        Err(Failure::Output(fault)) if fault.kind() == io::ErrorKind::BrokenPipe => 0,
        Ok(Ending::Declined) | Err(Failure::Refused(_) | Failure::Other(_) | Failure::Output(_)) => 1,
        Err(Failure::Usage(_)) => 2,
        Ok(Ending::Bad) => 3,
        Ok(Ending::Unanswered) | Err(Failure::Unreachable { .. }) => 4,
        Ok(Ending::Pending) => 5,
        Err(Failure::Interrupted) => 130,
    }
}

/// Does the work unless Ctrl-C ends it. What it shows on the terminal is cleared by its own drop.
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
    fn each_exit_code_is_documented() {
        let unreachable = || Failure::Unreachable { server: String::new(), cause: String::new() };
        for (ended, wanted) in [
            (Ok(Ending::Done), 0),
            (Ok(Ending::Declined), 1),
            (Err(Failure::Other(String::new())), 1),
            (Err(Failure::Usage(String::new())), 2),
            (Ok(Ending::Bad), 3),
            (Ok(Ending::Unanswered), 4),
            (Err(unreachable()), 4),
            (Ok(Ending::Pending), 5),
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
