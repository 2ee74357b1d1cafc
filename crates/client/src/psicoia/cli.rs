//! Command-line arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use client::{Address, Builder, Client, Country, Locale, UserText};
use protocol::Language;

use crate::exit::Exit;
use crate::help;
use crate::session_file::SessionFile;
use crate::strings::{self, Strings};

const AFTER_HELP: &str = "\
In a terminal you talk; Ctrl-C stops an answer, and leaves at the empty prompt. From a pipe each line
is a message; the program ends when all are answered. What the server refuses for now is sent again when
it says. With --json each event is one line of JSON on standard output, with the fields of
proto-line/SPEC.md, and each line of input a message; it is not sent again when the event `refused` comes.

Exit codes: 0 good, 1 other, 2 wrong usage, 66 the session to be resumed is unknown, 69 the server
cannot be reached, 73 the session file cannot be used, 74 input or output failed, 75 a message from
the pipe has no answer, with --json too (or the server ended the conversation before the input ended), 77 the server does not let us in.";

/// Attempts per message refused with a retryable code: some minutes in total with the default rate window.
const SEND_ATTEMPTS: u32 = 6;

/// Talks to PsicoIA.
#[derive(Debug, Parser)]
#[command(name = "psicoia", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[arg(
        help = "Where the server is: host:port or tls://host:port (core), ws://host:port/ws or wss://host/ws (gateway)",
        env = "PSICOIA_ADDRESS",
        default_value = "tcp://127.0.0.1:5001"
    )]
    address: Address,
    /// Secret of the session to go on with. Others may see it in the list of processes: better in the variable
    #[arg(long, env = "PSICOIA_RESUME", hide_env_values = true, value_name = "TOKEN", value_parser = secret)]
    resume: Option<UserText>,
    #[arg(
        help = "File that holds the session's secret, and those of earlier ones; by default one for each address below $XDG_STATE_HOME/psicoia",
        long,
        value_name = "FILE",
        conflicts_with = "resume"
    )]
    session_file: Option<PathBuf>,
    /// Begin a new session and remember that one; the secret of the one before stays in the session file
    #[arg(long, conflicts_with = "resume")]
    new: bool,
    /// Begin a session that is not stored: it ends soon after you leave, and when the server ends; no secret is kept
    #[arg(long, conflicts_with_all = ["resume", "session_file", "new"])]
    no_keep: bool,
    #[arg(help = "es or en, also with a region, such as es-AR. By default that of LC_ALL or LANG", long)]
    locale: Option<Locale>,
    #[arg(
        help = "The country you are in, by its code of two letters, such as AR: picks the help lines",
        long,
        env = "PSICOIA_COUNTRY"
    )]
    country: Option<Country>,
    /// Write events as lines of JSON
    #[arg(long)]
    json: bool,
    #[arg(help = "No colours. Nor are there any with NO_COLOR, or if the output is no terminal", long)]
    no_color: bool,
    /// Attempts to connect before giving up
    #[arg(long, default_value_t = 1, hide = true)]
    attempts: u32,
    #[arg(long = "env-no-color", env = "NO_COLOR", hide = true, default_value = "")]
    env_no_color: String,
    #[arg(long = "env-lc-all", env = "LC_ALL", hide = true, default_value = "")]
    env_lc_all: String,
    #[arg(long = "env-lang", env = "LANG", hide = true, default_value = "")]
    env_lang: String,
    #[arg(long = "env-state", env = "XDG_STATE_HOME", hide = true)]
    env_state: Option<PathBuf>,
}

fn secret(text: &str) -> Result<UserText, String> {
    if text.trim().is_empty() { Err("an empty secret".to_owned()) } else { Ok(UserText::new(text.trim())) }
}

/// Validated arguments.
#[derive(Debug)]
pub(crate) struct Setup {
    address: Address,
    resume: Option<UserText>,
    new: bool,
    no_keep: bool,
    locale: Locale,
    pub(crate) country: Option<Country>,
    pub(crate) json: bool,
    pub(crate) color: bool,
    attempts: u32,
    /// `None` with `--resume` or `--no-keep`, or without a home directory.
    session_file: Option<SessionFile>,
}

impl Setup {
    pub(crate) fn new(args: Args) -> Self {
        let locale = args.locale.unwrap_or_else(|| environment_locale([&args.env_lc_all, &args.env_lang]));
        let session_file = if args.resume.is_some() || args.no_keep {
            None
        } else {
            args.session_file.map(SessionFile::at).or_else(|| SessionFile::of(&args.address, args.env_state))
        };
        Self {
            resume: args.resume,
            new: args.new,
            no_keep: args.no_keep,
            locale,
            country: args.country,
            color: !args.no_color && args.env_no_color.is_empty() && crate::at_terminal(),
            json: args.json,
            attempts: args.attempts,
            session_file,
            address: args.address,
        }
    }

    /// True with a person at the terminal, false for a pipe, a file or `--json`.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.json && crate::at_terminal()
    }

    pub(crate) fn language(&self) -> Language {
        self.locale.language()
    }

    pub(crate) fn strings(&self) -> &'static Strings {
        strings::of(self.language())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn builder(&self) -> Result<Builder, Exit> {
        let name = concat!("psicoia ", env!("CARGO_PKG_VERSION"));
        let builder = Client::builder(self.address.clone()).locale(self.locale).client_name(name);
        let builder = self.country.into_iter().fold(builder, Builder::country);
        let builder = help::zone().into_iter().fold(builder, Builder::time_zone);
        let builder = builder.initial_attempts(self.attempts).connect_timeout(Duration::from_secs(10));
        // A program reads the refusal and decides by itself.
        let builder = builder.send_attempts(if self.json { 1 } else { SEND_ATTEMPTS });
        if let Some(token) = &self.resume {
            return Ok(builder.resume(token.expose()));
        }
        let builder = if self.no_keep { builder.without_keeping() } else { builder };
        // The person did not name this session, so another one may replace it.
        let builder = builder.allow_new_session(true);
        let Some(tokens) = self.session_file.as_ref().map(SessionFile::read).transpose()? else { return Ok(builder) };
        Ok(match tokens.current.clone().filter(|_| !self.new) {
            Some(token) => builder.resume(token.expose()).earlier_tokens(tokens.earlier().map(UserText::expose)),
            None => builder,
        })
    }

    /// Stores the session's token for the next start.
    pub(crate) fn remember(&self, client: &Client) -> Result<(), Exit> {
        match (&self.session_file, client.resume_token()) {
            (Some(file), Some(token)) => file.keep(token),
            _ => Ok(()),
        }
    }

    /// Removes the token of the erased session.
    pub(crate) fn forget(&self, client: &Client) -> Result<(), Exit> {
        match (&self.session_file, client.resume_token()) {
            (Some(file), Some(token)) => file.drop_erased(token),
            _ => Ok(()),
        }
    }
}

/// Parses the first non-empty value (`es_AR.UTF-8` and the like); the default locale otherwise.
fn environment_locale(values: [&str; 2]) -> Locale {
    let said = values.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    said.split(['.', '@']).next().and_then(|tag| tag.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_valid() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn reads_locale_from_environment() {
        for (values, want) in [
            (["", "es_AR.UTF-8"], "es-AR"),
            (["en_US.UTF-8", "es_AR.UTF-8"], "en-US"),
            (["", "C.UTF-8"], "es"),
            (["", ""], "es"),
            (["de_DE@euro", ""], "es"),
        ] {
            assert_eq!(environment_locale(values).to_string(), want, "{values:?}");
        }
    }
}
