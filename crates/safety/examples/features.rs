//! Writes the model's features of the messages on standard input, one a line (`\n` for a line break), for
//! `scripts/train-safety`. With `--atoms`, the names of the decision table's atoms.

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if std::env::args().any(|arg| arg == "--atoms") {
        for atom in safety::assess::atoms() {
            writeln!(out, "{atom}")?;
        }
        return out.flush();
    }
    let mut bytes = Vec::new();
    for line in io::stdin().lock().lines() {
        bytes.clear();
        safety::assess::describe(&line?.replace("\\n", "\n"), &mut bytes);
        out.write_all(&bytes)?;
    }
    out.flush()
}
