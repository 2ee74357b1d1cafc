//! Pairs messages with their answers.

use std::collections::HashMap;

use protocol::UserText;
use protocol::server_frame::{Entry, Role};

/// A message of the person with its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) seq: u64,
    pub(super) question: UserText,
    pub(super) answer: Option<UserText>,
    /// Help lines were shown for it.
    pub(super) help_lines: bool,
}

/// Pairs every answer with its message, in the order of the messages before `seq`. A message
/// without an answer stands alone; an answer whose message is not among `entries` is omitted.
pub(super) fn exchanges(entries: Vec<Entry>, seq: u64) -> Vec<Exchange> {
    let mut places = HashMap::new();
    let mut exchanges: Vec<Exchange> = Vec::new();
    for entry in entries {
        let known = places.get(&entry.id).copied().and_then(|at: usize| exchanges.get_mut(at));
        match entry.role {
            Role::User if entry.seq < seq => {
                places.entry(entry.id).or_insert(exchanges.len());
                exchanges.push(Exchange { seq: entry.seq, question: entry.text, answer: None, help_lines: false });
            }
            Role::Assistant => known.into_iter().for_each(|exchange| exchange.answer = Some(entry.text.clone())),
            Role::Support => known.into_iter().for_each(|exchange| exchange.help_lines = true),
            Role::User => {}
        }
    }
    exchanges
}
