//! Risk screening, help lines and the built-in companion, without I/O and without a clock.
//!
//! Rules find, learned models sort; everything that a clinician should be able to read and change is data under
//! `data/`, validated when the crate is built. `scripts/eval-safety` measures hits and misses.
//!
//! ```
//! use safety::{Context, Level, assess};
//!
//! assert_eq!(assess(&Context::default(), "me quiero morir").level, Level::High);
//! assert_eq!(assess(&Context::default(), "me muero de risa").level, Level::None);
//! ```

#![warn(missing_docs)]

pub mod assess;
pub mod companion;
pub mod episode;
pub mod guide;
mod kind;
mod level;
pub mod resources;
pub mod screen;

pub use assess::{Assessment, Context, Reason, assess};
pub use kind::{Kind, Kinds, Subject};
pub use level::{Cssrs, Level};

/// Builds the tables that are otherwise built on first use, which takes about 40 ms: a person at risk must not wait for
/// that.
pub fn prepare() {
    // A text without words would not load the model.
    assess(&Context::default(), "hola");
    companion::truth("", protocol::Language::Spanish);
    screen::prepare();
}

/// Unpacks a file that `build.rs` packed. Must not fall back to an empty one: it would find no risk, without an error.
fn inflate(packed: &[u8]) -> Vec<u8> {
    miniz_oxide::inflate::decompress_to_vec(packed).expect("the build packed this file")
}
