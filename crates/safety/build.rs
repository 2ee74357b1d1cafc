//! Validates the data and compiles it: a damaged file is an error of the build.

#[path = "build/answers.rs"]
mod answers;
#[path = "build/companion.rs"]
mod companion;
#[path = "build/conjugate.rs"]
mod conjugate;
#[path = "build/grammar.rs"]
mod grammar;
#[path = "build/guide.rs"]
mod guide;
#[path = "build/help_lines.rs"]
mod help_lines;
#[path = "build/pattern.rs"]
mod pattern;
#[path = "src/assess/sound.rs"]
mod sound;
#[path = "src/assess/tables.rs"]
mod tables;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=data");
    println!("cargo:rerun-if-changed=src/assess");
    answers::build()?;
    guide::build()?;
    help_lines::build()?;
    companion::build()?;
    write_tables("data", "tables.deflate")?;
    write_tables("data/questions", "questions.deflate")?;
    write_packed("weights.deflate", &std::fs::read("data/weights.bin")?)?;
    write_packed("answers.weights.deflate", &std::fs::read("data/answers.weights.bin")?)
}

/// Strongest compression of deflate.
const STRONGEST: u8 = 9;

/// Compiles the rules of `folder` into `file`: those of the risk engine, and those for questions about safety.
fn write_tables(folder: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let tables = grammar::sources(Path::new(folder)).and_then(|sources| grammar::compile(&sources));
    let tables = tables.map_err(|reason| format!("{folder}: {reason}"))?;
    write_packed(file, &postcard::to_allocvec(&tables)?)
}

/// Writes `bytes` to `file` of the output folder, packed: rules and weights would be a fifth of the program.
fn write_packed(file: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let out = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    std::fs::write(Path::new(&out).join(file), miniz_oxide::deflate::compress_to_vec(bytes, STRONGEST))?;
    Ok(())
}
