//! Commands of the plain face.

use protocol::{Language, LinkCode, Locale};

/// Meaning of a line in the plain face.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connection) enum Command<'a> {
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
    LinkCode,
    CloseOthers,
    ForgetLast,
    Summary,
    ForgetSummary,
    Unknown,
}

impl<'a> Command<'a> {
    /// Parses a line: a leading word with a slash is a command, anything else is a message.
    pub(in crate::connection) fn parse(line: &'a str) -> Self {
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
            "/codigo" | "/code" => Self::LinkCode,
            "/cerrar-otros" | "/close-others" => Self::CloseOthers,
            "/olvidar" | "/forget" => Self::ForgetLast,
            "/resumen" | "/summary" => Self::Summary,
            "/olvidar-resumen" | "/forget-summary" => Self::ForgetSummary,
            _ => Self::Unknown,
        }
    }

    /// Returns free text in a line that is no message, for assessment: the whole line of an unknown command, else the
    /// text behind one that takes no such argument.
    pub(in crate::connection) fn trailing_text(&self, line: &'a str) -> Option<&'a str> {
        match self {
            Self::Message | Self::Exit | Self::Crisis => None,
            // A resume token or a code is a secret: it must not reach the assessment.
            Self::Resume(secret) if !secret.contains(char::is_whitespace) || secret.parse::<LinkCode>().is_ok() => None,
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
pub(in crate::connection) fn language_named(name: &str) -> Option<Locale> {
    match name.to_lowercase().as_str() {
        "es" | "español" | "espanol" | "spanish" => Some(Language::Spanish.into()),
        "en" | "inglés" | "ingles" | "english" => Some(Language::English.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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
            ("/código", Command::LinkCode),
            ("/code", Command::LinkCode),
            ("/Cerrar-otros.", Command::CloseOthers),
            ("/close-others", Command::CloseOthers),
            ("/cerrar", Command::Unknown),
            ("/Olvidar", Command::ForgetLast),
            ("/forget", Command::ForgetLast),
            ("/resumen", Command::Summary),
            ("/olvidar-resumen", Command::ForgetSummary),
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
            ("/reanudar k7qm 2xtb 9rwd", None),
            ("/reanudar me quiero matar", Some("me quiero matar")),
            ("me quiero matar", None),
        ] {
            assert_eq!(Command::parse(line).trailing_text(line), want, "{line}");
        }
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
}
