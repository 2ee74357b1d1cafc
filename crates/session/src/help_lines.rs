//! Help lines as a client asks for them.

use protocol::server_frame::{Entry, Help};
use protocol::{Language, Timestamp};
use safety::resources::{self, Need};

use crate::conversation::Conversation;
use crate::help::Whereabouts;
use crate::watch::need_of;

/// Help lines for the person's place and language, and for the risk in force.
#[derive(Debug)]
pub struct HelpLines<'a> {
    conversation: &'a Conversation,
}

impl<'a> HelpLines<'a> {
    pub(crate) fn new(conversation: &'a Conversation) -> Self {
        Self { conversation }
    }

    /// Returns the line of help for a person who leaves while a level is remembered.
    pub fn at_parting(&self, now: Timestamp) -> Option<String> {
        let need = self.conversation.assessor.need_in_force(now)?;
        Some(self.plain_line(need, now))
    }

    /// Returns all help lines for the remembered need, as lines of the plain face.
    pub fn on_request(&self, now: Timestamp) -> Vec<String> {
        let profile = &self.conversation.profile;
        let need = self.conversation.assessor.watch.standing_need(now);
        resources::plain_lines(&profile.whereabouts().select(need, profile.language(), now), profile.language())
    }

    /// Returns the extra line of the plain face for `help`.
    pub fn of(&self, help: &Help, now: Timestamp) -> String {
        self.plain_line(need_of(help, self.conversation.assessor.watch.is_minor()), now)
    }

    /// Adds help lines to stored help: the current ones, because the data changes.
    pub fn attach(&self, entry: &mut Entry, now: Timestamp) {
        self.conversation.attach_resources(entry, now);
    }

    fn plain_line(&self, need: Need, now: Timestamp) -> String {
        let profile = &self.conversation.profile;
        resources::plain_line(&profile.whereabouts().select(need, profile.language(), now), profile.language())
    }
}

/// Returns all help lines as lines of the plain face, without a session.
pub fn crisis_lines(language: Language, now: Timestamp) -> Vec<String> {
    let need = Need { level: safety::Level::Concern, ..Need::default() };
    resources::plain_lines(&Whereabouts::default().select(need, language, now), language)
}
