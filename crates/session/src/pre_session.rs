//! Assessment on a connection that has no session yet: the store may be slow, or unavailable.

use std::collections::VecDeque;

use protocol::server_frame::Support;
use protocol::{Country, Language, MessageId, Timestamp, UserText};
use safety::resources;

use crate::assessor::MAX_UNSAVED;
use crate::effect::Effect;
use crate::help::Whereabouts;
use crate::input::Now;
use crate::language::is_english;
use crate::session::Session;
use crate::watch::Watch;

/// Assessment of the messages that arrive before a session is open.
#[derive(Debug, Default)]
pub struct PreSessionWatch {
    watch: Watch,
    /// The last help shown, to be stored by the session.
    shown: VecDeque<Support>,
    place: Whereabouts,
    /// Chosen, or detected from a first message.
    language: Option<Language>,
}

impl PreSessionWatch {
    /// Assesses message `id`, which arrives at `now`. Returns the help that it calls for, and the extra line of the plain
    /// face. `spoken`: the default language.
    pub fn observe(
        &mut self,
        id: &MessageId,
        text: &UserText,
        spoken: Language,
        now: Timestamp,
    ) -> Option<(Support, String)> {
        self.language = self.language.or_else(|| Some(if is_english(text)? { Language::English } else { spoken }));
        let language = self.language.unwrap_or(spoken);
        let need = self.watch.observe(id, text, now)?;
        let place = &self.place;
        let support = place.support(id.clone(), need, language, now);
        if self.shown.len() == MAX_UNSAVED {
            self.shown.pop_front();
        }
        self.shown.push_back(support.clone());
        Some((support, resources::plain_line(&place.select(need, language, now), language)))
    }

    /// Applies the country, the time zone and the language of a client's `hello`, as far as it has them.
    pub fn learn(&mut self, country: Option<Country>, time_zone: Option<&UserText>, language: Option<Language>) {
        self.place = Whereabouts { country, time_zone: time_zone.map(|zone| zone.expose().into()) };
        self.language = language.or(self.language);
    }

    /// Hands over to the session that was opened meanwhile.
    pub fn hand_over(self, session: &mut Session, now: Now, out: &mut Vec<Effect>) {
        if !self.shown.is_empty() {
            session.adopt(now, self.watch, self.shown, out);
        }
    }
}
