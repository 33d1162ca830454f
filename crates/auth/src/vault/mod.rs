//! Refresh tokens on the disk, encrypted; the key is in the desktop's keyring, or comes from a command.
//!
//! Nothing is opened before it is needed, and no key is asked for unless there is something to open or to keep. The
//! file is only ever replaced as a whole, by one process at a time, and never while it can't be opened: whoever can't
//! read the old sign-ins must not write over them.

mod description;
mod error;
pub(crate) mod format;
pub(crate) mod key;
mod key_command;
mod keyring;
mod keys;
mod store;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

pub use self::description::{KeyDescription, KeyringState};
pub use self::error::{KeyCommandFailure, VaultError};
pub use self::format::{FormatError, KeptSignIn};
pub use self::store::Fingerprint;

use self::format::{Header, KeyKind, VaultFile, VaultId};
use self::key::Key;
use self::keyring::{Keyring, Refusal, Sight, Watch};
use self::keys::{Keys, nonce};
use self::store::Writing;

/// How long somebody may take to unlock the keyring, or to answer a key command, before we go on without.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often another process may get in between before that is called a fault.
const ATTEMPTS: usize = 16;

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The keyring of the user's session.
    Keyring,
    /// The first line that this shell command prints is a passphrase for it.
    Command(String),
}

/// The sign-ins that outlive the process. One process has one of these for a file, so that nobody is asked twice.
pub struct Vault {
    path: PathBuf,
    source: KeySource,
    keys: Arc<Mutex<Keys>>,
    /// Whether the keyring did not do its work when it was asked last, so that the next look can't be trusted.
    keyring_failed: AtomicBool,
}

/// What a write under a key came to.
enum Written {
    Done,
    /// Another process wrote something else meanwhile.
    Overtaken,
}

impl Vault {
    /// A vault in this file. Neither the file nor the key is looked for yet.
    pub fn new(path: PathBuf, key: KeySource) -> Self {
        let keys = Keys::new(path.clone(), key.clone(), PATIENCE);
        Self { path, source: key, keys: Arc::new(Mutex::new(keys)), keyring_failed: AtomicBool::new(false) }
    }

