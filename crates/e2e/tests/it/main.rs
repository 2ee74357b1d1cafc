//! Both services together.

mod transcripts;
mod world;
