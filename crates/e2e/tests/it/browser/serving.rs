//! How the page arrives: on a slow line, in parts, and without scripts. Chromium only, whose network is emulated.

use serde_json::json;

use super::driver::Browser;
use super::engine::Engine;
use super::{CONNECTED, page};
use crate::single_node::{Plan, SingleNode};

/// Goal for all that is loaded until the conversation is there.
const MAX_REQUESTS: usize = 8;
/// Page and first script as they come over the network, in bytes: after them the field can be used.
const MAX_USABLE_BYTES: f64 = 52.0 * 1_024.0;

/// A line with 400 ms for each request and 400 kbit/s.
async fn slow_down(browser: &Browser) {
    let line = json!({"offline": false, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000});
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.emulateNetworkConditions", line).await;
}

async fn browser_at_nothing() -> Option<(SingleNode, Browser)> {
    let node = Plan::with_gateway().start().await;
    let browser = Browser::start(Engine::Chromium).await?;
    Some((node, browser))
}

#[tokio::test]
async fn page_is_usable_after_few_bytes_and_requests() {
    let Some((node, browser)) = browser_at_nothing().await else { return };
    slow_down(&browser).await;
    browser.open(&page(&node)).await;
    browser.until(CONNECTED).await;
    browser.until("one('#menu')").await;
    let measured = browser
        .run(
            "const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
             const files = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
             const first = files.filter((file) => file.entryType === 'navigation' || file.name.includes('/app.'));
             const usable = first.reduce((sum, file) => sum + file.encodedBodySize, 0);
             const requests = [...new Set(files.map((file) => file.name))];
             const ready = Number(document.documentElement.dataset.ready);
             return { paint, ready, requests, first: first.length, usable };",
        )
        .await;
    // Times are said, not tested: they are the machine's too. A file wanted in several places is one request, then cached.
    super::say(&format!("slow line: {measured}"));
    assert!(measured["first"] == 2 && measured["usable"].as_f64().unwrap() <= MAX_USABLE_BYTES, "{measured}");
    assert!(measured["requests"].as_array().unwrap().len() <= MAX_REQUESTS, "{measured}");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn missing_part_is_tried_again_then_said() {
    let Some((node, browser)) = browser_at_nothing().await else { return };
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setBlockedURLs", json!({"urls": ["*/later.*.js", "*/words-*.json"]})).await;
    browser.open(&page(&node)).await;
    browser.until(CONNECTED).await;
    browser.click("#menu-open").await;
    browser.until("!one('#update-note').hidden && one('#update-note p').dataset.t === 'load_failed'").await;
    browser.screenshot("browser-part-missing").await;
    browser.click("#update-note .icon").await;
    browser.click("#language").await;
    browser.until("!one('#update-note').hidden").await;
    assert_eq!(browser.run("return document.documentElement.lang").await, "es");
    // The gateway that has the parts is there again: the next try takes them, without a reload.
    browser.cdp("Network.setBlockedURLs", json!({"urls": []})).await;
    browser.click("#language").await;
    browser.until("document.documentElement.lang === 'en'").await;
    browser.click("#menu-open").await;
    browser.until("one('#menu')?.open === true").await;
    assert_eq!(browser.run("return one('#menu-title').textContent").await, "Menu");
    browser.close().await;
}

#[tokio::test]
async fn missing_script_is_tried_again_then_said() {
    let Some((node, browser)) = browser_at_nothing().await else { return };
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setBlockedURLs", json!({"urls": ["*/app.*.js"]})).await;
    browser.open(&page(&node)).await;
    assert_eq!(browser.run("return getComputedStyle(one('#load-failed')).display").await, "none");
    browser.until("getComputedStyle(one('#load-failed')).display !== 'none'").await;
    let links = "return all('#load-failed a').map((link) => new URL(link.href).pathname)";
    assert_eq!(browser.run(links).await, json!(["/", "/ayuda"]));
    browser.screenshot("browser-load-failed").await;
    // The gateway that has the script is there again.
    browser.cdp("Network.setBlockedURLs", json!({"urls": []})).await;
    browser.click("#load-failed a").await;
    browser.until(CONNECTED).await;
    assert_eq!(browser.run("return getComputedStyle(one('#load-failed')).display").await, "none");
    browser.close().await;
}

#[tokio::test]
async fn pages_work_without_scripts() {
    let Some((node, browser)) = browser_at_nothing().await else { return };
    browser.cdp("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    browser.open(&page(&node)).await;
    let source = browser.source().await;
    assert!(source.contains("Las líneas de ayuda y las demás páginas funcionan sin él"), "{source}");
    assert_eq!(browser.shown(".noscript .links a").await, 5);
    assert_eq!(browser.shown("#composer").await, 0);
    browser.screenshot_now("browser-noscript").await;
    browser.click("#help-open").await;
    browser.fill_choice("#country", "AR").await;
    browser.click("form button").await;
    assert!(browser.address().await.ends_with("/ayuda?lang=es&country=AR"), "{}", browser.address().await);
    assert!(browser.source().await.contains("href=\"tel:135\""));
    browser.screenshot_now("browser-ayuda").await;
    // The choice is remembered.
    browser.open(&format!("{}ayuda", page(&node))).await;
    assert!(browser.source().await.contains("href=\"tel:135\""));
    browser.close().await;
}

#[tokio::test]
async fn only_the_scripts_of_the_page_run() {
    let Some((node, browser)) = browser_at_nothing().await else { return };
    browser.open(&page(&node)).await;
    browser.until(CONNECTED).await;
    let refused =
        |sink: &'static str| format!("try {{ {sink}; return 'taken'; }} catch (error) {{ return error.name; }}");
    for sink in ["document.body.innerHTML = '<b>x</b>'", "document.createElement('script').src = '/other.js'"] {
        assert_eq!(browser.run(&refused(sink)).await, "TypeError", "{sink}");
    }
    assert_eq!(browser.run(&refused("document.createElement('script').src = 'app.0123.js'")).await, "taken");
    browser.close().await;
}
