//! Browser engines: drivers, displays and their start.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use fantoccini::wd::Capabilities;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};
use serde_json::json;
use testkit::process::{Launch, Service};
use testkit::watchdog::until;

/// Generates a test per scenario and engine.
macro_rules! in_each_engine {
    ($($scenario:ident),+ $(,)?) => {
        $(mod $scenario {
            use crate::browser::engine::Engine;

            #[tokio::test]
            async fn chromium() {
                super::$scenario(Engine::Chromium).await;
            }

            #[tokio::test]
            async fn webkit() {
                super::$scenario(Engine::WebKit).await;
            }
        })+
    };
}
pub(super) use in_each_engine;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Chromium,
    /// `WebKitGTK`: Safari's engine.
    WebKit,
}

/// Running driver, and the display of its browser.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) port: u16,
    _driver: Service,
    _display: Option<Service>,
}

impl Engine {
    /// Packages to install.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Chromium => {
                "these tests need chromium and chromedriver (Debian: chromium, chromium-driver); PSICOIA_SKIP_BROWSER=1 skips them"
            }
            Self::WebKit => {
                "these tests need WebKitWebDriver, MiniBrowser and Xvfb (Debian: webkit2gtk-driver, xvfb); PSICOIA_SKIP_BROWSER=1 \
                 skips them"
            }
        }
    }

    /// Starts the driver. The browser stores its data in `profile`.
    pub(super) async fn launch(self, profile: &Path) -> Running {
        match self {
            Self::Chromium => {
                let (driver, port) = self.chromedriver(profile).await;
                Running { port, _driver: driver, _display: None }
            }
            Self::WebKit => {
                // MiniBrowser has no headless mode. The display prints its number once it is ready.
                let screen = ["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"];
                let xvfb = screen.iter().fold(Launch::new("Xvfb"), |launch, argument| launch.argument(argument));
                let display = self.spawn(xvfb);
                let number = display.wait_for_log(|line| line.parse::<u32>().is_ok()).await.unwrap();
                let number = number.unwrap_or_else(|| panic!("Xvfb does not start:\n{}", display.logs().join("\n")));
                let driver = at_home("WebKitWebDriver", profile)
                    .argument("--port=0")
                    .env("DISPLAY", format!(":{number}"))
                    // No D-Bus, no portals, and no sandbox inside the tests' own.
                    .env("GTK_USE_PORTAL", "0")
                    .env("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1")
                    .env("LIBGL_ALWAYS_SOFTWARE", "1");
                let driver = self.spawn(driver);
                let mut port = None;
                let pid = driver.pid().and_then(|pid| i32::try_from(pid).ok()).unwrap();
                let started = until(async || {
                    port = port.or_else(|| port_of(pid));
                    port.is_some()
                });
                started
                    .await
                    .unwrap_or_else(|_| panic!("WebKitWebDriver does not start:\n{}", driver.logs().join("\n")));
                Running { port: port.unwrap(), _driver: driver, _display: Some(display) }
            }
        }
    }

    /// Starts `chromedriver` and returns its port. It binds a free port of IPv6 and then the same one of IPv4, which
    /// may be in use: then it exits, and the next attempt gets another port.
    async fn chromedriver(self, profile: &Path) -> (Service, u16) {
        loop {
            let driver = self.spawn(at_home("chromedriver", profile).argument("--port=0"));
            let started = driver.wait_for_log(|line| announced_port(line).is_some()).await.unwrap();
            if let Some(port) = started.as_deref().and_then(announced_port) {
                return (driver, port);
            }
            let log = driver.logs().join("\n");
            assert!(log.contains("port not available"), "chromedriver does not start:\n{log}");
        }
    }

    fn spawn(self, launch: Launch) -> Service {
        launch.spawn().unwrap_or_else(|error| panic!("{error}: {}", self.needs()))
    }

    pub(super) fn capabilities(self, profile: &Path) -> Capabilities {
        let all = match self {
            Self::Chromium => chromium(profile),
            Self::WebKit => webkit(),
        };
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn at_home(program: &str, profile: &Path) -> Launch {
    // The page derives the country from the time zone.
    let launch = Launch::new(program).env("TZ", "America/Argentina/Buenos_Aires");
    ["HOME", "TMPDIR"].iter().fold(launch, |launch, name| launch.env(name, profile))
}

/// Parses the port of `ChromeDriver was started successfully on port 38345.`
fn announced_port(line: &str) -> Option<u16> {
    line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
}

/// Finds the listening port of a process that does not print it.
fn port_of(pid: i32) -> Option<u16> {
    let sockets: HashSet<u64> = Process::new(pid).ok()?.fd().ok()?.flatten().fold(HashSet::new(), |mut sockets, fd| {
        if let FDTarget::Socket(inode) = fd.target {
            sockets.insert(inode);
        }
        sockets
    });
    let listening = procfs::net::tcp().ok()?.into_iter();
    let own = |entry: &procfs::net::TcpNetEntry| entry.state == TcpState::Listen && sockets.contains(&entry.inode);
    listening.filter(own).map(|entry| entry.local_address.port()).next()
}

fn chromium(profile: &Path) -> Vec<(&'static str, serde_json::Value)> {
    let profile = format!("--user-data-dir={}", profile.join("profile").display());
    let options = json!({
        "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--remote-debugging-pipe", "--window-size=1280,800", "--lang=es-AR", profile,
        ],
        "prefs": {"intl.accept_languages": "es-AR,es"},
    });
    vec![
        ("browserName", json!("chrome")),
        ("goog:chromeOptions", options),
        ("goog:loggingPrefs", json!({"browser": "ALL"})),
    ]
}

fn webkit() -> Vec<(&'static str, serde_json::Value)> {
    let browser = mini_browser().unwrap_or_else(|| panic!("{}", Engine::WebKit.needs()));
    vec![("webkitgtk:browserOptions", json!({"binary": browser, "args": ["--automation"]}))]
}

/// Path of the driver's browser, which depends on the library folder.
fn mini_browser() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let mut places = libraries
        .flat_map(|folder| ["4.1", "4.0", "6.0"].map(|api| folder.join(format!("webkit2gtk-{api}/MiniBrowser"))));
    places.find(|place| place.is_file())
}
