//! Several browsers or tabs on one session.

use protocol::Face;
use serde_json::{Value, json};
use testkit::llm::Answer;

use super::driver::Browser;
use super::engine::Engine;
use super::{CONNECTED, IDLE, NUDGE, WATCH_GROWTH, connected_browser, page};
use crate::program::Program;
use crate::single_node::{Plan, SingleNode};

const TOKEN: &str = "return localStorage.getItem('psicoia.resume')";
/// Script that records texts shown twice at any moment in `doubled`. The texts of these tests are distinct.
const WATCH_DOUBLES: &str = "
    window.doubled = [];
    const look = () => {
        const texts = entries().map(([, text]) => text).filter((text) => text !== '');
        doubled.push(...texts.filter((text, place) => texts.indexOf(text) !== place));
    };
    new MutationObserver(look).observe(one('#log'), { subtree: true, childList: true, characterData: true });
";

/// Opens a second browser that resumes the session of `other` through `gateway`.
async fn companion_of(other: &Browser, gateway: &Program) -> Browser {
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    browser.open(&format!("http://{}/", gateway.address())).await;
    browser.until(CONNECTED).await;
    go_on_with(&browser, &other.run(TOKEN).await).await;
    browser
}

async fn go_on_with(browser: &Browser, token: &Value) {
    browser.run(&format!("localStorage.setItem('psicoia.resume', {token})")).await;
    browser.reload().await;
    browser.until(CONNECTED).await;
}

/// Waits until both show `count` complete entries, and asserts that these are equal.
async fn agree(browsers: [&Browser; 2], count: usize) -> Value {
    let complete = format!(
        "entries().length === {count} && all('[data-role=assistant]').every((answer) => answer.dataset.finish)
         && all('[data-role=user]').every((message) => message.dataset.state === 'sent')"
    );
    for browser in browsers {
        browser.until(&complete).await;
    }
    let entries = browsers[0].entries().await;
    assert_eq!(browsers[1].entries().await, entries);
    entries
}

fn turn(text: &str, answer: &str) -> [Value; 2] {
    [json!(["user", text]), json!(["assistant", answer])]
}

fn echo(text: &str) -> [Value; 2] {
    turn(text, &format!("eco: {text}"))
}

fn story(steps: usize) -> (Answer, String) {
    let pieces: Vec<String> = (1..=steps).map(|step| format!("paso {step}, ")).collect();
    let whole = pieces.concat();
    (Answer::pieces(pieces).paced(0, 50), whole)
}

async fn start_over(browser: &Browser) {
    browser.start_over().await;
    browser.until("!one('#start-over-dialog').open && entries().length === 0").await;
    browser.until(CONNECTED).await;
}

/// Asserts that no text was shown twice and that the pages logged no error except the disconnect.
async fn check_pages(browsers: [&Browser; 2]) {
    for browser in browsers {
        assert_eq!(browser.run("return doubled").await, json!([]));
        let mut errors = browser.console_errors().await;
        errors.retain(|error| !error.contains("ERR_CONNECTION_REFUSED"));
        assert_eq!(errors, [""; 0]);
    }
}

