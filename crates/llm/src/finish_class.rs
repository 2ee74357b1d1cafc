//! Finish reasons of providers, classified.

/// Class of a finish reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinishClass {
    Complete,
    /// Token limit of the model.
    Length,
    /// Filter of the provider.
    Withheld,
    /// Failure of the provider.
    Failed,
}

impl FinishClass {
    /// Classifies `reason` by its first word: some servers append the kind of content after a colon.
    pub(super) fn of(reason: &str) -> Self {
        let reason = first_word(reason).to_ascii_lowercase();
        match reason.as_str() {
            "length" | "max_tokens" | "model_length" | "max_output_tokens" | "max_completion_tokens" => Self::Length,
            "error"
            | "network_error"
            | "insufficient_system_resource"
            | "server_error"
            | "abort"
            | "aborted"
            | "cancelled"
            | "timeout"
            | "unknown_error" => Self::Failed,
            "safety"
            | "refusal"
            | "recitation"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "sensitive"
            | "guardrail_intervened"
            | "moderation" => Self::Withheld,
            other if other.starts_with("content_filter") => Self::Withheld,
            _ => Self::Complete,
        }
    }
}

/// Identifier at the beginning of a finish reason, which may be any text.
pub(super) fn first_word(reason: &str) -> &str {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    reason.trim_start().split(|letter| !is_part(letter)).next().unwrap_or_default()
}
