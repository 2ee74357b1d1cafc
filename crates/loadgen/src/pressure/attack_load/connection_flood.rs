//! Connection flood from one address.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, interval, timeout};

use super::socket::{UPGRADE_REQUEST, connect};
use super::{AttackLoad, Outcomes};

const SOURCE: u8 = 61;
/// Interval between two waves.
const WAVES: Duration = Duration::from_millis(5);
/// Bound on concurrent attempts: slow services shrink the flood.
const MAX_CONCURRENT: usize = 1_000;
/// Timeout for the first response.
const WAIT: Duration = Duration::from_secs(1);
const HELLO: &str = "{\"type\":\"hello\",\"v\":1}\n";

/// Opens connections at the configured rate, alternating between the core and the gateway.
pub(super) async fn run(attack: AttackLoad, outcomes: &Outcomes) {
    let (begin, mut waves, mut made) = (Instant::now(), interval(WAVES), 0_u32);
    let mut attempts = FuturesUnordered::new();
    while Instant::now() < attack.until {
        tokio::select! {
            _ = waves.tick() => {
                let due = begin.elapsed().mul_f64(f64::from(attack.flood_per_second)).as_secs();
                while u64::from(made) < due {
                    made += 1;
                    if attempts.len() < MAX_CONCURRENT {
                        attempts.push(connect_once(attack, made, outcomes));
                    } else {
                        outcomes.add(target(made), "not made: too many under way");
                    }
                }
            }
            Some(()) = attempts.next() => {}
        }
    }
    while let Some(()) = attempts.next().await {}
}

const AT_CORE: &str = "flood at the core";
const AT_GATEWAY: &str = "flood at the gateway";

/// Target of a connection by its number.
fn target(number: u32) -> &'static str {
    if number.is_multiple_of(2) { AT_CORE } else { AT_GATEWAY }
}

async fn connect_once(attack: AttackLoad, number: u32, outcomes: &Outcomes) {
    let label = target(number);
    let (address, word) = if label == AT_CORE { (attack.core, HELLO) } else { (attack.gateway, UPGRADE_REQUEST) };
    let response = timeout(WAIT, async {
        let mut stream = connect(SOURCE, address, None).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&answer[..count]).into_owned())
    });
    outcomes.add(label, response.await.map_or_else(|_| "no word for a second".to_owned(), classify));
}

/// Classifies the first response.
fn classify(response: io::Result<String>) -> String {
    match response {
        Err(error) => error.kind().to_string(),
        Ok(answer) if answer.is_empty() => "closed without a word".to_owned(),
        Ok(answer) => match answer.strip_prefix("HTTP/1.1 ") {
            Some(status) => format!("HTTP {}", status.split(' ').next().unwrap_or_default()),
            None if answer.contains("welcome") => "let in".to_owned(),
            // As an error frame or, before `hello`, as plain text.
            None => "refused".to_owned(),
        },
    }
}
