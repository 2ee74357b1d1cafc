//! Provider quirks: unsupported parts of a request, learnt from rejections.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::LlmError;
use super::error_body::{Cause, ErrorBody};

/// Limit on the immediate retries of a request after a lesson: one for each step of [`Quirks`].
pub(super) const MAX_LESSONS: usize = 5;

/// Parameter that limits the answer, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum TokenLimit {
    /// `max_tokens`: most servers.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: OpenAI's newer models.
    MaxCompletionTokens,
    /// None: the core's own limit on characters remains.
    Unsent,
}

/// Adaptations of the requests to a provider. Fields only ever grow, so that retries stay bounded even with a provider
/// that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Quirks {
    pub(super) token_limit: TokenLimit,
    pub(super) no_temperature: bool,
    pub(super) no_stream_options: bool,
    /// Merge the instructions into the first user message.
    pub(super) no_system_role: bool,
}

/// Known quirks of one provider, kept until the process ends.
#[derive(Debug, Default)]
pub(super) struct LearntQuirks(
    /// Copied out for each request, so that it is never held across a call.
    Mutex<Quirks>,
);

impl LearntQuirks {
    /// Current quirks.
    pub(super) fn current(&self) -> Quirks {
        *self.quirks()
    }

    /// Learns from `error`, the response to a request with the quirks `sent`. True if a retry with the current quirks
    /// avoids the rejected part.
    pub(super) fn learn(&self, sent: Quirks, error: &LlmError) -> bool {
        let LlmError::Status { status, body, .. } = error else { return false };
        let Some(next) = sent.after(*status, body) else { return false };
        let mut known = self.quirks();
        // Merged, not replaced: a concurrent call may have learnt another quirk.
        *known = known.and(next);
        true
    }

    fn quirks(&self) -> MutexGuard<'_, Quirks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quirks {
    /// Quirks that avoid the rejected part; `None` if the body names no part that was sent.
    fn after(self, status: u16, body: &ErrorBody) -> Option<Self> {
        // An overlong request names its parameters too, and would not be shorter without them.
        let is_about_parameters = matches!(status, 400 | 422) && matches!(body.cause, Cause::Other | Cause::Model);
        let mut next = self;
        if is_about_parameters {
            next.no_stream_options |= refuses(body, "stream_options");
            next.no_temperature |= refuses(body, "temperature");
            next.token_limit = match self.token_limit {
                TokenLimit::MaxTokens if refuses(body, "max_tokens") && !is_too_high(body) => {
                    TokenLimit::MaxCompletionTokens
                }
                TokenLimit::MaxCompletionTokens if refuses(body, "max_completion_tokens") && !is_too_high(body) => {
                    TokenLimit::Unsent
                }
                as_before => as_before,
            };
        }
        // llama.cpp reports an exception of the chat template as 500.
        next.no_system_role |= matches!(status, 400 | 422 | 500) && refuses_system_role(body);
        (next != self).then_some(next)
    }

    /// Union of both.
    fn and(self, other: Self) -> Self {
        Self {
            token_limit: self.token_limit.max(other.token_limit),
            no_temperature: self.no_temperature || other.no_temperature,
            no_stream_options: self.no_stream_options || other.no_stream_options,
            no_system_role: self.no_system_role || other.no_system_role,
        }
    }
}

/// True if `body` names the parameter `name` as the cause: in its `param`, else in a message that rejects it.
fn refuses(body: &ErrorBody, name: &str) -> bool {
    const REFUSALS: [&str; 15] = [
        "unsupported",
        "not supported",
        "not support",
        "unrecognized",
        "unknown",
        "unexpected",
        "not permitted",
        "not allowed",
        "cannot find field",
        "extra",
        "invalid",
        "deprecated",
        "don't support",
        "doesn't support",
        "only the default",
    ];
    if body.param().is_some_and(|param| param.split('.').any(|part| part == name)) {
        return true;
    }
    // Of several validation errors one is in `param`, the others in the text only.
    is_named(body.text(), name) && REFUSALS.iter().any(|words| body.text().contains(words))
}

/// True if `text` has `name` as a whole word: `max_tokens` is not in `my_max_tokens_2`.
fn is_named(text: &str, name: &str) -> bool {
    let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + name.len()..).unwrap_or_default());
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

/// True if the value is rejected, and not the parameter: omitting it would ignore the operator's setting.
fn is_too_high(body: &ErrorBody) -> bool {
    ["less than", "too large", "too high", "at most", "greater than", "exceed"]
        .iter()
        .any(|words| body.text().contains(words))
}

