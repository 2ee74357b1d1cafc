//! Web client in real browsers, against real services.

mod blocked_upgrade;
mod continue_answer;
mod driver;
mod engine;
mod exit;
mod help;
mod layout;
mod serving;
mod session_recovery;
mod shared_session;
mod tools;

use serde_json::{Value, json};
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::LIMIT;

use crate::single_node::{Plan, SingleNode};
use driver::{Browser, ENTER, ESCAPE, TAB, say};
use engine::Engine;

/// Script that records the lengths of the streaming answer in `growth`.
const WATCH_GROWTH: &str = "
    window.growth = [];
    const note = () => {
        const length = all('[data-role=assistant][data-streaming] .text').at(-1)?.textContent.length;
        if (length && growth.at(-1) !== length) growth.push(length);
    };
    new MutationObserver(note).observe(one('#log'), { subtree: true, childList: true, characterData: true });
";
/// Script that fires `online`, so that the page reconnects without the rest of its backoff.
const NUDGE: &str = "dispatchEvent(new Event('online'))";
const CONNECTED: &str = "one('#status').dataset.state === 'connected'";
const IDLE: &str = "one('#stop').hidden && !one('[data-streaming]') && one('[data-finish]')";

fn page(node: &SingleNode) -> String {
    format!("http://{}/", node.gateways[0].address())
}

/// Opens the page in a browser and waits until it is connected.
async fn connected_browser(node: &SingleNode) -> Option<Browser> {
    connected_browser_in(Engine::Chromium, node).await
}

async fn connected_browser_in(engine: Engine, node: &SingleNode) -> Option<Browser> {
    let browser = Browser::start(engine).await?;
    browser.open(&page(node)).await;
    browser.until(CONNECTED).await;
    Some(browser)
}

/// Long, slow answer.
fn slow_story() -> Answer {
    Answer::pieces((1..=200).map(|step| format!("paso {step}, "))).paced(0, 50)
}

engine::in_each_engine!(streams_a_conversation, buttons_work);

async fn buttons_work(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    browser.fill("#message", "uno").await;
    browser.click("#send").await;
    browser.until(IDLE).await;
    assert_eq!(browser.entries().await, json!([["user", "uno"], ["assistant", "eco: uno"]]));
    // Content outside an open dialog is inert, so announcements are made inside.
    browser.click("#help-open").await;
    browser.until("one('#help').open && one('#help-lines a')").await;
    browser.run("one('#message').value = 'dos'; one('#composer').requestSubmit();").await;
    browser.until("one('#help .announcer').textContent.includes('eco: dos')").await;
    browser.press(ESCAPE).await;
    browser.until("!one('#help').open").await;
    // Help lines are `tel:` links. The test does not follow them.
    let watch = "addEventListener('click', (event) => {
        document.body.dataset.cancelled = event.defaultPrevented;
        event.preventDefault();
    });";
    browser.run(watch).await;
    browser.click("#help-open").await;
    browser.until("one('#help').open && one('#help-lines a')").await;
    browser.click("#help-lines a[href^='tel:']").await;
    let cancelled = browser.until("document.body.dataset.cancelled").await;
    assert_eq!((cancelled, browser.run("return one('#help').open").await), (json!("false"), json!(true)));
    browser.close().await;
}

