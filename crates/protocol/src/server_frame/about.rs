//! The result of `about` (`proto-line/SPEC.md` §5).

use serde::{Deserialize, Serialize};

/// Facts about the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Operator of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Contact of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Days that entries are kept; 0: until they are erased.
    pub retention_days: u64,
    /// Days without a connection after which a conversation is erased; 0: never.
    #[serde(default)]
    pub unreached_days: u64,
    /// Conversations are stored.
    pub kept: bool,
    /// Models that write answers; without any they are the companion's.
    pub models: Vec<ModelHost>,
    /// Host and name of the second opinion on risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<ModelHost>,
}

/// A model and its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelHost {
    /// Host that receives the messages.
    pub host: String,
    /// The model's name.
    pub name: String,
}
