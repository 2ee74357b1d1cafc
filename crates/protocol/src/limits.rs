//! Limits of the contract (`proto-line/SPEC.md` §1, §3, §5).

/// Longest client line in bytes, its ending and a tag not counted. Fits the longest
/// message with every character escaped.
pub const MAX_LINE_BYTES: usize = 65_536;

/// Longest server line in bytes, its ending not counted. Fits the longest answer with every character escaped (`\u0001`,
/// six bytes).
pub const MAX_SERVER_LINE_BYTES: usize = 262_144;

/// Longest message a person may send, in Unicode scalar values.
pub const MAX_TEXT_CHARS: usize = 8_000;

/// Longest answer, in Unicode scalar values; a longer one ends with `finish:"length"`.
pub const MAX_ANSWER_CHARS: usize = 32_000;

/// Entries replayed after a resume; `welcome.missed` counts those before them.
pub const MAX_REPLAY_ENTRIES: usize = 500;

/// Most entries one `history` request may ask for.
pub const MAX_HISTORY_ENTRIES: usize = 200;

/// Entries returned by a `history` request without a limit.
pub const DEFAULT_HISTORY_ENTRIES: usize = 50;

/// Shortest `request.timeout_ms`.
pub const MIN_REQUEST_TIMEOUT_MS: u64 = 100;

/// Value of an absent `request.timeout_ms`.
pub const DEFAULT_REQUEST_TIMEOUT_MS: u64 = 5_000;

/// Longest `request.timeout_ms`.
pub const MAX_REQUEST_TIMEOUT_MS: u64 = 30_000;

/// Longest `hello.client`, in Unicode scalar values.
pub const MAX_CLIENT_CHARS: usize = 128;

/// Longest `hello.resume`, in Unicode scalar values.
pub const MAX_RESUME_CHARS: usize = 128;

/// Longest `hello.auth`, in Unicode scalar values.
pub const MAX_AUTH_CHARS: usize = 8_192;

/// Longest `hello.time_zone`, in Unicode scalar values.
pub const MAX_TIME_ZONE_CHARS: usize = 64;

/// Longest `request.method`, in Unicode scalar values.
pub const MAX_METHOD_CHARS: usize = 64;

/// Largest whole number a client may send: the largest that every JSON parser reads exactly.
pub const MAX_INTEGER: u64 = 9_007_199_254_740_991;

/// First nesting depth of arrays and objects that is rejected; the frame itself counts as one. `serde_json` stops there
/// too.
pub const NESTING_LIMIT: usize = 128;