async fn streams_a_conversation(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    // WebKit uses the locale of the machine.
    if engine == Engine::Chromium {
        assert_eq!(browser.run("return navigator.languages").await, json!(["es-AR", "es"]));
        let words = "return [document.documentElement.lang, one('#status .words').textContent]";
        assert_eq!(browser.run(words).await, json!(["es", "Conectado"]));
    }

    node.standin.push(slow_story());
    browser.run(WATCH_GROWTH).await;
    browser.write("Contame un cuento largo.").await;
    browser.until("growth.length >= 4").await;
    browser.screenshot("browser-streaming").await;
    browser.click("#stop").await;
    browser.until("one('[data-role=assistant][data-finish=stopped]')").await;
    let entries = browser.entries().await;
    let answer = entries[1][1].as_str().unwrap();
    assert_eq!(entries[0], json!(["user", "Contame un cuento largo."]));
    assert!(answer.starts_with("paso 1, paso 2, ") && !answer.contains("paso 200"), "{answer}");

    browser.write("Gracias, ¿y ahora?").await;
    browser.until("entries().length === 4 && one('[data-finish=stop]')").await;
    let entries = browser.entries().await;
    assert_eq!(entries[3], json!(["assistant", "eco: Gracias, ¿y ahora?"]));
    browser.screenshot("browser-conversation").await;

    browser.reload().await;
    browser.until("entries().length === 4").await;
    assert_eq!(browser.entries().await, entries);
    assert_eq!(browser.run("return one('#restoring').hidden && one('#welcome').hidden").await, true);
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn opens_help_by_keyboard() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.run("document.activeElement.blur()").await;
    let focus = "return document.activeElement.id";
    for _ in 0..5 {
        browser.press(TAB).await;
        if browser.run(focus).await == "help-open" {
            break;
        }
    }
    assert_eq!(browser.run(focus).await, "help-open");
    browser.press(ENTER).await;
    browser.until("one('#help').open && one('#help-lines .own')").await;
    let own = browser.run("return one('#help-lines .own').innerText").await;
    for words in ["Argentina", "135", "0800-999-0091"] {
        assert!(own.as_str().unwrap().contains(words), "{words} in {own}");
    }
    let numbers =
        browser.run("return all('#help-lines .own a[href^=\"tel:\"]').map((link) => link.getAttribute('href'))").await;
    for number in ["tel:135", "tel:08009990091"] {
        assert!(numbers.as_array().unwrap().contains(&json!(number)), "{number} in {numbers}");
    }
    browser.screenshot("browser-help").await;
    browser.press(ESCAPE).await;
    browser.until("!one('#help').open").await;
    assert_eq!(browser.run(focus).await, "help-open");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn switches_language() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let words =
        "return ['#status .words', '#welcome h2', '.disclaimer', '#chips'].map((place) => one(place).innerText)";
    let spanish = browser.run(words).await;
    assert_eq!((&spanish[0], &spanish[1]), (&json!("Conectado"), &json!("¿Cómo te sentís hoy?")));
    browser.click("#language").await;
    browser.until("document.documentElement.lang === 'en'").await;
    let english = browser.run(words).await;
    assert_eq!((&english[0], &english[1]), (&json!("Connected"), &json!("How are you feeling today?")));
    for place in 0..4 {
        assert_ne!(spanish[place], english[place]);
    }
    // The choice is stored, and server errors use it too.
    browser.reload().await;
    browser.until(CONNECTED).await;
    assert_eq!(browser.run(words).await, english);
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn reconnects_after_a_gateway_dies() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.write("uno").await;
    browser.until(IDLE).await;
    assert_eq!(browser.console_errors().await, [""; 0]);

    node.gateway().kill().await;
    let state = browser.until("one('#status').dataset.state !== 'connected' && one('#status').innerText").await;
    let words = state.as_str().unwrap().trim();
    assert!(words.starts_with("Reconectando") || words.starts_with("Sin conexión"), "{words:?}");
    browser.write("dos, sin conexión").await;
    browser.until("all('[data-role=user]').at(-1)?.dataset.state === 'waiting'").await;
    browser.until("!one('#connection-note').hidden").await;
    browser.screenshot("browser-reconnecting").await;

    node.gateway().restart().await;
    browser.until(CONNECTED).await;
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    browser.write("tres").await;
    browser.until("entries().length === 6 && all('[data-finish]').length === 3").await;
    let expected = ["uno", "dos, sin conexión", "tres"]
        .map(|text| [json!(["user", text]), json!(["assistant", format!("eco: {text}")])]);
    assert_eq!(browser.entries().await, Value::from(expected.concat()));
    assert_eq!(browser.run("return one('#connection-note').hidden").await, true);
    let mut errors = browser.console_errors().await;
    errors.retain(|error| !error.contains("ERR_CONNECTION_REFUSED"));
    assert_eq!(errors, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn recovers_from_a_core_killed_mid_answer() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.write("uno").await;
    browser.until(IDLE).await;
    node.standin.push(slow_story());
    browser.run(WATCH_GROWTH).await;
    browser.write("dos").await;
    browser.until("growth.length >= 4").await;
    node.core.kill().await;
    browser.until("one('#status').dataset.state !== 'connected'").await;
    // The partial answer is lost; the accepted message is stored and gets its answer.
    node.standin.push(Answer::pieces(["otra ", "cosa"]));
    node.core.restart().await;
    browser.run(NUDGE).await;
    browser.until("all('[data-finish=stop]').length === 2").await;
    let expected = [["user", "uno"], ["assistant", "eco: uno"], ["user", "dos"], ["assistant", "otra cosa"]];
    assert_eq!(browser.entries().await, json!(expected));
    browser.reload().await;
    browser.until("entries().length === 4").await;
    assert_eq!(browser.entries().await, json!(expected));
    browser.close().await;
}

#[tokio::test]
async fn two_tabs_share_the_session() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let first = browser.tab().await;
    browser.write("uno").await;
    browser.until(IDLE).await;
    let second = browser.new_tab().await;
    browser.open(&page(&node)).await;
    browser.until("entries().length === 2").await;
    browser.write("dos").await;
    browser.show(&first).await;
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    browser.write("tres").await;
    let expected =
        ["uno", "dos", "tres"].map(|text| [json!(["user", text]), json!(["assistant", format!("eco: {text}")])]);
    for tab in [first, second] {
        browser.show(&tab).await;
        browser.until("entries().length === 6 && all('[data-finish]').length === 3").await;
        assert_eq!(browser.entries().await, Value::from(expected.concat()));
        assert_eq!(browser.console_errors().await, [""; 0]);
    }
    browser.close().await;
}

