//! Digits in words and in letters of a telephone's keys.

/// "treinta" and "cinco" make 35, "ciento" and "treinta y cinco" 135.
pub(super) fn compose(one: &str, other: &str, joined: bool) -> Option<String> {
    let (a, b): (u32, u32) = (one.parse().ok()?, other.parse().ok()?);
    let hundreds = a >= 100 && a.is_multiple_of(100) && (1..100).contains(&b);
    let tens = (20..100).contains(&(a % 100)) && a.is_multiple_of(10) && (1..10).contains(&b) && joined;
    let english = (20..100).contains(&a) && a.is_multiple_of(10) && (1..10).contains(&b);
    (hundreds || tens || english).then(|| (a + b).to_string())
}

pub(super) fn spelled(word: &str) -> Option<&'static str> {
    SPELLED.iter().find(|(spelled, _)| *spelled == word).map(|(_, value)| *value)
}

/// Digits of the letters on a telephone's keys.
pub(super) fn keypad(word: &str) -> String {
    let key = |byte: u8| match byte {
        b'a'..=b'c' => '2',
        b'd'..=b'f' => '3',
        b'g'..=b'i' => '4',
        b'j'..=b'l' => '5',
        b'm'..=b'o' => '6',
        b'p'..=b's' => '7',
        b't'..=b'v' => '8',
        _ => '9',
    };
    word.bytes().map(key).collect()
}

/// Words of the class DIGIT with their digits.
#[rustfmt::skip]
pub(super) const SPELLED: &[(&str, &str)] = &[
    ("cero", "0"), ("uno", "1"), ("dos", "2"), ("tres", "3"), ("cuatro", "4"), ("cinco", "5"), ("seis", "6"),
    ("siete", "7"), ("ocho", "8"), ("nueve", "9"), ("diez", "10"), ("once", "11"), ("doce", "12"), ("trece", "13"),
    ("catorce", "14"), ("quince", "15"), ("dieciseis", "16"), ("diecisiete", "17"), ("dieciocho", "18"),
    ("diecinueve", "19"), ("veinte", "20"), ("veintiuno", "21"), ("veintidos", "22"), ("veintitres", "23"),
    ("veinticuatro", "24"), ("veinticinco", "25"), ("veintiseis", "26"), ("veintisiete", "27"), ("veintiocho", "28"),
    ("veintinueve", "29"), ("treinta", "30"), ("cuarenta", "40"), ("cincuenta", "50"), ("sesenta", "60"),
    ("setenta", "70"), ("ochenta", "80"), ("noventa", "90"), ("cien", "100"), ("ciento", "100"),
    ("doscientos", "200"), ("trescientos", "300"), ("cuatrocientos", "400"), ("quinientos", "500"),
    ("seiscientos", "600"), ("setecientos", "700"), ("ochocientos", "800"), ("novecientos", "900"),
    ("zero", "0"), ("oh", "0"), ("one", "1"), ("two", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"),
    ("seven", "7"), ("eight", "8"), ("nine", "9"), ("ten", "10"), ("eleven", "11"), ("twelve", "12"),
    ("thirteen", "13"), ("fourteen", "14"), ("fifteen", "15"), ("sixteen", "16"), ("seventeen", "17"),
    ("eighteen", "18"), ("nineteen", "19"), ("twenty", "20"), ("thirty", "30"), ("forty", "40"), ("fifty", "50"),
    ("sixty", "60"), ("seventy", "70"), ("eighty", "80"), ("ninety", "90"),
];
