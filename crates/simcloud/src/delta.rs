//! `message: delta`: what changed in one folder, as the service tells it, flaws included.
//!
//! The first round walks over the folder's items in an order that means nothing; later rounds read the folder's log.
//! Either way a page costs time in proportion to its length, however large the folder is.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::ops::Bound;
use std::time::Duration;
use tokio::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;

use crate::clock;
use crate::counters::Tally;
use crate::knobs::Knobs;
use crate::mailbox::{Event, Folder, Latest, LogEntry, Mailbox};
use crate::message_json::{self, Head, Shape};
use crate::mime_generator::Generator;
use crate::odata::{self, Query};
use crate::reply::Answer;

/// A round with `$filter` tells at most this many messages.
const FILTER_CAP: usize = 5000;

/// The chains of links that clients follow in one mailbox.
#[derive(Default)]
pub(crate) struct Chains {
    next: u64,
    chains: HashMap<u64, Chain>,
}

impl Chains {
    /// Makes every link given out so far unknown, as a migration of the mailbox does.
    pub(crate) fn kill_all(&mut self) {
        for chain in self.chains.values_mut() {
            chain.links.clear();
        }
    }
}

/// Links that follow from one first call.
struct Chain {
    folder: u32,
    shape: Shape,
    since: Option<i64>,
    created: bool,
    updated: bool,
    /// `$top`: how many items are still told.
    top: Option<usize>,
    /// The newest link's generation.
    highest: u64,
    links: VecDeque<(u64, Position)>,
    /// Whether the last page was one that came empty for no reason.
    was_empty: bool,
}

/// Where a link goes on.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// The log's number when the round began; an item with more than a read toggle after it is told in full.
    start: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The first round, after an item.
    Items { after: Option<(u32, u32)> },
    /// The first round by time of receipt, newest first.
    ByTime { before: Option<(i64, u32)>, told: usize },
    /// The log, after a number.
    Log { after: u64 },
    /// A round that `$top` cut short.
    Truncated,
}

/// A request for delta.
pub(crate) struct DeltaCall<'a> {
    pub(crate) folder: u32,
    pub(crate) query: &'a Query,
    pub(crate) immutable: bool,
    /// What `Prefer: odata.maxpagesize` asked for.
    pub(crate) page: Option<usize>,
    /// The address of the service, as the client wrote it.
    pub(crate) base: &'a str,
    /// The part of an address that leads to the mailbox.
    pub(crate) home: &'a str,
}

/// What a page is made of.
enum Told {
    Full(u32),
    Read(u32),
    Removed(String),
}

/// Answers a request for delta.
pub(crate) fn answer(
    mailbox: &mut Mailbox,
    generator: &Generator,
    knobs: &Knobs,
    tally: &Tally,
    call: &DeltaCall<'_>,
) -> Answer {
    if knobs.delta_unsupported {
        return Answer::error(400, "ErrorInvalidIdMalformed", "Id is malformed.");
    }
    let visible = Instant::now().checked_sub(Duration::from_millis(knobs.delta_lag_ms));
    let token = call.query.get("$skiptoken").or(call.query.get("$deltatoken")).filter(|token| *token != "latest");
    let found = match token {
        Some(token) => follow(mailbox, tally, call, token, knobs),
        None => begin(mailbox, tally, call, visible),
    };
    match found {
        Ok((number, position)) => page(mailbox, generator, knobs, call, number, position, visible),
        Err(refusal) => refusal,
    }
}

fn refuse(message: &str) -> Answer {
    Answer::error(400, "ErrorInvalidUrlQuery", message)
}

