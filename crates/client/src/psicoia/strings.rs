//! Localized strings of the program. Texts of the server are shown as received.

use protocol::Language;

/// Strings in one language.
#[derive(Debug)]
pub(crate) struct Strings {
    pub(crate) connecting: &'static str,
    pub(crate) greeting: &'static str,
    pub(crate) resumed: &'static str,
    pub(crate) session_lost: &'static str,
    pub(crate) earlier_session: &'static str,
    pub(crate) prompt: &'static str,
    pub(crate) you: &'static str,
    pub(crate) other_device: &'static str,
    pub(crate) help: &'static str,
    pub(crate) unknown_command: &'static str,
    pub(crate) no_history: &'static str,
    pub(crate) token: &'static str,
    pub(crate) confirm_erase: &'static str,
    pub(crate) erased: &'static str,
    pub(crate) languages: &'static str,
    pub(crate) language_set: &'static str,
    pub(crate) nothing_to_stop: &'static str,
    pub(crate) stopped: &'static str,
    pub(crate) cut: &'static str,
    pub(crate) go_on: &'static str,
    pub(crate) go_on_text: &'static str,
    pub(crate) send_again: &'static str,
    pub(crate) sent_later: &'static str,
    pub(crate) no_reply: &'static str,
    pub(crate) start_it: &'static str,
    pub(crate) restarted: &'static str,
    pub(crate) queued: &'static str,
    pub(crate) lost: &'static str,
    pub(crate) lines_here: &'static str,
    pub(crate) back: &'static str,
    pub(crate) missed: &'static str,
    pub(crate) leave_again: &'static str,
    pub(crate) ended: &'static str,
    pub(crate) no_text: &'static str,
    pub(crate) too_long: &'static str,
    pub(crate) too_many: &'static str,
    pub(crate) bye: &'static str,
    pub(crate) ai: &'static str,
    pub(crate) which_country: &'static str,
    pub(crate) country_set: &'static str,
    pub(crate) no_plan: &'static str,
    pub(crate) link: &'static str,
    pub(crate) others_closed: &'static str,
    pub(crate) forgotten: &'static str,
    pub(crate) no_summary: &'static str,
    pub(crate) summary_forgotten: &'static str,
}

pub(crate) fn of(language: Language) -> &'static Strings {
    match language {
        Language::Spanish => &SPANISH,
        Language::English => &ENGLISH,
    }
}

static SPANISH: Strings = Strings {
    connecting: "Conectando…",
    greeting: "Bienvenido a PsicoIA. Contame cómo te sentís hoy. /ayuda muestra lo que podés hacer.",
    resumed: "Seguimos donde habíamos quedado. /ayuda muestra lo que podés hacer.",
    session_lost: "El servidor no encuentra la charla anterior. Empezamos una nueva; \
                   guardo la llave de la otra y la pruebo de nuevo.",
    earlier_session: "El servidor no encuentra la última charla. Seguimos con una anterior.",
    prompt: "Vos: ",
    you: "Vos",
    other_device: "Vos (otro dispositivo)",
    help: "Escribí lo que sentís y te respondo. También podés usar:\n  \
           /crisis          líneas de ayuda, ahora y también sin conexión\n  \
           /pais NOMBRE     decir en qué país estás, para ver sus líneas\n  \
           /ia              qué soy\n  \
           /plan            tu plan de seguridad, si armamos uno\n  \
           /historial       los últimos mensajes\n  \
           /sesion          la llave de esta charla, para guardarla\n  \
           /codigo          un código para seguir en otro dispositivo, una sola vez\n  \
           /cerrar-otros    cerrar esta charla en los otros dispositivos\n  \
           /olvidar         borrar tu último mensaje y su respuesta\n  \
           /resumen         el resumen que guardo de lo anterior (/olvidar-resumen lo borra)\n  \
           /parar           detener la respuesta (también Ctrl-C)\n  \
           /seguir          pedir que siga una respuesta que se cortó, o mandar otra vez lo que no la tuvo\n  \
           /idioma es|en    cambiar el idioma\n  \
           /borrar          borrar esta charla\n  \
           salir            terminar (también Ctrl-D)",
    unknown_command: "No conozco ese comando. Escribí /ayuda para ver los que hay.",
    no_history: "Todavía no hay mensajes.",
    token: "Para seguir esta charla en otro lado. Guardalo como una contraseña:",
    confirm_erase: "Esto borra la charla para siempre. Escribí /borrar otra vez para confirmar.",
    erased: "Listo: borré la charla.",
    languages: "Idiomas: /idioma es o /idioma en.",
    language_set: "Desde ahora te hablo en español.",
    nothing_to_stop: "No hay ninguna respuesta en curso.",
    stopped: "detenida",
    cut: "La respuesta se cortó.",
    go_on: "Si querés que siga, escribí /seguir.",
    go_on_text: "Seguí, por favor.",
    send_again: "Si querés mandarlo otra vez, escribí /seguir.",
    sent_later: "Lo mando otra vez solo. Ctrl-C para no esperar.",
    no_reply: "El servidor no contestó a tiempo.",
    start_it: "¿Está PsicoIA en marcha ahí? En esta máquina arranca con scripts/run; \
               otra dirección va así: psicoia SERVIDOR:PUERTO",
    restarted: "La respuesta empieza de nuevo.",
    queued: "En espera. Personas antes que vos:",
    lost: "Sin conexión. Vuelvo a intentarlo solo.",
    lines_here: "Las líneas de ayuda están acá igual: /crisis.",
    back: "Conectado otra vez.",
    missed: "Hay más mensajes de los que se muestran: /historial. Faltan:",
    leave_again: "Sigo esperando la respuesta. Ctrl-C otra vez para volver a escribir.",
    ended: "El servidor terminó la charla.",
    no_text: "Escribí algo de texto.",
    too_long: "Ese mensaje es demasiado largo.",
    too_many: "Hay demasiados mensajes sin respuesta. Esperá un momento.",
    bye: "Gracias por hablar conmigo. Cuidate mucho.",
    ai: "Soy una inteligencia artificial, no una persona. Puedo equivocarme y no reemplazo a un profesional.",
    which_country: "Escribí /pais y el nombre de tu país o su código de dos letras. Por ejemplo: /pais AR.",
    country_set: "Listo. Estas son sus líneas:",
    no_plan: "Todavía no hay un plan de seguridad en esta charla.",
    link: "Para seguir esta charla en otro dispositivo. Sirve una sola vez, durante 10 minutos:",
    others_closed: "Listo: cerré esta charla en los otros dispositivos. La llave anterior ya no sirve.",
    forgotten: "Se borró el último mensaje con su respuesta.",
    no_summary: "No hay un resumen de esta charla.",
    summary_forgotten: "Listo: borré el resumen de esta charla.",
};

