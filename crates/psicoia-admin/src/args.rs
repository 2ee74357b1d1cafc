//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use url::Url;

use crate::endpoint::Endpoint;

/// Shows and checks a running PsicoIA.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Top(TopArgs),
    Doctor(DoctorArgs),
}

/// Admin ports, the same for both commands.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// Admin ports of all services (`ADMIN_HOST`, `ADMIN_PORT`); a name with several addresses is several services.
    #[arg(long = "admin", value_name = "HOST:PORT", value_delimiter = ',', default_values = ["127.0.0.1:9101", "127.0.0.1:9102"])]
    pub(crate) endpoints: Vec<Endpoint>,
    /// Seconds until a service counts as unreachable.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// Shows traffic, times, queue, breakers, errors, help shown and cores of all services.
///
/// Keys: left and right choose the column to sort by, r reverses, space freezes, q ends.
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Seconds between two scrapes. Rates and percentiles are those of the last 30 scrapes.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Scrape twice, an interval apart, print the figures once and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// With --once: print one line of JSON.
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

/// Checks a running installation from outside, and says what to do.
///
/// Exit code: 0 all is well, 1 a warning, 2 a failure, 64 the command line cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Address of the page, as people open it: through the balancer.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8765/")]
    pub(crate) url: Url,
    /// Address of the line protocol; `none` where it is not published.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5001")]
    pub(crate) core: String,
    /// Folder on the disk of the database, if it is of this machine.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) disk: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|it| Duration::from_millis(50) <= *it).ok_or_else(|| "a number of seconds, 0.05 at least".to_owned())
}