/// Reads the options of a first call and makes a chain.
fn begin(
    mailbox: &mut Mailbox,
    tally: &Tally,
    call: &DeltaCall<'_>,
    visible: Option<Instant>,
) -> Result<(u64, Position), Answer> {
    let known = ["$select", "$expand", "$filter", "$orderby", "$top", "changetype", "$deltatoken"];
    if let Some(name) = call.query.unknown(&known) {
        tally.violation(format!("message: delta called with {name}"));
        return Err(refuse(&format!(
            "The following parameters are not supported with change tracking over the 'Messages' resource: '{name}'."
        )));
    }
    let shape = Shape::new(call.query.get("$select"), call.query.get("$expand"), false)?;
    let since = match call.query.get("$filter").map(|text| odata::comparisons(text, "and")) {
        None => None,
        Some(Some(list)) if list.len() == 1 => {
            Some(read_since(&list[0]).ok_or_else(|| refuse("The $filter is not supported with change tracking."))?)
        }
        Some(_) => return Err(refuse("The $filter is not supported with change tracking.")),
    };
    let newest_first = match call.query.get("$orderby").map(str::to_ascii_lowercase) {
        None => false,
        Some(text) if text.split_whitespace().collect::<Vec<_>>() == ["receiveddatetime", "desc"] => true,
        Some(_) => return Err(refuse("The $orderby is not supported with change tracking.")),
    };
    let top = call.query.number("$top")?;
    if top.is_some() {
        tally.violation("message: delta called with $top, which cuts the whole enumeration short");
    }
    let changes = call.query.get("changetype").map(str::to_ascii_lowercase);
    let wants = |kind: &str| changes.as_deref().is_none_or(|list| list.split(',').any(|one| one.trim() == kind));
    let chain = Chain {
        folder: call.folder,
        shape,
        since,
        created: wants("created"),
        updated: wants("updated"),
        top,
        highest: 0,
        links: VecDeque::new(),
        was_empty: false,
    };
    let start = mailbox.folder(call.folder).map_or(0, |folder| last_visible(folder, 0, visible));
    let phase = if newest_first || since.is_some() {
        Phase::ByTime { before: None, told: 0 }
    } else {
        Phase::Items { after: None }
    };
    mailbox.chains.next += 1;
    let number = mailbox.chains.next;
    mailbox.chains.chains.insert(number, chain);
    Ok((number, Position { start, phase }))
}

/// `receivedDateTime ge X` or `gt X`: the first second that counts.
fn read_since(one: &odata::Comparison) -> Option<i64> {
    let at = clock::parse(&one.value)?;
    match (one.property.eq_ignore_ascii_case("receivedDateTime"), one.operator.as_str()) {
        (true, "ge") => Some(at),
        (true, "gt") => Some(at + 1),
        _ => None,
    }
}

/// Finds out where a link goes on.
fn follow(
    mailbox: &mut Mailbox,
    tally: &Tally,
    call: &DeltaCall<'_>,
    token: &str,
    knobs: &Knobs,
) -> Result<(u64, Position), Answer> {
    if let Some(name) = call.query.unknown(&["$skiptoken", "$deltatoken"]) {
        tally.violation(format!("a delta link was followed with {name} added"));
        return Err(refuse(&format!("The query parameter '{name}' is not supported with a delta token.")));
    }
    let malformed = || Answer::error(400, "ErrorInvalidUrlQuery", "The delta token is malformed.");
    let text =
        URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let mut numbers = text.split('.').map(str::parse::<u64>);
    let (Some(Ok(number)), Some(Ok(generation))) = (numbers.next(), numbers.next()) else { return Err(malformed()) };
    let chain = mailbox.chains.chains.get(&number).ok_or_else(malformed)?;
    if chain.folder != call.folder {
        return Err(malformed());
    }
    let alive = chain.links.iter().rev().take(usize::try_from(knobs.delta_generations).unwrap_or(usize::MAX));
    let position = alive.clone().find(|(found, _)| *found == generation).map(|(_, position)| *position);
    position.map(|position| (number, position)).ok_or_else(|| {
        let list: String = alive.fold(String::new(), |mut list, (found, _)| {
            let _ = write!(list, "[{found}]");
            list
        });
        let highest = chain.highest;
        Answer::error(
            410,
            "SyncStateNotFound",
            &format!(
                "The sync state generation is not found; generation={generation};[highest={highest}{}.",
                if list.is_empty() { "]".to_owned() } else { format!("]{list}") }
            ),
        )
        .with(
            "Location",
            format!(
                "{}/v1.0/{}/mailfolders('{}')/messages/delta?$deltatoken=",
                call.base,
                call.home,
                mailbox.ids.folder(call.folder)
            ),
        )
    })
}