    /// Changes how long the user may take to unlock the keyring, or to answer what the key command asks.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        // Nobody else has the lock of a vault that is still being made.
        if let Some(keys) = Arc::get_mut(&mut self.keys) {
            keys.get_mut().set_patience(patience);
        }
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which state of the file this is; another one means that somebody wrote it. Nothing if there is no file.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        store::fingerprint(&self.path)
    }

    /// Whether something is kept of this account. Asks for no key, and so doesn't know whether it is still good.
    pub async fn holds(&self, account: &str) -> Result<bool, VaultError> {
        let seen = self.see().await?;
        Ok(seen.and_then(|seen| seen.file.as_ref().map(|file| file.holds(account))).unwrap_or(false))
    }

    /// What is kept of this account, if anything. Asks for no key unless something is.
    pub async fn load(&self, account: &str) -> Result<Option<KeptSignIn>, VaultError> {
        let Some(seen) = self.see().await? else {
            return Ok(None);
        };
        let Some(file) = &seen.file else {
            return Err(self.damaged(seen.damage));
        };
        if !file.holds(account) {
            // Who isn't in a whole file was never kept; of a damaged one, nobody knows.
            return seen.damage.map_or(Ok(None), |damage| Err(self.damaged(Some(damage))));
        }
        let key = self.key_of(&seen).await?;
        match file.get(&key, account) {
            Ok(kept) => {
                if let Some(damage) = &seen.damage {
                    tracing::warn!(path = %self.path.display(), %damage, "The token vault is damaged");
                }
                Ok(kept)
            }
            Err(FormatError::NewerVersion(version)) => {
                Err(VaultError::NewerVersion { path: self.path.clone(), version })
            }
            Err(what) => Err(self.damaged(Some(seen.damage.unwrap_or(what)))),
        }
    }

    /// Keeps this sign-in in place of the one that was kept. It is on the disk when this returns; until then, or if it
    /// fails, the one before is.
    pub async fn keep(&self, account: &str, kept: &KeptSignIn) -> Result<(), VaultError> {
        for _ in 0..ATTEMPTS {
            let seen = self.see().await?;
            let (key, begun) = self.key_for_writing(seen.as_ref()).await?;
            let header = begun.header();
            let is_new = seen.as_ref().and_then(|seen| seen.file.as_ref()).is_none_or(|file| file.header() != header);
            let (path, account, kept) = (self.path.clone(), account.to_owned(), kept.clone());
            let written = blocking(move || put(&path, &key, begun, seen.as_ref(), &account, &kept)).await;
            if is_new && !matches!(written, Ok(Written::Done)) && self.is_not_in_place(header).await {
                self.drop_key(header).await;
            }
            if let Written::Done = written? {
                return Ok(());
            }
        }
        Err(VaultError::io("write", &self.path)(std::io::ErrorKind::ResourceBusy.into()))
    }

    /// Forgets this account; tells whether anything was kept of it. Takes no key. With the last account go the file
    /// and, if the keyring is unlocked, the key.
    pub async fn forget(&self, account: &str) -> Result<bool, VaultError> {
        let (path, name) = (self.path.clone(), account.to_owned());
        let (was_kept, over) = blocking(move || remove(&path, &name)).await?;
        if let Some(header) = over {
            self.drop_key(header).await;
        }
        Ok(was_kept)
    }

    /// Waits until the key may be had that couldn't be when it was needed last: the keyring came or was unlocked.
    ///
    /// Polls nothing: the keyring's signals tell, and newcomers on the session bus, since a login unlocks a keyring
    /// without a signal. Waits for ever if there is no session bus, or if a command gives the key.
    pub async fn wait_for_key(&self) {
        let KeySource::Keyring = self.source else {
            return std::future::pending().await;
        };
        let Some(mut watch) = Watch::begin().await else {
            return std::future::pending().await;
        };
        if self.keyring_failed.swap(false, Ordering::AcqRel) {
            watch.next().await;
        }
        // Looked at after the watch began, so that no change falls in between.
        loop {
            let id = self.id_in_place().await;
            match (watch.look(id).await, id) {
                (Ok(Sight::Key), _) | (Ok(Sight::NoKey), None) => return,
                _ => watch.next().await,
            }
        }
    }

    /// Lets the user be asked again, to unlock the keyring or by the key command. For when they ask us for something,
    /// never for a retry.
    pub async fn ask_again(&self) {
        self.keys.lock().await.ask_again();
    }

    /// Where the key is and whether it can be had. Asks nobody, runs nothing and makes nothing.
    pub async fn describe_key(&self) -> KeyDescription {
        match &self.source {
            KeySource::Command(command) => KeyDescription::Command(command.clone()),
            KeySource::Keyring => KeyDescription::Keyring(self.look().await),
        }
    }

    /// Which vault the file is, as far as that can be told.
    async fn id_in_place(&self) -> Option<VaultId> {
        self.see().await.ok().flatten()?.file.map(|file| file.header().id)
    }

    async fn look(&self) -> KeyringState {
        let id = self.id_in_place().await;
        match (Keyring::look(id).await, id) {
            (Ok(Sight::Key), _) => KeyringState::HasKey,
            (Ok(Sight::NoKey), None) => KeyringState::Ready,
            (Ok(Sight::NoKey), Some(_)) => KeyringState::LacksKey,
            (Err(Refusal::Locked), _) => KeyringState::Locked,
            (Err(Refusal::Absent(reason)), _) => KeyringState::Absent(reason),
            (Err(Refusal::Failed(reason)), _) => KeyringState::Failed(reason),
        }
    }

    /// The file as it is now; nothing if there is none.
    async fn see(&self) -> Result<Option<Seen>, VaultError> {
        let path = self.path.clone();
        blocking(move || store::read(&path)?.map(|bytes| Seen::of(&path, bytes)).transpose()).await
    }

    /// The key that opens this file.
    async fn key_of(&self, seen: &Seen) -> Result<Key, VaultError> {
        let Some(file) = seen.file.clone() else {
            return Err(self.damaged(seen.damage.clone()));
        };
        let answer = self.asking(move |mut keys| async move { keys.open(&file).await }).await;
        // The key check of a damaged file may be what is damaged.
        match (answer, &seen.damage) {
            (Err(VaultError::WrongKey { .. }), Some(damage)) => Err(self.damaged(Some(damage.clone()))),
            (answer, _) => answer,
        }
    }

    /// The key to write under, and the vault as it was opened or begun with it.
    async fn key_for_writing(&self, seen: Option<&Seen>) -> Result<(Key, VaultFile), VaultError> {
        if let Some(seen) = seen {
            match (self.key_of(seen).await, &seen.file) {
                (Ok(key), Some(file)) => {
                    let mut file = file.clone();
                    if seen.damage.is_some() {
                        file.retain_opening(&key);
                    }
                    return Ok((key, file));
                }
                // Nothing in it can be read by anybody, so nothing is lost by beginning anew beside it.
                (Err(VaultError::Damaged { .. }), _) | (Ok(_), None) => {}
                (Err(e), _) => return Err(e),
            }
        }
        self.asking(|mut keys| async move { keys.begin().await }).await
    }

    /// Does something with the keys in a task of its own: who stops waiting must not make the user be asked again.
    async fn asking<T, F>(&self, what: impl FnOnce(OwnedMutexGuard<Keys>) -> F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, VaultError>> + Send + 'static,
    {
        let keys = Arc::clone(&self.keys).lock_owned().await;
        let answer = joined(tokio::spawn(what(keys)).await);
        self.keyring_failed.store(matches!(answer, Err(VaultError::Keyring { .. })), Ordering::Release);
        answer
    }

    /// Whether the file is certainly another vault than this: a write that failed may have put it there all the same.
    async fn is_not_in_place(&self, header: Header) -> bool {
        match self.see().await {
            Ok(None) => true,
            Ok(Some(seen)) => seen.file.is_some_and(|file| file.header() != header),
            Err(_) => false,
        }
    }

    /// Removes a key that no file needs. If that fails, the key stays where it is and does no harm.
    async fn drop_key(&self, Header { kind, id }: Header) {
        self.keys.lock().await.let_go(id);
        if kind == KeyKind::Keyring
            && let Err(refusal) = Keyring::remove(id).await
        {
            tracing::warn!(vault = %id, ?refusal, "A key that nothing needs stays in the keyring");
        }
    }

    fn damaged(&self, what: Option<FormatError>) -> VaultError {
        VaultError::Damaged { path: self.path.clone(), what: what.unwrap_or(FormatError::TooShort) }
    }
}

