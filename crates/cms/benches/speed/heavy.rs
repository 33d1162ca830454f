//! A message as large as the service lets one be, down and up.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};

use simcloud::NewMessage;

use crate::Result;
use crate::report::{COUNT, Report};
use crate::world::World;

/// The largest message that Exchange Online can be set to take.
const LARGEST: usize = 150 << 20;

/// A range of an upload session is no longer (outlook-large-attachments, step 2).
const RANGE: usize = 4 << 20;

/// The requests without which no large draft comes about: one that makes it, one that begins the session, and one that reads
/// it back.
const OTHERS: usize = 3;

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    let before = world.sync()?.finish()?;
    let line = [&b"TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQ".repeat(2)[..], b"\r\n"].concat();
    let mut mime = b"Subject: heavy\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    while mime.len() < LARGEST {
        mime.extend_from_slice(&line);
    }
    world.cloud.add_message("", NewMessage { verbatim: true, ..NewMessage::mime("Inbox", mime) })?;
    let down = world.sync()?.finish()?;
    if world.delivered()? != world.messages + 1 {
        return Err("the large message isn't here".into());
    }
    report.tell("150 MB from the cloud: wall time", down.wall.as_secs_f64(), "s", None);
    let grown = down.peak_megabytes - before.peak_megabytes;
    report.goal("150 MB from the cloud: memory beyond that of a run without it", grown, "MB", 0.0, 15.0);

    let attached = write_draft(world)?;
    world.cloud.reset_counters();
    let up = world.sync()?.finish()?;
    if !fs::exists(world.path("INBOX/cur/1.a.vm:2,DS"))?
        || world.cloud.state("")?.messages().count() != world.messages + 2
    {
        return Err("the large draft isn't there".into());
    }
    report.tell("a draft of 150 MB to the cloud: wall time", up.wall.as_secs_f64(), "s", None);
    let grown = up.peak_megabytes - before.peak_megabytes;
    report.goal("a draft of 150 MB to the cloud: memory beyond that", grown, "MB", 0.0, 30.0);
    let kinds = ["find", "list", "create", "upload-session", "upload-range", "message", "patch", "value", "move"];
    let requests = world.cloud.counters().requests;
    let made: u64 = kinds.iter().filter_map(|kind| requests.get(*kind)).sum();
    let least = (attached.div_ceil(RANGE) + OTHERS) as f64;
    report.goal("a draft of 150 MB to the cloud: requests for it", made as f64, COUNT, least, 1.3 * least);
    let refused = world.cloud.counters().throttled_by_client;
    report.goal("a draft of 150 MB to the cloud: 429 answers", refused as f64, COUNT, 0.0, 0.0);
    Ok(())
}

/// Postpones a draft, of which all but a few lines is one attachment, and says how many bytes that has.
fn write_draft(world: &World) -> Result<usize> {
    let mut draft = BufWriter::new(File::create(world.path("draft"))?);
    draft.write_all(
        b"From: a@domain.com\nSubject: heavy\nMessage-ID: <heavy@here>\nMIME-Version: 1.0\n\
          Content-Type: multipart/mixed; boundary=\"=-b\"\n\n--=-b\nContent-Type: text/plain\n\nsee below\n\n--=-b\n\
          Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
          Content-Disposition: attachment; filename=\"heavy.bin\"\n\n",
    )?;
    // 76 characters and, in the cloud, two for the line end, which stand for 57 bytes.
    let lines = LARGEST / 78;
    for number in 0..lines {
        writeln!(draft, "{number:076}")?;
    }
    draft.write_all(b"--=-b--\n")?;
    draft.into_inner()?.sync_all()?;
    fs::rename(world.path("draft"), world.path("INBOX/cur/1.a.vm:2,DS"))?;
    Ok(lines * 57)
}
