//! Questions about the nature of the companion ("esto lo contesta una IA?", "am I chatting with software"), read by
//! their shape: words that point at the conversation beside words for a machine, a human or a professional. Fixed
//! phrases stand in the data.

const MACHINE: [&str; 25] = [
    "bot",
    "robot",
    "ia",
    "ai",
    "maquina",
    "machine",
    "programa",
    "program",
    "software",
    "chatgpt",
    "gpt",
    "chatbot",
    "algoritmo",
    "algorithm",
    "computadora",
    "computer",
    "ordenador",
    "artificial",
    "automatico",
    "automatica",
    "automatizado",
    "automated",
    "automatic",
    "llm",
    "app",
];
const HUMAN: [&str; 6] = ["humano", "humana", "human", "persona", "person", "carne"];
const SOMEBODY: [&str; 3] = ["alguien", "someone", "somebody"];
const PROFESSIONAL: [&str; 18] = [
    "psicologa",
    "psicologo",
    "terapeuta",
    "therapist",
    "psychologist",
    "psiquiatra",
    "psychiatrist",
    "counselor",
    "counsellor",
    "doctor",
    "doctora",
    "medico",
    "medica",
    "profesional",
    "professional",
    "nurse",
    "enfermera",
    "shrink",
];
/// Words that may stand between those that point and those that name.
const BETWEEN: [&str; 44] = [
    "a",
    "an",
    "the",
    "un",
    "una",
    "el",
    "la",
    "mi",
    "my",
    "es",
    "is",
    "are",
    "am",
    "r",
    "just",
    "really",
    "actually",
    "even",
    "only",
    "like",
    "some",
    "kind",
    "sort",
    "of",
    "especie",
    "tipo",
    "solo",
    "realmente",
    "acaso",
    "real",
    "actual",
    "licensed",
    "trained",
    "clinical",
    "lo",
    "me",
    "no",
    "not",
    "it",
    "se",
    "ser",
    "trata",
    "de",
    "inteligencia",
];
const YOU: [&str; 8] = ["sos", "eres", "usted", "vos", "you", "u", "youre", "ustedes"];
const THIS: [&str; 3] = ["esto", "this", "aca"];
const TALK: [&str; 13] = [
    "hablo",
    "hablando",
    "charlo",
    "charlando",
    "chateo",
    "chateando",
    "talking",
    "speaking",
    "chatting",
    "texting",
    "messaging",
    "escribiendo",
    "conversando",
];
const WITH: [&str; 4] = ["con", "to", "with", "a"];
const READS: [&str; 22] = [
    "lee",
    "leyendo",
    "leen",
    "contesta",
    "contestan",
    "contestando",
    "responde",
    "responden",
    "respondiendo",
    "escribe",
    "escriben",
    "atiende",
    "reads",
    "reading",
    "answers",
    "answering",
    "replies",
    "replying",
    "writes",
    "writing",
    "typing",
    "answer",
];
/// Words behind a question that do not change it.
const TAIL: [&str; 38] = [
    "esto",
    "this",
    "aca",
    "aqui",
    "ahi",
    "here",
    "there",
    "now",
    "ahora",
    "right",
    "no",
    "verdad",
    "cierto",
    "yo",
    "vos",
    "usted",
    "tu",
    "de",
    "real",
    "o",
    "or",
    "me",
    "mis",
    "my",
    "mensajes",
    "messages",
    "lol",
    "jaja",
    "jajaja",
    "acaso",
    "eh",
    "then",
    "entonces",
    "artificial",
    "behind",
    "detras",
    "del",
    "que",
];

/// Returns `true` if a clause of `normal`, in the normal form of a message, asks about the nature of the companion;
/// `asks`: the message has a question mark.
pub(super) fn is_asked(normal: &str, asks: bool) -> bool {
    normal.split('|').any(|clause| {
        let words: Vec<&str> = clause.split_whitespace().collect();
        (1..=12).contains(&words.len()) && Clause { words: &words, asks }.is_question()
    })
}

#[derive(Clone, Copy)]
struct Clause<'a> {
    words: &'a [&'a str],
    asks: bool,
}

impl<'a> Clause<'a> {
    fn is_question(self) -> bool {
        self.is_bare()
            || self.asks_who()
            || (0..self.words.len()).any(|at| {
                self.points_at(at)
                    || self.talks_at(at)
                    || self.reads_at(at)
                    || self.is_read_at(at)
                    || self.exists_at(at)
            })
    }

    fn word(self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_default()
    }

    fn has(self, at: usize, words: &[&str]) -> bool {
        words.contains(&self.word(at))
    }

    /// Index of the first word from `at` on that does not only link.
    fn skip(self, at: usize) -> usize {
        let linking = |index: &usize| self.has(*index, &BETWEEN) && *index < self.words.len();
        (at..).take_while(linking).last().map_or(at, |last| last + 1)
    }

