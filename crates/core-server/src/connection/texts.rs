//! Texts of the plain face besides answers and errors (`proto-line/SPEC.md` §2).

use protocol::server_frame::{ModelHost, Role};
use protocol::{Country, Language, UserLabel};
use safety::guide;

use Language::{English, Spanish};

/// Returns the greeting; the first line carries the person's label.
pub(super) fn greeting(user: UserLabel) -> [String; 3] {
    [
        format!("{user} conectado."),
        guide::greeting(Spanish).to_owned(),
        "Contame cómo te sentís hoy. Escribí 'salir' para cerrar.".to_owned(),
    ]
}

/// Reply to HTTP and TLS clients. In both languages, since theirs is not known.
pub(super) const FOREIGN_PROTOCOL: &str = "En este puerto se habla el protocolo de líneas de PsicoIA, no HTTP ni TLS: \
    abrí la página del gateway. / This port speaks PsicoIA's line protocol, neither HTTP nor TLS: open the gateway's page.";

pub(super) fn goodbye(language: Language) -> &'static str {
    match language {
        Spanish => "Gracias por hablar conmigo. Cuidate mucho.",
        English => "Thank you for talking with me. Take care.",
    }
}

pub(super) fn help(language: Language) -> [&'static str; 18] {
    match language {
        Spanish => [
            "/crisis: líneas de ayuda para hablar ahora con una persona",
            "Escribí lo que sentís y te respondo. También podés usar:",
            "/historial: los últimos mensajes",
            "/sesion: el código para seguir esta charla en otro momento",
            "/reanudar CÓDIGO: seguir una charla anterior",
            "/codigo: un código para seguir esta charla en otro dispositivo",
            "/cerrar-otros: cerrar esta charla en los otros dispositivos",
            "/olvidar: borrar tu último mensaje y su respuesta",
            "/resumen: el resumen que guardo de lo anterior",
            "/olvidar-resumen: borrar ese resumen",
            "/borrar: borrar esta charla",
            "/idioma es|en: cambiar el idioma",
            "/pais PAÍS: ver las líneas de ayuda de tu país",
            "/plan: tu plan de seguridad, si armamos uno",
            "/ia: con quién estás hablando",
            "/acerca: qué es esto, qué se guarda y quién está detrás",
            "/proteccion: qué pasa si estás en riesgo",
            "salir: terminar",
        ],
        English => [
            "/crisis: help lines, to talk to a person now",
            "Write what you feel and I will answer. You can also use:",
            "/history: the latest messages",
            "/session: the code to go on with this conversation later",
            "/resume CODE: go on with an earlier conversation",
            "/code: a code to go on with this conversation on another device",
            "/close-others: close this conversation on the other devices",
            "/forget: erase your last message and its answer",
            "/summary: the summary that is kept of earlier messages",
            "/forget-summary: erase that summary",
            "/erase: erase this conversation",
            "/language es|en: change the language",
            "/country COUNTRY: see the help lines of your country",
            "/plan: your safety plan, if we have made one",
            "/ai: what you are talking with",
            "/about: what this is, what is kept and who is behind it",
            "/protection: what happens if you are at risk",
            "exit: leave",
        ],
    }
}

/// Names the models and their hosts.
pub(super) fn models(language: Language, models: &[ModelHost]) -> String {
    let names: Vec<String> = models.iter().map(|it| format!("{} ({})", it.name, it.host)).collect();
    match (language, names.is_empty()) {
        (Spanish, true) => "Acá no hay un modelo de lenguaje: las respuestas son textos preparados.".to_owned(),
        (English, true) => "There is no language model here: the answers are prepared texts.".to_owned(),
        (Spanish, false) => format!("Modelos de lenguaje que responden, y dónde están: {}.", names.join(", ")),
        (English, false) => format!("Language models that answer, and where they are: {}.", names.join(", ")),
    }
}

pub(super) fn unknown_command(language: Language) -> &'static str {
    match language {
        Spanish => "No conozco ese comando. Escribí /ayuda para ver los que hay.",
        English => "I don't know that command. Write /help to see the list.",
    }
}

pub(super) fn language_changed(language: Language) -> &'static str {
    match language {
        Spanish => "Desde ahora te hablo en español.",
        English => "I will speak English from now on.",
    }
}

