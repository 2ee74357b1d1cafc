//! Addresses of the web and of mail that are in no data file.

use super::Found;
use super::lexer::{fold, is_invisible, punctuation};
use super::table::ADDRESS;
use crate::resources::is_known_host;

/// The beginning of a longer one is judged.
const MAX_TOKEN: usize = 120;
const OPENINGS: [&str; 3] = ["www.", "http://", "https://"];

/// Text without blanks that may be an address.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// In lower case.
    token: String,
    start: usize,
    /// From here on it is held back.
    held: Option<usize>,
    /// Only the first letter after its last dot is a capital: a sentence begins there.
    sentence: bool,
}

impl Links {
    /// Reads the character at byte `at`, or the end of the answer.
    pub(super) fn read(&mut self, char: Option<char>, at: usize) -> Option<Found> {
        let Some(char) = char else { return self.end() };
        if is_invisible(char) {
            return None;
        }
        let mut found = None;
        let plain = punctuation(char);
        for folded in plain.into_iter().chain(fold(char).filter(|_| plain.is_none())) {
            found = found.or(self.take(folded, char, at));
        }
        found
    }

    pub(super) fn hold(&self) -> usize {
        let opens = OPENINGS.iter().any(|opening| opening.starts_with(&self.token) || self.token.starts_with(opening));
        let opens = (opens && !self.token.is_empty()).then_some(self.start);
        opens.or(self.held).unwrap_or(usize::MAX)
    }

    fn take(&mut self, folded: char, char: char, at: usize) -> Option<Found> {
        if !(folded.is_alphanumeric() || "-_.@/:%+?=&~#".contains(folded)) {
            return self.end();
        }
        if self.token.is_empty() {
            self.start = at;
        }
        let begins_label = folded.is_alphabetic() && self.token.ends_with('.') && self.token.len() > 1;
        if folded == '@' || begins_label {
            self.held.get_or_insert(at);
        }
        if begins_label || char.is_uppercase() {
            self.sentence = begins_label && char.is_uppercase();
        }
        if self.token.len() < MAX_TOKEN {
            self.token.push(folded);
        }
        None
    }

    fn end(&mut self) -> Option<Found> {
        let (hold, start) = (self.hold(), self.start);
        let sentence = std::mem::take(&mut self.sentence);
        self.held = None;
        let token = std::mem::take(&mut self.token);
        let bad = is_address(token.trim_end_matches(['.', ':', '?', '/', '-', '_']), sentence);
        (bad && hold < usize::MAX).then_some(Found { start, hold, rule: ADDRESS })
    }
}

/// Returns `true` if it is an address that the data does not have.
fn is_address(token: &str, sentence: bool) -> bool {
    let (scheme, rest) = token.split_once("://").map_or((false, token), |(_, rest)| (true, rest));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, host)) = host.rsplit_once('@') {
        // "tod@s" is a word; "@ayuda" is an account.
        return scheme || is_domain(host) || user.is_empty() && host.chars().filter(|c| c.is_alphabetic()).count() > 2;
    }
    let host = host.split(':').next().unwrap_or_default();
    let (www, host) = host.strip_prefix("www.").map_or((false, host), |host| (true, host));
    !host.is_empty() && (scheme || www || is_domain(host) && !sentence) && !is_known_host(host)
}

fn is_domain(host: &str) -> bool {
    let mut labels = host.rsplit('.');
    let top = labels.next().unwrap_or_default();
    labels.next().is_some_and(|name| !name.is_empty()) && TOPS.contains(&top)
}

#[rustfmt::skip]
const TOPS: &[&str] = &[
    "com", "org", "net", "info", "edu", "gov", "gob", "gub", "mil", "int", "biz", "app", "chat", "help", "health", "care",
    "support", "online", "site", "website", "web", "page", "link", "club", "xyz", "life", "live", "world", "center",
    "foundation", "ngo", "ong", "io", "ai", "me", "tv", "cat", "gal", "eus", "lat", "ly", "gl", "ar", "bo", "br", "cl", "co",
    "cr", "cu", "do", "ec", "es", "gt", "hn", "mx", "ni", "pa", "pe", "pr", "py", "sv", "uy", "ve", "us", "uk", "ca",
    "au", "nz", "ie", "eu", "de", "fr", "it", "pt",
];
