//! Body of an error response, read within bounds and reduced to facts that are safe to log and act on.
//!
//! Providers agree on no shape (OpenAI's `error`, `FastAPI`'s `detail`, Mistral's `message`, Gemini's array), so that
//! known names are searched at any depth. The text must not leave this module: it may quote a person.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tokio::time::timeout;

/// Limit on the body.
const MAX_BYTES: usize = 64 * 1024;
/// Timeout for the body after the head of the response. The JSON usually follows at once, and a person is waiting.
const LIMIT: Duration = Duration::from_millis(500);
/// Limit on the JSON values visited.
const MAX_VALUES: usize = 512;
/// Limit on the text that is searched for parameters and causes, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// Limit on a code or parameter in a log line, in bytes.
const MAX_WORD: usize = 64;

/// Causes of a rejection that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Cause {
    /// The provider's filter flagged the text.
    Flagged,
    /// The request exceeds the model's context.
    TooLong,
    /// The account has no quota or credit left.
    Quota,
    /// The model does not exist.
    Model,
    /// Any other, or unknown.
    #[default]
    Other,
}

/// Facts of an error body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// `error.code`, else `error.type`; safe to log.
    code: Option<String>,
    /// `error.param`, or the `loc` of a validation error; safe to log.
    param: Option<String>,
    pub(super) cause: Cause,
    /// Messages in lower case. May quote a person: must not be logged or stored.
    text: String,
}

impl fmt::Debug for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorBody").field("code", &self.code).field("param", &self.param).finish_non_exhaustive()
    }
}

impl ErrorBody {
    /// Reads `body` until its JSON is complete or a limit is reached.
    pub(super) async fn read<E>(body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> Self {
        let mut bytes = Vec::new();
        let reading = async {
            while let Some(Ok(more)) = body.next().await {
                bytes.extend_from_slice(&more);
                // Stops at complete JSON: the end of a response may arrive much later, or never.
                if MAX_BYTES <= bytes.len() || serde_json::from_slice::<Value>(&bytes).is_ok() {
                    return;
                }
            }
        };
        // On timeout the data so far has to do.
        let _ = timeout(LIMIT, reading).await;
        bytes.truncate(MAX_BYTES);
        Self::parse(&bytes)
    }

    /// Extracts the facts; text that is no JSON is only searched for causes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Ok(root) = serde_json::from_slice::<Value>(bytes) else {
            let mut text = String::new();
            push(&mut text, &String::from_utf8_lossy(bytes));
            return Self { code: None, param: None, cause: cause([&None, &None], &text), text };
        };
        let (mut code, mut number, mut kind, mut param, mut text) = (None, None, None, None, String::new());
        let mut values = VecDeque::from([("", &root)]);
        for _ in 0..MAX_VALUES {
            let Some((name, value)) = values.pop_front() else { break };
            match value {
                // Breadth first: the provider's own error comes before a nested upstream error.
                Value::Object(fields) => values.extend(fields.iter().map(|(name, value)| (name.as_str(), value))),
                Value::Array(path) if name == "loc" => param = param.or_else(|| location(path)),
                Value::Array(items) => values.extend(items.iter().map(|item| (name, item))),
                // OpenRouter's sign of a filter; the value is the person's text.
                _ if name == "flagged_input" => push(&mut text, "flagged"),
                Value::String(word) => match name {
                    "code" => code = code.or_else(|| safe(word)),
                    "type" | "status" => kind = kind.or_else(|| safe(word)),
                    "param" => param = param.or_else(|| safe(word)),
                    "message" | "msg" | "detail" | "error" | "raw" | "reason" => push(&mut text, word),
                    // `input` and the like quote the request.
                    _ => {}
                },
                Value::Number(code) if name == "code" => number = number.or_else(|| Some(code.to_string())),
                Value::Bool(true) if name == "flagged" => push(&mut text, "flagged"),
                _ => {}
            }
        }
        let cause = cause([&code, &kind], &text);
        // A number usually repeats the status.
        Self { code: code.or(kind).or(number), param, cause, text }
    }

    /// `error.code`, bounded, of `[A-Za-z0-9_.-]` only.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// `error.param`, bounded, of `[A-Za-z0-9_.-]` only.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// Messages in lower case, for searching only: must not be shown.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Appends a message within the limit.
fn push(text: &mut String, message: &str) {
    let room = MAX_TEXT.saturating_sub(text.len());
    text.extend(message.chars().take(room / 4).flat_map(char::to_lowercase));
    text.push('\n');
}

