//! The terminal view: a state machine of keys and overviews, without a terminal.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::figures::{Overview, Service};
use super::table::{COLUMNS, Column, details, summary};

const KEYS: &str = "←/→ sort   r reverse   space freeze   q quit";

/// View of the newest overview, or of a frozen one.
#[derive(Debug)]
pub(super) struct Screen {
    newest: Overview,
    /// Shown in place of the newest one.
    frozen: Option<Overview>,
    /// Index into [`COLUMNS`].
    sort_by: usize,
    is_reversed: bool,
}

/// Outcome of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Quit,
}

impl Screen {
    pub(super) fn new(newest: Overview) -> Self {
        Self { newest, frozen: None, sort_by: 0, is_reversed: false }
    }

    /// Takes a newer overview, which a frozen view shows later.
    pub(super) fn update(&mut self, newest: Overview) {
        self.newest = newest;
    }

    pub(super) fn on_key(&mut self, key: KeyEvent) -> Next {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Next::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Right => self.sort_by = (self.sort_by + 1) % COLUMNS.len(),
            KeyCode::Left => self.sort_by = (self.sort_by + COLUMNS.len() - 1) % COLUMNS.len(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char(' ') => self.frozen = self.frozen.is_none().then(|| self.newest.clone()),
            _ => {}
        }
        Next::Continue
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let overview = self.frozen.as_ref().unwrap_or(&self.newest);
        let rows = u16::try_from(overview.services.len()).unwrap_or(u16::MAX).saturating_add(1);
        let areas = [Constraint::Length(3), Constraint::Length(rows), Constraint::Fill(1), Constraint::Length(1)];
        let [top, middle, below, bottom] = Layout::vertical(areas).areas(frame.area());
        frame.render_widget(lines(summary(overview)), top);
        frame.render_widget(self.table(overview), middle);
        frame.render_widget(lines(std::iter::once(String::new()).chain(details(overview)).collect()), below);
        let state = if self.frozen.is_some() { "FROZEN   " } else { "" };
        frame.render_widget(Line::from(format!("{state}{KEYS}")), bottom);
    }

    fn table(&self, overview: &Overview) -> Table<'static> {
        let heading = |(at, column): (usize, &Column)| {
            let style = Style::new().add_modifier(Modifier::BOLD);
            Cell::new(column.heading()).style(if at == self.sort_by {
                style.add_modifier(Modifier::REVERSED)
            } else {
                style
            })
        };
        let header = Row::new(COLUMNS.iter().enumerate().map(heading));
        Table::new(self.sorted(overview).into_iter().map(row), COLUMNS.map(|column| column.width)).header(header)
    }

    fn sorted<'a>(&self, overview: &'a Overview) -> Vec<&'a Service> {
        let mut services: Vec<_> = overview.services.iter().collect();
        services.sort_by(|one, other| {
            let order = COLUMNS[self.sort_by].compare(one, other);
            if self.is_reversed { order.reverse() } else { order }
        });
        services
    }
}

fn row(service: &Service) -> Row<'static> {
    let style = match service.state.as_str() {
        "ready" => Style::new(),
        "degraded" => Style::new().fg(Color::Yellow),
        _ => Style::new().fg(Color::Red),
    };
    Row::new(COLUMNS.map(|column| column.cell(service))).style(style)
}

fn lines(texts: Vec<String>) -> Paragraph<'static> {
    Paragraph::new(texts.into_iter().map(Line::from).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::figures::tests::overview;
    use super::*;

    /// Lines of a terminal of 150 columns.
    fn drawn(screen: &Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(150, 20)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(150);
        rows.map(|cells| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned())
            .collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Next {
        screen.on_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Addresses from top to bottom.
    fn order(screen: &Screen) -> Vec<String> {
        drawn(screen)[4..8].iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn shows_summary_table_details_and_keys() {
        let lines = drawn(&Screen::new(overview()));
        assert!(lines[0].starts_with("people 4"), "{lines:?}");
        assert!(lines[3].starts_with("SERVICE") && lines[3].ends_with("FILES"), "{lines:?}");
        assert!(lines.iter().any(|line| line == "breaker a: OPEN"), "{lines:?}");
        assert_eq!(lines[19], KEYS);
    }

    #[test]
    fn sorts_by_the_chosen_column() {
        let mut screen = Screen::new(overview());
        assert_eq!(order(&screen), ["core-1:9101", "core-2:9101", "gateway:9102", "gone:9101"]);
        press(&mut screen, KeyCode::Char('r'));
        assert_eq!(order(&screen)[0], "gone:9101");
        press(&mut screen, KeyCode::Char('r'));
        for _ in 0..4 {
            press(&mut screen, KeyCode::Right);
        }
        assert_eq!(COLUMNS[screen.sort_by].title, "PEOPLE");
        assert_eq!(order(&screen), ["core-1:9101", "core-2:9101", "gateway:9102", "gone:9101"]);
        press(&mut screen, KeyCode::Char('r'));
        assert_eq!(order(&screen)[0], "gone:9101");
        for _ in 0..5 {
            press(&mut screen, KeyCode::Left);
        }
        assert_eq!(screen.sort_by, COLUMNS.len() - 1);
    }

    #[test]
    fn frozen_view_ignores_newer_figures() {
        let mut screen = Screen::new(overview());
        press(&mut screen, KeyCode::Char(' '));
        let mut newer = overview();
        newer.total.people = 99.0;
        screen.update(newer);
        let lines = drawn(&screen);
        assert!(lines[0].starts_with("people 4 ") && lines[19].starts_with("FROZEN"), "{lines:?}");
        press(&mut screen, KeyCode::Char(' '));
        assert!(drawn(&screen)[0].starts_with("people 99 "));
    }

    #[test]
    fn quits_by_key() {
        let mut screen = Screen::new(overview());
        assert_eq!(press(&mut screen, KeyCode::Char('x')), Next::Continue);
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Quit);
        assert_eq!(screen.on_key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
    }
}
