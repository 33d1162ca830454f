//! A vault's key in the desktop's keyring, by the Secret Service interface.
//!
//! Three answers are kept apart. The keyring is *absent*: no session bus, or nothing there that keeps secrets. It is
//! *locked*: what is in it can't be seen, and it must never be taken for empty. Or it is there, with the key or without.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use secret_service::{Collection, EncryptionType, Error, Item, SecretService};
use tokio::time::Instant;
use zbus::message::{Message, Type};
use zbus::{Connection, MatchRule, MessageStream};
use zeroize::Zeroizing;

use super::format::VaultId;
use super::key::Key;

/// Longer than any keyring takes that nobody is asked by.
const CALL_PATIENCE: Duration = Duration::from_secs(10);
/// From a newcomer on the bus to a look at the keyring, and from that to the next for such a reason.
const NEWCOMER_DELAY: Duration = Duration::from_secs(1);
const NEWCOMER_PAUSE: Duration = Duration::from_secs(30);
const SERVICE: &str = "org.freedesktop.secrets";
/// The Secret Service's objects are there, whoever provides it.
const SERVICE_PATH: &str = "/org/freedesktop/secrets";
const LABEL: &str = "Cloud MailDir Sync: key of the token vault";
const CONTENT_TYPE: &str = "text/plain";

/// Why the keyring gave no answer about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no keyring, in words.
    Absent(String),
    /// It is locked, and stays so for now.
    Locked,
    /// It is there and did not do its work, in words.
    Failed(String),
}

/// What a look at the keyring shows, with nobody asked and nothing made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// The key is there and can be had.
    Key,
    /// The keyring is unlocked and has no such key.
    NoKey,
}

/// The keyring of the user's session.
pub(super) struct Keyring {
    unlock_patience: Duration,
    /// Whether the user was asked to unlock it. That is done once: whoever doesn't answer, or says no, meant it.
    asked: bool,
}

impl Keyring {
    pub(super) fn new(unlock_patience: Duration) -> Self {
        Self { unlock_patience, asked: false }
    }

    /// Lets the user be asked once more.
    pub(super) fn ask_again(&mut self) {
        self.asked = false;
    }

    /// The keys that are kept for this vault: one, unless somebody else made more.
    pub(super) async fn find(&mut self, id: VaultId) -> Result<Vec<Key>, Refusal> {
        let service = connect().await?;
        match keys(&service, id).await {
            Err(Refusal::Locked) => {
                self.unlock(Some(id)).await?;
                keys(&service, id).await
            }
            answer => answer,
        }
    }

    /// Makes a key for this vault, which is in the keyring when this returns.
    pub(super) async fn make(&mut self, id: VaultId, key: Key) -> Result<Key, Refusal> {
        let service = connect().await?;
        if default_collection(&service).await.map(|_| ()) == Err(Refusal::Locked) {
            self.unlock(None).await?;
        }
        let collection = default_collection(&service).await?;
        let id_text = id.to_string();
        let text = key.to_text();
        call(collection.create_item(LABEL, attributes(&id_text), text.as_bytes(), true, CONTENT_TYPE)).await?;
        // What is encrypted under a key that nobody has kept is lost.
        if keys(&service, id).await?.contains(&key) {
            Ok(key)
        } else {
            Err(Refusal::Failed("it doesn't give back the key that was put in".to_owned()))
        }
    }

    /// Removes the keys of this vault; asks nobody.
    pub(super) async fn remove(id: VaultId) -> Result<(), Refusal> {
        let service = connect().await?;
        let id_text = id.to_string();
        let found = call(service.search_items(attributes(&id_text))).await?;
        for item in &found.unlocked {
            call(item.delete()).await?;
        }
        if found.locked.is_empty() { Ok(()) } else { Err(Refusal::Locked) }
    }

    /// Looks for the key of this vault, or for where one would be put.
    pub(super) async fn look(id: Option<VaultId>) -> Result<Sight, Refusal> {
        look(&connect().await?, id).await
    }

    /// Has the user unlock what holds this key, or where one would be put.
    async fn unlock(&mut self, id: Option<VaultId>) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.asked, true) {
            return Err(Refusal::Locked);
        }
        tracing::info!("Waiting for the keyring to be unlocked");
        // In a task of its own, so that the question stays on the screen when we go on without an answer: whenever it
        // comes, the keyring tells that it changed.
        let asking = tokio::spawn(ask_to_unlock(id));
        match tokio::time::timeout(self.unlock_patience, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refusal::Locked),
        }
    }
}

