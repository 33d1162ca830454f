//! A key derived from what a command prints, such as `pass show cms` or `systemd-creds cat cms`.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::error::KeyCommandFailure;
use super::format::VaultId;
use super::key::{KEY_BYTES, Key};

/// Half a second or so of one core, and memory that even a small server can spare.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
const PASSPHRASE_BYTES_MAX: usize = 4096;

/// The first line of what a command printed.
pub(super) type Passphrase = Arc<Zeroizing<Vec<u8>>>;

/// Runs the command and takes its first line. What it says on its standard error goes where ours goes.
pub(super) async fn ask(command: &str, patience: Duration) -> Result<Passphrase, KeyCommandFailure> {
    let started = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|e| KeyCommandFailure::Start(Arc::new(e)))?;
    let answer = async {
        let line = match child.stdout.take() {
            Some(output) => first_line(output).await,
            None => Ok(Zeroizing::new(Vec::new())),
        };
        let status = child.wait().await.map_err(|e| KeyCommandFailure::Start(Arc::new(e)))?;
        if !status.success() {
            return Err(KeyCommandFailure::Status(status));
        }
        line.and_then(|line| if line.is_empty() { Err(KeyCommandFailure::Empty) } else { Ok(Arc::new(line)) })
    };
    tokio::time::timeout(patience, answer).await.unwrap_or(Err(KeyCommandFailure::Slow(patience)))
}

/// The key that this passphrase means for this vault.
pub(super) fn derive(passphrase: &Passphrase, id: VaultId) -> Result<Key, KeyCommandFailure> {
    let failed = |_| KeyCommandFailure::Derivation;
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_BYTES)).map_err(failed)?;
    let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Key::fill(|key| argon.hash_password_into_with_memory(passphrase, &id.0, key, memory.as_mut_slice())).map_err(failed)
}

/// Reads to the end, since a command whose output nobody takes may fail, and keeps the first line.
async fn first_line(mut output: impl AsyncReadExt + Unpin) -> Result<Zeroizing<Vec<u8>>, KeyCommandFailure> {
    // Neither buffer grows: one that does leaves its contents behind.
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX));
    let mut piece = Zeroizing::new([0; PASSPHRASE_BYTES_MAX]);
    let (mut ended, mut too_long) = (false, false);
    loop {
        let length = match output.read(piece.as_mut_slice()).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(e) => return Err(KeyCommandFailure::Start(Arc::new(e))),
        };
        let read = piece.get(..length).unwrap_or_default();
        let end = read.iter().position(|byte| *byte == b'\n');
        if !ended {
            let of_line = read.get(..end.unwrap_or(length)).unwrap_or_default();
            too_long |= line.len() + of_line.len() > PASSPHRASE_BYTES_MAX;
            if !too_long {
                line.extend_from_slice(of_line);
            }
        }
        ended |= end.is_some();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if too_long { Err(KeyCommandFailure::TooLong(PASSPHRASE_BYTES_MAX)) } else { Ok(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn asked(command: &str) -> Result<Vec<u8>, KeyCommandFailure> {
        ask(command, PATIENCE).await.map(|passphrase| passphrase.to_vec())
    }

    #[tokio::test]
    async fn the_first_line_is_the_passphrase() {
        assert_eq!(asked("echo correct horse; echo url: example.com").await.unwrap(), b"correct horse");
        assert_eq!(asked("printf secret").await.unwrap(), b"secret");
        assert_eq!(asked(r"printf 'secret\r\n'").await.unwrap(), b"secret");
        // Its input is empty, and much more output than a pipe holds breaks nothing.
        assert_eq!(asked("cat; echo secret; head -c 300000 /dev/zero").await.unwrap(), b"secret");
    }

    #[tokio::test]
    async fn no_passphrase_is_an_error_that_tells_no_output() {
        assert!(matches!(asked("true").await, Err(KeyCommandFailure::Empty)));
        assert!(matches!(asked("echo; echo second").await, Err(KeyCommandFailure::Empty)));
        assert!(matches!(asked("head -c 5000 /dev/zero").await, Err(KeyCommandFailure::TooLong(4096))));
        let failed = asked("echo hunter2; exit 3").await.unwrap_err();
        assert_eq!(failed.to_string(), "it ended with exit status: 3");
        assert!(!format!("{failed:?}").contains("hunter2"));
        let slow = ask("sleep 20", Duration::from_millis(100)).await;
        assert!(matches!(slow, Err(KeyCommandFailure::Slow(_))));
    }

    #[test]
    fn the_vault_salts_the_passphrase() {
        let passphrase: Passphrase = Arc::new(Zeroizing::new(b"correct horse".to_vec()));
        let key = |id| derive(&passphrase, VaultId([id; 16])).unwrap();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }
}
