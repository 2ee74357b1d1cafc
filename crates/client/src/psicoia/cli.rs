//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use client::{Address, Builder, Client, Country, Locale, UserText};
use protocol::Language;

use crate::exit::Exit;
use crate::help;
use crate::session_file::SessionFile;
use crate::words::{self, Words};

const AFTER_HELP: &str = "\
In a terminal you talk; Ctrl-C stops an answer, and leaves at the empty prompt. From a pipe each line
is a message; the program ends when all are answered. What the server refuses for now is sent again when
it says. With --json each event is one line of JSON on standard output, with the fields of
proto-line/SPEC.md, and each line of input a message; it is not sent again when the event `refused` comes.

Exit codes: 0 good, 1 other, 2 wrong usage, 66 the session to be resumed is unknown, 69 the server
cannot be reached, 73 the session file cannot be used, 74 input or output failed, 75 a message from
the pipe has no answer, with --json too (or the server ended the conversation before the input ended), 77 the server does not let us in.";

/// How often a message is sent that the server wants to have later: up to some minutes in all.
const TRIES: u32 = 6;

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

/// What the arguments mean.
#[derive(Debug)]
pub(crate) struct Setup {
    address: Address,
    resume: Option<UserText>,
    new: bool,
    locale: Locale,
    pub(crate) country: Option<Country>,
    pub(crate) json: bool,
    pub(crate) color: bool,
    attempts: u32,
    /// Where the session is remembered; `None` with `--resume`, or without a home.
    session_file: Option<SessionFile>,
}

impl Setup {
    pub(crate) fn new(args: Args) -> Self {
        let locale = args.locale.unwrap_or_else(|| environment_locale([&args.env_lc_all, &args.env_lang]));
        let session_file = if args.resume.is_some() {
            None
        } else {
            args.session_file.map(SessionFile::at).or_else(|| SessionFile::of(&args.address, args.env_state))
        };
        Self {
            resume: args.resume,
            new: args.new,
            locale,
            country: args.country,
            color: !args.no_color && args.env_no_color.is_empty() && crate::at_terminal(),
            json: args.json,
            attempts: args.attempts,
            session_file,
            address: args.address,
        }
    }

    /// Whether a person is to be talked to, rather than a program or a file.
    pub(crate) fn is_talk(&self) -> bool {
        !self.json && crate::at_terminal()
    }

    pub(crate) fn language(&self) -> Language {
        self.locale.language()
    }

    pub(crate) fn words(&self) -> &'static Words {
        words::of(self.language())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn builder(&self) -> Result<Builder, Exit> {
        let name = concat!("psicoia ", env!("CARGO_PKG_VERSION"));
        let builder = Client::builder(self.address.clone()).locale(self.locale).client_name(name);
        let builder = self.country.into_iter().fold(builder, Builder::country);
        let builder = help::zone().into_iter().fold(builder, Builder::time_zone);
        let builder = builder.first_attempts(self.attempts).connect_limit(Duration::from_secs(10));
        // A program reads why, and decides for itself.
        let builder = builder.tries(if self.json { 1 } else { TRIES });
        if let Some(token) = &self.resume {
            return Ok(builder.resume(token.expose()));
        }
        // This session was not named by the person: if the server does not know it, another one will do.
        let builder = builder.begin_anew(true);
        let Some(tokens) = self.session_file.as_ref().map(SessionFile::read).transpose()? else { return Ok(builder) };
        Ok(match tokens.current.clone().filter(|_| !self.new) {
            Some(token) => builder.resume(token.expose()).earlier(tokens.earlier().map(UserText::expose)),
            None => builder,
        })
    }

    /// Keeps the session for the next start.
    pub(crate) fn remember(&self, client: &Client) -> Result<(), Exit> {
        match (&self.session_file, client.resume_token()) {
            (Some(file), Some(token)) => file.keep(token),
            _ => Ok(()),
        }
    }

    /// The client's session is erased on the server.
    pub(crate) fn forget(&self, client: &Client) -> Result<(), Exit> {
        match (&self.session_file, client.resume_token()) {
            (Some(file), Some(token)) => file.drop_erased(token),
            _ => Ok(()),
        }
    }
}

/// The locale of `es_AR.UTF-8` and the like, of the first that says something.
fn environment_locale(values: [&str; 2]) -> Locale {
    let said = values.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    said.split(['.', '@']).next().and_then(|tag| tag.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn locales_of_the_environment() {
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
