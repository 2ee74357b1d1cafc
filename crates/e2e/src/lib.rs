//! End-to-end tests, under `tests/it`; the library is empty. Behaviour of one service alone is
//! tested in its crate.
