//! Getting the vault's key: from the keyring or the command, once, and then from memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::error::{KeyCommandFailure, VaultError};
use super::format::{Header, KeyKind, Nonce, VaultFile, VaultId};
use super::key::Key;
use super::key_command::{self, Passphrase};
use super::keyring::{Keyring, Refusal};
use super::{KeySource, blocking};

/// What is known of keys. Whoever has the lock may ask for one, so that others wait instead of asking, too.
pub(super) struct Keys {
    path: PathBuf,
    source: KeySource,
    keyring: Keyring,
    command_patience: Duration,
    /// What the key command gave, good or bad.
    command_answer: Option<Result<Passphrase, KeyCommandFailure>>,
    /// The key of this vault, which it was seen to open.
    held: Option<(VaultId, Key)>,
}

impl Keys {
    pub(super) fn new(path: PathBuf, source: KeySource, patience: Duration) -> Self {
        let keyring = Keyring::new(patience);
        Self { path, source, keyring, command_patience: patience, command_answer: None, held: None }
    }

    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.keyring = Keyring::new(patience);
        self.command_patience = patience;
    }

    /// Lets the user be asked once more, unless they gave what opens the vault.
    pub(super) fn ask_again(&mut self) {
        self.keyring.ask_again();
        if matches!(self.command_answer, Some(Err(_))) || self.held.is_none() {
            self.command_answer = None;
        }
    }

    /// Lets go of the key of this vault.
    pub(super) fn let_go(&mut self, id: VaultId) {
        self.held.take_if(|(held, _)| *held == id);
    }

    /// The key that opens this file, which is held from then on.
    pub(super) async fn open(&mut self, file: &VaultFile) -> Result<Key, VaultError> {
        let Header { kind, id } = file.header();
        if let Some((held, key)) = &self.held
            && *held == id
            && file.opens_with(key)
        {
            return Ok(key.clone());
        }
        let path = self.path.clone();
        let wrong = |reason: String| VaultError::WrongKey { path: path.clone(), reason };
        let (candidates, whence) = match (&self.source, kind) {
            (KeySource::Keyring, KeyKind::Keyring) => {
                let found = self.keyring.find(id).await.map_err(|refusal| refused(&self.path, refusal))?;
                if found.is_empty() {
                    return Err(wrong(format!("the keyring holds no key for it (attribute `vault` = `{id}`)")));
                }
                (found, "the keyring".to_owned())
            }
            (KeySource::Command(command), KeyKind::Command) => {
                let whence = format!("`{command}`");
                (vec![self.derive(id).await?], whence)
            }
            (KeySource::Keyring, KeyKind::Command) => {
                return Err(wrong("its key comes from a command, and none is configured".to_owned()));
            }
            (KeySource::Command(command), KeyKind::Keyring) => {
                return Err(wrong(format!("its key is in the keyring, and `{command}` is configured instead")));
            }
        };
        let right = candidates.into_iter().find(|key| file.opens_with(key));
        let key = right.ok_or_else(|| wrong(format!("{whence} gave another key")))?;
        self.held = Some((id, key.clone()));
        Ok(key)
    }

    /// Begins a vault under a new key, which is in the keyring before anything is encrypted under it.
    pub(super) async fn begin(&mut self) -> Result<(Key, VaultFile), VaultError> {
        let mut id = VaultId([0; 16]);
        random(&self.path, &mut id.0)?;
        let (kind, key) = match &self.source {
            KeySource::Keyring => {
                let path = self.path.clone();
                let key = Key::fill(|key| random(&path, key))?;
                let stored = self.keyring.make(id, key).await;
                (KeyKind::Keyring, stored.map_err(|refusal| refused(&self.path, refusal))?)
            }
            KeySource::Command(_) => (KeyKind::Command, self.derive(id).await?),
        };
        let begun = VaultFile::new(Header { kind, id }, &key, nonce(&self.path)?);
        let file = begun.map_err(|what| VaultError::Unfit { path: self.path.clone(), what })?;
        self.held = Some((id, key.clone()));
        Ok((key, file))
    }

    /// The key that the command's passphrase means for this vault. The command is run once.
    async fn derive(&mut self, id: VaultId) -> Result<Key, VaultError> {
        let KeySource::Command(command) = &self.source else {
            return Err(refused(&self.path, Refusal::Failed("no command gives the key".to_owned())));
        };
        let failed = |reason| VaultError::KeyCommand { path: self.path.clone(), command: command.clone(), reason };
        if self.command_answer.is_none() {
            self.command_answer = Some(key_command::ask(command, self.command_patience).await);
        }
        let passphrase = match &self.command_answer {
            Some(Ok(passphrase)) => Arc::clone(passphrase),
            Some(Err(reason)) => return Err(failed(reason.clone())),
            None => return Err(failed(KeyCommandFailure::Empty)),
        };
        blocking(move || Ok(key_command::derive(&passphrase, id))).await?.map_err(failed)
    }
}

fn refused(path: &Path, refusal: Refusal) -> VaultError {
    let path = path.to_owned();
    match refusal {
        Refusal::Absent(reason) => VaultError::NoKeyring { path, reason },
        Refusal::Locked => VaultError::Locked { path },
        Refusal::Failed(reason) => VaultError::Keyring { path, reason },
    }
}

/// Fills this from the operating system.
fn random(path: &Path, bytes: &mut [u8]) -> Result<(), VaultError> {
    OsRng.try_fill_bytes(bytes).map_err(|e| VaultError::io("get random numbers for", path)(std::io::Error::other(e)))
}

pub(super) fn nonce(path: &Path) -> Result<Nonce, VaultError> {
    let mut nonce = Nonce::default();
    random(path, &mut nonce)?;
    Ok(nonce)
}