fn refuses_system_role(body: &ErrorBody) -> bool {
    const REFUSALS: [&str; 9] = [
        "system role not supported",
        "system role is not supported",
        "does not support 'system'",
        "does not support system",
        "system message is not supported",
        "system messages are not supported",
        "developer instruction is not enabled",
        "system instruction is not enabled",
        "only user and assistant roles",
    ];
    let is_first_role = matches!(body.param(), Some("messages.0.role"));
    // Mistral's older templates lack a system role and report it as out of turn: ours always alternate.
    let is_out_of_turn =
        body.text().contains("roles must alternate user/assistant") && !body.text().contains("optional system");
    is_first_role || is_out_of_turn || REFUSALS.iter().any(|words| body.text().contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Quirks = Quirks {
        token_limit: TokenLimit::MaxTokens,
        no_temperature: false,
        no_stream_options: false,
        no_system_role: false,
    };

    fn refused(status: u16, body: &str) -> LlmError {
        LlmError::Status { status, retry_after: None, body: Box::new(ErrorBody::parse(body.as_bytes())) }
    }

    const COMPLETION: Quirks = Quirks { token_limit: TokenLimit::MaxCompletionTokens, ..NONE };
    const UNLIMITED: Quirks = Quirks { token_limit: TokenLimit::Unsent, ..NONE };
    const PLAIN: Quirks = Quirks { no_stream_options: true, ..NONE };
    const COOL: Quirks = Quirks { no_temperature: true, ..NONE };
    const MERGED: Quirks = Quirks { no_system_role: true, ..NONE };

    /// Columns: quirks sent; status; body; quirks learnt.
    const LESSONS: &[(Quirks, u16, &str, Option<Quirks>)] = &[
        (
            NONE,
            400,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens","code":"unsupported_parameter"}}"#,
            Some(COMPLETION),
        ),
        (
            COMPLETION,
            400,
            r#"{"error":{"message":"Unknown parameter: 'max_completion_tokens'.","param":"max_completion_tokens"}}"#,
            Some(UNLIMITED),
        ),
        (
            NONE,
            400,
            r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0.5 with this model.","param":"temperature","code":"unsupported_value"}}"#,
            Some(COOL),
        ),
        (
            NONE,
            422,
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted","input":true}]}}"#,
            Some(PLAIN),
        ),
        (
            NONE,
            422,
            r#"{"detail":[{"loc":["body","max_tokens"],"msg":"extra fields not permitted","type":"value_error.extra"}]}"#,
            Some(COMPLETION),
        ),
        (
            NONE,
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: stream_options","param":null}}"#,
            Some(PLAIN),
        ),
        (NONE, 400, r#"{"error":{"message":"property 'stream_options' is unsupported"}}"#, Some(PLAIN)),
        (
            NONE,
            400,
            r#"{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]","type":"BadRequestError","param":null,"code":400}"#,
            Some(PLAIN),
        ),
        (
            NONE,
            400,
            r#"{"error":{"message":"Unsupported value: 'messages[0].role' does not support 'system' with this model.","param":"messages[0].role","code":"unsupported_value"}}"#,
            Some(MERGED),
        ),
        (NONE, 400, r#"{"object":"error","message":"System role not supported","code":400}"#, Some(MERGED)),
        (NONE, 500, r#"{"error":{"code":500,"message":"Jinja Exception: System role not supported"}}"#, Some(MERGED)),
        (
            NONE,
            400,
            r#"[{"error":{"message":"Developer instruction is not enabled for models/gemma-3-27b-it"}}]"#,
            Some(MERGED),
        ),
        (
            NONE,
            400,
            r#"{"object":"error","message":"Conversation roles must alternate user/assistant/user/assistant/...","type":"BadRequestError","code":400}"#,
            Some(MERGED),
        ),
        (
            NONE,
            500,
            r#"{"error":{"code":500,"message":"Only user and assistant roles are supported!","type":"server_error"}}"#,
            Some(MERGED),
        ),
        (MERGED, 400, r#"{"message":"Conversation roles must alternate user/assistant/user/assistant/..."}"#, None),
        (NONE, 400, r#"{"error":{"message":"`temperature` is deprecated for this model."}}"#, Some(COOL)),
        (NONE, 400, r#"{"error":{"message":"temperature: only the default value (1) is possible"}}"#, Some(COOL)),
        (NONE, 400, r#"{"error":{"message":"this model doesn't support stream_options"}}"#, Some(PLAIN)),
        // Not sent, not solved by omission, or no rejection of it.
        (UNLIMITED, 400, r#"{"error":{"message":"Unsupported parameter","param":"max_tokens"}}"#, None),
        (
            NONE,
            400,
            r#"{"error":{"message":"max_tokens must be less than or equal to 100","param":"max_tokens"}}"#,
            None,
        ),
        (
            NONE,
            400,
            r#"{"error":{"message":"max_tokens is too large: 512. This model's maximum context length is 4096 tokens","param":"max_tokens"}}"#,
            None,
        ),
        (
            NONE,
            400,
            r#"{"error":{"message":"Conversation roles must alternate; after the optional system message, user/assistant"}}"#,
            None,
        ),
        (NONE, 400, r#"{"error":{"message":"Unknown parameter: 'my_max_tokens_2'"}}"#, None),
        (NONE, 400, r#"{"error":{"message":"no"}}"#, None),
        (NONE, 401, r#"{"error":{"message":"no","param":"temperature"}}"#, None),
    ];

    #[test]
    fn learns_from_real_rejections() {
        for (sent, status, body, want) in LESSONS {
            let learnt = LearntQuirks(Mutex::new(*sent));
            let has_learnt = learnt.learn(*sent, &refused(*status, body));
            assert_eq!(has_learnt.then(|| learnt.current()), *want, "{body}");
        }
    }

    /// Concurrent calls are rejected for different reasons.
    #[test]
    fn merges_concurrent_lessons() {
        let learnt = LearntQuirks::default();
        for name in ["temperature", "stream_options"] {
            let body = format!(r#"{{"error":{{"param":"{name}"}}}}"#);
            assert!(learnt.learn(NONE, &refused(400, &body)));
            // A second rejection without the part is not about it.
            assert!(!learnt.learn(learnt.current(), &refused(400, &body)));
        }
        let both = Quirks { no_temperature: true, no_stream_options: true, ..NONE };
        assert_eq!(learnt.current(), both);
    }
}
