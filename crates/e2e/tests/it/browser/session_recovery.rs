//! Recovery of the session and of unsent text after storage loss or a reload.

use serde_json::{Value, json};
use testkit::llm::Answer;
use testkit::watchdog::until;

use super::driver::{Browser, ESCAPE};
use super::engine::{Engine, in_each_engine};
use super::{CONNECTED, IDLE, TOO_WIDE, connected_browser, connected_browser_in, page};
use crate::single_node::{Plan, SingleNode};

in_each_engine!(
    recovers_session_after_storage_loss,
    session_code_resumes_on_another_device,
    reports_an_unusable_websocket,
    unsent_text_survives_reload,
);

/// Script that reads the cookie as the page does.
const COOKIE: &str = "
    const done = arguments[0];
    fetch('/resume-token').then((response) => response.text()).then(done, () => done(''));
";

async fn talker_in(engine: Engine, node: &SingleNode, text: &str) -> Option<Browser> {
    let browser = connected_browser_in(engine, node).await?;
    browser.write(text).await;
    browser.until(IDLE).await;
    Some(browser)
}

/// Clears the storage, as Safari does after a week without a visit.
async fn forget(browser: &Browser) {
    browser.run("localStorage.clear(); sessionStorage.clear();").await;
}

async fn forget_the_cookie_too(browser: &Browser) {
    let gone = "fetch('/resume-token', { method: 'DELETE' }).then(arguments[0]);";
    browser.run_async(gone).await;
    forget(browser).await;
}

async fn recovers_session_after_storage_loss(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talker_in(engine, &node, "uno").await else { return };
    let token = browser.run("return localStorage.getItem('psicoia.resume')").await;
    until(async || browser.run_async(COOKIE).await == token).await.unwrap();
    assert_eq!(browser.run("return document.cookie").await, "", "no script reads it but by its own path");

    forget(&browser).await;
    browser.reload().await;
    browser.until("entries().length === 2 && one('[data-finish]')").await;
    assert_eq!(browser.entries().await, json!([["user", "uno"], ["assistant", "eco: uno"]]));
    assert_eq!(browser.run("return localStorage.getItem('psicoia.resume')").await, token);

    // Erasing removes the token here too. The cookie may hold the token of the new session.
    browser.start_over().await;
    browser.until("!one('#start-over-dialog').open && entries().length === 0").await;
    until(async || browser.run_async(COOKIE).await != token).await.unwrap();
    let said = |line: &String| line.contains(token.as_str().unwrap());
    assert_eq!(node.logs().into_iter().find(said), None, "a token in a log");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

async fn session_code_resumes_on_another_device(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talker_in(engine, &node, "uno").await else { return };
    browser.menu(&["#way-back"]).await;
    let code = browser.until("one('#way-back-dialog').open && one('#way-back-code').value").await;
    assert_eq!(code, browser.run("return localStorage.getItem('psicoia.resume')").await);
    browser.press(ESCAPE).await;
    browser.until("!one('#way-back-dialog').open").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "menu-open");

    forget_the_cookie_too(&browser).await;
    browser.reload().await;
    browser.until(CONNECTED).await;
    browser.until("!one('#welcome').hidden").await;
    browser.write("dos").await;
    browser.until(IDLE).await;
    // A malformed code, an unknown one, and the correct one in the terminal's format.
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
    // The former session's token is kept and can be resumed.
    browser.menu(&["#way-back"]).await;
    browser.until("all('#way-back-earlier li button').length === 1").await;
    browser.run("one('#way-back-earlier li button').click()").await;
    browser.until("!one('#way-back-dialog').open && entries().length === 2 && entries()[0][1] === 'dos'").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

async fn enter(browser: &Browser, code: &str) {
    browser.menu(&["#way-back"]).await;
    browser.fill("#way-back-field", code).await;
    browser.click("#way-back-enter").await;
}

async fn reports_an_unusable_websocket(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talker_in(engine, &node, "uno").await else { return };
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

async fn unsent_text_survives_reload(engine: Engine) {
    let plan = Plan::with_gateway().core("RATE_MAX_MESSAGES", 1).core("RATE_WINDOW_SECONDS", 5);
    let node = plan.start().await;
    let Some(browser) = talker_in(engine, &node, "uno").await else { return };
    browser.write("dos").await;
    browser.until("entries().length === 3 && !one('#notice').hidden").await;
    browser.screenshot("browser-refused").await;
    browser.fill("#message", "y un borrador").await;
    browser.reload().await;
    // The message is sent once the server accepts it; the draft stays a draft.
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    let expected = ["uno", "dos"].map(|text| [json!(["user", text]), json!(["assistant", format!("eco: {text}")])]);
    assert_eq!(browser.entries().await, Value::from(expected.concat()));
    assert_eq!(browser.run("return one('#message').value").await, "y un borrador");
    assert_eq!(browser.run("return sessionStorage.getItem('psicoia.unsent')").await, Value::Null);
    browser.close().await;
}

#[tokio::test]
async fn queues_messages_beyond_the_server_limit() {
    let node = Plan::with_gateway().core("PER_USER_MAX", 1).start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    node.standin.push(Answer::text("eco: uno").paced(300, 0));
    for text in ["uno", "dos", "tres"] {
        browser.write(text).await;
    }
    browser.until("all('[data-finish=stop]').length === 3").await;
    // A refused message does not block later ones, so these two may be reordered.
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
async fn reports_a_rejected_origin() {
    let node = Plan::with_gateway().gateway("ALLOWED_ORIGINS", "https://elsewhere.example").start().await;
    let Some(browser) = Browser::start(Engine::Chromium).await else { return };
    browser.open(&page(&node)).await;
    // Neither a lost connection nor an unreachable server may be reported: it never connected, and the server responds.
    browser.until("one('#connection-note p').checkVisibility() && one('#connection-note p').textContent.includes('no deje pasar')").await;
    assert_eq!(browser.run("return one('#status').dataset.state").await, "connecting");
    browser.close().await;
}

#[tokio::test]
async fn recovery_dialog_fits_every_screen() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
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
            browser.menu(&["#way-back"]).await;
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
