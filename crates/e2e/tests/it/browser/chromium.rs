//! Headless Chromium with a profile of its own, in Spanish, driven over `WebDriver`.

use std::path::Path;
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, TimeoutConfiguration, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::process::{Launch, Service};
use testkit::watchdog::{LIMIT, within};
use url::{ParseError, Url};

/// The keys, as `WebDriver` names them.
pub(super) const ENTER: char = '\u{e007}';
pub(super) const ESCAPE: char = '\u{e00c}';
pub(super) const TAB: char = '\u{e004}';

const NO_DRIVER: &str =
    "these tests need chromium and chromedriver (Debian: chromium, chromium-driver); PSICOIA_SKIP_BROWSER=1 skips them";

/// Comes before every script: the texts of a page as a person sees them.
const PRELUDE: &str = "
    const one = (selector) => document.querySelector(selector);
    const all = (selector) => [...document.querySelectorAll(selector)];
    const entries = () => all('#log [data-role]').map((entry) => [entry.dataset.role, entry.querySelector('.text').textContent]);
";

/// A browser. It ends with its driver: their connection is a pipe.
pub(super) struct Browser {
    client: Client,
    _driver: Service,
    _profile: TempDir,
}

/// A command that only this browser knows.
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
    /// Starts one; `None`, and says so, where browser tests are not wanted.
    pub(super) async fn start() -> Option<Self> {
        if std::env::var_os("PSICOIA_SKIP_BROWSER").is_some_and(|skip| skip == "1") {
            say("skipped: PSICOIA_SKIP_BROWSER=1");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        // Whatever else it keeps, it keeps there too.
        let launch = ["HOME", "TMPDIR"]
            .iter()
            .fold(Launch::new("chromedriver"), |launch, name| launch.env(name, profile.path()));
        let launch = launch.argument("--port=0");
        let driver = launch.spawn().unwrap_or_else(|error| panic!("{error}: {NO_DRIVER}"));
        let started = driver.wait_for_log(|line| driver_port(line).is_some()).await.unwrap();
        let port = started.as_deref().and_then(driver_port);
        let port = port.unwrap_or_else(|| panic!("chromedriver does not start:\n{}", driver.logs().join("\n")));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(capabilities(profile.path()));
        let client = within(4 * LIMIT, connecting.connect(&format!("http://127.0.0.1:{port}"))).await.unwrap();
        let client = client.unwrap_or_else(|error| panic!("no browser: {error}: {NO_DRIVER}"));
        let browser = Self { client, _driver: driver, _profile: profile };
        browser.patience(LIMIT).await;
        Some(browser)
    }

    /// How long [`Browser::until`] waits.
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

    /// Opens a tab and goes there. The profile is the same.
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

    /// Presses a key, wherever the focus is.
    pub(super) async fn press(&self, key: char) {
        let keys = KeyActions::new("keyboard".to_owned());
        let keys = keys.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key });
        self.client.perform_actions(keys).await.unwrap();
    }

    /// What the script returns. It knows [`PRELUDE`].
    pub(super) async fn run(&self, script: &str) -> Value {
        let ran = self.client.execute(&format!("{PRELUDE}{script}"), Vec::new()).await;
        ran.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until `expression` is truthy, and returns its value. It is looked at whenever the page changes.
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

    /// Who said what, as the page shows it.
    pub(super) async fn entries(&self) -> Value {
        self.run("return entries()").await
    }

    /// The errors the page has logged since the last look.
    pub(super) async fn console_errors(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Extension { path: "se/log", body: json!({"type": "browser"}) }).await.unwrap();
        let severe = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Makes the page as large as this, whatever the smallest window may be.
    pub(super) async fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let body = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size});
        self.client.issue_cmd(Extension { path: "goog/cdp/execute", body }).await.unwrap();
        self.until(&format!("innerWidth === {width}")).await;
    }

    /// Writes what is seen, once it stands still, to a file of the target folder, for people to look at.
    pub(super) async fn screenshot(&self, name: &str) {
        let still = "
            const ends = document.getAnimations().filter((move) => move.effect.getComputedTiming().endTime < Infinity);
            Promise.allSettled(ends.map((move) => move.finished)).then(() => arguments[0]());";
        self.client.execute_async(still, Vec::new()).await.unwrap();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(file, self.client.screenshot().await.unwrap()).unwrap();
    }
}

/// The port, in `ChromeDriver was started successfully on port 38345.`
fn driver_port(line: &str) -> Option<u16> {
    line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
}

fn capabilities(profile: &Path) -> Capabilities {
    let profile = format!("--user-data-dir={}", profile.join("profile").display());
    let options = json!({
        "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--remote-debugging-pipe", "--window-size=1280,800", "--lang=es-AR", profile,
        ],
        "prefs": {"intl.accept_languages": "es-AR,es"},
    });
    let all = [
        ("browserName", json!("chrome")),
        ("goog:chromeOptions", options),
        ("goog:loggingPrefs", json!({"browser": "ALL"})),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Says something in the output of the test.
#[expect(clippy::print_stderr, reason = "a test that does not run must not look like one that passed")]
pub(super) fn say(words: &str) {
    eprintln!("{words}");
}
