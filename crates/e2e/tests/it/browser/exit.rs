//! The quick exit.

use serde_json::{Value, json};

use super::driver::Browser;
use super::engine::{Engine, in_each_engine};
use super::{CONNECTED, IDLE, connected_browser, connected_browser_in, page};
use crate::single_node::{Plan, SingleNode};

in_each_engine!(nothing_is_left_behind);

const SHIFT: char = '\u{e008}';
/// Script that makes another page of the gateway the one to go to.
const EXIT_HERE: &str = "one('meta[name=exit-url]').content = '/acerca'";
/// Script that returns everything the page may have stored, but the mark of a cookie whose removal is not confirmed yet.
const STORED: &str = "
    const done = arguments[0];
    Promise.all([caches.keys(), navigator.serviceWorker.getRegistrations(), indexedDB.databases()]).then((traces) =>
        done([Object.keys(localStorage).filter((key) => key !== 'psicoia.left'), Object.keys(sessionStorage), ...traces.map((list) => list.length)]));
";

fn away(node: &SingleNode) -> String {
    format!("{}acerca", page(node))
}

/// Writes to a session, with a draft in the field, and returns its token.
async fn conversation(browser: &Browser, erases: bool) -> String {
    browser.run(EXIT_HERE).await;
    if erases {
        browser.run("one('#intro-exit input[value=erase]').click()").await;
    }
    browser.write("esto es mío").await;
    browser.until(IDLE).await;
    browser.fill("#message", "y esto también").await;
    let token = browser.run("return localStorage.getItem('psicoia.resume')").await;
    token.as_str().unwrap().to_owned()
}

/// Asks the server for the session of `token`: `welcome` or the code of the error.
async fn session(browser: &Browser, node: &SingleNode, token: &str) -> Value {
    browser.open(&page(node)).await;
    let script = format!(
        "const done = arguments[0];
         const socket = new WebSocket(`ws://${{location.host}}/ws`, 'psicoia.v1');
         socket.onopen = () => socket.send(JSON.stringify({{ type: 'hello', v: 1, resume: '{token}' }}));
         socket.onmessage = ({{ data }}) => done(JSON.parse(data).code ?? JSON.parse(data).type);"
    );
    browser.run_async(&script).await
}

async fn nothing_is_left_behind(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    browser.until("!one('#intro').hidden && one('#intro-exit input[value=keep]').checked").await;
    let token = conversation(&browser, false).await;
    let entries = browser.run("return history.length").await;
    browser.click("#exit").await;
    browser.until_at(&away(&node)).await;
    assert_eq!(browser.run("return history.length").await, entries, "its place in the history is taken");
    if engine == Engine::Chromium {
        assert_eq!(browser.run_async(STORED).await, json!([[], [], 0, 0, 0]));
    }
    // The page begins again, and takes nothing from the cookie. The code of a conversation that is kept opens it.
    browser.open(&page(&node)).await;
    browser.until(CONNECTED).await;
    browser.until("!one('#intro').hidden").await;
    let fresh = "return [entries().length, one('#message').value, localStorage.getItem('psicoia.resume.previous')]";
    assert_eq!(browser.run(fresh).await, json!([0, "", null]));
    assert_eq!(session(&browser, &node, &token).await, "welcome");
    browser.close().await;
}

#[tokio::test]
async fn the_keys_take_the_conversation_and_the_other_tabs_along() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let token = conversation(&browser, true).await;
    let first = browser.tab().await;
    let second = browser.new_tab().await;
    browser.open(&page(&node)).await;
    browser.until("entries().length === 2").await;
    browser.run(EXIT_HERE).await;
    for _ in 0..3 {
        browser.press(SHIFT).await;
    }
    for tab in [second, first] {
        browser.show(&tab).await;
        browser.until_at(&away(&node)).await;
    }
    assert_eq!(session(&browser, &node, &token).await, "bad_resume");
    browser.close().await;
}

#[tokio::test]
async fn works_without_a_server() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let token = conversation(&browser, false).await;
    node.gateway().kill().await;
    browser.until("one('#status').dataset.state !== 'connected'").await;
    // A page of its own: nothing of the gateway's can be loaded.
    browser.run("one('meta[name=exit-url]').content = 'about:blank'").await;
    browser.click("#exit").await;
    browser.until_at("about:blank").await;
    node.gateway().restart().await;
    browser.open(&page(&node)).await;
    browser.until(CONNECTED).await;
    assert_eq!(browser.run("return entries().length").await, 0, "the cookie was still there, and was not taken up");
    browser.until("localStorage.getItem('psicoia.left') === null").await;
    assert_eq!(session(&browser, &node, &token).await, "welcome");
    browser.close().await;
}

#[tokio::test]
async fn a_neutral_title_stands_from_the_first_moment_on() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.run("one('#intro [data-open-exit]').click()").await;
    browser.until("one('#exit-dialog').open").await;
    browser.screenshot("browser-exit").await;
    browser.click("label:has(#exit-title)").await;
    browser.until("document.title === 'Notas'").await;
    browser.reload().await;
    browser.until(CONNECTED).await;
    assert_eq!(browser.run("return document.title").await, "Notas");
    browser.click("#language").await;
    browser.until("document.title === 'Notes'").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}
