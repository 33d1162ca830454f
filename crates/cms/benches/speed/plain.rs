//! What anybody would write first: one message after the other.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use cms_cloud::contract::{CloudAccount as _, MimeSink};
use cms_cloud::office365::{Account, Options};
use cms_engine::RemoteId;

use crate::Result;
use crate::proc::Proc;
use crate::world::World;

/// So many messages tell how long one takes.
const MEASURED: usize = 500;

/// What a plain loop takes for all messages, told from some of them.
pub(crate) struct Plain {
    pub(crate) measured: usize,
    pub(crate) wall: Duration,
    pub(crate) processor_seconds: f64,
}

pub(crate) fn measure(world: &World) -> Result<Plain> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = world.cloud.access_token("").map_err(|error| error.to_string())?;
    let account = Account::new(Options::new(world.url().parse()?), Arc::new(SignedIn::new(token)))?;
    let state = world.state()?;
    // From all over the mailbox, since some parts of it could be unlike others.
    let every = (world.messages / MEASURED).max(1);
    let ids: Vec<RemoteId> =
        state.messages().step_by(every).take(MEASURED).map(|message| RemoteId::new(&*message.id)).collect();
    if ids.is_empty() {
        return Err("there is no message to be downloaded".into());
    }
    let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    // The service in this process has threads of its own.
    let thread = Proc::of("thread-self");
    let (began, processor) = (Instant::now(), thread.processor_seconds()?);
    for (number, id) in ids.iter().enumerate() {
        let mut file = OneFile(File::create(directory.path().join(number.to_string()))?);
        runtime.block_on(account.fetch(id, &mut file))?;
    }
    let all = world.messages as f64 / ids.len() as f64;
    Ok(Plain {
        measured: ids.len(),
        wall: began.elapsed().mul_f64(all),
        processor_seconds: (thread.processor_seconds()? - processor) * all,
    })
}

struct OneFile(File);

impl MimeSink for OneFile {
    fn restart(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.write_all(chunk)
    }
}

/// A sign-in that lasts as long as it is needed here.
pub(crate) struct SignedIn(AccessToken);

impl SignedIn {
    pub(crate) fn new(token: impl Into<String>) -> Self {
        Self(AccessToken::new(token.into()))
    }
}

#[async_trait]
impl AccessTokens for SignedIn {
    fn account(&self) -> &'static str {
        "user@domain.com"
    }

    async fn access_token(&self) -> std::result::Result<AccessToken, AuthError> {
        Ok(self.0.clone())
    }

    async fn renew(&self, _: &AccessToken, _: Option<&str>) -> std::result::Result<AccessToken, AuthError> {
        Ok(self.0.clone())
    }

    async fn sign_in_anew(&self, _: &AccessToken, _: &str) -> std::result::Result<AccessToken, AuthError> {
        Ok(self.0.clone())
    }
}
