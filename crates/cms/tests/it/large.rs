//! Messages as large as the service lets them be.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms_cloud::mime::{Content, parts};
use simcloud::{Action, Fault, Knobs, NewMessage, Options};

use crate::world::{World, wait_for};

/// The largest message that Exchange Online can be set to take.
const LARGEST: usize = 150 * 1024 * 1024;

/// What a running process has had in memory at the most, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn a_message_of_150_megabytes_is_never_in_memory_as_a_whole() {
    let world = World::with(Options { messages: 3, knobs: Knobs::calm(), ..Options::default() });
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    let daemon = world.daemon();
    let before = peak_memory(daemon.id());
    let line = [&b"TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQ".repeat(2)[..], b"\r\n"].concat();
    let mut mime = b"Subject: large\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    let mut lines = 3;
    while mime.len() < LARGEST {
        mime.extend_from_slice(&line);
        lines += 1;
    }
    let size = (mime.len() - lines) as u64;
    world.cloud.add_message("", NewMessage { verbatim: true, ..NewMessage::mime("Inbox", mime) }).unwrap();
    let large = || {
        let sizes = world.files("INBOX").into_iter().map(|file| fs::metadata(world.path("INBOX").join(file)));
        sizes.flatten().any(|metadata| metadata.len() == size)
    };
    wait_for("the large message is here, with the line ends of a Maildir", large);
    let grown = peak_memory(daemon.id()) - before;
    assert!(grown < LARGEST / 10, "{grown} bytes more than before for a message of {LARGEST}");
    daemon.stop();
}

/// Writes a draft with text, a small attachment and a large one, as a mail program postpones it, and returns the hashes of
/// the attachments.
fn postpone(file: &Path, subject: &str, bytes: usize) -> Vec<blake3::Hash> {
    let mut draft = BufWriter::new(File::create(file).unwrap());
    write!(
        draft,
        "From: a@domain.com\nSubject: {subject}\nMessage-ID: <large@here>\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"=-b\"\n\n--=-b\nContent-Type: text/plain\n\nsee below\n"
    )
    .unwrap();
    let mut hashes = Vec::new();
    for (name, bytes) in [("large.bin", bytes), ("small.bin", 570)] {
        write!(
            draft,
            "\n--=-b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"{name}\"\n\n"
        )
        .unwrap();
        let mut hasher = blake3::Hasher::new();
        // Lines that differ, so that no range can stand for another one.
        for number in 0..bytes / 57 {
            let line = format!("{number:057}");
            hasher.update(line.as_bytes());
            writeln!(draft, "{}", STANDARD.encode(line)).unwrap();
        }
        hashes.push(hasher.finalize());
    }
    draft.write_all(b"--=-b--\n").unwrap();
    draft.flush().unwrap();
    hashes
}

fn in_drafts(world: &World) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    state.messages().filter(|message| message.folder == "Drafts").map(|message| message.id.clone()).collect()
}

/// The hashes of the attachments that the cloud's drafts have, each draft with its subject.
fn drafts(world: &World) -> Vec<(String, Vec<blake3::Hash>)> {
    in_drafts(world)
        .iter()
        .map(|id| {
            let mime = world.cloud.mime("", id).unwrap();
            let found = parts(&mime[..]).unwrap();
            let attached = found.iter().filter(|part| part.is_leaf()).skip(1).map(|part| {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(Content::of(part, &mime[..])).unwrap();
                (hasher.count(), hasher.finalize())
            });
            let mut attached: Vec<(u64, blake3::Hash)> = attached.collect();
            attached.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
            let subject = String::from_utf8(found[0].field("Subject").unwrap()).unwrap();
            (subject, attached.into_iter().map(|(_, hash)| hash).collect())
        })
        .collect()
}

fn ranges(world: &World) -> u64 {
    world.cloud.counters().requests.get("upload-range").copied().unwrap_or_default()
}

fn world_of_drafts() -> World {
    let world = World::with(Options { messages: 0, knobs: Knobs::calm(), ..Options::default() });
    world.configure("MailDir(\"Drafts\")\nOffice365(\"drafts\", account)\n");
    world.sync();
    world
}

