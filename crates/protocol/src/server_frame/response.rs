//! Results of requests (`proto-line/SPEC.md` §5).

use serde::{Deserialize, Serialize};

use super::{About, Entry, SafetyPlan};
use crate::country::Country;
use crate::ids::{MessageId, SessionId, UserLabel};
use crate::locale::Locale;
use crate::text::UserText;
use crate::timestamp::Timestamp;

/// Results of requests (`proto-line/SPEC.md` §5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "SPEC.md §5 says what each field means; entries are turns")]
pub enum ResponseResult {
    Session {
        session: SessionId,
        user: UserLabel,
        created_at: Timestamp,
        seq: u64,
        connections: usize,
        locale: Locale,
    },
    Export {
        entries: Vec<Entry>,
        more: bool,
        next: u64,
    },
    History {
        entries: Vec<Entry>,
        more: bool,
    },
    // Before `Erased`, as `untagged` tries in order.
    Forgotten {
        erased: u64,
        seq: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<MessageId>,
    },
    Erased {
        erased: u64,
    },
    Locale {
        locale: Locale,
    },
    Country {
        country: Country,
    },
    About(Box<About>),
    // Before `Ai`, which has one of its fields.
    Summary {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<UserText>,
        first_seq: u64,
        last_seq: u64,
    },
    Ai {
        text: String,
    },
    Rotated {
        resume: UserText,
    },
    Link {
        code: UserText,
        expires_in_ms: u64,
    },
    // Last, as `untagged` tries in order: without a plan it is `{}`, as the result of other methods.
    SafetyPlan {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<SafetyPlan>,
    },
}

impl ResponseResult {
    /// Returns `{}`: the result of a method that only has an effect.
    pub fn empty() -> Self {
        Self::SafetyPlan { plan: None }
    }
}
