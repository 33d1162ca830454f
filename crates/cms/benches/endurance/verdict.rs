//! Whether both sides are what was last wanted.

use std::collections::HashMap;
use std::fs;

use simcloud::StateQuery;

use crate::Result;
use crate::agitation::{Agitation, seen_there};
use crate::here::{Found, Here};
use crate::mail::{MAILBOXES, number};
use crate::world::World;

/// How many sentences are kept.
const SENTENCES: usize = 20;

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Messages that are missing on a side.
    pub(crate) lost: u64,
    /// Messages that a side has more than once, and what nobody made.
    pub(crate) doubled: u64,
    /// Messages in another mailbox than was wanted, with other flags, or that were deleted and are there.
    pub(crate) different: u64,
    /// Files with other bytes than the message.
    pub(crate) damaged: u64,
    pub(crate) sentences: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.lost + self.doubled + self.different + self.damaged == 0
    }

    fn say(&mut self, sentence: String) {
        if self.sentences.len() < SENTENCES {
            self.sentences.push(sentence);
        }
    }
}

/// Compares both sides with what was wanted.
pub(crate) fn compare(world: &World, agitation: &Agitation, here: &mut Here) -> Result<Verdict> {
    here.look()?;
    let mut verdict = Verdict::default();
    let mut there: HashMap<usize, usize> = HashMap::new();
    let state = world.cloud.state_of("", &StateQuery { hashes: false, ..StateQuery::default() })?;
    for message in state.messages().filter(|message| MAILBOXES.iter().any(|(_, folder)| *folder == message.folder)) {
        if let Some(number) = message.message_id.as_deref().and_then(number) {
            *there.entry(number).or_default() += 1;
        } else {
            verdict.doubled += 1;
            verdict.say(format!("nobody made {} in the cloud", message.id));
        }
    }
    for stranger in &here.strangers {
        verdict.doubled += 1;
        verdict.say(format!("nobody made {}", stranger.display()));
    }
    for (number, message) in agitation.messages.iter().enumerate() {
        let files = here.files.get(&number).map(Vec::as_slice).unwrap_or_default();
        let copies = [files.len(), there.get(&number).copied().unwrap_or_default()];
        let [file, remote] = [here.file(number).and_then(Found::seen), seen_there(&world.cloud, &message.id)];
        let wanted = message.wanted;
        let count = if wanted.mailbox.is_some() && copies.contains(&0) {
            &mut verdict.lost
        } else if copies.iter().any(|copies| *copies > 1) {
            &mut verdict.doubled
        } else if !wanted.is(file) || !wanted.is(remote) || (wanted.mailbox.is_none() && !files.is_empty()) {
            &mut verdict.different
        } else {
            for file in files {
                if blake3::hash(&fs::read(file.path(&world.root))?) != message.hash {
                    verdict.damaged += 1;
                    verdict.say(format!("{} has other bytes", file.path(&world.root).display()));
                }
            }
            continue;
        };
        *count += 1;
        let (deed, id) = (message.deed, &message.id);
        verdict.say(format!(
            "message {number} ({id}), last {deed:?}: wanted {wanted:?}, here {files:?}, there {remote:?}"
        ));
    }
    Ok(verdict)
}