/// Script that lists elements that scroll horizontally or overflow the page.
const TOO_WIDE: &str = "
    const scrolls = ['html', 'body', '#scroller', '#help', '.dialog-body']
        .filter((place) => one(place).scrollWidth > one(place).clientWidth);
    const juts = all('body *:not(.visually-hidden, .skip)').filter((node) => {
        const { left, right, width } = node.getBoundingClientRect();
        return width > 0 && (left < -0.5 || right > innerWidth + 0.5);
    });
    return [...scrolls, ...juts.map((node) => node.outerHTML.slice(0, 100))];
";

#[tokio::test]
async fn fits_every_screen() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let widths = [360, 1_440];
    for width in widths {
        browser.resize(width, 740).await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "empty, {width} px");
        browser.screenshot(&format!("browser-welcome-{width}")).await;
    }
    browser.write(&format!("Una palabra sin fin: {}", "ja".repeat(150))).await;
    browser.until(IDLE).await;
    for width in widths {
        browser.resize(width, 740).await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "in conversation, {width} px");
        browser.screenshot(&format!("browser-conversation-{width}")).await;
        browser.click("#help-open").await;
        browser.until("one('#help').open && one('#help-lines .own')").await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "help, {width} px");
        browser.screenshot(&format!("browser-help-{width}")).await;
        browser.press(ESCAPE).await;
        browser.until("!one('#help').open").await;
    }
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

/// Links to the information pages, with their texts.
const GUIDES: &str = "
    return all('.guides a').map((link) => [link.textContent, new URL(link.href).pathname + new URL(link.href).search, link.target, link.rel]);
";

#[tokio::test]
async fn links_to_the_information_pages() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    let links = |lang: &str, names: [&str; 2]| {
        let link = |name: &str, page: &str| json!([name, format!("/{page}?lang={lang}"), "_blank", "noopener"]);
        json!([link(names[0], "acerca"), link(names[1], "proteccion")])
    };
    assert_eq!(browser.run(GUIDES).await, links("es", ["Acerca de", "Protección"]));
    browser.write("hola").await;
    browser.until(IDLE).await;
    // The last two: 360 px wide, and 640 px at 200 %.
    for (width, height) in [(1_440, 740), (360, 740), (180, 370), (320, 400)] {
        browser.resize(width, height).await;
        assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{width} px");
        let seen = "
            const { bottom } = one('.below').getBoundingClientRect();
            return bottom <= innerHeight && one('#scroller').clientHeight > 60 && document.scrollingElement.scrollHeight <= innerHeight;
        ";
        assert_eq!(browser.run(seen).await, true, "{width} px");
        browser.screenshot(&format!("browser-guides-{width}")).await;
    }
    browser.resize(1_440, 740).await;
    browser.click("#language").await;
    assert_eq!(browser.run(GUIDES).await, links("en", ["About", "Protection"]));
    browser.run("location.href = one('.guides a').href").await;
    browser
        .until("document.title.includes('PsicoIA') && document.documentElement.lang === 'en' && one('main h1')")
        .await;
    browser.close().await;
}

/// Uses a real model: `PSICOIA_LOCAL_LLM` is its `…/chat/completions` URL.
#[tokio::test]
async fn answers_with_a_real_model() {
    let Some(model) = std::env::var_os("PSICOIA_LOCAL_LLM") else {
        return say("skipped: PSICOIA_LOCAL_LLM is not set");
    };
    // The stand-in must not be called.
    let plan = Plan::with_gateway().fallback(Fallback::Answer(Answer::status(500)));
    // On a small machine the prompt alone may take minutes.
    let plan = plan.core("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", 60).core("LLM_TIMEOUT_SECONDS", 90);
    let node = plan.core("LLM_URL", model.to_str().unwrap()).start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.patience(6 * LIMIT).await;
    browser.run(WATCH_GROWTH).await;
    browser.write("Contame con muchos detalles cómo puedo ordenar mi semana.").await;
    browser.until("growth.length >= 4").await;
    browser.click("#stop").await;
    browser.until("one('[data-role=assistant][data-finish=stopped][data-source=llm]')").await;
    browser.write("Gracias. ¿Me lo decís en una frase?").await;
    browser.until("all('[data-role=assistant][data-finish]').length === 2").await;
    browser.screenshot("browser-real-model").await;
    for answer in [1, 3] {
        assert!(!browser.entries().await[answer][1].as_str().unwrap().trim().is_empty());
    }
    assert_eq!((browser.console_errors().await, node.standin.total()), (Vec::new(), 0));
    browser.close().await;
}
