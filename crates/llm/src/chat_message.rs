//! Messages of a prompt, and the ids of a call.

use protocol::trace::Traceparent;
use protocol::{MessageLabel, UserText};
use serde::Serialize;

/// Message of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// Author.
    pub role: ChatRole,
    /// Text.
    pub content: UserText,
}

/// Role of a message in the OpenAI API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Correlation ids of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallContext {
    /// Sent as `X-Request-ID`.
    pub label: MessageLabel,
    /// Sent as `traceparent`.
    pub trace: Traceparent,
}
