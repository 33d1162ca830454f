//! What failures of Microsoft Graph mean in the contract's words.

use std::time::Duration;

use cms_auth::AuthError;

use super::Account;
use crate::contract::{CloudError, Outcome};
use crate::http::{Failure, ServiceError};

/// Without a word from the service, how long a pause it may mean.
const PAUSE_IF_UNTOLD: Duration = Duration::from_secs(60);

impl Account {
    /// What a failure that no further try will cure means.
    pub(super) fn error(&self, failure: Failure) -> CloudError {
        let sign_in_needed = |reason: String| CloudError::SignInNeeded { account: self.name.clone(), reason };
        match failure {
            Failure::Network(error) => CloudError::Unreachable(error),
            Failure::Senseless(words) => CloudError::Unexpected(words),
            Failure::Auth(error @ AuthError::Unreachable(_)) => CloudError::Unreachable(Box::new(error)),
            Failure::Auth(AuthError::SignInNeeded { reason, .. }) => sign_in_needed(reason),
            Failure::Auth(error) => sign_in_needed(error.to_string()),
            Failure::Status(error) => match error.status {
                401 => sign_in_needed(format!("the mail service doesn't accept a fresh sign-in: {error}")),
                429 => CloudError::Throttled(error.retry_after.unwrap_or(PAUSE_IF_UNTOLD)),
                503 if error.retry_after.is_some() => CloudError::Throttled(error.retry_after.unwrap_or_default()),
                408 | 500..=599 => CloudError::Unreachable(Box::new(error)),
                _ => refused(error),
            },
        }
    }

    /// The same for a question about one message.
    pub(super) fn item_error(&self, failure: Failure) -> CloudError {
        match failure {
            Failure::Status(error) if error.item_is_gone() => CloudError::Gone,
            other => self.error(other),
        }
    }

    /// The same for a change to one message.
    pub(super) fn outcome(&self, failure: Failure) -> Outcome {
        match self.item_error(failure) {
            // A 404 with another code or with none may be a proxy's, or pass: the message is asked for before anything is believed.
            CloudError::Gone | CloudError::Refused { status: 404, .. } => Outcome::Gone,
            // Not refused for good: somebody changes the message at the same time as we do, again and again.
            CloudError::Refused { status: 412, code, message, request_id } => {
                let error = ServiceError { status: 412, code, message, request_id, ..ServiceError::default() };
                Outcome::Later(CloudError::Unreachable(Box::new(error)))
            }
            error @ (CloudError::Refused { .. }
            | CloudError::NoSuchFolder { .. }
            | CloudError::TooLong { .. }
            | CloudError::Unconvertible { .. }) => Outcome::Refused(error),
            error @ (CloudError::SignInNeeded { .. }
            | CloudError::Unreachable(_)
            | CloudError::Throttled(_)
            | CloudError::Unexpected(_)
            | CloudError::Sink(_)) => Outcome::Later(error),
        }
    }
}

pub(super) fn refused(error: ServiceError) -> CloudError {
    let ServiceError { status, code, message, request_id, .. } = error;
    CloudError::Refused { status, code, message, request_id }
}

/// Whether the service no longer knows where a round of change tracking stood (microsoft-graph-docs#2162, #2350).
pub(super) fn says_cursor_lost(error: &ServiceError) -> bool {
    let codes = ["SyncStateNotFound", "SyncStateInvalid", "ResyncRequired"];
    error.status == 410 || ((400..500).contains(&error.status) && codes.iter().any(|code| error.is(code)))
}

/// Whether the service doesn't find something that may be a folder.
pub(super) fn says_folder_missing(error: &ServiceError) -> bool {
    let codes = ["ErrorItemNotFound", "ErrorFolderNotFound", "ErrorSyncFolderNotFound", "ResourceNotFound"];
    error.status == 404 && codes.iter().any(|code| error.is(code))
}
