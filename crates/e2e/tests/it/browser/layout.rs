//! Room for the conversation on small pages and with large text.

use serde_json::json;

use super::driver::{Browser, ESCAPE};
use super::{IDLE, TOO_WIDE, connected_browser};
use crate::single_node::Plan;

/// Script that returns the share of the page's height in which the conversation is seen.
const SHARE: &str = "
    const sticks = (selector) => getComputedStyle(one(selector)).position === 'sticky' ? one(selector).offsetHeight : 0;
    return (one('#scroller').clientHeight - sticks('.top') - sticks('#notes')) / innerHeight;
";
/// Script that lists controls smaller than 44 px. A link within a sentence is as high as its line.
const SMALL: &str = "
    const shown = all('button, a[href], summary, label.option, input:not(.option input), select')
        .filter((node) => node.checkVisibility() && !node.matches('.skip, #ai-notice a'));
    return shown.filter((node) => node.offsetHeight < 44 || node.offsetWidth < 44).map((node) => node.outerHTML.slice(0, 80));
";
/// Script that returns true if the words of a selector's element can be pressed where they stand.
const PRESSABLE: &str = "
    const pressable = (selector) => {
        const { left, top, width, height } = one(selector).getBoundingClientRect();
        const there = document.elementFromPoint(left + width / 2, top + height / 2);
        return width > 0 && one(selector).contains(there);
    };
";

async fn pressable(browser: &Browser, selector: &str) -> bool {
    browser.run(&format!("{PRESSABLE} return pressable('{selector}')")).await == true
}

#[tokio::test]
async fn the_words_before_the_first_conversation_fit() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    for (width, height, letters) in [(360, 740, 32), (320, 256, 16), (360, 740, 16), (1_440, 900, 16)] {
        let size = format!("{width}x{height}, {letters} px");
        browser.run(&format!("document.documentElement.style.fontSize = '{letters}px'")).await;
        browser.resize(width, height).await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{size}");
        assert_eq!(browser.run(SMALL).await, json!([]), "{size}");
        assert_eq!(browser.run("return one('#scroller').scrollTop").await, 0, "read from its beginning: {size}");
        browser.screenshot(&format!("browser-intro-{width}x{height}-{letters}")).await;
    }
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn the_conversation_keeps_its_room() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.write("Hola").await;
    browser.until(IDLE).await;
    // Text at 200 %, a page at 400 %, a phone on its side without and with its keyboard, a phone with its keyboard.
    for (width, height, letters) in [
        (360, 740, 32),
        (320, 256, 16),
        (640, 360, 16),
        (640, 160, 16),
        (360, 440, 16),
        (360, 740, 16),
        (1_440, 900, 16),
    ] {
        let size = format!("{width}x{height}, {letters} px");
        browser.run(&format!("document.documentElement.style.fontSize = '{letters}px'")).await;
        browser.resize(width, height).await;
        let share = browser.run(SHARE).await.as_f64().unwrap();
        assert!(0.4 <= share, "{size}: {share}");
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{size}");
        assert_eq!(browser.run(SMALL).await, json!([]), "{size}");
        assert_eq!(browser.run("return document.scrollingElement.scrollHeight <= innerHeight").await, true, "{size}");
        // Below the field, whatever has scrolled away.
        assert!(pressable(&browser, "#danger").await, "{size}");
        assert_eq!(browser.run("return one('#danger').textContent").await, "Ver líneas de ayuda");
        browser.screenshot(&format!("browser-room-{width}x{height}-{letters}")).await;
        browser.run("one('#scroller').scrollTop = 0").await;
        for control in ["#help-open", "#exit"] {
            assert!(pressable(&browser, control).await, "{size}: {control}");
        }
        assert_eq!(browser.run("return one('#help-open').innerText.trim()").await, "Urgencia", "{size}");
        browser.click("#danger").await;
        browser.until("one('#help').open && one('#help-lines .own')").await;
        assert_eq!(browser.run(SMALL).await, json!([]), "help, {size}");
        browser.press(ESCAPE).await;
        browser.until("!one('#help').open").await;
    }
    browser.click("#language").await;
    browser.until("one('#help-open').innerText.trim() === 'Crisis help'").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

/// What has the focus is not hidden behind the header or the notes.
#[tokio::test]
async fn the_focus_is_seen() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.resize(360, 740).await;
    browser.write("me quiero morir").await;
    browser.until(IDLE).await;
    node.gateway().kill().await;
    browser.until("!one('#connection-note').hidden").await;
    let obscured = "
        const links = all('#log a, #log button, #log select').filter((node) => node.checkVisibility());
        return links.filter((link) => {
            link.focus();
            const { left, top, width, height } = link.getBoundingClientRect();
            const there = document.elementFromPoint(left + width / 2, top + height / 2);
            return !link.contains(there);
        }).map((link) => link.outerHTML.slice(0, 80));
    ";
    assert_eq!(browser.run(obscured).await, json!([]));
    assert_eq!(browser.run("return one('#status').offsetHeight < 24").await, true, "the state is one line");
    browser.screenshot("browser-notes").await;
    browser.close().await;
}