pub(super) fn languages(language: Language) -> &'static str {
    match language {
        Spanish => "Idiomas: /idioma es o /idioma en.",
        English => "Languages: /language es or /language en.",
    }
}

pub(super) fn country_missing(language: Language) -> &'static str {
    match language {
        Spanish => "Falta el país: /pais PAÍS",
        English => "The country is missing: /country COUNTRY",
    }
}

pub(super) fn country_unknown(language: Language) -> &'static str {
    match language {
        Spanish => "No conozco ese país. Escribí su nombre o su código, como /pais AR.",
        English => "I don't know that country. Write its name or its code, such as /country US.",
    }
}

pub(super) fn country_chosen(language: Language, country: Country) -> String {
    match language {
        Spanish => {
            format!("Listo: desde ahora te muestro las líneas de ayuda de {country}. Escribí /crisis para verlas.")
        }
        English => format!("Done: I will show you the help lines of {country} from now on. Write /crisis to see them."),
    }
}

pub(super) fn session_token(language: Language, token: &str) -> String {
    match language {
        Spanish => format!("Para seguir esta charla en otro momento, escribí: /reanudar {token}"),
        English => format!("To go on with this conversation later, write: /resume {token}"),
    }
}

pub(super) fn link_code(language: Language, code: &str) -> String {
    match language {
        Spanish => format!(
            "Para seguir esta charla en otro dispositivo, escribí ahí, una sola vez y dentro de 10 minutos: /reanudar {code}"
        ),
        English => format!(
            "To go on with this conversation on another device, write there, once and within 10 minutes: /resume {code}"
        ),
    }
}

pub(super) fn others_closed(language: Language) -> &'static str {
    match language {
        Spanish => "Listo: cerré las otras conexiones. El código anterior ya no sirve.",
        English => "Done: the other connections are closed. The earlier code no longer works.",
    }
}

pub(super) fn forgotten(language: Language) -> &'static str {
    match language {
        Spanish => "Listo: borré tu último mensaje y su respuesta.",
        English => "Done: your last message and its answer are erased.",
    }
}

pub(super) fn no_summary(language: Language) -> &'static str {
    match language {
        Spanish => "No hay un resumen de esta charla.",
        English => "There is no summary of this conversation.",
    }
}

pub(super) fn summary_forgotten(language: Language) -> &'static str {
    match language {
        Spanish => "Listo: borré el resumen de esta charla.",
        English => "Done: the summary of this conversation is erased.",
    }
}

pub(super) fn revoked(language: Language) -> &'static str {
    match language {
        Spanish => "Esta conexión se cerró desde otro dispositivo.",
        English => "This connection was closed from another device.",
    }
}

pub(super) fn resumed(language: Language, user: UserLabel) -> String {
    match language {
        Spanish => format!("Seguimos donde habíamos quedado, {user}."),
        English => format!("We go on where we left off, {user}."),
    }
}

pub(super) fn token_missing(language: Language) -> &'static str {
    match language {
        Spanish => "Falta el código: /reanudar CÓDIGO",
        English => "The code is missing: /resume CODE",
    }
}

pub(super) fn confirm_erase(language: Language) -> &'static str {
    match language {
        Spanish => "Esto borra la charla para siempre. Escribí /borrar otra vez para confirmar.",
        English => "This erases the conversation for good. Write /erase again to confirm.",
    }
}

pub(super) fn erased(language: Language) -> &'static str {
    match language {
        Spanish => "Listo: borré la charla.",
        English => "Done: the conversation is erased.",
    }
}

pub(super) fn erased_meanwhile(language: Language) -> &'static str {
    match language {
        Spanish => "Esta charla ya se borró. Volvé a entrar para empezar otra.",
        English => "This conversation has been erased. Come back in to start another.",
    }
}

pub(super) fn no_history(language: Language) -> &'static str {
    match language {
        Spanish => "Todavía no hay mensajes.",
        English => "There are no messages yet.",
    }
}

pub(super) fn no_plan(language: Language) -> &'static str {
    match language {
        Spanish => "Todavía no hay un plan de seguridad en esta charla.",
        English => "There is no safety plan in this conversation yet.",
    }
}

pub(super) fn speaker(language: Language, role: Role) -> &'static str {
    match (role, language) {
        (Role::User, Spanish) => "Vos",
        (Role::User, English) => "You",
        (Role::Assistant | Role::Support, _) => "PsicoIA",
    }
}
