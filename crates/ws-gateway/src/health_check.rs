//! `--check-health`, for containers without a shell.

use std::io::{self, Read as _, Write as _};

use crate::config::Config;

/// Long enough for the status line.
const MAX_ANSWER_BYTES: u64 = 64;

/// Queries `/healthz` of the gateway that runs with `config`. Blocks for at most a few seconds.
///
/// # Errors
///
/// No answer in time, or a status other than 200.
pub fn check_health(config: &Config) -> io::Result<()> {
    let mut stream = service_runtime::connect_to_own_server(&config.host, config.port)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other("the gateway did not answer 200")) }
}
