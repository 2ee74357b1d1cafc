//! Error of an operation on a session.

use protocol::ErrorCode;
use session::{Failure, MessageRejection};
use store::StoreError;

use crate::turn::store_rejection;

/// Error of an operation on a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The session is gone.
    #[error("the session is gone")]
    Gone,
    /// The session rejected the operation; the cause is logged.
    #[error("rejected with {}", .0.code)]
    Rejected(MessageRejection),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSession { .. } => Self::Gone,
            error => Self::Store(error),
        }
    }
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSession => Self::Gone,
            Failure::Rejected(rejection) => Self::Rejected(rejection),
        }
    }
}

impl SessionError {
    /// Maps the error to the one that the client gets.
    pub fn rejection(&self) -> MessageRejection {
        match self {
            Self::Gone => MessageRejection::permanent(ErrorCode::BadResume),
            Self::Rejected(rejection) => *rejection,
            Self::Store(error) => store_rejection(error),
        }
    }
}