/// The number of the newest log entry that may be shown, at least `floor`.
fn last_visible(folder: &Folder, floor: u64, visible: Option<Instant>) -> u64 {
    let shown = folder.log.partition_point(|entry| visible.is_some_and(|visible| entry.at <= visible));
    shown.checked_sub(1).and_then(|at| folder.log.get(at)).map_or(floor, |entry| entry.sequence.max(floor))
}

/// Makes one page and the link that follows it.
fn page(
    mailbox: &mut Mailbox,
    generator: &Generator,
    knobs: &Knobs,
    call: &DeltaCall<'_>,
    number: u64,
    position: Position,
    visible: Option<Instant>,
) -> Answer {
    let mut size = call.page.unwrap_or(knobs.delta_page_size).clamp(1, knobs.delta_page_cap.max(1));
    let mut random = mailbox.random.clone();
    if random.random_bool(knobs.delta_short_pages.clamp(0.0, 1.0)) {
        size = random.random_range(size.div_ceil(2)..=size);
    }
    let Some(mut chain) = mailbox.chains.chains.remove(&number) else { return refuse("The delta token is malformed.") };
    let Some(folder) = mailbox.folder(chain.folder) else {
        return Answer::error(404, "ErrorSyncFolderNotFound", "The specified folder could not be found in the store.");
    };
    let newest = last_visible(folder, position.start, visible);
    let pending = match position.phase {
        Phase::Log { after } => newest > after,
        Phase::Truncated => false,
        Phase::Items { .. } | Phase::ByTime { .. } => true,
    };
    let empty = pending && !chain.was_empty && random.random_bool(knobs.delta_empty_pages.clamp(0.0, 1.0));
    chain.was_empty = empty;
    let mut told = Vec::new();
    // Nothing: the round is over, and the next begins at `newest`.
    let next = if empty {
        Some(position)
    } else {
        let mut walk = Walk {
            mailbox,
            folder,
            chain: &chain,
            knobs,
            immutable: call.immutable,
            random: &mut random,
            told: &mut told,
        };
        match position.phase {
            Phase::Items { after } => walk.items(position, after, size),
            Phase::ByTime { before, told } => walk.by_time(position, before, told, size),
            Phase::Log { after } => walk.log(position, after, newest, size),
            Phase::Truncated => None,
        }
    };
    let mut next = next;
    if let Some(top) = chain.top.take() {
        if told.len() >= top {
            told.truncate(top);
            next = Some(Position { phase: Phase::Truncated, ..position });
        } else if next.is_some() {
            chain.top = Some(top - told.len());
        }
    }
    if pending && !empty && random.random_bool(knobs.delta_unknown_removals.clamp(0.0, 1.0)) {
        told.push(Told::Removed(mailbox.ids.immutable(0x7000_0000 + random.random_range(0..0x00ff_ffff))));
    }
    let complete = next.is_none();
    let next = next.unwrap_or_else(|| {
        let start = match position.phase {
            Phase::Log { .. } => newest,
            _ => position.start,
        };
        let replayed =
            if random.random_bool(knobs.delta_replays.clamp(0.0, 1.0)) { random.random_range(0..4) } else { 0 };
        Position { start, phase: Phase::Log { after: rewind(folder, start, replayed) } }
    });
    chain.highest += 1;
    chain.links.push_back((chain.highest, next));
    while chain.links.len() as u64 > knobs.delta_generations.max(1) {
        chain.links.pop_front();
    }
    let token = URL_SAFE_NO_PAD.encode(format!("{number}.{}.{}", chain.highest, random.random::<u64>()));
    let text = write(mailbox, generator, call, &chain.shape, &told, (complete, &token));
    mailbox.chains.chains.insert(number, chain);
    mailbox.random = random;
    let mut applied = "odata.track-changes".to_owned();
    if let Some(page) = call.page {
        let _ = write!(applied, ", odata.maxpagesize={page}");
    }
    Answer::json(200, text).with("Preference-Applied", applied)
}

