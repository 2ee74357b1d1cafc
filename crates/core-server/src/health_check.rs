//! `--check-health`: for containers without a shell.

use std::io::{self, BufRead as _, BufReader, Write as _};

use crate::config::Config;

/// Checks that the core running with `config` answers a frame. A `ping` before `hello` is refused, so
/// the check opens no session.
///
/// # Errors
///
/// The core cannot be reached, or does not answer within seconds.
pub fn check_health(config: &Config) -> io::Result<()> {
    let mut stream = service_runtime::connect_to_own_server(&config.host, config.port)?;
    stream.write_all(b"{\"type\":\"ping\"}\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.contains("hello_required") { Ok(()) } else { Err(io::Error::other("the core does not answer a frame")) }
}
