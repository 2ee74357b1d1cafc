//! How the page arrives: on a slow line, in parts, and without scripts. Chromium only, whose network is emulated.

use serde_json::json;

use super::driver::Browser;
use super::engine::Engine;
use super::{CONNECTED, page};
use crate::single_node::{Plan, SingleNode};

/// Goals on a slow line, in milliseconds, and their sizes; the times have a margin for a busy machine.
const READABLE_MS: f64 = 1_000.0;
const USABLE_MS: f64 = 2_000.0;
const MARGIN: f64 = 1.5;
const MAX_REQUESTS: usize = 8;

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
async fn page_can_be_read_and_used_early_on_a_slow_line() {
    let Some((node, browser)) = browser_at_nothing().await else { return };
    slow_down(&browser).await;
    browser.open(&page(&node)).await;
    browser.until(CONNECTED).await;
    let measured = browser
        .run(
            "const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
             const files = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
             const bytes = files.reduce((sum, file) => sum + file.encodedBodySize, 0);
             return { paint, ready: Number(document.documentElement.dataset.ready), requests: files.map((file) => file.name), bytes };",
        )
        .await;
    super::say(&format!("slow line: {measured}"));
    let number = |name: &str| measured[name].as_f64().unwrap();
    assert!(number("paint") < READABLE_MS * MARGIN && number("ready") < USABLE_MS * MARGIN, "{measured}");
    assert!(measured["requests"].as_array().unwrap().len() <= MAX_REQUESTS, "{measured}");
    assert_eq!(browser.console_errors().await, [""; 0]);
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
