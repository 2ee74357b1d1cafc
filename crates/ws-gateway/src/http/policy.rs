//! Content security policies: each kind of file may do what it needs, and nothing of it needs an unsafe source.

use hyper::header::HeaderValue;

use super::web::{EARLY_SCRIPT_HASH, GUIDE_STYLE_HASH, PAGE_STYLE_HASH};

/// Policy of the chat page: own script, own host, its own style and early script by their hashes. Only the page's own
/// scripts may be loaded (`web/js/early.js` has the one policy of trusted types).
///
/// Safari before 16 does not match `'self'` with a WebSocket of the same host (w3c/webappsec-csp#7) and throws, so the
/// names of the request's hosts are listed with both schemes. Hosts that a policy cannot express (an IPv6 address, an
/// invalid name) are left out.
pub(super) fn page(hosts: &[&str]) -> HeaderValue {
    let sockets: String =
        hosts.iter().filter(|host| is_source(host)).map(|host| format!(" ws://{host} wss://{host}")).collect();
    value(format!(
        "default-src 'none'; script-src 'self' {EARLY_SCRIPT_HASH}; style-src {PAGE_STYLE_HASH}; img-src 'self'; connect-src 'self'{sockets}; \
         manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types default"
    ))
}

/// Policy of the pages without scripts.
pub(super) fn guide() -> HeaderValue {
    value(format!(
        "default-src 'none'; style-src {GUIDE_STYLE_HASH}; img-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    ))
}

/// Policy of the service worker, which fetches files of this host.
pub(super) fn worker() -> HeaderValue {
    HeaderValue::from_static("default-src 'none'; connect-src 'self'; require-trusted-types-for 'script'")
}

/// Policy of files that are no pages.
pub(super) fn file() -> HeaderValue {
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")
}

fn value(policy: String) -> HeaderValue {
    HeaderValue::try_from(policy).expect("hashes and characters of host names make a header")
}

/// Returns true if `host` is a name or an IPv4 address, with or without a port.
fn is_source(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !name.is_empty() && name.bytes().all(is_name) && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_lists_sockets_of_own_hosts() {
        for (hosts, want) in [
            (&["x"][..], "connect-src 'self' ws://x wss://x;"),
            (&["localhost:8765"], "connect-src 'self' ws://localhost:8765 wss://localhost:8765;"),
            (
                &["10.0.0.7:1", "a-b.example"],
                "connect-src 'self' ws://10.0.0.7:1 wss://10.0.0.7:1 ws://a-b.example wss://a-b.example;",
            ),
            (&[], "connect-src 'self';"),
            (&["[::1]:8765"], "connect-src 'self';"),
            (&["x; script-src *"], "connect-src 'self';"),
            (&["x *", "*", "x:", "x:*", ":1", "http://x", "'none'", "ñ"], "connect-src 'self';"),
        ] {
            let policy = page(hosts);
            let policy = policy.to_str().unwrap();
            assert!(policy.contains(want), "{hosts:?}: {policy}");
            assert!(policy.starts_with("default-src 'none'; script-src 'self' 'sha256-"), "{policy}");
            assert_eq!(policy.matches("script-src").count(), 1, "{policy}");
        }
    }

    #[test]
    fn no_policy_has_an_unsafe_source() {
        for policy in [page(&["x"]), guide(), worker(), file()] {
            let policy = policy.to_str().unwrap();
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        }
    }
}
