//! Microsoft 365 mail through Microsoft Graph v1.0.
//!
//! Every request whose answer holds message ids asks for immutable ids: the ordinary ones change with each move.
//! Messages are asked for as `/me/messages/{id}`, never by way of their folder, which is where somebody else may have
//! just moved them from.

mod account;
mod apply;
mod attachments;
mod batch;
mod changes;
mod cursor;
mod errors;
mod fetch;
mod fetch_together;
mod folder_tree;
mod folders;
mod large;
mod look_up;
mod message;
mod notifications;
mod polls;
mod properties;
mod split;
mod time;
mod upload;
mod webhooks;

pub use account::{Account, Options};
pub use notifications::{NOTIFICATIONS_SCOPE, NotifierOptions, StreamingNotifier};
pub use webhooks::{NotNotifications, Unanswered, Webhook, WebhookNotifier, WebhookOptions};
