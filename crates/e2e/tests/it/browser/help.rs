//! Help for a person at risk, as the page shows and says it.

use serde_json::{Value, json};
use testkit::llm::{Answer, Fallback, Hang};

use super::driver::{Browser, ESCAPE};
use super::engine::{Engine, in_each_engine};
use super::tools::KEEP_FILES;
use super::{CONNECTED, IDLE, NUDGE, TOO_WIDE, connected_browser, connected_browser_in, page};
use crate::safety_plan::{ANSWERS, OPENING};
use crate::single_node::{Plan, SingleNode};

in_each_engine!(the_card_comes_while_the_model_hangs, a_message_that_waits_shows_the_way_to_help);

const WISH: &str = "me quiero morir";
const CARD: &str = "one('[data-role=support]')?.querySelector('a[href^=\"tel:\"]')";
const CARDS: &str = "return all('[data-role=support]').length";
const NUMBERS: &str = "return all('[data-role=support] a[href^=\"tel:\"]').map((link) => link.getAttribute('href'))";
/// Notes each line that is spoken.
const LISTEN: &str = "
    window.spoken = [];
    const note = (changes) => changes.flatMap(({ addedNodes }) => [...addedNodes]).forEach((node) => spoken.push(node.textContent));
    new MutationObserver(note).observe(one('#announcer'), { childList: true });
";
/// Words of levels in what the person reads of their own conversation, of which there must be none.
const LEVELS: &str = "
    const read = all('[data-role]:not([data-role=note])').map((entry) => entry.innerText).join(' ');
    return ['high', 'imminent', 'concern', 'riesgo', 'nivel'].filter((word) => read.includes(word));
";

/// A node whose model never says anything.
async fn silent_town() -> SingleNode {
    let hangs = Answer { hang: Some(Hang::Headers), ..Answer::default() };
    Plan::with_gateway().fallback(Fallback::Answer(hangs)).start().await
}

async fn numbers(browser: &Browser) -> Vec<Value> {
    browser.run(NUMBERS).await.as_array().cloned().unwrap_or_default()
}

async fn the_card_comes_while_the_model_hangs(engine: Engine) {
    let node = silent_town().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    browser.run(LISTEN).await;
    browser.write("hola").await;
    browser.until("one('[data-streaming]')").await;
    // Behind a message that has no answer, and above the answer it belongs to.
    browser.write(WISH).await;
    browser.until(CARD).await;
    browser.until("all('[data-role=user]').at(-1).dataset.state === 'sent'").await;
    let roles = "return entries().slice(-3).map(([role]) => role)";
    browser.until("entries().at(-1)[0] === 'assistant'").await;
    assert_eq!(browser.run(roles).await, json!(["user", "support", "assistant"]));
    let called = numbers(&browser).await;
    assert!(called.contains(&json!("tel:08009990091")) && called.contains(&json!("tel:911")), "{called:?}");
    assert_eq!(browser.run(LEVELS).await, json!([]));

    // Spoken once, the numbers too, whatever is sent about it later.
    let spoken = browser.run("return spoken.filter((words) => words.includes('0800-999-0091')).length").await;
    assert_eq!(spoken, 1, "{}", browser.run("return spoken").await);

    // Another tab has it, and so has this one after a reload.
    let first = browser.tab().await;
    browser.new_tab().await;
    browser.open(&page(&node)).await;
    browser.until(CARD).await;
    assert_eq!(numbers(&browser).await, called);
    browser.show(&first).await;
    browser.reload().await;
    browser.until(CARD).await;
    browser.until(CONNECTED).await;
    assert_eq!((numbers(&browser).await, browser.run(CARDS).await), (called, json!(1)));
    // From anywhere in the conversation it is one press away.
    browser.click("#see-help").await;
    browser.until("one('#help').open && one('#help-lines a[href=\"tel:135\"]')").await;
    browser.press(ESCAPE).await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

/// What the product exists for.
#[tokio::test]
async fn the_eleventh_message_of_a_minute_gets_a_card_and_an_answer() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    for number in 1..=10 {
        browser.write(&format!("mensaje {number}")).await;
        browser.until(&format!("all('[data-finish=stop]').length === {number}")).await;
    }
    browser.write(WISH).await;
    browser.until(CARD).await;
    browser.until("all('[data-finish=stop]').length === 11").await;
    assert_eq!(browser.run("return one('#notice').hidden").await, true, "no word of limits");
    let end = "return entries().slice(-3).map(([role]) => role)";
    assert_eq!(browser.run(end).await, json!(["user", "support", "assistant"]));
    let entries = browser.entries().await;
    browser.reload().await;
    browser.until(CARD).await;
    assert_eq!(browser.entries().await, entries);
    assert_eq!((node.standin.total(), browser.console_errors().await), (10, Vec::new()));
    browser.close().await;
}

