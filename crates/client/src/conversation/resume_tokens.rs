//! Resume tokens of the current session and of earlier ones.

use protocol::UserText;

use super::Conversation;

/// Bound on earlier tokens kept; the oldest is dropped.
pub(crate) const MAX_EARLIER: usize = 32;
/// Bound on earlier tokens offered per connection: each costs a round trip before `welcome`.
const MAX_OFFERED: usize = 8;

/// List of resume tokens. A server's refusal drops none: an unknown token is offered again on the
/// next connection, because the server may run with another database for a while.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResumeTokens {
    current: Option<UserText>,
    /// Newest first, without the current one.
    earlier: Vec<UserText>,
    /// Tokens refused on this connection, the current one first.
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

    /// Offers `token` behind the current one: it may be the current one by now.
    pub(crate) fn add_candidate(&mut self, token: UserText) {
        self.earlier.insert(0, token);
        self.bound();
    }

    /// Makes `token` the current one in place of the former, which is dead.
    pub(crate) fn replaced(&mut self, token: UserText) {
        self.current = Some(token);
        self.bound();
    }

    pub(crate) fn current(&self) -> Option<&UserText> {
        self.current.as_ref()
    }

    pub(crate) fn earlier(&self) -> &[UserText] {
        &self.earlier
    }

    /// Restarts with the current token, for a new connection.
    pub(crate) fn rewind(&mut self) {
        self.refused = 0;
    }

    /// Token for the next `hello`; `None` requests a new session.
    pub(crate) fn offered(&self) -> Option<&UserText> {
        // No current token means that a new session is wanted: earlier tokens only recover from a loss.
        let current = self.current.as_ref()?;
        let earlier = self.earlier.iter().take(MAX_OFFERED);
        std::iter::once(current).chain(earlier).nth(self.refused)
    }

    /// True if the `hello` of this connection offers the current token.
    pub(crate) fn offers_current(&self) -> bool {
        self.current.is_some() && self.refused == 0
    }

    /// Advances to the next token after a refusal.
    pub(crate) fn refused(&mut self) {
        self.refused += 1;
    }

    /// Makes `token` the current one; the former becomes the newest earlier one.
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

impl Conversation {
    /// Offers `token` behind the current one from now on.
    pub(crate) fn add_token_candidate(&mut self, token: UserText) {
        self.options.tokens.add_candidate(token);
    }

    /// Makes `token` the current one in place of the former, which is dead.
    pub(crate) fn replace_token(&mut self, token: UserText) {
        self.options.tokens.replaced(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[UserText]) -> Vec<&str> {
        tokens.iter().map(UserText::expose).collect()
    }

    /// Tokens offered on one connection to a server that refuses all.
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
    fn refusal_keeps_tokens() {
        let new = |text: &str| UserText::new(text);
        let mut tokens = ResumeTokens::new(Some(new("a")), vec![new("b"), new("a"), new("b"), new("c")]);
        assert_eq!(offers(&mut tokens), ["a", "b", "c"]);
        tokens.welcomed(new("d"));
        assert_eq!((tokens.current().unwrap().expose(), texts(tokens.earlier())), ("d", vec!["a", "b", "c"]));
        // The original database is back and knows `b`.
        tokens.welcomed(new("b"));
        assert_eq!((tokens.current().unwrap().expose(), texts(tokens.earlier())), ("b", vec!["d", "a", "c"]));
        tokens.welcomed(new("b"));
        assert_eq!(texts(tokens.earlier()), ["d", "a", "c"]);
    }

    #[test]
    fn bounds_kept_and_offered_tokens() {
        let mut tokens = ResumeTokens::default();
        assert_eq!(offers(&mut tokens), Vec::<String>::new());
        (0..100).for_each(|number| tokens.welcomed(UserText::new(number.to_string())));
        assert_eq!(tokens.earlier().len(), MAX_EARLIER);
        assert_eq!(tokens.earlier()[0].expose(), "98");
        assert_eq!(offers(&mut tokens).len(), 1 + MAX_OFFERED);
    }

    #[test]
    fn offers_no_earlier_token_without_a_current_one() {
        let mut tokens = ResumeTokens::new(None, vec![UserText::new("a")]);
        assert_eq!(offers(&mut tokens), Vec::<String>::new());
        tokens.welcomed(UserText::new("b"));
        assert_eq!(texts(tokens.earlier()), ["a"]);
    }
}
