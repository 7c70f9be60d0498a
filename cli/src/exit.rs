//! How a command ends, in exit codes and sentences.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | an error |
//! | 2 | the command line, its inputs or the configuration are wrong |
//! | 3 | the run was cancelled |
//! | 5 | the run failed |
//! | 130, 143 | interrupted, terminated |

use std::io;
use std::process::ExitCode;

use aquatint_engine::EngineError;
use aquatint_engine::library::LibraryError;
use aquatint_engine::workflow::Diagnostics;

use crate::output;

/// What a command returns.
pub(crate) type Result<T = (), E = Exit> = std::result::Result<T, E>;

/// Why a command did not simply end well.
#[derive(Debug)]
pub(crate) enum Exit {
    /// Something is in the way; the sentence says what, and what helps.
    Error(String),
    /// What was asked for makes no sense.
    Usage(String),
    /// A definition has mistakes; they are shown in full.
    Definition(Diagnostics),
    /// Already told, as the command's own output: only the code is left to say.
    Told(u8),
    /// Nobody reads our output any more, as in `aquatint runs | head`.
    PipeClosed,
}

/// The run was cancelled.
pub(crate) const CANCELLED: u8 = 3;
/// The run failed.
pub(crate) const RUN_FAILED: u8 = 5;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
/// SIGTERM or SIGHUP.
pub(crate) const TERMINATED: u8 = 143;

impl Exit {
    /// An error about a file or folder.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::Error(format!("cannot {what} {}: {error}", path.display()))
    }

    /// Says what there is to say, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Error(message) => {
                output::error(&message);
                ExitCode::from(1)
            }
            Self::Usage(message) => {
                output::error(&message);
                ExitCode::from(2)
            }
            Self::Definition(diagnostics) => {
                output::note(diagnostics.render(output::stderr_has_color()).trim_end());
                let (file, count) = (
                    diagnostics.iter().next().map_or("", |d| d.file.as_str()),
                    diagnostics.len(),
                );
                output::error(&format!(
                    "{file} has {}",
                    output::count(count as u64, "mistake")
                ));
                ExitCode::from(1)
            }
            Self::Told(code) => ExitCode::from(code),
            Self::PipeClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<EngineError> for Exit {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Library(error) => error.into(),
            error @ (EngineError::Inputs { .. } | EngineError::ConcurrencyKey { .. }) => {
                Self::Usage(error.to_string())
            }
            other => Self::Error(other.to_string()),
        }
    }
}

impl From<LibraryError> for Exit {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Invalid(diagnostics) => Self::Definition(diagnostics),
            other => Self::Error(other.to_string()),
        }
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Error(format!("cannot write the output: {error}"))
        }
    }
}
