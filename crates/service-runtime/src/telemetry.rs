//! Logs and traces of a service.
//!
//! Each log line is one JSON object that begins with `timestamp service level trace_id message`, followed by the
//! fields of the spans around the event and its own. Traces are exported to the OpenTelemetry collector named by `OTEL_EXPORTER_OTLP_ENDPOINT`.
//! Never blocks the program: lines that standard output does not accept are dropped and counted.

mod json_line;
mod log_writer;
mod otel;

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum as _};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

pub use json_line::JsonLines;
pub use log_writer::dropped_lines;
pub use otel::{current_traceparent, set_parent};

use crate::config_error::ConfigError;
use log_writer::LogWriter;

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Coloured text for a terminal.
    Pretty,
}

/// Settings of logs and traces, common to both services.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// Log format, json or pretty [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Minimum level logged, or a filter such as `info,core_server=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// OpenTelemetry collector (OTLP over HTTP) for traces [default: none]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

/// Guard of the telemetry; flushes traces and log lines on drop.
#[derive(Debug)]
#[must_use = "telemetry ends when this is dropped"]
pub struct TelemetryGuard {
    traces: Option<otel::Traces>,
    /// Declared last, so dropped last: the end of the trace export may be logged.
    _lines: log_writer::FlushGuard,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take() {
            traces.shut_down();
        }
    }
}

impl TelemetryArgs {
    /// Adds the problems of these settings.
    pub fn check(&self, problems: &mut ConfigError) {
        problems.check("LOG_LEVEL", filter(&self.log_level));
        problems.check("LOG_FORMAT", self.format(false));
        if let Some(endpoint) = &self.otlp_endpoint
            && !endpoint.starts_with("http://")
            && !endpoint.starts_with("https://")
        {
            problems.add("OTEL_EXPORTER_OTLP_ENDPOINT", "must begin with http:// or https://");
        }
    }

    fn format(&self, terminal: bool) -> Result<LogFormat, String> {
        match self.log_format.as_deref().map(str::trim) {
            None if terminal => Ok(LogFormat::Pretty),
            None => Ok(LogFormat::Json),
            Some(text) => LogFormat::from_str(text, true).map_err(|_| format!("{text:?} is neither json nor pretty")),
        }
    }
}

/// Parses a log filter.
fn filter(text: &str) -> Result<EnvFilter, String> {
    // The library takes `loud` for a target: that one at every level, and nothing else at all.
    let lone_word =
        |part: &&str| part.is_empty() || (!part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err());
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    if let Some(word) = parts.iter().find(|part| lone_word(part)) {
        return Err(format!(
            "{word:?} is neither off, error, warn, info, debug or trace, nor a filter as target=level"
        ));
    }
    EnvFilter::try_new(parts.join(",")).map_err(|error| error.to_string())
}

/// Initialises the telemetry of `service` for the whole process.
///
/// # Errors
///
/// An invalid filter or collector address, or telemetry is already initialised.
pub fn init(service: &'static str, args: &TelemetryArgs) -> Result<TelemetryGuard, ConfigError> {
    let mut problems = ConfigError::default();
    let filter = problems.check("LOG_LEVEL", filter(&args.log_level));
    let terminal = std::io::stdout().is_terminal();
    let format = problems.check("LOG_FORMAT", args.format(terminal));
    let traces = match &args.otlp_endpoint {
        None => None,
        Some(endpoint) => problems.check("OTEL_EXPORTER_OTLP_ENDPOINT", otel::Traces::start(service, endpoint)),
    };
    let (Some(filter), Some(format)) = (filter, format) else { return Err(problems) };
    let report = |lines| tracing::warn!(lines, "log lines dropped: standard output was not read");
    let Some((writer, flush)) = problems.check("LOG_FORMAT", LogWriter::start(std::io::stdout(), report)) else {
        return Err(problems);
    };
    let lines = match format {
        LogFormat::Json => JsonLines::new(service, writer).boxed(),
        LogFormat::Pretty => fmt::layer().with_ansi(terminal).with_target(false).with_writer(writer).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(lines)
        .with(traces.as_ref().map(otel::Traces::layer))
        .with(filter)
        .try_init();
    problems.check("LOG_FORMAT", started);
    if problems.is_empty() { Ok(TelemetryGuard { traces, _lines: flush }) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for good in [
            "info",
            "WARN",
            "off",
            "trace",
            "info,core_server=debug",
            " info , h2=off",
            "core_server=debug",
            "[turn]=debug",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["loud", "info,loud", "core_server", "core=loud", "core=nonsense=", "", "warning"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
