//! Commands of the terminal program.

/// Parsed input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Message(&'a str),
    Empty,
    Leave,
    Help,
    History,
    Session,
    Erase,
    Language(&'a str),
    Crisis,
    Country(&'a str),
    About,
    Plan,
    LinkCode,
    CloseOthers,
    ForgetLast,
    Summary,
    ForgetSummary,
    Stop,
    Continue,
    Unknown,
}

impl<'a> Command<'a> {
    pub(crate) fn parse(line: &'a str) -> Self {
        let trimmed = line.trim();
        let lower = trimmed.to_lowercase();
        if trimmed.is_empty() {
            return Self::Empty;
        }
        if ["salir", "exit", "quit"].contains(&lower.as_str()) {
            return Self::Leave;
        }
        let Some(word) = lower.split_whitespace().next().and_then(|word| word.strip_prefix('/')) else {
            return Self::Message(line);
        };
        let argument = trimmed.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
        match word {
            // Not a command: "/ no es un comando".
            "" => Self::Message(line),
            "ayuda" | "help" => Self::Help,
            "historial" | "history" => Self::History,
            "sesion" | "sesión" | "session" => Self::Session,
            "borrar" | "erase" => Self::Erase,
            "idioma" | "language" => Self::Language(argument),
            "crisis" | "emergencia" | "emergency" | "urgencia" | "urgency" => Self::Crisis,
            "pais" | "país" | "country" => Self::Country(argument),
            "ia" | "ai" => Self::About,
            "plan" => Self::Plan,
            "codigo" | "código" | "code" => Self::LinkCode,
            "cerrar-otros" | "close-others" => Self::CloseOthers,
            "olvidar" | "forget" => Self::ForgetLast,
            "resumen" | "summary" => Self::Summary,
            "olvidar-resumen" | "forget-summary" => Self::ForgetSummary,
            "parar" | "stop" => Self::Stop,
            "seguir" | "continue" => Self::Continue,
            "salir" | "exit" | "quit" => Self::Leave,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_commands() {
        for (line, want) in [
            ("hola", Command::Message("hola")),
            ("  \t", Command::Empty),
            (" SALIR ", Command::Leave),
            ("salir de casa me cuesta", Command::Message("salir de casa me cuesta")),
            ("/AYUDA", Command::Help),
            ("/help", Command::Help),
            ("/historial", Command::History),
            ("/sesión", Command::Session),
            ("/erase", Command::Erase),
            ("/idioma  en ", Command::Language("en")),
            ("/language", Command::Language("")),
            ("/crisis", Command::Crisis),
            ("/URGENCIA ya", Command::Crisis),
            ("/pais Costa Rica", Command::Country("Costa Rica")),
            ("/country", Command::Country("")),
            ("/ia", Command::About),
            ("/PLAN", Command::Plan),
            ("/código", Command::LinkCode),
            ("/code", Command::LinkCode),
            ("/cerrar-otros", Command::CloseOthers),
            ("/olvidar", Command::ForgetLast),
            ("/resumen", Command::Summary),
            ("/olvidar-resumen", Command::ForgetSummary),
            ("/stop", Command::Stop),
            ("/seguir", Command::Continue),
            ("/continue", Command::Continue),
            ("/bailar", Command::Unknown),
            ("/ no", Command::Message("/ no")),
        ] {
            assert_eq!(Command::parse(line), want, "{line:?}");
        }
    }
}
