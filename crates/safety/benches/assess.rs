//! Cost of an assessment: usual messages, and the longest.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use safety::{Context, assess};

fn usual(criterion: &mut Criterion) {
    let context = Context::default();
    for (name, text) in [
        ("everyday", "hola, hoy fui al trabajo y estuvo bastante bien, después salí a caminar con mi hermana"),
        ("sad", "me siento muy triste desde que murió mi abuela, no dejo de llorar y no puedo dormir"),
        ("risk", "no aguanto más, me quiero morir y esta noche me voy a tomar todas las pastillas"),
    ] {
        criterion.bench_function(name, |bencher| bencher.iter(|| assess(&context, black_box(text))));
    }
}

fn longest(criterion: &mut Criterion) {
    let context = Context::default();
    let everyday = "hola, hoy fui al trabajo y estuvo bastante bien, después salí a caminar con mi hermana. ";
    let risk = "me quiero morir y esta noche me voy a tomar todas las pastillas, no aguanto más ";
    for (name, unit) in [
        ("8000 everyday", everyday),
        ("8000 risk", risk),
        ("8000 without spaces", "quieromorirme"),
        ("8000 unknown", "xqzwkjv pqowieur zmxncbv lkasdjf "),
        ("8000 letters", "m a t a r m e "),
        ("8000 masked", "m*t*rm* s*icid* "),
    ] {
        let text: String = unit.chars().cycle().take(8_000).collect();
        criterion.bench_function(name, |bencher| bencher.iter(|| assess(&context, black_box(&text))));
    }
}

criterion_group!(benches, usual, longest);
criterion_main!(benches);
