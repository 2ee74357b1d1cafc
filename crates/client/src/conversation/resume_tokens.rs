//! The secrets that resume sessions: the current one, and earlier ones that are kept.

use protocol::UserText;

/// Most earlier tokens that are kept; beyond them the oldest is dropped.
pub(crate) const MAX_EARLIER: usize = 32;
/// Earlier tokens that are offered on one connection: each costs a round trip before the welcome.
const MAX_OFFERED: usize = 8;

/// A list of resume tokens that loses none by a server's refusal: the token of a session that the
/// server does not know is offered again on the next connection, because a server may run with the
/// wrong database for a while.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResumeTokens {
    current: Option<UserText>,
    /// Newest first, without the current one.
    earlier: Vec<UserText>,
    /// How many of them this connection has seen refused, the current one first.
    refused: usize,
}

impl ResumeTokens {
    #[cfg(test)]
    pub(crate) fn new(current: Option<UserText>, earlier: Vec<UserText>) -> Self {
        let mut tokens = Self { current, earlier, refused: 0 };
        tokens.bound();
        tokens
    }

    pub(crate) fn set_current(&mut self, token: UserText) {
        self.current = Some(token);
        self.bound();
    }

    pub(crate) fn set_earlier(&mut self, earlier: Vec<UserText>) {
        self.earlier = earlier;
        self.bound();
    }

    pub(crate) fn current(&self) -> Option<&UserText> {
        self.current.as_ref()
    }

    pub(crate) fn earlier(&self) -> &[UserText] {
        &self.earlier
    }

    /// A new connection offers the current token first.
    pub(crate) fn rewind(&mut self) {
        self.refused = 0;
    }

    /// The token of the next `hello`; `None` asks for a new session.
    pub(crate) fn offered(&self) -> Option<&UserText> {
        // Without a current session a new one is wanted: earlier ones are only a way back from a loss.
        let current = self.current.as_ref()?;
        let earlier = self.earlier.iter().take(MAX_OFFERED);
        std::iter::once(current).chain(earlier).nth(self.refused)
    }

    /// Whether the `hello` of this connection resumes the current session.
    pub(crate) fn offers_current(&self) -> bool {
        self.current.is_some() && self.refused == 0
    }

    /// The server does not know the offered token.
    pub(crate) fn refused(&mut self) {
        self.refused += 1;
    }

    /// A session is open under `token`; the former current one becomes the newest earlier one.
    pub(crate) fn welcomed(&mut self, token: UserText) {
        let before = self.current.replace(token);
        self.earlier.splice(0..0, before);
        self.refused = 0;
        self.bound();
    }

    fn bound(&mut self) {
        let mut seen: Vec<UserText> = self.current.iter().cloned().collect();
        self.earlier.retain(|token| {
            let new = !seen.contains(token);
            if new {
                seen.push(token.clone());
            }
            new
        });
        self.earlier.truncate(MAX_EARLIER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[UserText]) -> Vec<&str> {
        tokens.iter().map(UserText::expose).collect()
    }

    /// Tokens offered on one connection to a server that knows none, up to the wish for a new session.
    fn offers(tokens: &mut ResumeTokens) -> Vec<String> {
        tokens.rewind();
        let next = |tokens: &mut ResumeTokens| {
            let offered = tokens.offered().map(|token| token.expose().to_owned());
            tokens.refused();
            offered
        };
        std::iter::from_fn(|| next(tokens)).collect()
    }

    #[test]
    fn a_refusal_loses_no_token() {
        let new = |text: &str| UserText::new(text);
        let mut tokens = ResumeTokens::new(Some(new("a")), vec![new("b"), new("a"), new("b"), new("c")]);
        assert_eq!(offers(&mut tokens), ["a", "b", "c"]);
        tokens.welcomed(new("d"));
        assert_eq!((tokens.current().unwrap().expose(), texts(tokens.earlier())), ("d", vec!["a", "b", "c"]));
        // The right database is back: it knows `b`.
        tokens.welcomed(new("b"));
        assert_eq!((tokens.current().unwrap().expose(), texts(tokens.earlier())), ("b", vec!["d", "a", "c"]));
        tokens.welcomed(new("b"));
        assert_eq!(texts(tokens.earlier()), ["d", "a", "c"]);
    }

    #[test]
    fn the_list_and_what_is_offered_of_it_are_bounded() {
        let mut tokens = ResumeTokens::default();
        assert_eq!(offers(&mut tokens), Vec::<String>::new());
        (0..100).for_each(|number| tokens.welcomed(UserText::new(number.to_string())));
        assert_eq!(tokens.earlier().len(), MAX_EARLIER);
        assert_eq!(tokens.earlier()[0].expose(), "98");
        assert_eq!(offers(&mut tokens).len(), 1 + MAX_OFFERED);
    }

    #[test]
    fn earlier_tokens_alone_are_not_offered() {
        let mut tokens = ResumeTokens::new(None, vec![UserText::new("a")]);
        assert_eq!(offers(&mut tokens), Vec::<String>::new());
        tokens.welcomed(UserText::new("b"));
        assert_eq!(texts(tokens.earlier()), ["a"]);
    }
}