#[tokio::test]
async fn the_person_says_where_they_are() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.write(WISH).await;
    browser.until(CARD).await;
    let asked = browser.until("one('[data-role=support] .yes')?.textContent").await;
    assert_eq!(asked, "Sí, estoy en Argentina");
    let card = browser.run("return one('[data-role=support]').innerText").await;
    assert_eq!(card.as_str().unwrap().matches("¿Estás en Argentina?").count(), 1, "{card}");
    browser.click("[data-role=support] .yes").await;
    browser.until("!one('[data-role=support] .where')").await;
    browser.until("one('#announcer').textContent.includes('líneas de Argentina')").await;

    // Elsewhere after all: the card that is there changes, too. A number with a star is to be copied.
    browser.until(IDLE).await;
    browser.click("#see-help").await;
    let choose = "
        const select = one('#help-country');
        select.value = 'CL';
        select.dispatchEvent(new Event('change'));
    ";
    browser.run(choose).await;
    browser.until("one('#help-lines .own').dataset.country === 'CL'").await;
    browser.press(ESCAPE).await;
    browser.until("one('[data-role=support]').innerText.includes('*4141')").await;
    assert_eq!(browser.run("return all('a[href*=\"4141\"]').length").await, 0, "no phone dials it from a link");
    browser.until("one('[data-role=support] .copy')").await;
    browser.reload().await;
    browser.until("one('[data-role=support]')?.innerText.includes('*4141')").await;
    assert_eq!(browser.run(CARDS).await, 1);
    assert_eq!(browser.run("return all('.yes').length").await, 0, "not asked again");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

async fn a_message_that_waits_shows_the_way_to_help(engine: Engine) {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    browser.write("uno").await;
    browser.until(IDLE).await;
    node.gateway().kill().await;
    browser.until("one('#status').dataset.state !== 'connected'").await;
    browser.write(WISH).await;
    browser.until("one('[data-role=user][data-state=waiting] .see-help')").await;
    // The lines are in the page: no server is needed.
    // Attempts to connect write the button again, which a driver takes for another one.
    browser.run("one('[data-role=user][data-state=waiting] .see-help').click()").await;
    browser.until("one('#help').open && one('#help-lines .own a[href=\"tel:08009990091\"]')").await;
    browser.press(ESCAPE).await;
    node.gateway().restart().await;
    browser.run(NUDGE).await;
    browser.until(CARD).await;
    browser.until("!one('[data-state=waiting]')").await;
    browser.close().await;
}

#[tokio::test]
async fn help_fits_every_screen() {
    let node = silent_town().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.write(WISH).await;
    browser.until(CARD).await;
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'")).await;
        for width in [320, 390, 768, 1_440] {
            browser.resize(width, 740).await;
            browser.run("one('[data-role=support]').scrollIntoView()").await;
            assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{width} px");
            browser.screenshot(&format!("browser-card-{theme}-{width}")).await;
            browser.click("#see-help").await;
            browser.until("one('#help').open").await;
            assert_eq!(browser.run(TOO_WIDE).await, json!([]), "dialog, {width} px");
            browser.screenshot(&format!("browser-lines-{theme}-{width}")).await;
            browser.press(ESCAPE).await;
            browser.until("!one('#help').open").await;
        }
    }
    // Text twice as large.
    browser.run("document.documentElement.style.fontSize = '200%'").await;
    for width in [640, 1_280] {
        browser.resize(width, 800).await;
        browser.run("one('[data-role=support]').scrollIntoView()").await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "200 %, {width} px");
        browser.screenshot(&format!("browser-card-large-{width}")).await;
    }
    // As large as a thumb, and nothing but the page's own scroll bar.
    let small =
        "return all('[data-role=support] .way[href]').filter((way) => way.getBoundingClientRect().height < 44).length";
    assert_eq!(browser.run(small).await, 0);
    assert_eq!(browser.run("return document.scrollingElement.scrollHeight <= innerHeight").await, true);
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn a_plan_can_be_saved_also_after_a_reload_and_without_a_connection() {
    let mut node = Plan::with_gateway().core("RATE_MAX_MESSAGES", 100).start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    assert_eq!(browser.run("return one('#save-plan').hidden").await, true);
    let mut answered = 0;
    for text in OPENING.into_iter().chain(ANSWERS) {
        browser.write(text).await;
        answered += 1;
        browser.until(&format!("all('[data-role=assistant][data-source=companion]').length === {answered}")).await;
    }
    browser.until("!one('#save-plan').hidden && one('.plan-save')").await;
    browser.reload().await;
    browser.until("!one('#save-plan').hidden").await;
    assert_eq!(browser.run("return one('.plan-save')").await, Value::Null, "the hint is not stored");
    browser.run(KEEP_FILES).await;
    for width in [360, 1_440] {
        browser.resize(width, 740).await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{width} px");
        browser.screenshot(&format!("browser-plan-{width}")).await;
    }
    browser.click("#save-plan").await;
    browser.until("files.length === 1").await;
    let file = browser.run("return files[0]").await;
    let file = file.as_str().unwrap();
    for want in ANSWERS.into_iter().chain(["Mi plan de seguridad", "A quién llamar", "0800-999-0091"]) {
        assert!(file.contains(want), "{want}: {file}");
    }
    assert!(!file.contains("/crisis"), "the page has no commands: {file}");

    node.gateway().kill().await;
    browser.until("one('#status').dataset.state !== 'connected'").await;
    browser.click("#save-plan").await;
    browser.until("files.length === 2").await;
    assert_eq!(browser.run("return files[1] === files[0]").await, true);
    node.gateway().restart().await;
    browser.run(NUDGE).await;
    browser.until(CONNECTED).await;
    // It goes with the conversation.
    browser.start_over().await;
    browser.until("one('#save-plan').hidden").await;
    browser.close().await;
}
