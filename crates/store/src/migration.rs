//! Schema migrations, common to both databases.
//!
//! The files in `migrations/` are applied in order, each once. An applied file must never be edited, not
//! even its comments: its checksum is stored, and a core refuses a database with another one.

use refinery::error::{Error, Kind};
use refinery::{Report, Runner};

use super::error::OpenError;

/// Makes `runner` refuse a database whose applied migrations are unknown or differ.
pub(super) fn strict(runner: Runner) -> Runner {
    runner.set_abort_missing(true).set_abort_divergent(true)
}

/// Converts the result of a migration run; recognizes the schema of a later version of this program.
pub(super) fn outcome(runner: &Runner, database: String, ran: Result<Report, Error>) -> Result<(), OpenError> {
    let Err(error) = ran else { return Ok(()) };
    let known = runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0);
    Err(match error.kind() {
        // An applied migration beyond the last known one: a later version was here.
        Kind::MissingVersion(migration) if known < i64::from(migration.version()) => {
            OpenError::Newer { database, found: i64::from(migration.version()), known }
        }
        _ => OpenError::Migration { database, source: Box::new(error) },
    })
}
