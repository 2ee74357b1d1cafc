//! Several cores on one PostgreSQL and one Redis, as real processes.

mod catch_up;
pub(crate) mod cluster;
mod devices;
mod limits;
mod my_data;
mod redis_outage;
mod rolling_kills;
mod tokens;