static ENGLISH: Strings = Strings {
    connecting: "Connecting…",
    greeting: "Welcome to PsicoIA. Tell me how you feel today. /help shows what you can do.",
    resumed: "We go on where we left off. /help shows what you can do.",
    session_lost: "The server does not find the earlier conversation. We begin a new one; \
                   I keep the key to the other and try it again.",
    earlier_session: "The server does not find the last conversation. We go on with an earlier one.",
    prompt: "You: ",
    you: "You",
    other_device: "You (another device)",
    help: "Write what you feel and I will answer. You can also use:\n  \
           /crisis            help lines, now and without a connection, too\n  \
           /country NAME      say which country you are in, to see its lines\n  \
           /ai                what I am\n  \
           /plan              your safety plan, if we have made one\n  \
           /history           the latest messages\n  \
           /session           the key of this conversation, to keep\n  \
           /code              a code to go on on another device, once\n  \
           /close-others      close this conversation on the other devices\n  \
           /forget            erase your last message and its answer\n  \
           /summary           the summary that is kept of earlier messages (/forget-summary erases it)\n  \
           /stop              stop the answer (Ctrl-C does, too)\n  \
           /continue          ask for the rest of an answer that broke off, or send again what got none\n  \
           /language es|en    change the language\n  \
           /erase             erase this conversation\n  \
           quit               leave (Ctrl-D does, too)",
    unknown_command: "I don't know that command. Write /help to see the list.",
    no_history: "There are no messages yet.",
    token: "To go on with this conversation elsewhere. Keep it like a password:",
    confirm_erase: "This erases the conversation for good. Write /erase again to confirm.",
    erased: "Done: the conversation is erased.",
    languages: "Languages: /language es or /language en.",
    language_set: "I will speak English from now on.",
    nothing_to_stop: "There is no answer under way.",
    stopped: "stopped",
    cut: "The answer broke off.",
    go_on: "If you want me to go on, write /continue.",
    go_on_text: "Please go on.",
    send_again: "If you want to send it again, write /continue.",
    sent_later: "I send it again by myself. Ctrl-C not to wait.",
    no_reply: "The server did not answer in time.",
    start_it: "Is PsicoIA running there? On this machine scripts/run starts it; \
               another address goes like this: psicoia HOST:PORT",
    restarted: "The answer begins again.",
    queued: "Waiting. People before you:",
    lost: "No connection. I keep trying by myself.",
    lines_here: "The help lines are here all the same: /crisis.",
    back: "Connected again.",
    missed: "There are more messages than shown: /history. Missing:",
    leave_again: "I am still waiting for the answer. Ctrl-C again to write.",
    ended: "The server ended the conversation.",
    no_text: "Write some text.",
    too_long: "That message is too long.",
    too_many: "Too many messages have no answer yet. Wait a moment.",
    bye: "Thank you for talking with me. Take care.",
    ai: "I am an artificial intelligence, not a person. I can be wrong and I am no substitute for a professional.",
    which_country: "Write /country and the name of your country or its code of two letters. For example: /country US.",
    country_set: "Done. These are its lines:",
    no_plan: "There is no safety plan in this conversation yet.",
    link: "To go on with this conversation on another device. It works once, for 10 minutes:",
    others_closed: "Done: this conversation is closed on the other devices. The earlier key no longer works.",
    forgotten: "The last message was erased with its answer.",
    no_summary: "There is no summary of this conversation.",
    summary_forgotten: "Done: the summary of this conversation is erased.",
};
