//! Shows events in the terminal.

use client::{Answered, Closed, ErrorFrame, Finish, Welcome};
use protocol::server_frame::Resource;

use super::{
    AnswerText, CONTINUE, Client, EXIT, Event, Exit, Flow, InteractiveSession, MAX_OTHER_ANSWERS, MessageId, PSICOIA,
    SHOWN, Style, sanitize,
};
use crate::help::resource_line;

impl InteractiveSession<'_> {
    pub(super) async fn on_event(&mut self, client: &mut Client, event: Event) -> Flow {
        match event {
            Event::Connected(welcome) => self.on_connected(client, &welcome).await?,
            Event::SessionLost => self.print_note(self.strings.session_lost)?,
            Event::EarlierSession => self.print_note(self.strings.earlier_session)?,
            Event::Turn(entry) => self.show_entry(&entry, self.strings.other_device)?,
            Event::Queued { ahead, .. } if 0 < ahead => self.print_note(&format!("{} {ahead}", self.strings.queued))?,
            Event::Support(support) => {
                self.show_help(support.text.expose(), &support.help.resources)?;
                if let Some(question) = self.location.question(self.language) {
                    self.print_note(&question)?;
                }
                // The answer must continue on a new line below the help.
                self.started = false;
            }
            Event::Delta { id, text, .. } => self.on_piece(&id, text.expose())?,
            Event::Restarted { id } => self.on_restarted(&id)?,
            Event::Done(done) => self.on_done(&done)?,
            Event::Forgotten { id } => self.on_forgotten(&id)?,
            Event::Refused(error) => self.on_refused(&error)?,
            Event::Deferred { error, .. } => {
                self.print_note(&format!("{} {}", sanitize(&error.message), self.strings.sent_later))?;
            }
            Event::Error(error) => self.print_note(&sanitize(&error.message))?,
            Event::Notice { text: Some(text), .. } => self.on_notice(&text)?,
            Event::Reconnecting { attempt, why, .. } => self.on_reconnecting(attempt, &why)?,
            Event::Closed { reason } => return self.on_closed(reason),
            _ => {}
        }
        CONTINUE
    }

    fn on_reconnecting(&mut self, attempt: u32, why: &str) -> Result<(), Exit> {
        self.disconnected = true;
        // The first attempt usually succeeds: showing it would only alarm.
        if attempt <= 1 || self.offline_shown {
            return Ok(());
        }
        self.offline_shown = true;
        self.print_note(&format!("{} {} ({})", self.strings.lost, self.strings.lines_here, sanitize(why)))
    }

    async fn on_connected(&mut self, client: &mut Client, welcome: &Welcome) -> Result<(), Exit> {
        self.setup.remember(client)?;
        (self.connected, self.disconnected) = (true, false);
        let strings = self.strings;
        if std::mem::take(&mut self.offline_shown) {
            self.print_note(strings.back)?;
        }
        if !std::mem::replace(&mut self.greeted, true) {
            let greeting = if welcome.resumed { strings.resumed } else { strings.greeting };
            self.print_note(greeting)?;
            if welcome.resumed && 0 < welcome.seq {
                // Later entries arrive as events.
                self.history(client, Some(welcome.seq + 1), SHOWN.0).await?;
            }
        } else if let Some(missed) = welcome.missed {
            self.print_note(&format!("{} {missed}", strings.missed))?;
        }
        Ok(())
    }

    /// Shows the AI disclosure: once for all connections, and again when the server sends it as a reminder.
    fn on_notice(&mut self, text: &str) -> Result<(), Exit> {
        let text = sanitize(text);
        let is_greeting = std::mem::take(&mut self.connected);
        if is_greeting && self.about.as_ref() == Some(&text) {
            return Ok(());
        }
        self.print_note(&text)?;
        self.about = Some(text);
        Ok(())
    }

    pub(super) fn show_help(&mut self, text: &str, resources: &[Resource]) -> Result<(), Exit> {
        let mut text = sanitize(text);
        for resource in resources {
            text.push('\n');
            text.push_str(&resource_line(resource, self.language));
        }
        Ok(self.screen.lines(Style::Help, &text)?)
    }

    pub(super) fn on_piece(&mut self, id: &MessageId, text: &str) -> Result<(), Exit> {
        if self.awaited.as_ref() == Some(id) {
            let shown = self.pieces.piece(text);
            if !std::mem::replace(&mut self.started, true) {
                self.screen.begin(PSICOIA)?;
            }
            return Ok(self.screen.piece(&shown)?);
        }
        let at = self.other_answers.iter().position(|(other, _)| other == id).unwrap_or_else(|| {
            if MAX_OTHER_ANSWERS <= self.other_answers.len() {
                self.other_answers.remove(0);
            }
            self.other_answers.push((id.clone(), String::new()));
            self.other_answers.len() - 1
        });
        self.other_answers[at].1.push_str(text);
        Ok(())
    }

    fn on_restarted(&mut self, id: &MessageId) -> Result<(), Exit> {
        if self.awaited.as_ref() == Some(id) {
            (self.started, self.pieces) = (false, AnswerText::default());
            return self.print_note(self.strings.restarted);
        }
        self.other_answers.retain(|(other, _)| other != id);
        Ok(())
    }

    fn on_refused(&mut self, error: &ErrorFrame) -> Result<(), Exit> {
        let own = error.id.as_ref().is_some_and(|id| self.finish(id));
        self.other_answers.retain(|(id, _)| error.id.as_ref() != Some(id));
        self.print_note(&sanitize(&error.message))?;
        if own {
            self.print_note(self.strings.send_again)?;
            self.await_next()?;
        }
        Ok(())
    }

    fn on_done(&mut self, done: &Answered) -> Result<(), Exit> {
        self.unanswered.take_if(|(id, _)| *id == done.id);
        let own = self.finish(&done.id);
        if own {
            let rest = self.pieces.rest();
            self.screen.piece(&rest)?;
            self.screen.end_line()?;
        } else if let Some(at) = self.other_answers.iter().position(|(id, _)| *id == done.id) {
            let (_, text) = self.other_answers.swap_remove(at);
            if !text.is_empty() {
                self.print_answer(&text)?;
            }
        }
        match done.finish {
            Finish::Stop | Finish::Length => {}
            Finish::Stopped => self.print_note(&format!("({})", self.strings.stopped))?,
            Finish::Error if own => self.print_note(&format!("{} {}", self.strings.cut, self.strings.go_on))?,
            Finish::Error => self.print_note(self.strings.cut)?,
        }
        if own { self.await_next() } else { Ok(()) }
    }

    fn on_forgotten(&mut self, id: &MessageId) -> Result<(), Exit> {
        self.unanswered.take_if(|(unanswered, _)| unanswered == id);
        self.other_answers.retain(|(other, _)| other != id);
        let own = self.finish(id);
        if own {
            self.screen.end_line()?;
        }
        self.print_note(self.strings.forgotten)?;
        if own { self.await_next() } else { Ok(()) }
    }

    fn on_closed(&mut self, reason: Closed) -> Flow {
        if reason == Closed::Ended || matches!(reason, Closed::BadResume { .. }) {
            self.print_note(self.strings.ended)?;
        }
        crate::exit_result(reason)?;
        EXIT
    }
}
