//! `kill -9` of the core in the middle of everything.

use rusqlite::{Connection, OpenFlags};
use testkit::watchdog::{LIMIT, within};

use super::chance::chance;
use super::crowd::{PEOPLE, gather, plan, talk_while, tcp, ws};

const ROUNDS: usize = 50;

#[tokio::test]
async fn what_was_accepted_outlives_the_core() {
    let mut chance = chance("core_killed");
    let mut town = plan().gateways(1).start().await;
    let (core, gateway) = (town.core.address(), town.gateway().address());
    // Half of them in browsers, half at terminals.
    let addresses = (0..PEOPLE).map(|number| if number % 2 == 0 { ws(gateway) } else { tcp(core) });
    let mut people = within(LIMIT, gather(addresses)).await.unwrap();
    let core = &mut town.core;
    talk_while(&mut people, async |pulse| {
        for _ in 0..ROUNDS {
            pulse.random_moment(&mut chance).await;
            core.kill().await;
            core.restart().await;
        }
    })
    .await;
    for person in &people {
        assert!(ROUNDS / 2 <= person.resumed, "only {} resumes", person.resumed);
    }
    let file = town.room("core").join("data/psicoia.db");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let health: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(health, "ok");
}
