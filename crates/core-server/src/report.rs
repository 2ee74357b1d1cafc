//! `core-server report`: counts of displayed help.

use std::io::{self, Write};

use serde::Serialize;
use store::ReferralCount;

#[derive(Serialize)]
struct Report<'a> {
    year: u16,
    /// Number of times that help was shown.
    total: u64,
    /// By month (UTC), kind, level and language.
    referrals: &'a [ReferralCount],
}

/// Writes the counts of a year as one JSON object or as lines of text.
///
/// # Errors
///
/// `output` cannot be written.
pub fn report(mut output: impl Write, year: u16, counts: &[ReferralCount], json: bool) -> io::Result<()> {
    let total = counts.iter().map(|count| count.count).sum();
    if json {
        serde_json::to_writer(&mut output, &Report { year, total, referrals: counts })?;
        return writeln!(output);
    }
    writeln!(output, "{year}: help was shown {total} times")?;
    for ReferralCount { month, kind, level, language, count } in counts {
        writeln!(output, "{month}  {kind:<15} {level:<8} {language}  {count}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_one_json_object_or_text_lines() {
        let [month, kind, level, language] = ["2026-11", "suicide", "high", "es"].map(str::to_owned);
        let counts = [ReferralCount { month, kind, level, language, count: 3 }];
        let output = |counts, json| {
            let mut bytes = Vec::new();
            report(&mut bytes, 2026, counts, json).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let object: serde_json::Value = serde_json::from_str(&output(&counts, true)).unwrap();
        let row =
            serde_json::json!({"month": "2026-11", "kind": "suicide", "level": "high", "language": "es", "count": 3});
        assert_eq!(object, serde_json::json!({"year": 2026, "total": 3, "referrals": [row]}));
        assert_eq!(output(&[], true), "{\"year\":2026,\"total\":0,\"referrals\":[]}\n");
        assert_eq!(output(&counts, false), "2026: help was shown 3 times\n2026-11  suicide         high     es  3\n");
    }
}
