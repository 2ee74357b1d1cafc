//! The result of `about` (`proto-line/SPEC.md` §5).

use serde::{Deserialize, Serialize};

/// What `about` tells of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// How to reach them.
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
    /// Where messages are read a second time for signs of risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<ModelHost>,
}

/// A model, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelHost {
    /// The host that messages are sent to.
    pub host: String,
    /// The model's name.
    pub name: String,
}
