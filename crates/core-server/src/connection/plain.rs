//! The plain face: frames rendered as lines for people, and lines read as commands.

use protocol::server_frame::{Entry, NoticeCode, Role, SafetyPlan};
use protocol::{ErrorCode, Language, Locale, MessageId, ServerFrame};

use super::texts;

/// State of the plain face of one connection.
#[derive(Debug, Default)]
pub(super) struct PlainState {
    /// A message was sent: the connection stays plain for good.
    pub(super) has_sent_message: bool,
    /// Message without its line of answer yet; the next line waits for it.
    pub(super) awaiting: Option<MessageId>,
    /// Answer so far; it is written as one line.
    reply: String,
    /// `/borrar` was the last line; a second one confirms it.
    pub(super) erase_requested: bool,
    /// Prefix of the next answer, in the same line.
    reminder: Option<String>,
}

/// Meaning of a line in the plain face.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Message,
    Exit,
    Help,
    History,
    Session,
    Resume(&'a str),
    Erase,
    Language(&'a str),
    Country(&'a str),
    Crisis,
    Ai,
    About,
    Protection,
    Plan,
    Unknown,
}

impl<'a> Command<'a> {
    /// Parses a line: a leading word with a slash is a command, anything else is a message.
    pub(super) fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let is = |word: &str| line.eq_ignore_ascii_case(word);
        if is("salir") || is("exit") || is("quit") {
            return Self::Exit;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if !word.strip_prefix('/').is_some_and(|name| name.starts_with(char::is_alphabetic)) {
            return Self::Message;
        }
        // Punctuation after a command is ignored: `/crisis!!!` of a person in distress must work.
        let word = word.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        match without_accents(word).as_str() {
            "/ayuda" | "/help" => Self::Help,
            "/historial" | "/history" => Self::History,
            "/sesion" | "/session" => Self::Session,
            "/reanudar" | "/resume" => Self::Resume(rest.trim()),
            "/borrar" | "/erase" => Self::Erase,
            "/idioma" | "/language" => Self::Language(rest.trim()),
            "/pais" | "/country" => Self::Country(rest.trim()),
            "/crisis" | "/emergencia" | "/urgencia" | "/emergency" => Self::Crisis,
            "/ia" | "/ai" => Self::Ai,
            "/acerca" | "/about" => Self::About,
            "/proteccion" | "/protection" => Self::Protection,
            "/plan" => Self::Plan,
            _ => Self::Unknown,
        }
    }

    /// Returns free text in a line that is no message, for assessment: the whole line of an unknown command, else the
    /// text behind one that takes no such argument.
    pub(super) fn trailing_text(&self, line: &'a str) -> Option<&'a str> {
        match self {
            Self::Message | Self::Exit | Self::Crisis => None,
            // A resume token is a secret: it must not reach the assessment.
            Self::Resume(token) if !token.contains(char::is_whitespace) => None,
            Self::Unknown => Some(line.trim().trim_start_matches('/')),
            _ => line.trim().split_once(char::is_whitespace).map(|(_, rest)| rest),
        }
    }
}

/// Lower-cases `word` and removes Spanish accents, composed or not.
fn without_accents(word: &str) -> String {
    let letters = word.chars().flat_map(char::to_lowercase).filter(|letter| !('\u{300}'..='\u{36f}').contains(letter));
    letters
        .map(|letter| match letter {
            'á' => 'a',
            'é' => 'e',
            'í' => 'i',
            'ó' => 'o',
            'ú' | 'ü' => 'u',
            letter => letter,
        })
        .collect()
}

/// Parses the argument of `/idioma`; `None` for an unsupported language.
pub(super) fn language_named(name: &str) -> Option<Locale> {
    match name.to_lowercase().as_str() {
        "es" | "español" | "espanol" | "spanish" => Some(Language::Spanish.into()),
        "en" | "inglés" | "ingles" | "english" => Some(Language::English.into()),
        _ => None,
    }
}

impl PlainState {
    /// Makes the next line wait for the answer to `id`.
    pub(super) fn await_answer(&mut self, id: MessageId) {
        self.has_sent_message = true;
        self.awaiting = Some(id);
        self.reply = String::new();
    }

    /// Consumes a frame. Returns the line of the awaited message once it is complete; frames of other messages are
    /// dropped.
    pub(super) fn render(&mut self, frame: ServerFrame, language: Language) -> Option<String> {
        let awaited = self.awaiting.as_ref();
        match frame {
            ServerFrame::Delta { id, offset, text, .. } if awaited == Some(&id) => {
                if offset == 0 {
                    // The answer restarted: another text replaces the pieces so far.
                    self.reply.clear();
                }
                self.reply.push_str(text.expose());
                None
            }
            ServerFrame::Done(done) if awaited == Some(&done.id) => {
                let line = to_single_line(&std::mem::take(&mut self.reply));
                self.awaiting = None;
                if line.is_empty() {
                    return Some(ErrorCode::Stopped.message(language, None));
                }
                Some(match self.reminder.take() {
                    Some(reminder) => format!("{reminder} {line}"),
                    None => line,
                })
            }
            ServerFrame::Notice { code: NoticeCode::Ai, text, .. } => {
                self.reminder = text;
                None
            }
            ServerFrame::Error(error) if error.id.is_some() && awaited == error.id.as_ref() => {
                self.awaiting = None;
                Some(error.message)
            }
            _ => None,
        }
    }
}

/// Renders entries as lines.
pub(super) fn history(entries: &[Entry], language: Language) -> Vec<String> {
    if entries.is_empty() {
        return vec![texts::no_history(language).to_owned()];
    }
    let line = |entry: &Entry| match entry.role {
        // Without a speaker: a help line introduces itself.
        Role::Support => to_single_line(entry.text.expose()),
        role => format!("{}: {}", texts::speaker(language, role), to_single_line(entry.text.expose())),
    };
    entries.iter().map(line).collect()
}

/// Renders a safety plan as lines, followed by the command for help lines.
pub(super) fn safety_plan(plan: Option<&SafetyPlan>, language: Language) -> Vec<String> {
    match plan {
        None => vec![texts::no_plan(language).to_owned()],
        Some(plan) => {
            let [crisis, ..] = texts::help(language);
            plan.lines().map(|line| to_single_line(&line)).chain([crisis.to_owned()]).collect()
        }
    }
}

/// Converts `text` to one line that a terminal can show safely: line breaks become one space, other control characters
/// and escape sequences are removed. A model's answer must not control the person's terminal.
pub(super) fn to_single_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\n' | '\r' | '\t' | '\u{0b}' | '\u{0c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                if !line.ends_with(' ') && !line.is_empty() {
                    line.push(' ');
                }
            }
            '\u{1b}' => skip_escape(&mut rest),
            letter if letter.is_control() => {}
            letter => line.push(letter),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Skips the rest of an escape sequence after ESC: a control sequence up to its final byte, an operating system command
/// up to its terminator, else one character (ECMA-48).
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            while rest.next_if(|letter| !('@'..='~').contains(letter) && *letter != '\n').is_some() {}
            rest.next_if(|letter| *letter != '\n');
        }
        Some(']') => {
            while rest.next_if(|letter| !matches!(letter, '\u{07}' | '\u{1b}' | '\n')).is_some() {}
            if rest.next_if_eq(&'\u{1b}').is_some() {
                rest.next_if_eq(&'\\');
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use protocol::UserText;
    use protocol::server_frame::PlanStep;

    use super::*;

    #[test]
    fn parses_commands() {
        for (line, want) in [
            ("hola", Command::Message),
            ("SALIR", Command::Exit),
            (" Quit ", Command::Exit),
            ("salir de casa me cuesta", Command::Message),
            ("/ayuda", Command::Help),
            ("/HELP", Command::Help),
            ("/reanudar  abc ", Command::Resume("abc")),
            ("/reanudar", Command::Resume("")),
            ("/idioma en", Command::Language("en")),
            ("/language  es ", Command::Language("es")),
            ("/historial", Command::History),
            ("/History", Command::History),
            ("/sesión", Command::Session),
            ("/session", Command::Session),
            ("/resume abc", Command::Resume("abc")),
            ("/borrar", Command::Erase),
            ("/ia", Command::Ai),
            ("/AI", Command::Ai),
            ("/acerca", Command::About),
            ("/about", Command::About),
            ("/proteccion", Command::Protection),
            ("/Protección", Command::Protection),
            ("/protection", Command::Protection),
            ("/plan", Command::Plan),
            ("/Plan ", Command::Plan),
            ("/planes", Command::Unknown),
            ("/erase", Command::Erase),
            ("/pais  México ", Command::Country("México")),
            ("/País", Command::Country("")),
            ("/country ES", Command::Country("ES")),
            ("/crisis", Command::Crisis),
            ("/CRISIS ahora", Command::Crisis),
            ("/Crísis", Command::Crisis),
            ("/cri\u{301}sis", Command::Crisis),
            ("/ÚRGENCIA", Command::Crisis),
            ("/crisis.", Command::Crisis),
            ("/Crisis!!! por favor", Command::Crisis),
            ("/crisis…", Command::Crisis),
            ("/país: Perú", Command::Country("Perú")),
            ("/emergencia", Command::Crisis),
            ("/urgencia", Command::Crisis),
            ("/emergency", Command::Crisis),
            ("/bailar", Command::Unknown),
            ("/ no es un comando", Command::Message),
            ("/", Command::Message),
            ("1/2", Command::Message),
        ] {
            assert_eq!(Command::parse(line), want, "{line}");
        }
    }

    #[test]
    fn trailing_text_of_commands() {
        for (line, want) in [
            ("/me quiero matar", Some("me quiero matar")),
            ("/plan me quiero matar", Some("me quiero matar")),
            ("/plan", None),
            ("/reanudar abc", None),
            ("/reanudar me quiero matar", Some("me quiero matar")),
            ("me quiero matar", None),
        ] {
            assert_eq!(Command::parse(line).trailing_text(line), want, "{line}");
        }
    }

    #[test]
    fn safety_plan_lines_are_safe_for_terminals() {
        let step = PlanStep { heading: "Señales".to_owned(), text: UserText::new("no\u{1b}[2J duermo") };
        let (title, footer) = ("Mi plan".to_owned(), "Si el peligro aumenta: emergencias.".to_owned());
        let plan = SafetyPlan { title, steps: vec![step], footer };
        let lines = safety_plan(Some(&plan), Language::Spanish);
        assert_eq!(lines[..3], ["Mi plan", "1. Señales: no duermo", "Si el peligro aumenta: emergencias."]);
        assert!(lines.len() == 4 && lines[3].starts_with("/crisis: "), "{lines:?}");
        assert_eq!(safety_plan(None, Language::English), ["There is no safety plan in this conversation yet."]);
    }

    #[test]
    fn parses_language_codes_and_names() {
        for (name, want) in [
            ("es", Some(Language::Spanish)),
            ("EN", Some(Language::English)),
            ("Español", Some(Language::Spanish)),
            ("english", Some(Language::English)),
            ("INGLÉS", Some(Language::English)),
            ("fr", None),
            ("", None),
        ] {
            assert_eq!(language_named(name).map(Locale::language), want, "{name}");
        }
    }

    #[test]
    fn to_single_line_removes_controls() {
        for (text, want) in [
            ("hola", "hola"),
            ("uno\ndos\r\n\r\ntres\n", "uno dos tres"),
            ("\n\nuno", "uno"),
            ("a\u{1b}[31mrojo\u{1b}[0m", "arojo"),
            ("a\u{1b}]0;title\u{07}b\u{1b}]8;;x\u{1b}\\c", "abc"),
            ("a\u{0}\u{7}\u{4}b\u{9b}", "ab"),
            ("a\u{1b}[999", "a"),
            ("a\u{1b}", "a"),
            ("uno\u{2028}dos", "uno dos"),
        ] {
            assert_eq!(to_single_line(text), want, "{text:?}");
        }
    }
}