    /// Returns `true` if the clause ends at `at`, or goes on without another subject.
    fn ends(self, at: usize) -> bool {
        let connects = ["que", "that", "who", "with", "con", "y", "and"];
        at >= self.words.len() || self.has(at, &TAIL) || self.asks && self.has(at, &connects)
    }

    fn names(self, at: usize) -> bool {
        self.has(at, &MACHINE) || self.has(at, &HUMAN) || self.has(at, &PROFESSIONAL)
    }

    /// "alguien de verdad", "someone real": returns the index behind it.
    fn real_somebody(self, at: usize) -> Option<usize> {
        let real = |at: usize| self.has(at, &["real", "humano", "vivo", "human", "alive"]);
        let next = if self.has(at + 1, &["de"]) { at + 2 } else { at + 1 };
        let found = self.has(at, &SOMEBODY) && (real(at + 1) || self.has(next, &["verdad", "carne"]));
        found.then_some(next + 1)
    }

    /// "es un bot?", "IA?".
    fn is_bare(self) -> bool {
        let all = self.words.iter().all(|word| BETWEEN.contains(word) || MACHINE.contains(word));
        self.asks && all && self.words.iter().any(|word| MACHINE.contains(word) && *word != "app")
    }

    /// "con quién estoy hablando", "quién me escribe", "who am I talking to".
    fn asks_who(self) -> bool {
        let opening = ["con", "with", "y", "and", "pero", "but", "che", "hola", "so", "perdon"];
        let start = (0..self.words.len()).find(|at| !self.has(*at, &opening)).unwrap_or_default();
        let Some(pronoun) = (0..self.words.len()).find(|at| self.has(*at, &["quien", "who", "whos", "whom"])) else {
            return false;
        };
        if !self.asks && pronoun != start {
            return false;
        }
        let doing = |at: &usize| self.has(*at, &TALK) || self.has(*at, &READS) || self.has(*at, &["habla", "chatea"]);
        let Some(does) = (pronoun + 1..self.words.len()).find(doing) else { return false };
        let subject = ["am", "i", "estoy", "me", "is", "esta", "esto", "este", "te", "chat", "lo", "mis", "mensajes"];
        let own = (pronoun + 1..does).all(|at| self.has(at, &subject));
        let spanish_who = self.has(does, &TALK) && pronoun > 0 && self.has(pronoun - 1, &["con"]);
        let first_person = (pronoun + 1..does).any(|at| self.has(at, &["i", "me", "esto", "estoy"])) || spanish_who;
        let rest =
            (does + 1..self.words.len()).all(|at| self.has(at, &TAIL) || self.has(at, &WITH) || self.has(at, &BETWEEN));
        let of_this =
            (does + 1..self.words.len()).any(|at| self.has(at, &["esto", "this", "me", "here", "aca", "aqui"]));
        own && rest && (first_person || of_this)
    }

    /// "esto es un bot", "are u ai", "sos mi psicóloga", "es un bot esto".
    fn points_at(self, at: usize) -> bool {
        let points = self.has(at, &YOU) || self.has(at, &THIS);
        let named = self.skip(at + 1);
        // "This person" points at somebody else.
        let apart = named > at + 1 || self.has(at, &YOU) || self.has(named, &MACHINE);
        if points && apart && self.names(named) && self.ends(named + 1) {
            return self.asks || !self.has(named, &PROFESSIONAL) || self.is_mine(at + 1, named);
        }
        let behind = self.has(at + 1, &["esto", "this", "vos", "usted"]) && at + 2 >= self.words.len();
        behind && self.asks && self.has(at, &MACHINE) && self.skip(0) == at
    }

    fn is_mine(self, from: usize, until: usize) -> bool {
        (from..until).any(|at| self.has(at, &["mi", "my"]))
    }

    /// "hablo con una máquina", "am I chatting with software".
    fn talks_at(self, at: usize) -> bool {
        let english = self.word(at).ends_with("ing");
        let mut before = self.words.iter().take(at);
        let own = if english {
            before.any(|word| matches!(*word, "i" | "im"))
        } else {
            !before.any(|word| matches!(*word, "estas" | "esta" | "estan" | "estaba" | "estabas"))
        };
        if !(own && self.has(at, &TALK) && self.has(at + 1, &WITH)) {
            return false;
        }
        let named = self.skip(at + 2);
        let machine = self.has(named, &MACHINE) && self.ends(named + 1);
        let other = (self.has(named, &HUMAN) || self.has(named, &PROFESSIONAL)) && self.ends(named + 1);
        let somebody = (at + 2..=named).find_map(|at| self.real_somebody(at)).is_some_and(|end| self.ends(end));
        machine || self.asks && (other || somebody)
    }

