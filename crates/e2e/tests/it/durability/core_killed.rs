//! `kill -9` of the core under load.

use rusqlite::{Connection, OpenFlags};
use testkit::watchdog::{LIMIT, within};

use super::client_fleet::{PEOPLE, connect_fleet, plan, run_fleet_during, tcp, ws};
use super::seeded_rng::seeded_rng;

const ROUNDS: usize = 50;

#[tokio::test]
async fn accepted_messages_survive_core_kills() {
    let mut rng = seeded_rng("core_killed");
    let mut node = plan().gateways(1).start().await;
    let (core, gateway) = (node.core.address(), node.gateway().address());
    // Half over WebSockets, half over TCP.
    let addresses = (0..PEOPLE).map(|number| if number % 2 == 0 { ws(gateway) } else { tcp(core) });
    let mut people = within(LIMIT, connect_fleet(addresses)).await.unwrap();
    let core = &mut node.core;
    run_fleet_during(&mut people, async |pulse| {
        for _ in 0..ROUNDS {
            pulse.random_moment(&mut rng).await;
            core.kill().await;
            core.restart().await;
        }
    })
    .await;
    for person in &people {
        assert!(ROUNDS / 2 <= person.resumed, "only {} resumes", person.resumed);
    }
    let file = node.subfolder("core").join("data/psicoia.db");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let health: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(health, "ok");
}