/// The log's number `back` entries before `from`.
fn rewind(folder: &Folder, from: u64, back: usize) -> u64 {
    if back == 0 {
        return from;
    }
    let at = folder.log.partition_point(|entry| entry.sequence <= from);
    at.checked_sub(back + 1).and_then(|at| folder.log.get(at)).map_or(from, |entry| entry.sequence)
}

/// Collects a page's items.
struct Walk<'a> {
    mailbox: &'a Mailbox,
    folder: &'a Folder,
    chain: &'a Chain,
    knobs: &'a Knobs,
    immutable: bool,
    random: &'a mut rand_chacha::ChaCha8Rng,
    told: &'a mut Vec<Told>,
}

impl Walk<'_> {
    fn latest(&self, key: u32) -> Latest {
        self.folder.latest.get(&key).copied().unwrap_or_default()
    }

    fn tell(&mut self, key: u32, twice: bool) {
        self.told.push(Told::Full(key));
        if twice || self.random.random_bool(self.knobs.delta_duplicates.clamp(0.0, 1.0)) {
            self.told.push(Told::Full(key));
        }
    }

    /// The first round in an order that means nothing.
    fn items(&mut self, position: Position, after: Option<(u32, u32)>, size: usize) -> Option<Position> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (_, key) in self.folder.shuffled.range((lower, Bound::Unbounded)) {
            if self.told.len() >= size {
                return Some(Position { phase: Phase::Items { after: self.last_place(after) }, ..position });
            }
            if self.latest(*key).arrived <= position.start {
                self.tell(*key, false);
            }
        }
        None
    }

    fn last_place(&self, before: Option<(u32, u32)>) -> Option<(u32, u32)> {
        match self.told.last() {
            Some(Told::Full(key)) => Some((crate::mailbox::shuffle(*key), *key)),
            _ => before,
        }
    }

    /// The first round, newest first, perhaps not further back than the filter says.
    fn by_time(
        &mut self,
        position: Position,
        before: Option<(i64, u32)>,
        told: usize,
        size: usize,
    ) -> Option<Position> {
        let upper = before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = before;
        for place in self.folder.by_time.range((Bound::Unbounded, upper)).rev() {
            if self.chain.since.is_some_and(|since| place.0 < since || told + self.told.len() >= FILTER_CAP) {
                return None;
            }
            if self.told.len() >= size {
                let told = told + self.told.len();
                return Some(Position { phase: Phase::ByTime { before: last, told }, ..position });
            }
            if self.latest(place.1).arrived <= position.start {
                self.tell(place.1, false);
            }
            last = Some(*place);
        }
        None
    }

    /// A later round.
    fn log(&mut self, position: Position, after: u64, newest: u64, size: usize) -> Option<Position> {
        let from = self.folder.log.partition_point(|entry| entry.sequence <= after);
        let mut last = after;
        for entry in self.folder.log.get(from..).unwrap_or_default() {
            if entry.sequence > newest {
                break;
            }
            if self.told.len() >= size {
                return Some(Position { phase: Phase::Log { after: last }, ..position });
            }
            last = entry.sequence;
            // What a replay tells again was told before the round began.
            self.entry(entry, position.start.min(after), newest);
        }
        None
    }

    /// Whether an item has a later entry that this round shows.
    fn comes_again(&self, entry: &LogEntry, newest: u64) -> bool {
        let from = self.folder.log.partition_point(|other| other.sequence <= entry.sequence);
        let rest = self.folder.log.get(from..).unwrap_or_default();
        rest.iter().take_while(|other| other.sequence <= newest).any(|other| other.key == entry.key)
    }

    fn entry(&mut self, entry: &LogEntry, start: u64, newest: u64) {
        let latest = self.latest(entry.key);
        if let (Event::Left { generation }, false) = (entry.event, self.immutable) {
            // The old classic id is gone for good, whatever became of the item.
            self.told.push(Told::Removed(self.mailbox.ids.classic(entry.key, self.folder.key, generation)));
            return;
        }
        if latest.any != entry.sequence && (latest.any <= newest || self.comes_again(entry, newest)) {
            return;
        }
        let message = match entry.event {
            Event::Left { .. } => None,
            _ => self.mailbox.message(entry.key).filter(|message| message.folder == self.folder.key),
        };
        let Some(message) = message else {
            if self.immutable {
                self.told.push(Told::Removed(self.mailbox.ids.immutable(entry.key)));
            }
            return;
        };
        if self.immutable && self.knobs.delta_a_b_a_flaw && came_back_unchanged(latest, start) {
            self.told.push(Told::Removed(self.mailbox.ids.immutable(entry.key)));
            return;
        }
        if self.chain.since.is_some_and(|since| message.received < since) {
            return;
        }
        if latest.full <= start {
            // Only the read state changed since the round began.
            if self.chain.shape.has_read() {
                if self.knobs.delta_partial_reads {
                    self.told.push(Told::Read(entry.key));
                } else {
                    self.tell(entry.key, false);
                }
            }
            return;
        }
        let wanted = if latest.arrived > start { self.chain.created } else { self.chain.updated };
        if wanted {
            let old = message.received < clock::now() - 86_400;
            let moved = entry.event == Event::Arrived { moved: true };
            self.tell(entry.key, moved && old && self.knobs.delta_moved_twice);
        }
    }
}

