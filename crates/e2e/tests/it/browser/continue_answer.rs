//! Truncated and missing answers: the shown text stays, and the page offers to continue.

use serde_json::json;
use testkit::llm::{Answer, Hang, Outcome};

use super::{CONNECTED, NUDGE, TOO_WIDE, connected_browser};
use crate::browser::driver::{Browser, ENTER};
use crate::single_node::Plan;

/// Selector of the visible button that continues.
const OFFERED: &str = "all('.go-on').find((button) => button.checkVisibility())";
/// Script that counts announcements to screen readers.
const SPOKEN: &str = "return all('#announcer p').filter((line) => line.textContent.includes(arguments[0])).length";

/// Number of times `words` were announced to screen readers.
async fn spoken(browser: &Browser, words: &str) -> u64 {
    browser.run(&SPOKEN.replace("arguments[0]", &json!(words).to_string())).await.as_u64().unwrap()
}

/// Takes screenshots in phone and desktop size, in both colour schemes.
async fn look(browser: &Browser, name: &str) {
    for theme in ["light", "dark"] {
        for width in [360, 1_280] {
            browser.resize(width, 740).await;
            assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{name}, {width} px");
            let height = format!("return {OFFERED}.getBoundingClientRect().height");
            assert!(24.0 <= browser.run(&height).await.as_f64().unwrap(), "{name}: too small to be hit");
            browser.screenshot(&format!("browser-{name}-{width}-{theme}")).await;
        }
        browser.click("#theme").await;
    }
}

#[tokio::test]
async fn truncated_answer_can_be_continued() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    node.standin.push(Answer { cut: true, ..Answer::pieces(["Te leo, y lo que contás ", "pesa. Podemos"]) });
    browser.write("Hoy fue un día largo.").await;
    browser.until(OFFERED).await;
    let broken = json!(["assistant", "Te leo, y lo que contás pesa. Podemos"]);
    assert_eq!(browser.entries().await[1], broken);
    assert_eq!(spoken(&browser, "Podemos La respuesta se interrumpió.").await, 1);
    look(&browser, "broken").await;
    assert_eq!(node.standin.total(), 1, "asked for by itself");

    // Operable by keyboard.
    browser.run(&format!("{OFFERED}.focus()")).await;
    assert_eq!(browser.run("return document.activeElement.textContent").await, "Seguir");
    browser.press(ENTER).await;
    browser.until("entries().length === 4 && one('[data-finish=stop]')").await;
    let said = json!([["user", "Seguí, por favor."], ["assistant", "eco: Seguí, por favor."]]);
    assert_eq!(browser.run("return entries().slice(2)").await, said);
    assert_eq!(browser.run(&format!("return [!{OFFERED}, document.activeElement.id]")).await, json!([true, "message"]));
    // The model's prompt contains the truncated answer.
    let asked = node.standin.requests()[1].body();
    let messages = asked["messages"].as_array().unwrap();
    assert_eq!(messages[messages.len() - 2]["content"], broken[1]);
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn unanswered_message_is_offered_again_after_reload() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    // A possibly incomplete last word is held back until the call ends.
    node.standin.push(Answer::text("Te escucho. Con").hanging(Hang::Stream));
    browser.write("Hoy fue un día largo.").await;
    browser.until("entries().length === 2 && entries()[1][1].startsWith('Te escucho.')").await;
    node.core.kill().await;
    node.standin.wait_for(|calls| calls[0].outcome == Outcome::Cancelled).await.unwrap();
    // The page's state of the answer is lost with the page.
    browser.reload().await;
    node.core.restart().await;
    browser.run(NUDGE).await;
    browser.until(CONNECTED).await;
    browser.until(OFFERED).await;
    let words = browser.run("return all('#log .mark').map((mark) => mark.textContent)").await;
    assert_eq!(words, json!(["Este mensaje todavía no tiene respuesta."]));
    assert_eq!(spoken(&browser, "Este mensaje todavía no tiene respuesta.").await, 1);
    look(&browser, "unanswered").await;
    assert_eq!(node.standin.total(), 1, "asked for by itself");

    browser.run(&format!("{OFFERED}.click()")).await;
    browser.until("one('[data-finish=stop]')").await;
    let expected = json!([["user", "Hoy fue un día largo."], ["assistant", "eco: Hoy fue un día largo."]]);
    assert_eq!(browser.entries().await, expected);
    browser.reload().await;
    browser.until("entries().length === 2 && one('[data-finish=stop]')").await;
    assert_eq!(browser.entries().await, expected, "the message is stored once");
    assert_eq!(browser.run("return !one('.go-on')").await, true);
    browser.close().await;
}