/// Dotted path of a validation error: `["body", "stream_options", "include_usage"]`.
fn location(path: &[Value]) -> Option<String> {
    let parts = path.iter().filter_map(|part| match part {
        Value::String(part) => Some(part.clone()),
        Value::Number(part) => Some(part.to_string()),
        _ => None,
    });
    safe(&parts.filter(|part| part != "body").collect::<Vec<_>>().join("."))
}

/// Sanitizes `word` for logs: `messages[0].role` becomes `messages.0.role`. Rejects anything but an identifier, because
/// it may be a person's text.
fn safe(word: &str) -> Option<String> {
    let identifier = |letter: char| letter.is_ascii_alphanumeric() || "_.-[]'".contains(letter);
    if word.is_empty() || MAX_WORD < word.len() || !word.chars().all(identifier) {
        return None;
    }
    let word: String = word.chars().filter(|letter| !"]'".contains(*letter)).collect();
    let word = word.replace('[', ".").replace("..", ".");
    Some(word.trim_matches('.').to_owned()).filter(|word| !word.is_empty())
}

/// Codes and message fragments of each cause, in lower case.
const CAUSES: [(Cause, &[&str], &[&str]); 4] = [
    (
        // First: an overlong request names its token limits as parameters too.
        Cause::TooLong,
        &["context_length_exceeded", "exceed_context_size_error", "string_above_max_length", "model_max_prompt_tokens"],
        &[
            "context length",
            "context_length",
            "context window",
            "context size",
            "maximum context",
            "too many tokens",
            "prompt is too long",
            "input is too long",
            "input token count",
            "reduce the length of the messages",
            "request too large for",
            "tokens must be reduced",
            "max_new_tokens` must be",
            "must have less than",
            "maximum prompt length",
            "maximum model length",
        ],
    ),
    (
        Cause::Flagged,
        &[
            "content_filter",
            "content_policy_violation",
            "contentfilter",
            "data_inspection_failed",
            "invalid_prompt",
            "moderation",
            "moderation_blocked",
            "prohibited_content",
            "responsibleaipolicyviolation",
            "safety",
        ],
        &["flagged", "content management policy", "content policy", "content filter", "moderation"],
    ),
    (
        Cause::Quota,
        &[
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "insufficient_balance",
            "insufficient_funds",
            "insufficient_credits",
        ],
        &["insufficient balance", "insufficient credits"],
    ),
    (
        Cause::Model,
        &["model_not_found", "model_not_available", "model_decommissioned", "invalid_model", "deploymentnotfound"],
        &["invalid model", "unknown model", "not a valid model", "no such model"],
    ),
];

