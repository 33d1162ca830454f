//! Asking whoever holds the state; and if nobody does, answering from the state itself.

use std::pin::pin;
use std::time::Duration;

use cms_auth::Patience;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::Context;
use super::setup::{self, Manner, Run};
use crate::configuration::Configuration;
use crate::control::{Client, ControlError, Reply, Request};
use crate::problem::{ExitStatus, Problem, with_causes};
use crate::sync::{Driver, Summary, SyncError};

/// For how long a process that has the lock may have no socket yet, or no more.
const BETWEEN_LOCK_AND_SOCKET: Duration = Duration::from_secs(3);

/// How long nothing is said while a process hasn't answered.
const SILENCE: Duration = Duration::from_secs(2);

/// An answer.
pub(super) struct Answer {
    /// What was answered.
    pub(super) reply: Reply,
    /// What the sync came to that followed; nothing if a running process carries the answer out.
    pub(super) summary: Option<Summary>,
}

/// Asks the process that holds the state, if one listens.
pub(super) async fn ask_process(configuration: &Configuration, request: &Request) -> Result<Option<Reply>, Problem> {
    let asked = match Client::connect(&configuration.state_dir).await {
        Ok(mut client) => told_when_long(client.ask(request.clone())).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(Reply::Refused { what, hint }) => Err(Problem { hint, ..Problem::new(what) }),
        Ok(reply) => Ok(Some(reply)),
        Err(ControlError::NobodyThere { .. }) => Ok(None),
        Err(error @ ControlError::OtherVersion { .. }) => {
            Err(Problem::new(with_causes(&error))
                .with_hint("stop the running cms, and start it again with this version"))
        }
        Err(error) => Err(Problem::from_error("couldn't ask the running cms", error)),
    }
}

/// Says that it waits for the answer, if that takes long: a process does what it is asked for one thing after another.
async fn told_when_long<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        () = sleep(SILENCE) => info!("Waiting for the running cms to answer"),
    }
    answer.await
}

/// Who can do what a request asks for.
pub(super) enum Doer {
    /// A process that holds the state; this is its answer.
    Process(Reply),
    /// Nobody held the state, so we do now.
    Ourselves(Box<Driver>, setup::Accounts),
}

/// Asks the process that holds the state; if nobody does, opens it.
pub(super) async fn doer(context: &Context, command: &'static str, request: &Request) -> Result<Doer, Problem> {
    let patience_ends = Instant::now() + BETWEEN_LOCK_AND_SOCKET;
    loop {
        let configuration = context.configuration()?;
        if let Some(reply) = ask_process(&configuration, request).await? {
            return Ok(Doer::Process(reply));
        }
        let manner = Manner::of(context, command, Patience::Once(setup::PATIENCE));
        let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
        let setup = setup::setup(context, configuration, &accounts, Run { dry_run: false, listener: None });
        match Driver::open(setup) {
            Err(error) if error.is_locked() && Instant::now() < patience_ends => {
                sleep(Duration::from_millis(50)).await;
            }
            opened => return Ok(Doer::Ourselves(Box::new(opened?), accounts)),
        }
    }
}

/// Asks the process that holds the state, which then carries the answer out; if nobody does, opens the state, answers by
/// the same code and does one full sync.
pub(super) async fn ask(context: &Context, command: &'static str, request: &Request) -> Result<Answer, Problem> {
    match doer(context, command, request).await? {
        Doer::Process(reply) => Ok(Answer { reply, summary: None }),
        Doer::Ourselves(mut driver, accounts) => {
            driver.listen();
            let answered = answer(context, &mut driver, request).await;
            accounts.sign_ins.finish().await;
            answered
        }
    }
}

async fn answer(context: &Context, driver: &mut Driver, request: &Request) -> Result<Answer, Problem> {
    let reply = match driver.consult(request)? {
        Reply::Refused { what, hint } => return Err(Problem { hint, ..Problem::new(what) }),
        reply => reply,
    };
    let summary = Some(driver.run(true, &context.stop).await?);
    Ok(Answer { reply, summary })
}

/// That an answer is of another kind than the question.
pub(super) fn unexpected() -> Problem {
    Problem::new("the running cms gave an answer to another question").with_exit(ExitStatus::Failed)
}

impl SyncError {
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Self::Store(cms_store::StoreError::Locked { .. }))
    }
}
