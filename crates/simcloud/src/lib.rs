//! A simulated Microsoft 365, served over HTTP: sign-in as with Entra ID, mail as with Microsoft Graph v1.0.
//! Beside it stands the sign-in of Google.
//!
//! It shows the service as its documentation and its users describe it, with the flaws that bite clients: limits,
//! expiring tokens, delta rounds in no order with repetitions, links that die, ids that change, failing downloads.
//! It depends on none of the client's code, so that it can't share the client's misunderstandings.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let server = simcloud::serve(simcloud::Options { messages: 100, ..simcloud::Options::default() }).await?;
//! let cloud = server.cloud().clone();
//! let token = cloud.access_token("").map_err(std::io::Error::other)?;
//! let id = cloud.add_message("", simcloud::NewMessage::mime("Inbox", "Subject: hello\n\nhi\n")).map_err(std::io::Error::other)?;
//! cloud.inject(simcloud::Fault::once("delta", simcloud::Action::status(503)));
//! println!("login and Graph are both at {}; {token} {id}", server.url());
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Everything that [`Cloud`] can do is also reachable under `/admin`, as `ADMINISTRATION.md` describes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod admin;
mod attachments;
mod batch;
mod clock;
mod cloud;
mod content;
mod counters;
mod delta;
mod entra;
mod faults;
mod folder_tree;
mod folders;
mod google;
mod graph;
mod http;
mod ids;
mod knobs;
mod mailbox;
mod me;
mod message_json;
mod messages;
mod mime_generator;
mod notifications;
mod odata;
mod pages;
mod pkce;
mod population;
mod reply;
mod secrets;
mod server;
mod sign_in;
mod state;
mod throttle;
mod visit;
mod webhooks;
mod well_known;
mod writes;

pub use clock::pin_clock;
pub use cloud::{Actor, AdminError, Cloud, Deletion, FlagChange, NewMessage};
pub use counters::{Counters, RequestRecord};
pub use entra::{
    Audience, ClaimsChallenge, Consent, DEFAULT_CLIENT_ID, PendingDevice, RedirectType, Registration, SignInMode,
    TokenRefusal, TokenRefusalState,
};
pub use faults::{Action, BodyKind, Fault, FaultState, RetryAfter};
pub use google::{DEFAULT_GOOGLE_CLIENT_ID, DEFAULT_GOOGLE_CLIENT_SECRET, GoogleClient};
pub use knobs::{Knobs, RetryAfterStyle};
pub use mailbox::{AccountMode, FlagStatus};
pub use notifications::NotificationService;
pub use reply::ReplyBody;
pub use server::{Options, Server, in_process, serve};
pub use state::{FolderState, MailboxState, MessageState, StateQuery};
pub use visit::{VisitError, visit, visit_as};
pub use webhooks::{LifecycleEvent, WebhookState};