#[test]
fn a_draft_of_150_megabytes_goes_up_and_is_never_in_memory_as_a_whole() {
    let world = world_of_drafts();
    let daemon = world.daemon();
    let before = peak_memory(daemon.id());
    // In base64, with line ends, 57 bytes become 78.
    let size = LARGEST / 78 * 57;
    let file = world.path("Drafts").join("cur/1.a.vm:2,DS");
    let outside = world.path("draft");
    let hashes = postpone(&outside, "large", size);
    let original = blake3::Hasher::new().update_reader(File::open(&outside).unwrap()).unwrap().finalize();
    fs::rename(&outside, &file).unwrap();
    daemon.wait_for_line("Goes to the cloud in several requests (");
    daemon.wait_for_line("the cloud has built `1.a.vm` anew (the same text in other bytes)");
    assert_eq!(drafts(&world), [("large".to_owned(), hashes)]);
    let grown = peak_memory(daemon.id()) - before;
    assert!(grown < LARGEST / 5, "{grown} bytes more than before for a draft of {LARGEST}");
    assert_eq!(ranges(&world), (size as u64).div_ceil((12 * 320) << 10), "none is sent twice");
    let now = blake3::Hasher::new().update_reader(File::open(&file).unwrap()).unwrap().finalize();
    assert_eq!(now, original, "the original stays as it is");
    daemon.stop();
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

/// Kills a daemon while a request of this kind was acted on and isn't answered, when the cloud has so many drafts.
fn kill_while_it_hangs(world: &World, kind: &str, with_drafts: Option<usize>) {
    world.cloud.inject(Fault::once(kind, Action::HangAfter));
    let daemon = world.start(&["run"]);
    wait_for("it hangs", || world.cloud.counters().faults_injected == 1);
    if let Some(expected) = with_drafts {
        assert_eq!(in_drafts(world).len(), expected);
    }
    daemon.kill();
}

/// Checks that the next run ends with one large draft on both sides, and leaves nothing to do.
fn assert_is_made_once(world: &World, hashes: Vec<blake3::Hash>, killed_at: &str) {
    let finished = world.sync();
    assert_eq!(drafts(world), [("large".to_owned(), hashes)], "{killed_at}: {}", finished.stderr);
    assert_eq!(world.files("Drafts"), ["cur/1.a.vm:2,DS"], "{killed_at}: {}", finished.stderr);
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{killed_at}: {}", again.stderr);
    world.assert_lawful();
}

#[test]
fn f19_killed_while_a_large_draft_goes_up_nothing_is_left_of_it_and_it_is_made_once() {
    for at in ["upload-range", "upload-session", "patch"] {
        let world = world_of_drafts();
        let hashes = postpone(&world.path("Drafts").join("cur/1.a.vm:2,DS"), "large", 6_000_000);
        kill_while_it_hangs(&world, at, Some(1));
        assert_is_made_once(&world, hashes, at);
    }
}

#[test]
fn f19_what_a_kill_leaves_of_a_draft_that_is_gone_since_is_removed_and_never_seen_here() {
    let world = world_of_drafts();
    let file = world.path("Drafts").join("cur/1.a.vm:2,DS");
    postpone(&file, "large", 6_000_000);
    kill_while_it_hangs(&world, "upload-range", None);
    fs::remove_file(&file).unwrap();
    // It is listed before it can be removed, and must not become a file.
    world.cloud.inject(Fault { count: Some(3), ..Fault::once("delete", Action::status(503)) });
    let finished = world.sync();
    assert_eq!((world.files("Drafts"), drafts(&world)), (Vec::new(), Vec::new()), "{}", finished.stderr);
    world.assert_lawful();
}

#[test]
fn f19_killed_while_a_large_draft_takes_the_place_of_another_one_there_is_one_at_last() {
    for at in ["upload-range", "delete", "patch"] {
        let world = world_of_drafts();
        let file = world.path("Drafts").join("cur/1.a.vm:2,DS");
        postpone(&file, "small", 570);
        world.sync();
        let outside = world.path("draft");
        let hashes = postpone(&outside, "large", 6_000_000);
        fs::rename(&outside, &file).unwrap();
        kill_while_it_hangs(&world, at, None);
        assert_is_made_once(&world, hashes, at);
    }
}

#[test]
fn a_draft_that_grows_large_and_small_again_is_one_draft() {
    let world = world_of_drafts();
    let daemon = world.daemon();
    let file = world.path("Drafts").join("cur/1.a.vm:2,DS");
    for (number, bytes) in [5_700, 6_000_000, 5_000_000, 570].into_iter().enumerate() {
        let subject = format!("version {number}");
        let outside = world.path("draft");
        let hashes = postpone(&outside, &subject, bytes);
        fs::rename(&outside, &file).unwrap();
        let expected = [(subject, hashes)];
        wait_for("the new version is there", || drafts(&world) == expected);
        wait_for("it is one file", || world.files("Drafts") == ["cur/1.a.vm:2,DS"]);
    }
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    // The last version may not be read back yet.
    world.sync();
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!((drafts(&world).len(), world.files("Drafts").len()), (1, 1));
    world.assert_lawful();
}
