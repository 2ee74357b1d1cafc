//! File with several providers of a model: `LLM_PROVIDERS`.

use std::path::{Path, PathBuf};

use llm::{ApiUrl, ProviderSettings, check_key};
use serde::Deserialize;
use service_runtime::Secret;

/// Provider as in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    url: String,
    key: Option<String>,
    key_file: Option<PathBuf>,
    model: String,
    #[serde(default)]
    weight: u16,
}

/// Reads the providers, in order of preference.
///
/// # Errors
///
/// Describes the problem, with the number of the provider, from 1.
pub(super) fn read(file: &Path) -> Result<Vec<ProviderSettings>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    // The parser's own message could quote a key.
    let rows: Vec<Row> = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{}, line {}, column {}: not a list of {{\"url\", \"key\" or \"key_file\", \"model\", \"weight\"}}",
            file.display(),
            error.line(),
            error.column()
        )
    })?;
    if rows.is_empty() {
        return Err(format!("{} names no provider", file.display()));
    }
    let provider = |(number, row): (usize, Row)| {
        settings(row).map_err(|problem| format!("{}, provider {number}: {problem}", file.display()))
    };
    (1..).zip(rows).map(provider).collect()
}

fn settings(row: Row) -> Result<ProviderSettings, String> {
    let Row { url, key, key_file, model, weight } = row;
    let key = Secret::read(key.as_deref(), key_file.as_deref()).map_err(|error| format!("key: {error}"))?;
    if let Some(key) = &key {
        check_key(key).map_err(|error| format!("key: {error}"))?;
    }
    Ok(ProviderSettings {
        url: ApiUrl::of_endpoint(&url).map_err(|error| format!("url: {error}"))?,
        key,
        model: Some(model.trim().to_owned()).filter(|model| !model.is_empty()).ok_or("model: it is empty")?,
        weight: u32::from(weight),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_and_reports_problems() {
        for (text, want) in [
            (
                r#"[{"url":"http://a/v1/chat/completions","model":"m"},{"url":"https://b/v1/chat/completions","key":"k","model":"n","weight":3}]"#,
                Ok(2),
            ),
            ("[]", Err("names no provider")),
            (r#"[{"url":"http://a/v1/chat/completions"}]"#, Err("line 1, column 39")),
            (r#"[{"url":"http://a/v1/chat/completions","model":"m","kye":"secret"}]"#, Err("line 1, column 56")),
            (
                r#"[{"url":"http://a/v1/chat/completions","model":"m"},{"url":"ftp://b","model":"m"}]"#,
                Err("provider 2: url: "),
            ),
            (
                r#"[{"url":"http://a/v1/chat/completions","model":"m","key":"'secret1'"}]"#,
                Err("provider 1: key: the key stands in quotes"),
            ),
            (r#"[{"url":"http://a/v1/chat/completions","model":" "}]"#, Err("provider 1: model: ")),
            (
                r#"[{"url":"http://a/v1/chat/completions","model":"m","key_file":"no-such"}]"#,
                Err("provider 1: key: cannot read"),
            ),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            match (read(file.path()), want) {
                (Ok(providers), Ok(count)) => assert_eq!(providers.len(), count),
                (Err(problem), Err(words)) => {
                    assert!(problem.contains(words) && !problem.contains("secret"), "{text}: {problem}");
                }
                (got, want) => panic!("{text}: {got:?}, not {want:?}"),
            }
        }
    }
}
