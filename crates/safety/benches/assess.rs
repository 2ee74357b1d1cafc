//! Cost of an assessment: usual messages, the longest of every kind of text, and messages read with those before.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use safety::{Context, assess};

/// Characters of the longest message.
const MAX_CHARS: usize = 8_000;

const USUAL: [(&str, &str); 8] = [
    ("everyday", "hola, hoy fui al trabajo y estuvo bastante bien, después salí a caminar con mi hermana"),
    ("everyday en", "hi, work was fine today and afterwards I went for a walk by the river with my sister"),
    ("sad", "me siento muy triste desde que murió mi abuela, no dejo de llorar y no puedo dormir"),
    ("risk", "no aguanto más, me quiero morir y esta noche me voy a tomar todas las pastillas"),
    ("risk en", "I can't take it anymore, I want to die and tonight I'm going to take all the pills I have"),
    ("chat", "ola bb xq no me kontestas?? toy re mal kiero morirme jaja na mentira tkm muxo ajaj"),
    ("leet", "qu13r0 m0r1rm3 y nadie me 3nt13nd3 en mi c4s4"),
    (
        "long usual",
        "bueno, la verdad es que hoy no sé muy bien qué contarte porque no pasó nada, pero igual quería escribir",
    ),
];

/// Texts that are repeated.
const REPEATED: [(&str, &str); 24] = [
    ("everyday", "hola, hoy fui al trabajo y estuvo bastante bien, después salí a caminar con mi hermana. "),
    ("risk", "me quiero morir y esta noche me voy a tomar todas las pastillas, no aguanto más "),
    ("risk en", "i want to die and tonight i will kill myself with all the pills i have saved "),
    ("me muero", "me muero "),
    ("no quiero", "no quiero que no me quiero "),
    ("i want", "i want to i do not want to "),
    ("without spaces", "quieromorirme"),
    ("without spaces en", "iwanttokillmyself"),
    ("endless word", "a"),
    ("endless letters", "xqzwkjvpqowieurzmxncbvlkasdjf"),
    ("unknown", "xqzwkjv pqowieur zmxncbv lkasdjf "),
    ("misspelt", "suicdio mattarme pastilas orirme matrame "),
    ("words of 40", "pastillassuicidiomorirmexqzwkjvpastillas "),
    ("letters", "m a t a r m e "),
    ("single letters", "x q z w k j v p "),
    ("dots", "m.o.r.i.r "),
    ("masked", "m*t*rm* s*icid* "),
    ("leet", "m4t4rm3 5u1c1d10 qu13r0 "),
    ("digits", "12 345 6 7890 1 "),
    ("emoji", "😀😭💔🔪🏽‍♀️"),
    ("zalgo", "q̸̢̛u̷̡i̸e̵̕r̷o̸ ̶m̷͝o̸̕r̵i̶r̵m̷e̸ "),
    ("homoglyphs", "quierо mоrirmе уа "),
    ("quotes", "\"me mato\" dijo. "),
    ("other script", "мне очень плохо 我想死 أريد أن أموت "),
];

/// Repeated fillers, which stretch matches.
const FILLERS: [(&str, &str); 2] =
    [("fillers", "quiero la verdad pues bueno mira morirme "), ("fillers alone", "la verdad pues bueno mira ")];

/// Sentences of a development set, as one text.
const PROSE: [(&str, &str); 4] = [
    ("prose", include_str!("../sets/dev/es_everyday.txt")),
    ("prose en", include_str!("../sets/dev/en_everyday1.txt")),
    ("full of risk", include_str!("../sets/dev/es_high.txt")),
    ("full of risk en", include_str!("../sets/dev/en_high.txt")),
];

fn usual(criterion: &mut Criterion) {
    let context = Context::default();
    for (name, text) in USUAL {
        criterion.bench_function(name, |bencher| bencher.iter(|| assess(&context, black_box(text))));
    }
}

/// Returns the longest texts and their names.
fn longest_texts() -> Vec<(&'static str, String)> {
    let repeated = REPEATED.iter().chain(&FILLERS);
    let repeated = repeated.map(|(name, unit)| (*name, unit.chars().cycle().take(MAX_CHARS).collect()));
    let prose = PROSE.iter().map(|(name, set)| {
        let sentences: Vec<&str> = set.lines().filter(|line| !line.starts_with(['@', '#'])).collect();
        (*name, sentences.join(". ").chars().cycle().take(MAX_CHARS).collect())
    });
    prose.chain(repeated).collect()
}

fn longest(criterion: &mut Criterion) {
    let context = Context::default();
    let mut group = criterion.benchmark_group("8000");
    for (name, text) in longest_texts() {
        group.bench_function(name, |bencher| bencher.iter(|| assess(&context, black_box(&text))));
    }
}

/// The last messages are read again together with a usual message, and with one of the longest.
fn recent(criterion: &mut Criterion) {
    let texts = longest_texts();
    let mut group = criterion.benchmark_group("recent");
    let [(_, everyday), (_, everyday_en), (_, sad), (_, risk), ..] = USUAL;
    let context = Context { recent: vec![everyday, everyday_en, sad], ..Context::default() };
    group.bench_function("usual", |bencher| bencher.iter(|| assess(&context, black_box(risk))));
    for (name, text) in texts.iter().filter(|(name, _)| matches!(*name, "prose" | "full of risk" | "me muero")) {
        let context = Context { recent: vec![text; 4], ..Context::default() };
        group.bench_function(*name, |bencher| bencher.iter(|| assess(&context, black_box(text))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1_500)).sample_size(30);
    targets = usual, longest, recent
}
criterion_main!(benches);