/// Cause by `codes`, else by `text`.
fn cause(codes: [&Option<String>; 2], text: &str) -> Cause {
    let codes = codes.map(|code| code.as_deref().unwrap_or_default().to_lowercase());
    let by_code = CAUSES.iter().find(|(_, known, _)| codes.iter().any(|code| known.contains(&code.as_str())));
    let by_text = || CAUSES.iter().find(|(_, _, words)| words.iter().any(|words| text.contains(words)));
    let no_model =
        || text.contains("model") && ["not found", "does not exist"].iter().any(|words| text.contains(words));
    match by_code.or_else(by_text) {
        Some((cause, ..)) => *cause,
        None if no_model() => Cause::Model,
        None => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(body: &str) -> (String, String, Cause) {
        let body = ErrorBody::parse(body.as_bytes());
        (body.code().unwrap_or("-").to_owned(), body.param().unwrap_or("-").to_owned(), body.cause)
    }

    /// Documented bodies; code, parameter and cause expected of each.
    const SHAPES: &[(&str, &str, &str, Cause)] = &[
        // OpenAI.
        (
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
            "unsupported_parameter",
            "max_tokens",
            Cause::Other,
        ),
        (
            r#"{"error":{"message":"Unsupported value: 'messages[0].role' does not support 'system' with this model.","type":"invalid_request_error","param":"messages[0].role","code":"unsupported_value"}}"#,
            "unsupported_value",
            "messages.0.role",
            Cause::Other,
        ),
        (
            r#"{"error":{"message":"Incorrect API key provided: sk-abc.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            "invalid_api_key",
            "-",
            Cause::Other,
        ),
        (
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            "insufficient_quota",
            "-",
            Cause::Quota,
        ),
        (
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            "context_length_exceeded",
            "messages",
            Cause::TooLong,
        ),
        // Azure.
        (
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            "content_filter",
            "prompt",
            Cause::Flagged,
        ),
        // Mistral, in two shapes; FastAPI.
        (
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted","input":true}]},"type":"invalid_request_error","param":null,"code":null}"#,
            "invalid_request_error",
            "stream_options.include_usage",
            Cause::Other,
        ),
        (
            r#"{"object":"error","message":"Invalid model: nope","type":"invalid_model","param":null,"code":"1500"}"#,
            "1500",
            "-",
            Cause::Model,
        ),
        (
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","max_tokens"],"msg":"Extra inputs are not permitted","input":512}]}"#,
            "extra_forbidden",
            "max_tokens",
            Cause::Other,
        ),
        // OpenRouter; Gemini; Ollama; llama.cpp.
        (
            r#"{"error":{"code":403,"message":"Input was refused","metadata":{"reasons":["violence"],"flagged_input":"estoy triste"}}}"#,
            "403",
            "-",
            Cause::Flagged,
        ),
        (
            r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"stream_options\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
            "INVALID_ARGUMENT",
            "-",
            Cause::Other,
        ),
        (
            r#"{"error":{"message":"model \"nope\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#,
            "api_error",
            "-",
            Cause::Model,
        ),
        (
            r#"{"error":{"code":400,"message":"the request exceeds the available context size.","type":"exceed_context_size_error"}}"#,
            "exceed_context_size_error",
            "-",
            Cause::TooLong,
        ),
        // Groq: one request exceeds the tokens per minute.
        (
            r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000","type":"tokens","code":"rate_limit_exceeded"}}"#,
            "rate_limit_exceeded",
            "-",
            Cause::TooLong,
        ),
        // OpenAI: likewise.
        (
            r#"{"error":{"message":"Request too large for gpt-4o in organization org-a on tokens per min (TPM): Limit 30000, Requested 37313. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            "rate_limit_exceeded",
            "-",
            Cause::TooLong,
        ),
        (
            r#"{"error":{"message":"Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            "rate_limit_exceeded",
            "-",
            Cause::Other,
        ),
        // TGI, in two forms; xAI; vLLM.
        (
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 9000 `inputs` tokens and 512 `max_new_tokens`","error_type":"validation"}"#,
            "-",
            "-",
            Cause::TooLong,
        ),
        (
            r#"{"error":"Input validation error: `inputs` must have less than 4096 tokens. Given: 5000","error_type":"validation"}"#,
            "-",
            "-",
            Cause::TooLong,
        ),
        (
            r#"{"code":"400","error":"This model's maximum prompt length is 131072 but the request contains 140000 tokens."}"#,
            "400",
            "-",
            Cause::TooLong,
        ),
        (
            r#"{"object":"error","message":"The decoder prompt (length 5000) is longer than the maximum model length of 4096.","type":"BadRequestError","param":null,"code":400}"#,
            "BadRequestError",
            "-",
            Cause::TooLong,
        ),
        ("<html>no</html>", "-", "-", Cause::Other),
        ("", "-", "-", Cause::Other),
        ("null", "-", "-", Cause::Other),
    ];

    #[test]
    fn parses_bodies_of_real_providers() {
        for (body, code, param, cause) in SHAPES {
            assert_eq!(facts(body), ((*code).to_owned(), (*param).to_owned(), *cause), "{body}");
        }
    }

    /// A provider may quote the request in any field.
    #[test]
    fn exposes_no_quoted_text() {
        let long = "a".repeat(MAX_WORD + 1);
        for word in ["estoy triste", "estás", "a\\nb", long.as_str(), "<script>", "\u{1b}[31m"] {
            let word = Value::from(word);
            let body = format!(r#"{{"error":{{"message":{word},"code":{word},"param":{word},"type":{word}}}}}"#);
            let body = ErrorBody::parse(body.as_bytes());
            assert_eq!((body.code(), body.param()), (None, None), "{word}");
            assert_eq!(format!("{body:?}"), "ErrorBody { code: None, param: None, .. }");
        }
    }

    #[test]
    fn bounds_depth_and_size() {
        let deep = "[".repeat(100_000);
        assert_eq!(facts(&deep), ("-".to_owned(), "-".to_owned(), Cause::Other));
        let wide = format!(r#"{{"error":[{}"x"],"code":"late"}}"#, "\"x\",".repeat(100_000));
        assert!(ErrorBody::parse(wide.as_bytes()).text().len() <= 2 * MAX_TEXT);
    }
}
