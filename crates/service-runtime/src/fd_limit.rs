//! Limit on open files.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one; returns the effective limit.
pub fn raise_fd_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let in_force = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { before };
    in_force.unwrap_or(u64::MAX)
}
