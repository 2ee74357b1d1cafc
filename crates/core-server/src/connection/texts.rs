//! Everything the plain face says besides answers and errors (`proto-line/SPEC.md` §2).

use protocol::server_frame::Role;
use protocol::{Language, UserLabel};

use Language::{English, Spanish};

/// The greeting; the first line carries the person's label.
pub(super) fn greeting(user: UserLabel) -> [String; 3] {
    [
        format!("{user} conectado."),
        "Bienvenido a PsicoIA.".to_owned(),
        "Contame cómo te sentís hoy. Escribí 'salir' para cerrar.".to_owned(),
    ]
}

/// For clients of HTTP and TLS. Their language is not known, and a person may read it in either.
pub(super) const FOREIGN_PROTOCOL: &str = "En este puerto se habla el protocolo de líneas de PsicoIA, no HTTP ni TLS: \
    abrí la página del gateway. / This port speaks PsicoIA's line protocol, neither HTTP nor TLS: open the gateway's page.";

pub(super) fn goodbye(language: Language) -> &'static str {
    match language {
        Spanish => "Gracias por hablar conmigo. Cuidate mucho.",
        English => "Thank you for talking with me. Take care.",
    }
}

pub(super) fn help(language: Language) -> [&'static str; 7] {
    match language {
        Spanish => [
            "Escribí lo que sentís y te respondo. También podés usar:",
            "/historial: los últimos mensajes",
            "/sesion: el código para seguir esta charla en otro momento",
            "/reanudar CÓDIGO: seguir una charla anterior",
            "/borrar: borrar esta charla",
            "/idioma es|en: cambiar el idioma",
            "salir: terminar",
        ],
        English => [
            "Write what you feel and I will answer. You can also use:",
            "/history: the latest messages",
            "/session: the code to go on with this conversation later",
            "/resume CODE: go on with an earlier conversation",
            "/erase: erase this conversation",
            "/language es|en: change the language",
            "exit: leave",
        ],
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

pub(super) fn session_token(language: Language, token: &str) -> String {
    match language {
        Spanish => format!("Para seguir esta charla en otro momento, escribí: /reanudar {token}"),
        English => format!("To go on with this conversation later, write: /resume {token}"),
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

pub(super) fn speaker(language: Language, role: Role) -> &'static str {
    match (role, language) {
        (Role::User, Spanish) => "Vos",
        (Role::User, English) => "You",
        (Role::Assistant | Role::Support, _) => "PsicoIA",
    }
}
