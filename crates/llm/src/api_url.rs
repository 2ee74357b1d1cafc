//! URLs of model APIs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::InvalidUri;
use percent_encoding::percent_decode_str;
use url::Url;

/// URL of a `…/chat/completions` API: http or https, with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    /// Without user information.
    pub(crate) uri: Uri,
    /// User information as a basic `Authorization` header, marked sensitive: `Debug` hides it.
    pub(crate) basic_auth: Option<HeaderValue>,
}

/// Error of parsing an [`ApiUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiUrlError {
    /// Neither http nor https.
    #[error("must begin with http:// or https:// and name a host")]
    Scheme,
    /// Not a URL.
    #[error("not an address: {0}")]
    Malformed(String),
    /// A base URL, or that of another API.
    #[error("is not the full address of a chat/completions API; did you mean {meant}?")]
    Endpoint {
        /// The likely URL, without user information and query.
        meant: String,
    },
}

impl ApiUrl {
    /// Parses a URL of the configuration, and rejects base URLs, a common mistake, with a suggestion.
    ///
    /// # Errors
    ///
    /// The text is no http(s) URL, or not that of `…/chat/completions`.
    pub fn of_endpoint(text: &str) -> Result<Self, ApiUrlError> {
        let endpoint = text.parse()?;
        match Url::parse(text) {
            Ok(url) if !url.path().trim_end_matches('/').ends_with(ENDPOINT) => {
                Err(ApiUrlError::Endpoint { meant: suggested_url(&url) })
            }
            _ => Ok(endpoint),
        }
    }

    /// Host name or address.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Name of a provider in logs and metric labels.
    pub(crate) fn host_and_model(&self, model: &str) -> String {
        format!("{}/{model}", self.host())
    }

    /// URL of the API's list of models, if the path ends as usual.
    pub(crate) fn models(&self) -> Option<Url> {
        let base = self.uri.path().trim_end_matches('/').strip_suffix("/chat/completions")?;
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let (scheme, authority) = (self.uri.scheme_str()?, self.uri.authority()?);
        format!("{scheme}://{authority}{base}/models{query}").parse().ok()
    }
}

impl std::str::FromStr for ApiUrl {
    type Err = ApiUrlError;

    fn from_str(text: &str) -> Result<Self, ApiUrlError> {
        let mut url = Url::parse(text).map_err(|error| ApiUrlError::Malformed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ApiUrlError::Scheme);
        }
        let basic_auth = basic_auth(&url);
        // Neither fails on a URL with a host.
        let _ = (url.set_username(""), url.set_password(None));
        let uri = url.as_str().parse().map_err(|error: InvalidUri| ApiUrlError::Malformed(error.to_string()))?;
        Ok(Self { uri, basic_auth })
    }
}

/// Path suffix of the API.
const ENDPOINT: &str = "/chat/completions";

/// Derives the likely endpoint from a base URL or the URL of a neighbouring API.
fn suggested_url(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    let neighbours = ["/completions", "/responses", "/models", "/embeddings", "/chat", "/api/chat", "/api/generate"];
    // The longest match: Ollama's own `/api/chat` would leave `/api` behind otherwise.
    let base = neighbours.iter().filter_map(|end| path.strip_suffix(end)).min_by_key(|base| base.len());
    let base = base.unwrap_or(path);
    let is_version =
        |part: &str| part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let version = if base.split('/').any(is_version) || base.contains("/deployments/") { "" } else { "/v1" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{base}{version}{ENDPOINT}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Basic `Authorization` header (RFC 7617) of the user information in `url`.
fn basic_auth(url: &Url) -> Option<HeaderValue> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let [name, password] = [url.username(), password].map(|part| percent_decode_str(part).collect::<Vec<u8>>());
    let login = BASE64.encode([name, b":".to_vec(), password].concat());
    let mut header = HeaderValue::try_from(format!("Basic {login}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_endpoint_for_base_urls() {
        for good in [
            "http://127.0.0.1:11434/v1/chat/completions",
            "https://api.example/openai/deployments/x/chat/completions?api-version=1",
            "https://user:pass@api.example/v1/chat/completions/",
        ] {
            assert!(ApiUrl::of_endpoint(good).is_ok(), "{good}");
        }
        for (bad, meant) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1/chat/completions"),
            ("http://[::1]:8080/", "http://[::1]:8080/v1/chat/completions"),
            ("http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434/v1/chat/completions"),
            ("http://127.0.0.1:11434/api/generate", "http://127.0.0.1:11434/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/completions", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/responses", "https://api.openai.com/v1/chat/completions"),
            ("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions"),
            ("https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
            ("https://host.example/v1beta/openai", "https://host.example/v1beta/openai/chat/completions"),
            ("https://me:secret@host.example/v1?key=secret", "https://host.example/v1/chat/completions"),
        ] {
            assert_eq!(ApiUrl::of_endpoint(bad), Err(ApiUrlError::Endpoint { meant: meant.to_owned() }), "{bad}");
        }
    }
}