    /// "esto lo contesta una IA", "me lee alguien de verdad".
    fn reads_at(self, at: usize) -> bool {
        let named = self.skip(at + 1);
        let machine = self.has(named, &MACHINE) && self.ends(named + 1);
        let human = self.has(named, &HUMAN) || self.has(named, &SOMEBODY) || self.has(named, &PROFESSIONAL);
        let me = self.words.iter().take(at).any(|word| matches!(*word, "me" | "esto" | "lo" | "aca" | "aqui"));
        self.has(at, &READS)
            && me
            && (machine || self.asks && human && !self.is_mine(at + 1, named) && self.ends(named + 1))
    }

    /// "una persona lee esto", "is an AI answering me".
    fn is_read_at(self, at: usize) -> bool {
        let does = self.skip(at + 1);
        let named = self.has(at, &MACHINE) || self.has(at, &HUMAN) || self.has(at, &SOMEBODY);
        let opens = self.skip(0) == at || self.has(0, &["does", "do", "hay"]) && self.skip(1) == at;
        let rest = (does + 1..self.words.len()).all(|at| self.has(at, &TAIL));
        self.asks && named && opens && self.has(does, &READS) && rest
    }

    /// "hay alguien de verdad ahí", "hay una persona leyendo".
    fn exists_at(self, at: usize) -> bool {
        let named = self.skip(at + 1);
        let there = |at: usize| at >= self.words.len() || self.has(at, &TAIL) || self.has(at, &READS);
        let somebody = (at + 1..=named).find_map(|at| self.real_somebody(at)).is_some_and(there);
        let human = self.has(named, &HUMAN) && named + 1 < self.words.len() && there(named + 1);
        self.asks && self.has(at, &["hay", "habra", "theres"]) && (somebody || human)
    }
}

#[cfg(test)]
mod tests {
    use protocol::Language;

    use crate::companion::truth;

    #[test]
    fn answers_questions_about_its_nature() {
        let missed: Vec<&str> = ASKED
            .lines()
            .filter(|line| !line.is_empty())
            .filter(|text| {
                [Language::Spanish, Language::English].into_iter().any(|language| truth(text, language).is_none())
            })
            .collect();
        assert!(missed.is_empty(), "{}", missed.join("\n"));
    }

    #[test]
    fn leaves_other_messages_to_the_model() {
        let wrong: Vec<&str> = OTHER.lines().filter(|text| truth(text, Language::Spanish).is_some()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    const ASKED: &str = "
es un bot esto?
are u ai
this is AI right?
esto lo contesta una IA?
con quién estoy hablando
quién me escribe
sos mi psicologa?
¿estoy hablando con alguien de verdad?
am i chatting with software
¿Esto es una IA?
¿esto es automático?
este chat lo contesta un bot?
es una máquina esto?
¿IA?
es un bot?
¿esto lo escribe un programa?
me responde un programa?
¿me contesta chatgpt?
esto lo lee alguien?
¿me lee un humano?
¿hay alguien de verdad ahí?
hay una persona real leyendo?
¿con quién hablo?
con quien chateo
¿y con quién estoy chateando ahora?
quien me lee?
¿quién me responde?
quién escribe esto?
¿quién está escribiendo esto?
¿quién me está leyendo?
sos mi terapeuta?
eres mi doctora?
¿usted es mi psicólogo?
¿sos una especie de bot?
sos un algoritmo
¿hablo con una computadora?
estoy chateando con un robot
¿estoy hablando con una persona de carne y hueso?
¿estoy hablando con un programa?
¿sos chatgpt o una persona?
Perdón, ¿esto es un chatbot?
che, sos ia?
is this software?
is this just a program?
are you my therapist?
you're a bot, right?
you are an ai right
u a robot?
ur ai? are u ai?
am i talking to software?
am I texting with a machine
am i talking to a real human?
am i speaking to someone real?
so i'm talking to a computer?
who am i chatting with
who am I talking to right now?
who is writing this?
who's answering me?
who reads this?
is an ai answering me?
is a bot writing this?
does a machine answer this?
is it ai?
a bot?
are you just an algorithm?
are you like a real therapist?
is this chat automated? is this automated
";

    const OTHER: &str = "\
hablé con alguien de verdad ayer
mi psicóloga me dijo
mi psicóloga me dijo que descanse
¿por qué mi psicóloga no me contesta?
¿le cuento a mi psicóloga?
mi novio es un robot
¿la IA me va a sacar el trabajo?
trabajo con inteligencia artificial
tengo miedo de que una máquina me reemplace
¿es normal hablar con una persona muerta?
quién me va a querer así
¿quién me entiende?
con quien hablo cuando mi mamá no está
no sé con quién hablar
necesito hablar con alguien
is this person toxic?
is this real?
nothing feels real
are you saying a person can change?
who is reading my diary?
who will answer my prayers?
my therapist is away this week
my boss talks like a robot
i spoke to a real person at the bank
do you think people can change?
soy un robot que solo trabaja
i'm just a machine at work
estudio para ser psicóloga
quiero ser una mejor persona
mi mamá es médica
esto me hace sentir una mala persona
¿esta persona me quiere?
my doctor answered my email
el programa de anoche me hizo llorar
";
}
