//! Counts the steps of an assessment in tests: a clock would measure the machine.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Counts a step whose number might grow faster than a text.
#[inline]
pub(crate) fn step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Context, assess};

    fn steps(text: &str) -> u64 {
        let before = STEPS.get();
        assess(&Context::default(), text);
        STEPS.get() - before
    }

    /// Words that begin, go on with, mute and hide matches.
    const WORDS: [&str; 36] = [
        "quiero",
        "morirme",
        "no",
        "me",
        "mato",
        "la",
        "verdad",
        "pues",
        "esta",
        "noche",
        "pastillas",
        "risa",
        "mi",
        "amigo",
        "i",
        "want",
        "to",
        "die",
        "kill",
        "myself",
        "don't",
        "you",
        "know",
        "suicdio",
        "m4t4rm3",
        "m*tarme",
        "quieromorirme",
        "x",
        "\"",
        ",",
        ".",
        "jaja",
        "😭",
        "dijo",
        "película",
        "xqzwkjvpqowieur",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A text of eight times the length takes no more than eight times the steps, and some.
        #[test]
        fn steps_grow_linearly_with_length(unit in prop::collection::vec(prop::sample::select(&WORDS[..]), 1..12)) {
            let unit = unit.join(" ") + " ";
            let count = 1_000 / unit.len() + 1;
            let (short, long) = (steps(&unit.repeat(count)), steps(&unit.repeat(8 * count)));
            prop_assert!(long <= short * 9 + 1_000, "{short} steps, then {long}: {unit}");
        }
    }

    /// Texts made to keep matches alive take a bounded number of steps a byte.
    #[test]
    fn steps_per_byte_are_bounded() {
        for unit in [
            "i want to i do not want to ",
            "quiero la verdad pues bueno mira morirme ",
            "me muero ",
            "quieromorirme",
            "a",
        ] {
            let text: String = unit.chars().cycle().take(8_000).collect();
            let taken = steps(&text);
            assert!(taken < 150 * 8_000, "{taken}: {unit}");
        }
    }
}
