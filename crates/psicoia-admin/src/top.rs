//! `top`: figures of all services, renewed at an interval.

mod figures;
mod history;
mod screen;
mod table;

use std::time::Duration;

use futures_util::future::join_all;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::AdminError;
use crate::args::TopArgs;
use crate::endpoint::resolve_all;
use crate::http::Http;
use crate::scrape::Sample;

pub(crate) use figures::Overview;
use history::History;
use screen::{Next, Screen};

/// Longest time until the screen shows new figures, and until a key has its effect at most.
const KEY_POLL: Duration = Duration::from_millis(100);

/// The services and their scrapes so far.
struct Observer {
    http: Http,
    services: Vec<History>,
}

impl Observer {
    async fn new(args: &TopArgs) -> Result<Self, AdminError> {
        let http = Http::new(args.admin.timeout)?;
        let endpoints = resolve_all(&args.admin.endpoints).await;
        Ok(Self { http, services: endpoints.into_iter().map(History::new).collect() })
    }

    /// Scrapes every service at once.
    async fn scrape(&mut self) -> Overview {
        let http = &self.http;
        let scrapes = self.services.iter().map(|service| Sample::take(http, service.endpoint()));
        let scraped = join_all(scrapes).await;
        for (service, sample) in self.services.iter_mut().zip(scraped) {
            service.record(sample);
        }
        Overview::of(&self.services)
    }
}

/// Returns the figures of one interval.
pub(crate) async fn once(args: &TopArgs) -> Result<Overview, AdminError> {
    let mut observer = Observer::new(args).await?;
    observer.scrape().await;
    tokio::time::sleep(args.interval).await;
    Ok(observer.scrape().await)
}

/// Shows the figures until the operator quits.
pub(crate) fn watch(runtime: &Runtime, args: &TopArgs) -> Result<(), AdminError> {
    let mut observer = runtime.block_on(Observer::new(args))?;
    let (newest, overviews) = watch::channel(runtime.block_on(observer.scrape()));
    let mut ticks = runtime.block_on(async { interval(args.interval) });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let scraping = async move {
        loop {
            ticks.tick().await;
            // The screen is gone: so is the runtime soon.
            if newest.send(observer.scrape().await).is_err() {
                return;
            }
        }
    };
    runtime.handle().spawn(scraping);
    let mut terminal = ratatui::try_init()?;
    let ended = show(&mut terminal, overviews);
    ratatui::try_restore()?;
    Ok(ended?)
}

fn show(terminal: &mut ratatui::DefaultTerminal, mut overviews: watch::Receiver<Overview>) -> std::io::Result<()> {
    let mut screen = Screen::new(overviews.borrow_and_update().clone());
    loop {
        if overviews.has_changed().unwrap_or(false) {
            screen.update(overviews.borrow_and_update().clone());
        }
        terminal.draw(|frame| screen.draw(frame))?;
        if event::poll(KEY_POLL)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && screen.on_key(key) == Next::Quit
        {
            return Ok(());
        }
    }
}