async fn ask_to_unlock(id: Option<VaultId>) -> Result<(), Refusal> {
    let service = connect().await?;
    let locked = match id {
        Some(id) => {
            let id_text = id.to_string();
            call(service.search_items(attributes(&id_text))).await?.locked
        }
        None => Vec::new(),
    };
    let items: Vec<&Item<'_>> = locked.iter().collect();
    if items.is_empty() {
        let collection = call(service.get_default_collection()).await?;
        collection.unlock().await.map_err(refusal)
    } else {
        service.unlock_all(&items).await.map_err(refusal)
    }
}

/// Tells when the keyring may have changed.
///
/// Its own signals tell most of that. They don't tell of being unlocked by a login: `pam_gnome_keyring` does that
/// behind the bus's back, and nothing is signalled. But a login brings new clients to the session bus, so a newcomer
/// is a reason to look, too, though not each of them by itself.
pub(super) struct Watch {
    bus: Connection,
    signals: Pin<Box<dyn Stream<Item = Signal> + Send>>,
    /// When newcomers are a reason to look again.
    newcomers_matter_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// The keyring changed, came or went.
    Change,
    /// Somebody else came.
    Newcomer,
    /// Nothing that matters.
    Other,
}

impl Watch {
    /// Begins to watch. Without a session bus nothing ever changes, and there is no watch.
    pub(super) async fn begin() -> Option<Self> {
        let bus = within(CALL_PATIENCE, Connection::session()).await?.ok()?;
        let owners = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface("org.freedesktop.DBus")
            .and_then(|rule| rule.member("NameOwnerChanged"));
        // Anybody may send such a signal; all that comes of it is another look.
        let changes = MatchRule::builder().msg_type(Type::Signal).path_namespace(SERVICE_PATH);
        let owners = messages(&bus, owners.ok()?.build()).await?.map(|message| owner_signal(&message));
        let changes = messages(&bus, changes.ok()?.build()).await?.map(|_| Signal::Change);
        let signals = Box::pin(futures_util::stream::select(owners, changes));
        Some(Self { bus, signals, newcomers_matter_at: Instant::now() })
    }

