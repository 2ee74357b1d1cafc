//! Bringing the tables up to date, the same way for both databases.
//!
//! Migrations are the files in `migrations/`, in order, each applied once. What was applied is
//! never edited: a change of the tables is a new file.

use refinery::error::{Error, Kind};
use refinery::{Report, Runner};

use super::OpenError;

/// Makes `runner` refuse a database with migrations this program does not have.
pub(super) fn strict(runner: Runner) -> Runner {
    runner.set_abort_missing(true).set_abort_divergent(true)
}

/// What a run of `runner` on `database` means. Says plainly if a later version of this program
/// was here before.
pub(super) fn outcome(runner: &Runner, database: String, ran: Result<Report, Error>) -> Result<(), OpenError> {
    let Err(error) = ran else { return Ok(()) };
    let known = runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0);
    Err(match error.kind() {
        // A migration that was applied and that this program does not have: it is from a later version.
        Kind::MissingVersion(migration) if known < i64::from(migration.version()) => {
            OpenError::Newer { database, found: i64::from(migration.version()), known }
        }
        _ => OpenError::Migration { database, source: Box::new(error) },
    })
}
