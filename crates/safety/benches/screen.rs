//! Cost of screening an answer: until its first piece is shown, by piece, and at worst.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use safety::screen::{Screen, ScreenContext};

const ANSWER: &str = "Gracias por contarme esto, suena a que venís sosteniendo mucho hace tiempo y es lógico que estés \
    cansado. No tenés que resolverlo hoy ni en soledad. ¿Qué fue lo que más te pesó esta semana?";

fn stream(text: &str, pieces: usize) -> usize {
    let mut screen = Screen::new(ScreenContext::default());
    let mut shown = 0;
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(pieces) {
        let piece: String = piece.iter().collect();
        shown += screen.push(&piece).map_or(0, |text| text.len());
    }
    shown + screen.finish().map_or(0, |text| text.len())
}

fn screening(criterion: &mut Criterion) {
    criterion.bench_function("first piece", |bencher| {
        bencher.iter(|| Screen::new(ScreenContext::default()).push(black_box("Gracias")));
    });
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Bytes(ANSWER.len() as u64));
    for pieces in [1, 4, 200] {
        group.bench_function(format!("pieces of {pieces}"), |bencher| {
            bencher.iter(|| stream(black_box(ANSWER), pieces));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("worst");
    group.sample_size(10);
    for (name, unit) in [("no te", "no te "), ("podes", "podes usar tomar "), ("digits", "4 "), ("letters", "aaaaaaaa")]
    {
        let text = unit.repeat(32_000 / unit.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| stream(black_box(&text), 4));
        });
    }
    group.finish();
}

criterion_group!(benches, screening);
criterion_main!(benches);
