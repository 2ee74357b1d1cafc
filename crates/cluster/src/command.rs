//! Commands to Redis in the order of their calls.

use protocol::UserLabel;

/// Command whose caller does not wait for its completion.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe(UserLabel),
    Unsubscribe(UserLabel),
    Publish { user: UserLabel, payload: Vec<u8>, revision: u64 },
}
