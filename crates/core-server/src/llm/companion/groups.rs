//! The companion's words: what it listens for and what it says.
//!
//! Groups and what each calls for come from the prototype's prompt. Order decides: the
//! gravest group wins.

/// A group of words and the answers to them.
pub(super) struct Group {
    /// Without accents, in lower case; a trailing `*` stands for any ending.
    pub(super) words: &'static [&'static str],
    pub(super) spanish: &'static [&'static str],
    pub(super) english: &'static [&'static str],
}

pub(super) const GROUPS: [Group; 7] = [
    Group {
        // alarm
        words: &[
            "suicid*",
            "matarme",
            "me quiero matar",
            "cortarme",
            "lastimarme",
            "morir",
            "morirme",
            "muerte",
            "terminar con todo",
            "no aguanto mas",
            "desesperad*",
            "no quiero vivir",
            "quitarme la vida",
            "kill myself",
            "end it all",
            "end my life",
            "hurt myself",
            "cut myself",
            "want to die",
            "death",
            "can't take it anymore",
            "desperate",
            "hopeless",
        ],
        spanish: &[
            "Lo que sentís importa, y me alegra que lo hayas podido decir. No tenés que atravesarlo a solas: buscá ahora a alguien de confianza o a un profesional, y si hay peligro llamá a emergencias. ¿Estás a salvo en este momento?",
            "Siento mucho que estés con tanto dolor; gracias por contármelo. Merecés ayuda de verdad, hoy: un familiar, alguien cercano o una línea de ayuda pueden acompañarte. ¿Quién podría estar con vos ahora?",
            "Te leo, y lo que te pasa es serio. Acercate a otra persona, aunque sea por teléfono, y si creés que podés hacerte daño llamá ya a emergencias. ¿Hay alguien cerca tuyo en este momento?",
        ],
        english: &[
            "What you feel matters, and I am glad you could say it. You do not have to go through this alone: reach out now to someone you trust or a professional, and if there is danger call emergency services. Are you safe right now?",
            "I am so sorry you are in this much pain; thank you for telling me. You deserve real help today: a relative, someone close or a help line can be with you. Who could stay with you now?",
            "I hear you, and this is serious. Get close to another person, even by phone, and if you might hurt yourself call emergency services now. Is there someone near you at this moment?",
        ],
    },
    Group {
        // anxiety
        words: &[
            "ansiedad",
            "ansios*",
            "panico",
            "nervios*",
            "presion",
            "estres*",
            "no puedo respirar",
            "angustia*",
            "agobi*",
            "preocupad*",
            "abrumad*",
            "miedo",
            "anxi*",
            "panic*",
            "nervous",
            "pressure",
            "stress*",
            "can't breathe",
            "overwhelm*",
            "worried",
            "afraid",
            "scared",
        ],
        spanish: &[
            "Tiene sentido que te sientas así; la ansiedad cansa mucho. Probá conmigo: inhalá contando 4, sostené 4, exhalá 4, esperá 4, y repetilo unas veces. ¿Qué es lo que más te está pesando ahora?",
            "Suena a que venís con mucha tensión encima, y no es poca cosa. Apoyá los pies en el piso y nombrá cinco cosas que veas, despacio. ¿En qué momento empezaste a sentirte así?",
            "Entiendo que esto agobie, y está bien ir de a poco. Elegí una sola cosa de todas las que te preocupan y dejá las otras para después. ¿Cuál elegirías?",
            "Gracias por contármelo; sentir presión así es difícil. Aflojá los hombros y soltá el aire lento, un poco más largo de lo que entró. ¿Dónde lo notás más en el cuerpo?",
        ],
        english: &[
            "It makes sense that you feel this way; anxiety is tiring. Try this with me: breathe in for 4, hold for 4, out for 4, wait for 4, and repeat it a few times. What weighs on you most right now?",
            "It sounds like you are carrying a lot of tension, and that is no small thing. Put your feet on the floor and slowly name five things you can see. When did you start to feel like this?",
            "I understand that this is overwhelming, and going little by little is fine. Pick one of the things that worry you and leave the rest for later. Which one would you pick?",
            "Thank you for telling me; pressure like that is hard. Drop your shoulders and let the air out slowly, a little longer than it came in. Where in your body do you notice it most?",
        ],
    },
    Group {
        // sadness
        words: &[
            "vacio",
            "vacia",
            "triste*",
            "sin ganas",
            "llor*",
            "solo",
            "sola",
            "soledad",
            "nada importa",
            "culpa*",
            "cansad*",
            "cansancio",
            "deprim*",
            "depres*",
            "mal",
            "bajon*",
            "empty",
            "sad",
            "sadness",
            "cry*",
            "alone",
            "lonely",
            "nothing matters",
            "guilt*",
            "tired",
            "exhausted",
            "depress*",
            "feeling down",
            "feel down",
            "low",
        ],
        spanish: &[
            "Lamento que te sientas así; la tristeza también merece un lugar. Por hoy alcanza con un paso chico: tomar agua, abrir la ventana o darte una ducha. ¿Desde cuándo venís así?",
            "Eso que contás duele, y no hace falta que lo tapes. No tenés que resolverlo todo hoy, solo lo que sigue. ¿Qué fue lo más difícil del día?",
            "Gracias por confiarme esto; sentirse así pesa. A veces ayuda escribir dos líneas sobre lo que extrañás o lo que falta. ¿Qué pondrías en la primera?",
            "Te escucho, y no te juzgo por estar sin fuerzas. Tratate hoy como tratarías a alguien que querés. ¿Qué te haría un poco de bien ahora?",
        ],
        english: &[
            "I am sorry you feel this way; sadness deserves a place too. One small step is enough for today: a glass of water, an open window or a shower. How long have you been feeling like this?",
            "What you tell me hurts, and you do not need to cover it up. You do not have to solve everything today, just what comes next. What was the hardest part of the day?",
            "Thank you for trusting me with this; feeling so is heavy. Sometimes it helps to write two lines about what you miss. What would you put in the first one?",
            "I am listening, and I do not judge you for being tired. Treat yourself today as you would treat someone you love. What would do you a little good right now?",
        ],
    },
    Group {
        // motivation
        words: &[
            "motivacion",
            "desmotivad*",
            "no tengo ganas",
            "no puedo arrancar",
            "postergo",
            "procrastin*",
            "motivation",
            "unmotivated",
            "motivated",
            "can't start",
            "stuck",
        ],
        spanish: &[
            "Quedarse sin motivación le pasa a muchísima gente y no habla mal de vos. Probá con algo de cinco minutos, aunque salga imperfecto. ¿Qué sería lo más chiquito por donde empezar?",
            "Entiendo: a veces las ganas no vienen antes, sino después de empezar. Poné un reloj de cinco minutos y frená sin culpa cuando suene. ¿Con qué te gustaría probar?",
            "Puede que el cansancio esté hablando más fuerte que vos. Elegí una tarea y partila a la mitad, y otra vez a la mitad. ¿Cómo se vería esa parte tan chica?",
        ],
        english: &[
            "Running out of motivation happens to many people and says nothing bad about you. Try something that takes five minutes, even if it is imperfect. What would be the tiniest place to start?",
            "I understand: sometimes the drive does not come before, but after starting. Set a timer for five minutes and stop without guilt when it rings. What would you like to try it with?",
            "Maybe tiredness is speaking louder than you. Pick a task and cut it in half, and then in half again. What would that small part look like?",
        ],
    },
    Group {
        // support
        words: &[
            "familia*",
            "amig*",
            "pareja",
            "novi*",
            "hablar",
            "compartir",
            "apoyo",
            "mama",
            "papa",
            "herman*",
            "family",
            "friend*",
            "partner",
            "boyfriend",
            "girlfriend",
            "talk",
            "share",
            "support",
            "mother",
            "father",
        ],
        spanish: &[
            "Tener con quién hablar hace mucha diferencia, y buscarlo es un acto de cuidado. Un mensaje corto alcanza para abrir la puerta. ¿A quién te gustaría escribirle primero?",
            "Qué bueno que pienses en quienes te acompañan. Podés contarles una sola parte, la que te salga más fácil. ¿Qué te gustaría que entendieran?",
            "Los vínculos a veces sostienen y a veces duelen; las dos cosas pueden ser ciertas. Acá podés contarlo a tu ritmo. ¿Qué pasó con esa persona?",
        ],
        english: &[
            "Having someone to talk to makes a big difference, and looking for it is a way of taking care of yourself. A short message is enough to open the door. Who would you write to first?",
            "It is good that you think of the people around you. You can tell them just one part, the one that comes easiest. What would you like them to understand?",
            "Bonds sometimes hold us and sometimes hurt; both can be true. You can tell it here at your own pace. What happened with that person?",
        ],
    },
    Group {
        // hope
        words: &[
            "mejor",
            "mejorar",
            "mejorando",
            "calma",
            "avanzar",
            "avance",
            "superarlo",
            "cuidarme",
            "fuerza*",
            "gracias",
            "better",
            "improve*",
            "calm",
            "progress",
            "get over it",
            "take care of myself",
            "strength",
            "thank*",
        ],
        spanish: &[
            "Me alegra leerte así; ese paso es tuyo. Guardá en la memoria qué te ayudó, para volver a usarlo otro día. ¿Qué fue lo que más sirvió?",
            "Qué bien que puedas notarlo. Avanzar de a poco también es avanzar. ¿Cuál te gustaría que fuera el próximo paso?",
            "Hay fuerza en lo que decís, aunque a veces no se sienta. Date un momento para reconocerlo. ¿Cómo te gustaría cuidarte hoy?",
        ],
        english: &[
            "I am glad to read you like this; that step is yours. Keep in mind what helped, to use it again another day. What helped the most?",
            "It is good that you can notice it. Moving little by little is moving too. What would you like the next step to be?",
            "There is strength in what you say, even if it does not always feel so. Take a moment to acknowledge it. How would you like to take care of yourself today?",
        ],
    },
    Group {
        // greeting
        words: &["hola", "buenas", "buen dia", "buenos dias", "hello", "hi", "hey", "good morning", "good evening"],
        spanish: &[
            "Hola, qué bueno que estés acá. Podés contarme lo que quieras, a tu ritmo. ¿Cómo te sentís hoy?",
            "Hola, te leo con atención. No hace falta empezar por lo más importante. ¿Qué te trajo hasta acá?",
            "Hola, me alegra que hayas escrito. Este es un espacio tranquilo para vos. ¿Cómo viene tu día?",
        ],
        english: &[
            "Hello, it is good that you are here. You can tell me anything, at your own pace. How do you feel today?",
            "Hello, I am reading you. You do not need to start with what matters most. What brought you here?",
            "Hello, I am glad you wrote. This is a calm place for you. How is your day going?",
        ],
    },
];

/// For everything else.
pub(super) const OTHER: Group = Group {
    words: &[],
    spanish: &[
        "Gracias por contármelo; quiero entenderte bien. Tomate tu tiempo para ponerlo en palabras. ¿Cómo te hace sentir eso?",
        "Te escucho, y lo que decís tiene su importancia. Podemos mirarlo de a una parte. ¿Por dónde te gustaría empezar?",
        "Estoy acá para leerte, sin apuro y sin juzgarte. ¿Qué es lo que más te gustaría que cambie?",
        "Entiendo. A veces ayuda nombrar una sola emoción por vez. ¿Cuál aparece primero cuando pensás en esto?",
    ],
    english: &[
        "Thank you for telling me; I want to understand you well. Take your time to put it into words. How does that make you feel?",
        "I hear you, and what you say matters. We can look at one part at a time. Where would you like to start?",
        "I am here to read you, without hurry and without judging. What would you most like to change?",
        "I see. Sometimes it helps to name one emotion at a time. Which one comes first when you think about this?",
    ],
};
