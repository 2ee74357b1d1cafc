//! W3C trace context: one trace from a person's message to the model request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Length of a `traceparent` in bytes, the same for every value of version 00.
pub const TRACEPARENT_LEN: usize = 55;

/// W3C trace id: 128 bits shared by all work for one message; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Returns a new random id: unique enough for traces, not a secret.
    pub fn random() -> Self {
        Self(fastrand::u128(1..))
    }

    /// Returns the id's bits.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = hex(text.as_bytes(), 32).and_then(|bits| (bits != 0).then_some(bits));
        bits.map(Self).ok_or_else(|| serde::de::Error::custom("a trace id is 32 lower-case hex digits"))
    }
}

/// W3C `traceparent`: the trace, the calling span and the sampled flag.
///
/// ```
/// use protocol::trace::Traceparent;
///
/// let parent: Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
/// let child = parent.child();
/// assert_eq!(child.trace_id, parent.trace_id);
/// assert_ne!(child.span_id, parent.span_id);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace.
    pub trace_id: TraceId,
    /// The calling span; never zero.
    pub span_id: u64,
    /// The caller records this trace.
    pub sampled: bool,
}

/// Error of a text that is no `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent of version 00")]
pub struct TraceparentError;

impl Traceparent {
    /// Returns the first span of a new trace.
    pub fn random() -> Self {
        Self { trace_id: TraceId::random(), span_id: fastrand::u64(1..), sampled: true }
    }

    /// Returns a new span in the same trace.
    pub fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), ..self }
    }

    /// Returns its text form, without an allocation: the gateway writes one for every message.
    pub fn encode(self) -> [u8; TRACEPARENT_LEN] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut text[3..35], self.trace_id.0);
        put_hex(&mut text[36..52], u128::from(self.span_id));
        put_hex(&mut text[53..55], u128::from(self.sampled));
        text
    }

    /// Parses the text form.
    ///
    /// # Errors
    ///
    /// [`TraceparentError`] for anything but version 00 with lower-case digits and ids that are not zero.
    pub fn parse(text: &[u8]) -> Result<Self, TraceparentError> {
        let dashes = [2, 35, 52].iter().all(|&at| text.get(at) == Some(&b'-'));
        if text.len() != TRACEPARENT_LEN || !dashes || !text.starts_with(b"00") {
            return Err(TraceparentError);
        }
        let field = |from: usize, digits: usize| hex(&text[from..from + digits], digits).ok_or(TraceparentError);
        let (trace_id, span_id, flags) = (field(3, 32)?, field(36, 16)?, field(53, 2)?);
        if trace_id == 0 || span_id == 0 {
            return Err(TraceparentError);
        }
        let span_id = u64::try_from(span_id).map_err(|_| TraceparentError)?;
        // The other flags are reserved in version 00 and must be ignored (W3C Trace Context, trace-flags).
        Ok(Self { trace_id: TraceId(trace_id), span_id, sampled: flags & 1 == 1 })
    }
}

impl FromStr for Traceparent {
    type Err = TraceparentError;

    fn from_str(text: &str) -> Result<Self, TraceparentError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Fills `out` with the lowest digits of `bits`.
fn put_hex(out: &mut [u8], mut bits: u128) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(bits & 0xf) as usize];
        bits >>= 4;
    }
}

/// Parses exactly `digits` lower-case hex digits.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |bits: u128, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(bits << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trips() {
        for _ in 0..100 {
            let parent = Traceparent::random();
            assert_eq!(parent.encode(), parent.to_string().as_bytes());
            assert_eq!(parent.to_string().parse(), Ok(parent));
            assert_eq!(parent.child().trace_id, parent.trace_id);
        }
    }

    #[test]
    fn rejects_malformed_traceparents() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        ] {
            assert_eq!(text.parse::<Traceparent>(), Err(TraceparentError), "{text}");
        }
    }
}
