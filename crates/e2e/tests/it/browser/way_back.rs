//! The way back to a conversation and unsent text, where a browser forgets or reloads.

use serde_json::{Value, json};
use testkit::llm::Answer;
use testkit::watchdog::until;

use super::driver::{Browser, ESCAPE};
use super::engine::{Engine, in_each_engine};
use super::{CONNECTED, IDLE, TOO_WIDE, page, visitor, visitor_in};
use crate::town::{Plan, Town};

in_each_engine!(
    a_browser_that_forgets_everything,
    a_code_goes_on_elsewhere,
    a_socket_that_cannot_be_made,
    what_is_not_sent_survives_a_reload,
);

/// Reads the cookie as the page does.
const COOKIE: &str = "
    const done = arguments[0];
    fetch('/resume-token').then((response) => response.text()).then(done, () => done(''));
";

async fn talker_in(engine: Engine, town: &Town, text: &str) -> Option<Browser> {
    let browser = visitor_in(engine, town).await?;
    browser.write(text).await;
    browser.until(IDLE).await;
    Some(browser)
}

/// As after a week without a visit in Safari, or on another device.
async fn forget(browser: &Browser) {
    browser.run("localStorage.clear(); sessionStorage.clear();").await;
}

async fn forget_the_cookie_too(browser: &Browser) {
    let gone = "fetch('/resume-token', { method: 'DELETE' }).then(arguments[0]);";
    browser.run_async(gone).await;
    forget(browser).await;
}

async fn a_browser_that_forgets_everything(engine: Engine) {
    let town = Plan::with_gateway().start().await;
    let Some(browser) = talker_in(engine, &town, "uno").await else { return };
    let token = browser.run("return localStorage.getItem('psicoia.resume')").await;
    until(async || browser.run_async(COOKIE).await == token).await.unwrap();
    assert_eq!(browser.run("return document.cookie").await, "", "no script reads it but by its own path");

    forget(&browser).await;
    browser.reload().await;
    browser.until("entries().length === 2 && one('[data-finish]')").await;
    assert_eq!(browser.entries().await, json!([["user", "uno"], ["assistant", "eco: uno"]]));
    assert_eq!(browser.run("return localStorage.getItem('psicoia.resume')").await, token);

    // Erased is erased: there too. The cookie may hold the token of the session that was begun instead.
    browser.click("#start-over").await;
    browser.click("#start-over-confirm").await;
    browser.until("!one('#start-over-dialog').open && entries().length === 0").await;
    until(async || browser.run_async(COOKIE).await != token).await.unwrap();
    let said = |line: &String| line.contains(token.as_str().unwrap());
    assert_eq!(town.logs().into_iter().find(said), None, "a token in a log");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

async fn a_code_goes_on_elsewhere(engine: Engine) {
    let town = Plan::with_gateway().start().await;
    let Some(browser) = talker_in(engine, &town, "uno").await else { return };
    browser.click("#way-back").await;
    let code = browser.until("one('#way-back-dialog').open && one('#way-back-code').value").await;
    assert_eq!(code, browser.run("return localStorage.getItem('psicoia.resume')").await);
    browser.press(ESCAPE).await;
    browser.until("!one('#way-back-dialog').open").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "way-back");

    forget_the_cookie_too(&browser).await;
    browser.reload().await;
    browser.until(CONNECTED).await;
    browser.until("!one('#welcome').hidden").await;
    browser.write("dos").await;
    browser.until(IDLE).await;
    // A malformed code, an unknown one, and the right one as a terminal shows it.
    let unknown = "x".repeat(43);
    for entered in ["hola, ¿qué tal?", &unknown] {
        enter(&browser, entered).await;
        browser.until("one('#way-back-problem').textContent !== ''").await;
        assert_eq!(browser.run("return entries()[0][1]").await, "dos", "{entered}");
        browser.press(ESCAPE).await;
    }
    browser.until(CONNECTED).await;
    enter(&browser, &format!("/reanudar {}", code.as_str().unwrap())).await;
    browser.until("!one('#way-back-dialog').open && entries().length === 2 && entries()[0][1] === 'uno'").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "message");
    // The one of before is kept, and can be gone back to.
    browser.click("#way-back").await;
    browser.until("all('#way-back-earlier li button').length === 1").await;
    browser.run("one('#way-back-earlier li button').click()").await;
    browser.until("!one('#way-back-dialog').open && entries().length === 2 && entries()[0][1] === 'dos'").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

async fn enter(browser: &Browser, code: &str) {
    browser.click("#way-back").await;
    browser.fill("#way-back-field", code).await;
    browser.click("#way-back-enter").await;
}

