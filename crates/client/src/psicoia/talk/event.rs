//! What the server says, as a person sees it.

use client::{Answered, Closed, ErrorFrame, Finish, Welcome};
use protocol::server_frame::Resource;

use super::{
    Client, Event, Exit, Flow, GO_ON, LEAVE, MAX_ELSEWHERE, MessageId, PSICOIA, SHOWN, Style, Talk, printable,
};
use crate::help::resource_line;

impl Talk<'_> {
    pub(super) async fn on_event(&mut self, client: &mut Client, event: Event) -> Flow {
        match event {
            Event::Connected(welcome) => self.on_connected(client, &welcome).await?,
            Event::SessionLost => self.remark(self.words.session_lost)?,
            Event::EarlierSession => self.remark(self.words.earlier_session)?,
            Event::Turn(entry) => self.show_entry(&entry, self.words.elsewhere)?,
            Event::Queued { ahead, .. } if 0 < ahead => self.remark(&format!("{} {ahead}", self.words.queued))?,
            Event::Support(support) => {
                self.show_help(support.text.expose(), &support.help.resources)?;
                if let Some(question) = self.place.question(self.language) {
                    self.remark(&question)?;
                }
                // What comes of an answer begins a new line.
                self.begun = false;
            }
            Event::Delta { id, text, .. } => self.on_piece(&id, text.expose())?,
            Event::Restarted { id } => self.on_restarted(&id)?,
            Event::Done(done) => self.on_done(&done)?,
            Event::Refused(error) => self.on_refused(&error)?,
            Event::Deferred { error, .. } => {
                self.remark(&format!("{} {}", printable(&error.message), self.words.sent_later))?;
            }
            Event::Error(error) => self.remark(&printable(&error.message))?,
            Event::Notice { text: Some(text), .. } => self.on_notice(&text)?,
            Event::Reconnecting { attempt, why, .. } => self.on_reconnecting(attempt, &why)?,
            Event::Closed { reason } => return self.on_closed(reason),
            _ => {}
        }
        GO_ON
    }

    fn on_reconnecting(&mut self, attempt: u32, why: &str) -> Result<(), Exit> {
        self.away = true;
        // The first attempt mostly succeeds, and nobody has to know.
        if attempt <= 1 || self.offline {
            return Ok(());
        }
        self.offline = true;
        self.remark(&format!("{} {} ({})", self.words.lost, self.words.lines_here, printable(why)))
    }

    async fn on_connected(&mut self, client: &mut Client, welcome: &Welcome) -> Result<(), Exit> {
        self.setup.remember(client)?;
        (self.connected, self.away) = (true, false);
        let words = self.words;
        if std::mem::take(&mut self.offline) {
            self.remark(words.back)?;
        }
        if !std::mem::replace(&mut self.greeted, true) {
            let greeting = if welcome.resumed { words.resumed } else { words.greeting };
            self.remark(greeting)?;
            if welcome.resumed && 0 < welcome.seq {
                // What comes from now on is told by itself.
                self.history(client, Some(welcome.seq + 1), SHOWN.0).await?;
            }
        } else if let Some(missed) = welcome.missed {
            self.remark(&format!("{} {missed}", words.missed))?;
        }
        Ok(())
    }

    /// What the server says about itself: with each connection, of which it is shown once, and as a reminder.
    fn on_notice(&mut self, text: &str) -> Result<(), Exit> {
        let text = printable(text);
        let is_greeting = std::mem::take(&mut self.connected);
        if is_greeting && self.about.as_ref() == Some(&text) {
            return Ok(());
        }
        self.remark(&text)?;
        self.about = Some(text);
        Ok(())
    }

    pub(super) fn show_help(&mut self, text: &str, resources: &[Resource]) -> Result<(), Exit> {
        let mut text = printable(text);
        for resource in resources {
            text.push('\n');
            text.push_str(&resource_line(resource, self.language));
        }
        Ok(self.screen.lines(Style::Help, &text)?)
    }

    pub(super) fn on_piece(&mut self, id: &MessageId, text: &str) -> Result<(), Exit> {
        if self.awaited.as_ref() == Some(id) {
            let shown = self.pieces.piece(text);
            if !std::mem::replace(&mut self.begun, true) {
                self.screen.begin(PSICOIA)?;
            }
            return Ok(self.screen.piece(&shown)?);
        }
        let at = self.elsewhere.iter().position(|(other, _)| other == id).unwrap_or_else(|| {
            if MAX_ELSEWHERE <= self.elsewhere.len() {
                self.elsewhere.remove(0);
            }
            self.elsewhere.push((id.clone(), String::new()));
            self.elsewhere.len() - 1
        });
        self.elsewhere[at].1.push_str(text);
        Ok(())
    }

    fn on_restarted(&mut self, id: &MessageId) -> Result<(), Exit> {
        if self.awaited.as_ref() == Some(id) {
            self.begun = false;
            return self.remark(self.words.restarted);
        }
        self.elsewhere.retain(|(other, _)| other != id);
        Ok(())
    }

    fn on_refused(&mut self, error: &ErrorFrame) -> Result<(), Exit> {
        let own = error.id.as_ref().is_some_and(|id| self.end(id));
        self.elsewhere.retain(|(id, _)| error.id.as_ref() != Some(id));
        self.remark(&printable(&error.message))?;
        if own {
            self.remark(self.words.send_again)?;
            self.await_next()?;
        }
        Ok(())
    }

    fn on_done(&mut self, done: &Answered) -> Result<(), Exit> {
        self.unanswered.take_if(|(id, _)| *id == done.id);
        let own = self.end(&done.id);
        if own {
            self.screen.end_line()?;
        } else if let Some(at) = self.elsewhere.iter().position(|(id, _)| *id == done.id) {
            let (_, text) = self.elsewhere.swap_remove(at);
            if !text.is_empty() {
                self.speak(PSICOIA, &text)?;
            }
        }
        match done.finish {
            Finish::Stop | Finish::Length => {}
            Finish::Stopped => self.remark(&format!("({})", self.words.stopped))?,
            Finish::Error if own => self.remark(&format!("{} {}", self.words.cut, self.words.go_on))?,
            Finish::Error => self.remark(self.words.cut)?,
        }
        if own { self.await_next() } else { Ok(()) }
    }

    fn on_closed(&mut self, reason: Closed) -> Flow {
        if reason == Closed::Ended || matches!(reason, Closed::BadResume { .. }) {
            self.remark(self.words.ended)?;
        }
        crate::over(reason)?;
        LEAVE
    }
}
