//! What a person can do with the conversation: read it with its type, take it along, find something in it, begin another one,
//! exercises, plan.

use serde_json::{Value, json};
use testkit::llm::Answer;

use super::driver::{Browser, ESCAPE};
use super::engine::{Engine, in_each_engine};
use super::{CONNECTED, IDLE, NUDGE, TOO_WIDE, connected_browser, connected_browser_in, page, slow_story};
use crate::single_node::{Plan, SingleNode};

in_each_engine!(an_answer_is_shown_with_its_type, another_conversation_is_begun_beside_the_first);

/// Notes each file that the page makes.
pub(super) const KEEP_FILES: &str = "
    window.files = [];
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
        blob.text().then((text) => { files.push(text); document.body.dataset.files = files.length; });
        return make.call(URL, blob);
    };
";

async fn talkative(node: &SingleNode, texts: &[&str]) -> Option<Browser> {
    let browser = connected_browser(node).await?;
    for (said, text) in texts.iter().enumerate() {
        browser.write(text).await;
        browser.until(&format!("all('[data-finish]').length === {}", said + 1)).await;
    }
    Some(browser)
}

async fn an_answer_is_shown_with_its_type(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    node.standin.push(Answer::pieces([
        "Te le",
        "o, *",
        "*de ver",
        "dad**. Prob",
        "á:\n\n",
        "- cam",
        "inar\n",
        "- [líneas de ayuda](htt",
        "ps://findahelpline.com)\n",
        "\n> un pa",
        "so <b>chico</b>\n",
    ]));
    browser.write("¿qué hago?").await;
    browser.until(IDLE).await;
    let tree = "
        const shape = (node) => node.nodeType === 3 ? node.data : [node.localName, ...[...node.childNodes].map(shape)];
        return shape(one('[data-role=assistant] .text'));
    ";
    let want = json!([
        "div",
        ["p", "Te leo, ", ["strong", "de verdad"], ". Probá:"],
        ["ul", ["li", "caminar"], ["li", ["a", "líneas de ayuda (https://findahelpline.com)"]]],
        ["blockquote", "un paso <b>chico</b>"],
    ]);
    assert_eq!(browser.run(tree).await, want);
    let link = "const { href, target, rel } = one('.text a'); return [href, target, rel]";
    assert_eq!(browser.run(link).await, json!(["https://findahelpline.com/", "_blank", "noopener noreferrer"]));
    browser.screenshot("browser-type").await;
    browser.reload().await;
    browser.until("one('[data-role=assistant] .text blockquote')").await;
    assert_eq!(browser.run(tree).await, want);
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

async fn another_conversation_is_begun_beside_the_first(engine: Engine) {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser_in(engine, &node).await else { return };
    browser.write("uno").await;
    browser.until(IDLE).await;
    browser.menu(&["#way-back", "#begin-another"]).await;
    browser.until("entries().length === 0").await;
    browser.until(CONNECTED).await;
    browser.write("dos").await;
    browser.until("entries().length === 2 && one('[data-finish]')").await;
    browser.menu(&["#way-back"]).await;
    browser.until("all('#way-back-earlier li button').length === 1").await;
    browser.run("one('#way-back-earlier li button').click()").await;
    browser.until("!one('#way-back-dialog').open && entries().length === 2 && entries()[0][1] === 'uno'").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn the_conversation_is_taken_along() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talkative(&node, &["hoy estoy **cansada**", "mañana veo"]).await else { return };
    browser.run(KEEP_FILES).await;
    browser.menu(&["#my-data-open"]).await;
    browser.until("all('#data-facts li').length > 2").await;
    for (place, (button, parts)) in [
        ("#data-text", ["Conversación con PsicoIA", "hoy estoy **cansada**", "eco: mañana veo"]),
        ("#data-json", ["\"psicoia.conversation.1\"", "\"role\": \"assistant\"", "\"seq\": 4"]),
        ("#data-therapist", ["no son de un profesional", "hoy estoy **cansada**", "eco: mañana veo"]),
    ]
    .into_iter()
    .enumerate()
    {
        browser.click(button).await;
        browser.until(&format!("files.length === {}", place + 1)).await;
        let file = browser.run("return files.at(-1)").await;
        for part in parts {
            assert!(file.as_str().unwrap().contains(part), "{button}: {part}: {file}");
        }
    }
    // Paper shows the sheet alone; it goes with the print.
    browser.run("window.print = () => { document.body.dataset.printed = one('#print').innerText; }").await;
    browser.click("#data-print").await;
    let sheet = browser.until("document.body.dataset.printed && one('#print')?.textContent").await;
    assert!(sheet.as_str().unwrap().contains("eco: mañana veo"), "{sheet}");
    browser.run("dispatchEvent(new Event('afterprint'))").await;
    browser.until("!one('#print')").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn words_are_found_in_the_whole_conversation() {
    let node = Plan::with_gateway().core("RATE_MAX_MESSAGES", 100).start().await;
    let Some(browser) = talkative(&node, &["la mudanza", "el trabajo"]).await else { return };
    browser.menu(&["#search-open"]).await;
    browser.until("one('#search-day').options.length === 2").await;
    browser.fill("#search-field", "MUDÁNZA").await;
    browser.press(super::driver::ENTER).await;
    browser.until("all('.hit').length === 2").await;
    assert_eq!(browser.run("return one('.hit mark').textContent").await, "mudanza");
    browser.run("all('.hit').at(-1).click()").await;
    browser.until("!one('#search').open && document.activeElement.dataset.role === 'user'").await;
    assert_eq!(browser.run("return document.activeElement.querySelector('.text').textContent").await, "la mudanza");
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn escape_stops_an_answer_and_another_one_can_be_asked_for() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    node.standin.push(slow_story());
    browser.write("Contame un cuento largo.").await;
    browser.until("one('[data-streaming] .text')?.textContent.length > 20").await;
    browser.press(ESCAPE).await;
    browser.until("one('[data-finish=stopped]')").await;
    browser.until("one('#stop').hidden").await;
    browser.click(".entry:last-child .rephrase").await;
    browser.until("entries().length === 4 && all('[data-finish=stop]').length === 1").await;
    assert_eq!(browser.run("return entries()[2][1]").await, "¿Me lo podés decir de otra forma?");
    // What can be done with an earlier answer is behind a button.
    let seen = "return all('.copy-answer').map((button) => button.checkVisibility())";
    assert_eq!(browser.run(seen).await, json!([false, true]));
    browser.click(".tools-open").await;
    assert_eq!(browser.run(seen).await, json!([true, true]));
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn exercises_and_the_own_plan_work_without_a_connection() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = talkative(&node, &["hola"]).await else { return };
    node.gateway().kill().await;
    browser.until("one('#status').dataset.state !== 'connected'").await;
    browser.menu(&["#exercises-open", "[data-pick=breath_box]", "#exercises .breathing .quiet"]).await;
    browser.until("one('#exercises .circle').dataset.part === 'in'").await;
    browser.press(ESCAPE).await;
    browser.menu(&["#exercises-open", "[data-pick=grounding]"]).await;
    for step in 1..=5 {
        browser.until(&format!("one('#exercises .steps .aside').textContent === '{step} de 5'")).await;
        browser.click("#exercises .steps .button").await;
    }
    browser.click("#exercises [data-how=better]").await;
    browser.until("all('[data-role=user]').at(-1).dataset.state === 'waiting'").await;

    browser.run(KEEP_FILES).await;
    browser.menu(&["#my-plan-open"]).await;
    browser.fill("#own-plan-1", "me encierro en casa").await;
    browser.fill("#person-name", "Caro").await;
    browser.fill("#person-phone", "+54 11 5555-0000").await;
    browser.click("#person-form button").await;
    browser.until("one('#my-plan .my-person a')").await;
    browser.click("#own-plan-save").await;
    browser.until("files.length === 1").await;
    let file = browser.run("return files[0]").await;
    for part in ["Señales de que se acerca un mal momento", "me encierro en casa", "A quién llamar"] {
        assert!(file.as_str().unwrap().contains(part), "{part}: {file}");
    }
    browser.press(ESCAPE).await;
    browser.click("#help-open").await;
    let call = "return one('#help .my-person a').getAttribute('href')";
    assert_eq!(browser.run(call).await, "tel:+541155550000");
    browser.press(ESCAPE).await;

    node.gateway().restart().await;
    browser.run(NUDGE).await;
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    assert_eq!(browser.run("return entries()[2][1]").await, "Hice un ejercicio y estoy un poco mejor.");
    let said = |line: &String| line.contains("encierro") || line.contains("5555");
    assert_eq!(node.logs().into_iter().find(said), None, "what is only in the browser");
    browser.reload().await;
    browser.until("entries().length === 4").await;
    browser.menu(&["#my-plan-open"]).await;
    assert_eq!(
        browser.run("return [one('#own-plan-1').value, one('#person-name').value]").await,
        json!(["me encierro en casa", "Caro"])
    );
    browser.close().await;
}

#[tokio::test]
async fn the_last_exchange_is_erased_and_rewritten_on_every_device() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talkative(&node, &["uno", "dos"]).await else { return };
    let first = browser.tab().await;
    let second = browser.new_tab().await;
    browser.open(&page(&node)).await;
    browser.until("entries().length === 4").await;
    browser.show(&first).await;
    browser.run("all('.edit-last').at(-1).click()").await;
    browser.fill("#message", "").await;
    browser.write("tres").await;
    let expected = json!([["user", "uno"], ["assistant", "eco: uno"], ["user", "tres"], ["assistant", "eco: tres"]]);
    for tab in [&first, &second] {
        browser.show(tab).await;
        browser.until("entries().length === 4 && entries()[3][1] === 'eco: tres'").await;
        assert_eq!(browser.entries().await, expected);
    }
    browser.menu(&["#my-data-open", "#data-forget-last", "#data-sure"]).await;
    browser.until("entries().length === 2").await;
    browser.show(&first).await;
    browser.until("entries().length === 2").await;
    browser.reload().await;
    browser.until("entries().length === 2").await;
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn a_code_opens_the_conversation_once_and_others_can_be_closed() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talkative(&node, &["uno"]).await else { return };
    browser.menu(&["#my-data-open", "#data-link"]).await;
    let code = browser.until("one('#data-code-text')?.value").await;
    browser.until("one('.qr')").await;
    let Some(other) = connected_browser(&node).await else { return };
    // As a camera opens it: the code waits in its field for the person.
    other.open(&format!("{}#codigo={}", page(&node), code.as_str().unwrap())).await;
    other.reload().await;
    other.until("one('#way-back-dialog').open").await;
    assert_eq!(other.run("return [one('#way-back-field').value, location.hash]").await, json!([code, ""]));
    other.until(CONNECTED).await;
    other.click("#way-back-enter").await;
    other.until("!one('#way-back-dialog').open && entries().length === 2").await;
    browser.click("#data-close-others").await;
    browser.click("#data-sure").await;
    browser.until("one('#data-confirm p')?.textContent.startsWith('Listo')").await;
    other.until("entries().length === 0 && !one('#notice').hidden").await;
    let notice = other.run("return one('#notice .words').textContent").await;
    assert!(notice.as_str().unwrap().contains("otro dispositivo"), "{notice}");
    browser.press(ESCAPE).await;
    browser.write("dos").await;
    browser.until("entries().length === 4 && all('[data-finish]').length === 2").await;
    other.close().await;
    browser.close().await;
}

#[tokio::test]
async fn a_conversation_that_is_not_kept_ends_with_its_server() {
    let mut node = Plan::with_gateway().start().await;
    let Some(browser) = connected_browser(&node).await else { return };
    browser.menu(&["#way-back", "#begin-unkept"]).await;
    browser.until("!one('#unkept').hidden").await;
    browser.write("solo entre nosotros").await;
    browser.until(IDLE).await;
    node.core.kill().await;
    browser.until("one('#status').dataset.state !== 'connected'").await;
    node.core.restart().await;
    browser.run(NUDGE).await;
    browser.until(CONNECTED).await;
    browser.until("entries().length === 0 && !one('#unkept').hidden").await;
    browser.close().await;
}

/// Buttons of the open dialog that are smaller than a thumb.
const SMALL: &str = "
    return all('dialog[open] :is(button, input, textarea, select, a)').filter((node) => {
        const { height } = node.getBoundingClientRect();
        return height > 0 && height < 43.5;
    }).map((node) => node.outerHTML.slice(0, 80));
";

#[tokio::test]
async fn dialogs_fit_every_screen() {
    let node = Plan::with_gateway().start().await;
    let Some(browser) = talkative(&node, &["hola"]).await else { return };
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'")).await;
        for width in [360, 1_440] {
            browser.resize(width, 740).await;
            for (name, presses) in [
                ("menu", vec![]),
                ("conversations", vec!["#way-back"]),
                ("search", vec!["#search-open"]),
                ("exercises", vec!["#exercises-open"]),
                ("breath", vec!["#exercises-open", "[data-pick=breath_long]"]),
                ("grounding", vec!["#exercises-open", "[data-pick=grounding]"]),
                ("plan", vec!["#my-plan-open"]),
                ("mood", vec!["#mood-open", "[data-mood=so_so]"]),
                ("data", vec!["#my-data-open"]),
                ("leave", vec!["#my-data-open", "#data-leave"]),
            ] {
                browser.menu(&presses).await;
                assert_eq!(browser.run(TOO_WIDE).await, json!([]), "{name}, {width} px");
                assert_eq!(browser.run(SMALL).await, json!([]), "{name}, {width} px");
                browser.screenshot(&format!("browser-tools-{name}-{theme}-{width}")).await;
                browser.press(ESCAPE).await;
                browser.until("!one('dialog[open]')").await;
            }
        }
    }
    assert_eq!(browser.run("return one('#older').hidden").await, Value::Bool(true));
    assert_eq!(browser.console_errors().await, [""; 0]);
    browser.close().await;
}
