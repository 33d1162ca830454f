//! Messages as large as the service lets them be.

use std::fs;

use simcloud::{Knobs, NewMessage, Options};

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