async fn a_socket_that_cannot_be_made(engine: Engine) {
    let town = Plan::with_gateway().start().await;
    let Some(browser) = talker_in(engine, &town, "uno").await else { return };
    browser
        .run(
            "window.RealSocket = WebSocket;
             document.body.dataset.thrown = 0;
             window.WebSocket = class {
                 constructor() {
                     document.body.dataset.thrown = Number(document.body.dataset.thrown) + 1;
                     throw new DOMException('The operation is insecure.', 'SecurityError');
                 }
             };
             dispatchEvent(new Event('offline'));",
        )
        .await;
    browser.until("Number(document.body.dataset.thrown) >= 3").await;
    assert_eq!(browser.run("return one('#status').dataset.state === 'connected'").await, false);
    browser.write("dos").await;
    browser.run("window.WebSocket = RealSocket").await;
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    assert_eq!(browser.run("return entries()[3]").await, json!(["assistant", "eco: dos"]));
    browser.close().await;
}

async fn what_is_not_sent_survives_a_reload(engine: Engine) {
    let plan = Plan::with_gateway().core("RATE_MAX_MESSAGES", 1).core("RATE_WINDOW_SECONDS", 5);
    let town = plan.start().await;
    let Some(browser) = talker_in(engine, &town, "uno").await else { return };
    browser.write("dos").await;
    browser.until("entries().length === 3 && !one('#notice').hidden").await;
    browser.screenshot("browser-refused").await;
    browser.fill("#message", "y un borrador").await;
    browser.reload().await;
    // Sent by itself once the server takes it; the draft is only a draft.
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    let expected = ["uno", "dos"].map(|text| [json!(["user", text]), json!(["assistant", format!("eco: {text}")])]);
    assert_eq!(browser.entries().await, Value::from(expected.concat()));
    assert_eq!(browser.run("return one('#message').value").await, "y un borrador");
    assert_eq!(browser.run("return sessionStorage.getItem('psicoia.unsent')").await, Value::Null);
    browser.close().await;
}

#[tokio::test]
async fn more_than_the_server_takes_at_once() {
    let town = Plan::with_gateway().core("PER_USER_MAX", 1).start().await;
    let Some(browser) = visitor(&town).await else { return };
    town.standin.push(Answer::text("eco: uno").paced(300, 0));
    for text in ["uno", "dos", "tres"] {
        browser.write(text).await;
    }
    browser.until("all('[data-finish=stop]').length === 3").await;
    // One that was refused does not hold back one that was written later, so these two may change places.
    let turn = |text: &str| [json!(["user", text]), json!(["assistant", format!("eco: {text}")])];
    let orders = [["uno", "dos", "tres"], ["uno", "tres", "dos"]].map(|order| Value::from(order.map(turn).concat()));
    let entries = browser.entries().await;
    assert!(orders.contains(&entries), "{entries}");
    browser.reload().await;
    browser.until("entries().length === 6 && one('#restoring').hidden").await;
    assert_eq!(browser.entries().await, entries, "the order of the server, live and after a reload");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn a_page_that_may_not_connect() {
    let town = Plan::with_gateway().gateway("ALLOWED_ORIGINS", "https://elsewhere.example").start().await;
    let Some(browser) = Browser::start(Engine::Chromium).await else { return };
    browser.open(&page(&town)).await;
    // It was never connected, so nothing was lost; the server is there, so that is not it either.
    browser.until("one('#connection-note p').checkVisibility() && one('#connection-note p').textContent.includes('no acepta')").await;
    assert_eq!(browser.run("return one('#status').dataset.state").await, "connecting");
    browser.close().await;
}

#[tokio::test]
async fn the_way_back_fits() {
    let town = Plan::with_gateway().start().await;
    let Some(browser) = visitor(&town).await else { return };
    browser.write("uno").await;
    browser.until(IDLE).await;
    browser
        .run(
            "localStorage.setItem('psicoia.resume.previous', JSON.stringify([
                 { token: 'a'.repeat(43), end: 'left', at: 1772900000000 }, { token: 'b', end: 'unknown', at: 1762900000000 },
             ]))",
        )
        .await;
    for theme in ["light", "dark"] {
        for width in [360, 1_440] {
            browser.resize(width, 740).await;
            browser.click("#way-back").await;
            browser.until("one('#way-back-dialog').open").await;
            browser.fill("#way-back-field", "¿?").await;
            browser.click("#way-back-enter").await;
            browser.until("one('#way-back-problem').textContent !== ''").await;
            assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{width} px");
            browser.screenshot(&format!("browser-way-back-{width}-{theme}")).await;
            browser.press(ESCAPE).await;
            browser.until("!one('#way-back-dialog').open").await;
        }
        browser.click("#theme").await;
    }
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}
