//! Browser with its own profile, in Spanish, driven over `WebDriver`.

use std::path::Path;
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::error::CmdError;
use fantoccini::wd::{TimeoutConfiguration, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::watchdog::{LIMIT, within};
use url::{ParseError, Url};

use super::engine::{Engine, Running};

/// Key codes of `WebDriver`.
pub(super) const ENTER: char = '\u{e007}';
pub(super) const ESCAPE: char = '\u{e00c}';
pub(super) const TAB: char = '\u{e004}';

/// Prelude of every script: accessors to the visible texts of the page.
const PRELUDE: &str = "
    const one = (selector) => document.querySelector(selector);
    const all = (selector) => [...document.querySelectorAll(selector)];
    const entries = () => all('#log [data-role]').map((entry) => [entry.dataset.role, entry.querySelector('.text').textContent]);
";

/// Running browser. Chromium ends with its driver, `WebKit` with its display.
pub(super) struct Browser {
    client: Client,
    engine: Engine,
    _running: Running,
    _profile: TempDir,
}

/// Browser-specific command.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Starts a browser; prints a note and returns `None` where browser tests are disabled.
    pub(super) async fn start(engine: Engine) -> Option<Self> {
        if std::env::var_os("PSICOIA_SKIP_BROWSER").is_some_and(|skip| skip == "1") {
            say("skipped: PSICOIA_SKIP_BROWSER=1");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let running = engine.launch(profile.path()).await;
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(engine.capabilities(profile.path()));
        let client =
            within(4 * LIMIT, connecting.connect(&format!("http://127.0.0.1:{}", running.port))).await.unwrap();
        let client = client.unwrap_or_else(|error| panic!("no browser: {error}: {}", engine.needs()));
        let browser = Self { client, engine, _running: running, _profile: profile };
        browser.patience(LIMIT).await;
        Some(browser)
    }

    /// Sets the timeout of [`Browser::until`].
    pub(super) async fn patience(&self, limit: Duration) {
        let timeouts = TimeoutConfiguration::new(Some(limit), Some(limit), None);
        self.client.update_timeouts(timeouts).await.unwrap();
    }

    pub(super) async fn close(self) {
        self.client.close().await.unwrap();
    }

    pub(super) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub(super) async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    pub(super) async fn tab(&self) -> WindowHandle {
        self.client.window().await.unwrap()
    }

    /// Opens a tab with the same profile and loads a page.
    pub(super) async fn new_tab(&self) -> WindowHandle {
        let handle = self.client.new_window(true).await.unwrap().handle;
        self.show(&handle).await;
        handle
    }

    pub(super) async fn show(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Types into the message field and presses Enter.
    pub(super) async fn write(&self, text: &str) {
        let field = self.client.find(Locator::Css("#message")).await.unwrap();
        field.send_keys(&format!("{text}{ENTER}")).await.unwrap();
    }

    pub(super) async fn click(&self, selector: &str) {
        let clicked = async { self.client.find(Locator::Css(selector)).await?.click().await };
        clicked.await.unwrap_or_else(|error: CmdError| panic!("{selector}: {error}"));
    }

    /// Opens an item of the menu, and presses what follows in its dialog.
    pub(super) async fn menu(&self, presses: &[&str]) {
        self.click("#menu-open").await;
        // The first time its script may have to come.
        self.until("one('#menu')?.open").await;
        for selector in presses {
            self.click(selector).await;
        }
    }

    /// Erases the conversation as a person does.
    pub(super) async fn start_over(&self) {
        self.menu(&["#my-data-open", "#start-over", "#start-over-confirm"]).await;
    }

    /// Types into a field without submitting.
    pub(super) async fn fill(&self, selector: &str, text: &str) {
        let field = self.client.find(Locator::Css(selector)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses a key on the focused element.
    pub(super) async fn press(&self, key: char) {
        let keys = KeyActions::new("keyboard".to_owned());
        let keys = keys.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key });
        self.client.perform_actions(keys).await.unwrap();
    }

    /// Runs a script after [`PRELUDE`] and returns its result.
    pub(super) async fn run(&self, script: &str) -> Value {
        let ran = self.client.execute(&format!("{PRELUDE}{script}"), Vec::new()).await;
        ran.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Runs an asynchronous script and returns the value passed to its last argument.
    pub(super) async fn run_async(&self, script: &str) -> Value {
        let ran = self.client.execute_async(&format!("{PRELUDE}{script}"), Vec::new()).await;
        ran.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until `expression` is truthy and returns its value. Evaluated on every change of the page.
    pub(super) async fn until(&self, expression: &str) -> Value {
        let script = format!(
            "{PRELUDE}
             const done = arguments[0];
             const look = () => {{
                 const value = {expression};
                 if (value) {{ watcher.disconnect(); done(value); }}
                 return value;
             }};
             const watcher = new MutationObserver(look);
             const everything = {{ subtree: true, childList: true, attributes: true, characterData: true }};
             watcher.observe(document, everything);
             look();"
        );
        match self.client.execute_async(&script, Vec::new()).await {
            Ok(value) => value,
            Err(error) => {
                panic!("{expression} does not come true: {error}\n{}", self.run("return document.body.innerText").await)
            }
        }
    }

    /// Waits until the browser is at `url`, also while the page that it leaves is unloaded.
    pub(super) async fn until_at(&self, url: &str) {
        self.client.wait().at_most(LIMIT).for_url(&url.parse().unwrap()).await.unwrap();
    }

    /// Entries (role and text) as shown.
    pub(super) async fn entries(&self) -> Value {
        self.run("return entries()").await
    }

    /// Errors logged by the page since the last call, and warnings about response headers that the browser does not
    /// understand. `WebKit` does not report them.
    pub(super) async fn console_errors(&self) -> Vec<String> {
        if self.engine == Engine::WebKit {
            return Vec::new();
        }
        let log = self.client.issue_cmd(Extension { path: "se/log", body: json!({"type": "browser"}) }).await.unwrap();
        let message = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        let counts =
            |entry: &&Value| entry["level"] == "SEVERE" || message(entry).contains("Permissions-Policy header");
        log.as_array().unwrap().iter().filter(counts).map(message).collect()
    }

    /// Emulates a page size, also below the smallest window size. Chromium only.
    pub(super) async fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
        self.until(&format!("innerWidth === {width}")).await;
    }

    /// Sends a command of Chromium's own protocol.
    pub(super) async fn cdp(&self, command: &str, params: Value) {
        let body = json!({"cmd": command, "params": params});
        self.client.issue_cmd(Extension { path: "goog/cdp/execute", body }).await.unwrap();
    }

    /// Returns the page's source, also where scripts are off.
    pub(super) async fn source(&self) -> String {
        self.client.source().await.unwrap()
    }

    /// Returns the page's address.
    pub(super) async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// Returns the number of elements that are shown, also where scripts are off.
    pub(super) async fn shown(&self, selector: &str) -> usize {
        let mut shown = 0;
        for element in self.client.find_all(Locator::Css(selector)).await.unwrap() {
            shown += usize::from(element.is_displayed().await.unwrap());
        }
        shown
    }

    /// Chooses an option by its value.
    pub(super) async fn fill_choice(&self, selector: &str, value: &str) {
        let option = format!("{selector} option[value='{value}']");
        self.click(&option).await;
    }

    /// Saves a screenshot to the target folder, also where scripts are off.
    pub(super) async fn screenshot_now(&self, name: &str) {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(file, self.client.screenshot().await.unwrap()).unwrap();
    }

    /// Saves a screenshot to the target folder once animations have ended, for review.
    pub(super) async fn screenshot(&self, name: &str) {
        let still = "
            const ends = document.getAnimations().filter((move) => move.effect.getComputedTiming().endTime < Infinity);
            Promise.allSettled(ends.map((move) => move.finished)).then(() => arguments[0]());";
        self.client.execute_async(still, Vec::new()).await.unwrap();
        let engine = if self.engine == Engine::WebKit { "-webkit" } else { "" };
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{engine}.png"));
        std::fs::write(file, self.client.screenshot().await.unwrap()).unwrap();
    }
}

/// Prints to the test's output.
#[expect(clippy::print_stderr, reason = "a test that does not run must not look like one that passed")]
pub(super) fn say(words: &str) {
    eprintln!("{words}");
}
