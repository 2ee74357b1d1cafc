//! A stolen database does not tell who was at risk.

use super::{WISH, is_helped};
use crate::durability::sqlite_node::{SqliteNode, connect_client};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Every value of the table `entries`, as text where it is text.
fn values(node: &SqliteNode) -> Vec<String> {
    let db = node.open_database();
    let mut rows = db.prepare("SELECT * FROM entries").unwrap();
    let columns = rows.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        (0..columns).map(|at| row.get_ref(at).map(|value| format!("{value:?}"))).collect::<Result<Vec<_>, _>>()
    };
    rows.query_map([], read).unwrap().flat_map(Result::unwrap).collect()
}

#[tokio::test]
async fn stolen_database_reveals_no_risk() {
    let node = SqliteNode::new().await;
    let settings = [("DATA_KEY", KEY.to_owned()), ("RATE_MAX_MESSAGES", "2".to_owned())];
    let mut core = node.core(&settings).await;
    let (mut person, _) = connect_client(&core, None).await;
    person.ask("a", "hola").await;
    person.say("b", WISH).await;
    is_helped(&mut person, "b").await;
    person.frame_of("done").await;
    // Beyond the limit: the companion's.
    person.say("c", WISH).await;
    person.frame_of("done").await;
    core.terminate().await;

    let words = [
        "user",
        "assistant",
        "support",
        "llm",
        "companion",
        "screened",
        "stop",
        "concern",
        "high",
        "imminent",
        "self",
        "suicide",
        "morir",
    ];
    let values = values(&node);
    assert!(40 <= values.len(), "{values:?}");
    for value in values {
        assert!(!words.iter().any(|word| value.contains(word)), "{value}");
    }
    for (name, bytes) in node.files() {
        let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!["morir", "imminent", "self_harm", "companion"].into_iter().any(holds), "{name}");
    }
}