    /// Waits for the next change; for ever once the bus is gone.
    pub(super) async fn next(&mut self) {
        let mut look_at = None;
        loop {
            let signal = match look_at {
                None => self.signals.next().await,
                Some(at) => {
                    let Ok(signal) = tokio::time::timeout_at(at, self.signals.next()).await else {
                        self.newcomers_matter_at = at + NEWCOMER_PAUSE;
                        return;
                    };
                    signal
                }
            };
            match signal {
                Some(Signal::Change) => return,
                // It may come a moment before the keyring is unlocked.
                Some(Signal::Newcomer) if look_at.is_none() => {
                    look_at = Some(self.newcomers_matter_at.max(Instant::now() + NEWCOMER_DELAY));
                }
                Some(Signal::Newcomer | Signal::Other) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Looks for the key of this vault, or for where one would be put. As it is no newcomer itself, a watch can't wake
    /// itself by this.
    pub(super) async fn look(&mut self, id: Option<VaultId>) -> Result<Sight, Refusal> {
        look(&connect_over(self.bus.clone()).await?, id).await
    }
}

fn owner_signal(message: &Message) -> Signal {
    match message.body().deserialize::<(&str, &str, &str)>() {
        Ok((SERVICE, ..)) => Signal::Change,
        Ok((_, before, now)) if before.is_empty() && !now.is_empty() => Signal::Newcomer,
        _ => Signal::Other,
    }
}

async fn messages(bus: &Connection, rule: MatchRule<'static>) -> Option<impl Stream<Item = Message> + Send + use<>> {
    let stream = within(CALL_PATIENCE, MessageStream::for_match_rule(rule, bus, Some(64))).await?.ok()?;
    Some(stream.filter_map(async |message| message.ok()))
}

async fn connect() -> Result<SecretService<'static>, Refusal> {
    let bus = match within(CALL_PATIENCE, Connection::session()).await {
        Some(Ok(bus)) => bus,
        Some(Err(error)) => {
            tracing::debug!(%error, "There is no session bus");
            return Err(Refusal::Absent("there is no session bus".to_owned()));
        }
        None => return Err(Refusal::Absent("no session bus answers in time".to_owned())),
    };
    connect_over(bus).await
}

async fn connect_over(bus: Connection) -> Result<SecretService<'static>, Refusal> {
    call(SecretService::connect_with_existing(EncryptionType::Dh, bus)).await
}

async fn look(service: &SecretService<'_>, id: Option<VaultId>) -> Result<Sight, Refusal> {
    match id {
        Some(id) => {
            let id_text = id.to_string();
            let there = items(service, &id_text).await?;
            Ok(if there.is_empty() { Sight::NoKey } else { Sight::Key })
        }
        None => default_collection(service).await.map(|_| Sight::NoKey),
    }
}

fn attributes(id: &str) -> HashMap<&str, &str> {
    HashMap::from([("application", "cms"), ("vault", id)])
}

async fn keys(service: &SecretService<'_>, id: VaultId) -> Result<Vec<Key>, Refusal> {
    let id_text = id.to_string();
    let mut keys = Vec::new();
    for item in items(service, &id_text).await? {
        let secret = Zeroizing::new(call(item.get_secret()).await?);
        keys.extend(Key::from_text(&secret));
    }
    Ok(keys)
}

/// The items that hold this vault's key. There are none only if the keyring is unlocked and has none.
async fn items<'a>(service: &'a SecretService<'_>, id: &str) -> Result<Vec<Item<'a>>, Refusal> {
    let found = call(service.search_items(attributes(id))).await?;
    if !found.unlocked.is_empty() {
        return Ok(found.unlocked);
    }
    if !found.locked.is_empty() {
        return Err(Refusal::Locked);
    }
    // A keyring may hide what it has while it is locked.
    default_collection(service).await?;
    Ok(Vec::new())
}

/// Where new keys are put, if that is unlocked.
async fn default_collection<'a>(service: &'a SecretService<'_>) -> Result<Collection<'a>, Refusal> {
    let collection = match within(CALL_PATIENCE, service.get_default_collection()).await {
        Some(Err(Error::NoResult)) => return Err(Refusal::Absent("the keyring has no default collection".to_owned())),
        Some(answer) => answer.map_err(refusal)?,
        None => return Err(slow()),
    };
    if call(collection.is_locked()).await? { Err(Refusal::Locked) } else { Ok(collection) }
}

async fn within<T>(patience: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(patience, future).await.ok()
}

async fn call<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Refusal> {
    within(CALL_PATIENCE, future).await.ok_or_else(slow)?.map_err(refusal)
}

fn slow() -> Refusal {
    Refusal::Failed(format!("it did not answer within {} seconds", CALL_PATIENCE.as_secs()))
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Locked | Error::Prompt => Refusal::Locked,
        Error::Unavailable | Error::PromptDisconnected => Refusal::Absent(error.to_string()),
        Error::Zbus(error) => bus_refusal(&error),
        Error::ZbusFdo(error) => bus_refusal(&zbus::Error::FDO(Box::new(error))),
        other => Refusal::Failed(other.to_string()),
    }
}

fn bus_refusal(error: &zbus::Error) -> Refusal {
    use zbus::fdo::Error as Fdo;

    let name = match error {
        zbus::Error::MethodError(name, _, _) => name.as_str(),
        zbus::Error::InputOutput(_) | zbus::Error::Address(_) | zbus::Error::Handshake(_) => {
            return Refusal::Absent(format!("the session bus went away ({error})"));
        }
        zbus::Error::FDO(error) => match &**error {
            Fdo::ZBus(error) => return bus_refusal(error),
            // No reply comes when the service ends while it is asked.
            Fdo::ServiceUnknown(_) | Fdo::NameHasNoOwner(_) | Fdo::NoReply(_) | Fdo::Disconnected(_) => {
                "org.freedesktop.DBus.Error.ServiceUnknown"
            }
            _ => "",
        },
        _ => "",
    };
    let name = name.strip_prefix("org.freedesktop.").unwrap_or_default();
    match name {
        "Secret.Error.IsLocked" => Refusal::Locked,
        "DBus.Error.ServiceUnknown"
        | "DBus.Error.NameHasNoOwner"
        | "DBus.Error.NoReply"
        | "DBus.Error.Disconnected" => {
            tracing::debug!(%error, "There is no Secret Service");
            Refusal::Absent("nothing on the session bus keeps secrets".to_owned())
        }
        // The service is known to the bus, which can't start it.
        _ if name.starts_with("DBus.Error.Spawn.") => {
            Refusal::Absent(format!("the session bus can't start the service that keeps secrets ({error})"))
        }
        _ => Refusal::Failed(error.to_string()),
    }
}
