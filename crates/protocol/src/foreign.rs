//! Detection of HTTP and TLS clients on the wrong port (`proto-line/SPEC.md` §2).

use memchr::memchr;

/// First bytes of a TLS handshake record: content type 22 and major version 3 (RFC 8446, §5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// Returns `true` if `bytes`, the first of a connection, are those of another protocol: the request line of HTTP, the
/// preface of HTTP/2 included, or the start of a TLS handshake. A line that has not ended yet is none.
pub fn is_foreign(bytes: &[u8]) -> bool {
    if bytes.starts_with(&TLS_HANDSHAKE) {
        return true;
    }
    // HTTP servers skip a line break ahead of the request (RFC 9112, §2.2).
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = bytes.get(blank..).unwrap_or_default();
    let Some(end) = memchr(b'\n', bytes) else { return false };
    let line = bytes.get(..end).unwrap_or_default();
    is_request_line(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Returns `true` for `METHOD SP target SP HTTP/x.y`. Registered methods have upper-case letters and hyphens only.
fn is_request_line(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_method = !method.is_empty() && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    let is_target = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    let is_version = matches!(version.strip_prefix(b"HTTP/"), Some([b'0'..=b'9', b'.', b'0'..=b'9']));
    is_method && is_target && is_version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_http_and_tls_only() {
        for (bytes, want) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], true),
            (b"POST /chat?a=b%20c HTTP/1.0\n", true),
            (b"CONNECT example.org:443 HTTP/1.1\r\n", true),
            (b"OPTIONS * HTTP/1.1\r\n", true),
            (b"M-SEARCH * HTTP/1.1\r\n", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            (b"\r\nGET / HTTP/1.1\r\n", true),
            (b"\x16\x03", true),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true),
            (b"\x16", false),
            (b"\x16\x02", false),
            (b"", false),
            (b"GET / HTTP/1.1", false),
            (b"GET me out of here\n", false),
            (b"GET / HTTP/1.1 please\n", false),
            (b"GET  / HTTP/1.1\n", false),
            (b"GET / HTTP/11\n", false),
            (b"GET /\n", false),
            (b"uso tipo HTTP/1.1\n", false),
            (b"POST traumatico HTTP\n", false),
            (b"hola\nGET / HTTP/1.1\n", false),
            (b"{\"type\":\"hello\",\"v\":1}\n", false),
            ("CONTAME Ñandú HTTP/1.1\n".as_bytes(), false),
        ] {
            assert_eq!(is_foreign(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