/// The file as it was read.
struct Seen {
    bytes: Vec<u8>,
    /// What it holds, as far as that can be told. All of it, unless there is damage.
    file: Option<VaultFile>,
    damage: Option<FormatError>,
}

impl Seen {
    /// Reads the bytes, whole or damaged. Those of a later version are nobody's here.
    fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, VaultError> {
        match VaultFile::parse(&bytes) {
            Ok(file) => Ok(Self { bytes, file: Some(file), damage: None }),
            Err(FormatError::NewerVersion(version)) => Err(VaultError::NewerVersion { path: path.to_owned(), version }),
            Err(damage) => Ok(Self { file: VaultFile::salvage(&bytes), bytes, damage: Some(damage) }),
        }
    }
}

/// Puts a record into the vault, if it is still the one that was seen.
fn put(
    path: &Path,
    key: &Key,
    begun: VaultFile,
    seen: Option<&Seen>,
    account: &str,
    kept: &KeptSignIn,
) -> Result<Written, VaultError> {
    let writing = Writing::begin(path)?;
    let now = writing.read()?;
    let mut file = match &now {
        // As it was when it was opened or begun; the bytes say so.
        now if now.as_deref() == seen.map(|seen| seen.bytes.as_slice()) => begun,
        // Another process changed a record: theirs stays.
        Some(bytes) => match VaultFile::parse(bytes) {
            Ok(file) if file.header() == begun.header() && file.opens_with(key) => file,
            _ => return Ok(Written::Overtaken),
        },
        None => return Ok(Written::Overtaken),
    };
    if let Some(bytes) = &now {
        let damage = match VaultFile::parse(bytes) {
            Ok(file) => file.get(key, account).err().filter(|e| !matches!(e, FormatError::NewerVersion(_))),
            Err(damage) => Some(damage),
        };
        if let Some(damage) = damage {
            let aside = writing.set_aside()?;
            let (path, aside) = (path.display(), aside.display());
            tracing::warn!(%path, %aside, %damage, "The token vault was damaged and is kept aside");
        }
    }
    let unfit = |what| VaultError::Unfit { path: path.to_owned(), what };
    file.put(key, account, kept, nonce(path)?).map_err(unfit)?;
    let bytes = file.to_bytes();
    if bytes.len() > format::FILE_BYTES_MAX {
        return Err(unfit(FormatError::TooLarge("the file")));
    }
    writing.replace(&bytes)?;
    Ok(Written::Done)
}

/// Removes a record; tells whether there was one, and of which vault it was the last.
fn remove(path: &Path, account: &str) -> Result<(bool, Option<Header>), VaultError> {
    // Nothing is made where nothing is.
    if store::read(path)?.is_none() {
        return Ok((false, None));
    }
    let writing = Writing::begin(path)?;
    let Some(bytes) = writing.read()? else {
        return Ok((false, None));
    };
    let seen = Seen::of(path, bytes)?;
    let damaged = |what| VaultError::Damaged { path: path.to_owned(), what };
    let Some(mut file) = seen.file else {
        return Err(damaged(seen.damage.unwrap_or(FormatError::TooShort)));
    };
    if !file.remove(account) {
        // In what can't be read of a damaged file it may still be.
        return seen.damage.map_or(Ok((false, None)), |damage| Err(damaged(damage)));
    }
    if file.is_empty() {
        writing.remove()?;
        Ok((true, Some(file.header())))
    } else {
        writing.replace(&file.to_bytes())?;
        Ok((true, None))
    }
}

/// Does what may wait for the disk or take its time where nobody else waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(ended: Result<Result<T, VaultError>, tokio::task::JoinError>) -> Result<T, VaultError> {
    match ended {
        Ok(answer) => answer,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and with it everybody who waits.
            Err(e) => Err(VaultError::io("finish the work on", PathBuf::new())(std::io::Error::other(e))),
        },
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("path", &self.path).field("source", &self.source).finish_non_exhaustive()
    }
}
