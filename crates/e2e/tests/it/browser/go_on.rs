//! An answer that broke off, and one that never came: what is shown stays, and a way on is offered.

use serde_json::json;
use testkit::llm::{Answer, Hang, Outcome};

use super::{CONNECTED, NUDGE, TOO_WIDE, visitor};
use crate::browser::driver::{Browser, ENTER};
use crate::town::Plan;

/// The button that goes on, where it is to be seen.
const OFFERED: &str = "all('.go-on').find((button) => button.checkVisibility())";
/// How often a sentence was spoken.
const SPOKEN: &str = "return all('#announcer p').filter((line) => line.textContent.includes(arguments[0])).length";

/// How often `words` were spoken to screen readers.
async fn spoken(browser: &Browser, words: &str) -> u64 {
    browser.run(&SPOKEN.replace("arguments[0]", &json!(words).to_string())).await.as_u64().unwrap()
}

/// On a phone and on a desk, by day and by night.
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
async fn an_answer_that_breaks_off() {
    let town = Plan::with_gateway().start().await;
    let Some(browser) = visitor(&town).await else { return };
    town.standin.push(Answer { cut: true, ..Answer::pieces(["Te leo, y lo que contás ", "pesa. Podemos"]) });
    browser.write("Hoy fue un día largo.").await;
    browser.until(OFFERED).await;
    let broken = json!(["assistant", "Te leo, y lo que contás pesa. Podemos"]);
    assert_eq!(browser.entries().await[1], broken);
    assert_eq!(spoken(&browser, "Podemos La respuesta se interrumpió.").await, 1);
    look(&browser, "broken").await;
    assert_eq!(town.standin.total(), 1, "asked for by itself");

    // By keyboard, as any button.
    browser.run(&format!("{OFFERED}.focus()")).await;
    assert_eq!(browser.run("return document.activeElement.textContent").await, "Seguir");
    browser.press(ENTER).await;
    browser.until("entries().length === 4 && one('[data-finish=stop]')").await;
    let said = json!([["user", "Seguí, por favor."], ["assistant", "eco: Seguí, por favor."]]);
    assert_eq!(browser.run("return entries().slice(2)").await, said);
    assert_eq!(browser.run(&format!("return [!{OFFERED}, document.activeElement.id]")).await, json!([true, "message"]));
    // The model reads what it was about to say.
    let asked = town.standin.requests()[1].body();
    let messages = asked["messages"].as_array().unwrap();
    assert_eq!(messages[messages.len() - 2]["content"], broken[1]);
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn an_answer_that_died_with_its_core_before_the_page_was_opened_again() {
    let mut town = Plan::with_gateway().start().await;
    let Some(browser) = visitor(&town).await else { return };
    // A last word that may go on is held back until the call ends.
    town.standin.push(Answer::text("Te escucho. Con").hanging(Hang::Stream));
    browser.write("Hoy fue un día largo.").await;
    browser.until("entries().length === 2 && entries()[1][1].startsWith('Te escucho.')").await;
    town.core.kill().await;
    town.standin.wait_for(|calls| calls[0].outcome == Outcome::Cancelled).await.unwrap();
    // What this page knows of its answer is gone with it.
    browser.reload().await;
    town.core.restart().await;
    browser.run(NUDGE).await;
    browser.until(CONNECTED).await;
    browser.until(OFFERED).await;
    let words = browser.run("return all('#log .mark').map((mark) => mark.textContent)").await;
    assert_eq!(words, json!(["Este mensaje todavía no tiene respuesta."]));
    assert_eq!(spoken(&browser, "Este mensaje todavía no tiene respuesta.").await, 1);
    look(&browser, "unanswered").await;
    assert_eq!(town.standin.total(), 1, "asked for by itself");

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
