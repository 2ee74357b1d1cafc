//! Several cores on one PostgreSQL and one Redis, all of them real.

pub(crate) mod city;
mod devices;
mod killed_in_turn;
mod limits;
mod missed;
mod redis_away;
mod tokens;