#[tokio::test]
async fn two_browsers_share_turns() {
    let node = Plan::with_gateway().start().await;
    let Some(one) = connected_browser(&node).await else { return };
    one.write("uno").await;
    one.until(IDLE).await;
    let two = companion_of(&one, &node.gateways[0]).await;
    let both = [&one, &two];
    agree(both, 2).await;
    for browser in both {
        browser.run(WATCH_DOUBLES).await;
        browser.run(WATCH_GROWTH).await;
    }

    let (answer, received) = story(20);
    node.standin.push(answer);
    two.write("dos").await;
    for browser in both {
        browser.until("growth.length >= 4").await;
    }
    let expected = [echo("uno"), turn("dos", &received)].concat();
    assert_eq!(agree(both, 4).await, Value::from(expected.clone()));

    // Sent at the same moment: both must show the same order.
    tokio::join!(one.write("tres"), two.write("cuatro"));
    let said = agree(both, 8).await;
    let orders = [["tres", "cuatro"], ["cuatro", "tres"]].map(|texts| texts.map(echo).concat());
    assert!(orders.iter().any(|order| said == Value::from([&expected[..], order].concat())), "{said}");
    check_pages(both).await;

    for browser in both {
        browser.reload().await;
    }
    assert_eq!(agree(both, 8).await, said);
    let log = "return one('#log').innerHTML";
    assert_eq!(one.run(log).await, two.run(log).await);

    let erased = one.run(TOKEN).await;
    start_over(&one).await;
    two.until("entries().length === 0 && !one('#notice').hidden").await;
    two.until(CONNECTED).await;
    let tokens = [erased, one.run(TOKEN).await, two.run(TOKEN).await];
    assert!((0..3).all(|place| tokens[place].is_string() && tokens[place] != tokens[(place + 1) % 3]), "{tokens:?}");
    for (browser, text) in [(&two, "de dos"), (&one, "de uno")] {
        browser.write(text).await;
        browser.until(IDLE).await;
        assert_eq!(browser.entries().await, json!(echo(text)));
    }
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn disconnected_browser_catches_up_mid_answer() {
    let mut node = Plan::default().gateways(2).start().await;
    let Some(one) = connected_browser(&node).await else { return };
    let two = companion_of(&one, &node.gateways[1]).await;
    let both = [&one, &two];
    for browser in both {
        browser.run(WATCH_DOUBLES).await;
        browser.run(WATCH_GROWTH).await;
    }
    let (answer, received) = story(30);
    node.standin.push(answer);
    one.write("uno").await;
    two.until("growth.length >= 4").await;
    node.gateways[1].kill().await;
    two.until("one('#status').dataset.state !== 'connected'").await;
    let partly = two.entries().await;
    let partly = partly[1][1].as_str().unwrap();
    assert!(received.starts_with(partly) && partly.len() < received.len(), "{partly}");
    two.write("tres, desde el silencio").await;
    two.until("all('[data-role=user]').at(-1)?.dataset.state === 'waiting'").await;
    // It misses the rest of the answer and another turn.
    one.until(IDLE).await;
    one.write("dos").await;
    one.until("entries().length === 4 && all('[data-finish]').length === 2").await;

    node.gateways[1].restart().await;
    two.run(NUDGE).await;
    let expected = [turn("uno", &received), echo("dos"), echo("tres, desde el silencio")].concat();
    assert_eq!(agree(both, 6).await, Value::from(expected));
    check_pages(both).await;
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn new_conversation_in_one_tab_applies_to_both() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let first = browser.tab().await;
    browser.write("vieja").await;
    browser.until(IDLE).await;
    let second = browser.new_tab().await;
    browser.open(&page(&node)).await;
    browser.until("entries().length === 2").await;
    start_over(&browser).await;
    browser.write("nueva").await;
    browser.until(IDLE).await;
    for tab in [&first, &second] {
        browser.show(tab).await;
        browser.until("entries().length === 2 && one('[data-finish]')").await;
        assert_eq!(browser.entries().await, json!(echo("nueva")));
        assert_eq!(browser.console_errors().await, [""; 0]);
    }
    browser.close().await;
}

/// Messages of a long session: more than a page loads initially.
const LONG: usize = 255;

/// Creates a long session; returns its token.
async fn talker(node: &SingleNode) -> Value {
    let mut person = node.at_gateway(Face::Frames).await;
    let welcome = person.hello().await;
    for number in 1..=LONG {
        person.ask(&format!("m{number}"), &format!("mensaje {number}")).await;
    }
    welcome["resume"].clone()
}

#[tokio::test]
async fn loads_earlier_messages() {
    let node = Plan::with_gateway().core("RATE_MAX_MESSAGES", 1_000).start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let token = talker(&node).await;
    go_on_with(&browser, &token).await;
    browser.until("entries().length === 500 && one('#restoring').hidden").await;
    browser.until("!one('#older').hidden").await;
    // They load by scrolling there too.
    browser.run("one('#older').focus(); one('#older').click()").await;
    browser.until("one('#older').hidden").await;
    // The button is gone, and the focus is on the loaded messages.
    assert_eq!(browser.run("return document.activeElement.id").await, "conversation");
    let all: Vec<Value> = (1..=LONG).flat_map(|number| echo(&format!("mensaje {number}"))).collect();
    assert_eq!(browser.entries().await, Value::from(all));
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}