/// Whether an item was here when the round began, left, came back, and hasn't changed since.
fn came_back_unchanged(latest: Latest, start: u64) -> bool {
    latest.left > start
        && latest.arrived > latest.left
        && latest.arrived_before <= start
        && latest.any == latest.arrived
}

/// Writes a page.
fn write(
    mailbox: &Mailbox,
    generator: &Generator,
    call: &DeltaCall<'_>,
    shape: &Shape,
    told: &[Told],
    (complete, token): (bool, &str),
) -> String {
    let base = call.base;
    let mut out = String::with_capacity(256 + told.len() * 400);
    let _ = write!(out, "{{\"@odata.context\":\"{base}/v1.0/$metadata#Collection(message)\",\"value\":[");
    let mut shape = shape.clone();
    shape.immutable = call.immutable;
    let read = Shape::read_toggle(call.immutable);
    for (at, one) in told.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match one {
            Told::Removed(id) => {
                let _ = write!(
                    out,
                    "{{\"@odata.type\":\"#microsoft.graph.message\",\"id\":\"{id}\",\"@removed\":{{\"reason\":\"deleted\"}}}}"
                );
            }
            Told::Full(key) | Told::Read(key) => {
                let shape = if matches!(one, Told::Read(_)) { &read } else { &shape };
                match mailbox.message(*key) {
                    Some(message) => message_json::push(&mut out, mailbox, generator, message, shape, Head::Delta),
                    None => out.push_str("{}"),
                }
            }
        }
    }
    let (link, option) = if complete { ("deltaLink", "$deltatoken") } else { ("nextLink", "$skiptoken") };
    let (folder, home) = (mailbox.ids.folder(call.folder), call.home);
    let _ = write!(
        out,
        "],\"@odata.{link}\":\"{base}/v1.0/{home}/mailfolders('{folder}')/messages/delta?{option}={token}\"}}"
    );
    out
}
