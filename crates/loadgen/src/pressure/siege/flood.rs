//! A flood of connections from one address.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, interval, timeout};

use super::socket::{UPGRADE_REQUEST, connect};
use super::{Fates, Siege};

const HOME: u8 = 61;
/// Between two waves.
const WAVES: Duration = Duration::from_millis(5);
/// Connections under way, at most: when the services are slow to answer, it is a smaller flood.
const MOST: usize = 1_000;
/// How long one waits for the first word.
const WAIT: Duration = Duration::from_secs(1);
const HELLO: &str = "{\"type\":\"hello\",\"v\":1}\n";

/// So many connections a second, every other one to the core.
pub(super) async fn rise(siege: Siege, fates: &Fates) {
    let (begin, mut waves, mut made) = (Instant::now(), interval(WAVES), 0_u32);
    let mut knocks = FuturesUnordered::new();
    while Instant::now() < siege.until {
        tokio::select! {
            _ = waves.tick() => {
                let due = begin.elapsed().mul_f64(f64::from(siege.flood_per_second)).as_secs();
                while u64::from(made) < due {
                    made += 1;
                    if knocks.len() < MOST {
                        knocks.push(knock(siege, made, fates));
                    } else {
                        fates.add(target(made), "not made: too many under way");
                    }
                }
            }
            Some(()) = knocks.next() => {}
        }
    }
    while let Some(()) = knocks.next().await {}
}

const AT_CORE: &str = "flood at the core";
const AT_GATEWAY: &str = "flood at the gateway";

/// Where the connection with this number goes.
fn target(number: u32) -> &'static str {
    if number.is_multiple_of(2) { AT_CORE } else { AT_GATEWAY }
}

async fn knock(siege: Siege, number: u32, fates: &Fates) {
    let who = target(number);
    let (address, word) = if who == AT_CORE { (siege.core, HELLO) } else { (siege.gateway, UPGRADE_REQUEST) };
    let heard = timeout(WAIT, async {
        let mut stream = connect(HOME, address, None).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&answer[..count]).into_owned())
    });
    fates.add(who, heard.await.map_or_else(|_| "no word for a second".to_owned(), told));
}

/// What the first word means.
fn told(heard: io::Result<String>) -> String {
    match heard {
        Err(error) => error.kind().to_string(),
        Ok(answer) if answer.is_empty() => "closed without a word".to_owned(),
        Ok(answer) => match answer.strip_prefix("HTTP/1.1 ") {
            Some(status) => format!("HTTP {}", status.split(' ').next().unwrap_or_default()),
            None if answer.contains("welcome") => "let in".to_owned(),
            // In a frame or, before the core has heard a hello, in words.
            None => "refused".to_owned(),
        },
    }
}
