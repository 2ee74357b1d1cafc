//! Networks that let no WebSocket through.

use serde_json::{Value, json};

use super::driver::Browser;
use super::engine::{Engine, in_each_engine};
use super::{CONNECTED, IDLE, WATCH_GROWTH, slow_story};
use crate::balancer::haproxy::Haproxy;
use crate::single_node::Plan;

in_each_engine!(goes_on_over_http);

/// Three gateways behind a proxy that refuses upgrades: each request may reach another one.
async fn goes_on_over_http(engine: Engine) {
    let node = Plan::default().gateways(3).start().await;
    let gateways: Vec<_> = node.gateways.iter().map(|gateway| gateway.address()).collect();
    let haproxy = Haproxy::without_upgrades(&node.subfolder("haproxy"), &gateways).await;
    let Some(browser) = Browser::start(engine).await else { return };
    browser.open(&format!("http://{}/", haproxy.address())).await;
    browser.until(CONNECTED).await;

    node.standin.push(slow_story());
    browser.run(WATCH_GROWTH).await;
    browser.write("Contame un cuento largo.").await;
    browser.until("growth.length >= 4").await;
    browser.click("#stop").await;
    browser.until("one('[data-role=assistant][data-finish=stopped]')").await;
    for (number, text) in ["uno", "dos"].into_iter().enumerate() {
        browser.write(text).await;
        browser.until(&format!("all('[data-finish=stop]').length === {}", number + 1)).await;
    }
    let entries = browser.entries().await;
    let answers = "return entries().slice(-4)";
    let expected = ["uno", "dos"].map(|text| [json!(["user", text]), json!(["assistant", format!("eco: {text}")])]);
    assert_eq!(browser.run(answers).await, Value::from(expected.concat()));
    browser.write("me quiero morir").await;
    browser.until("one('[data-role=support] a[href^=\"tel:\"]')").await;
    browser.until(IDLE).await;

    assert_eq!(browser.run("return one('#connection-note').hidden").await, true, "nothing is said about it");
    browser.reload().await;
    browser.until("entries().length === 9").await;
    assert_eq!(browser.run("return entries().slice(0, 6)").await, entries);
    browser.close().await;
}
