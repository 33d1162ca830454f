//! Mail made from a seed: the same seed and number always give the same bytes, so nothing needs to be kept.

use std::fmt::Write as _;
use std::sync::OnceLock;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::clock;

/// 2020-09-13, when the oldest generated message was received.
const FIRST_RECEIVED: i64 = 1_600_000_000;

const WORDS: [&str; 64] = [
    "the",
    "meeting",
    "moved",
    "to",
    "Thursday",
    "please",
    "find",
    "attached",
    "report",
    "for",
    "quarter",
    "and",
    "let",
    "me",
    "know",
    "whether",
    "numbers",
    "match",
    "yours",
    "patch",
    "applies",
    "cleanly",
    "on",
    "top",
    "of",
    "series",
    "review",
    "comments",
    "inline",
    "below",
    "thanks",
    "we",
    "should",
    "ship",
    "release",
    "before",
    "holiday",
    "server",
    "was",
    "restarted",
    "last",
    "night",
    "disk",
    "is",
    "full",
    "again",
    "ticket",
    "closed",
    "invoice",
    "overdue",
    "train",
    "late",
    "lunch",
    "at",
    "noon",
    "kernel",
    "driver",
    "queue",
    "locking",
    "looks",
    "wrong",
    "here",
    "see",
    "log",
];

const PEOPLE: [(&str, &str); 12] = [
    ("Ada Byron", "ada@example.com"),
    ("Grace Murray", "grace@example.org"),
    ("Linus Holm", "linus@example.net"),
    ("=?utf-8?q?J=C3=BCrgen_Gro=C3=9F?=", "juergen@example.de"),
    ("=?utf-8?b?5bGx55Sw5aSq6YOO?=", "taro@example.jp"),
    ("Build robot", "builds@ci.example.com"),
    ("Newsletter", "news@shop.example.com"),
    ("O'Neill, Sean", "sean.oneill@example.ie"),
    ("Maria", "maria@example.es"),
    ("HR", "hr@example.com"),
    ("rust-users", "rust-users@lists.example.org"),
    ("Kim", "kim@example.kr"),
];

/// What a listing tells of a generated message.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    /// Seconds since 1970; differs from message to message.
    pub(crate) received: i64,
    pub(crate) read: bool,
    pub(crate) flagged: bool,
    pub(crate) answered: bool,
    /// With the angle brackets; a few have none, and a few share one.
    pub(crate) message_id: Option<String>,
}

/// What is odd about a message. Most are plain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Oddity {
    None,
    RawEightBitHeader,
    NulByte,
    BareLineFeeds,
    BareCarriageReturn,
    NoFinalNewline,
    EmptyBody,
    LongLine,
    HugeHeader,
    MeetingRequest,
}

/// Makes messages.
pub(crate) struct Generator {
    seed: u64,
    scale: f64,
    /// Made when the first body is: a mailbox of messages that others have written needs none.
    filler: OnceLock<Filler>,
}

/// What bodies are cut from.
struct Filler {
    /// Lines of text, and where each begins.
    text: Vec<u8>,
    lines: Vec<usize>,
    /// Lines of base64, 78 bytes each with their line ends.
    base64: Vec<u8>,
}

/// The digits of base64.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes of a base64 line with its line end.
const BASE64_LINE: usize = 78;

impl Filler {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut text = Vec::with_capacity(70_000);
        let mut lines = Vec::new();
        while text.len() < 64 * 1024 {
            lines.push(text.len());
            let length = random.random_range(0..72);
            let start = text.len();
            while text.len() - start < length {
                let word = WORDS[random.random_range(0..WORDS.len())];
                text.extend_from_slice(word.as_bytes());
                text.push(b' ');
            }
            if text.last() == Some(&b' ') {
                text.pop();
            }
            text.extend_from_slice(b"\r\n");
        }
        let mut base64 = Vec::new();
        for _ in 0..1024 {
            for _ in 0..BASE64_LINE - 2 {
                base64.push(ALPHABET[random.random_range(0..64)]);
            }
            base64.extend_from_slice(b"\r\n");
        }
        Self { text, lines, base64 }
    }
}

impl Generator {
    /// A generator whose bodies are `scale` times as long as usual.
    pub(crate) fn new(seed: u64, scale: f64) -> Self {
        Self { seed, scale, filler: OnceLock::new() }
    }

    fn filler(&self) -> &Filler {
        self.filler.get_or_init(|| Filler::new(self.seed))
    }

    fn random(&self, index: u32, purpose: u64) -> ChaCha8Rng {
        let spread = (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ChaCha8Rng::seed_from_u64(self.seed ^ spread ^ purpose)
    }

    /// Which message's bytes this one has: usually its own, one time in 500 those of an earlier one.
    fn original(&self, index: u32) -> u32 {
        if index == 0 {
            return 0;
        }
        let mut random = self.random(index, 1);
        if random.random_ratio(1, 500) { index - 1 - random.random_range(0..index.min(50)) } else { index }
    }

    fn message_id(&self, index: u32) -> Option<String> {
        let mut random = self.random(index, 2);
        if random.random_ratio(1, 300) {
            return None;
        }
        // One in 200 carries the Message-ID of its neighbour, though its text differs.
        let owner = if index > 0 && random.random_ratio(1, 200) { index - 1 } else { index };
        Some(format!("<{:016x}.{owner}@mail.example.com>", self.random(owner, 3).random::<u64>()))
    }

    /// What a listing tells of message number `index`.
    pub(crate) fn meta(&self, index: u32) -> Meta {
        let mut random = self.random(index, 4);
        Meta {
            received: FIRST_RECEIVED + i64::from(index) * 60 + i64::from(random.random_range(0..60_u8)),
            read: random.random_ratio(7, 10),
            flagged: random.random_ratio(1, 20),
            answered: random.random_ratio(1, 10),
            message_id: self.message_id(self.original(index)),
        }
    }

    /// The bytes of message number `index`, with CRLF.
    pub(crate) fn mime(&self, index: u32) -> Vec<u8> {
        self.build(self.original(index), false)
    }

    /// Only its header, with the empty line.
    pub(crate) fn head(&self, index: u32) -> Vec<u8> {
        self.build(self.original(index), true)
    }

    fn oddity(random: &mut ChaCha8Rng) -> Oddity {
        match random.random_range(0..4000_u32) {
            0..20 => Oddity::RawEightBitHeader,
            20..24 => Oddity::NulByte,
            24..28 => Oddity::BareLineFeeds,
            28..32 => Oddity::BareCarriageReturn,
            32..52 => Oddity::NoFinalNewline,
            52..62 => Oddity::EmptyBody,
            62..72 => Oddity::LongLine,
            72..76 => Oddity::HugeHeader,
            76..116 => Oddity::MeetingRequest,
            _ => Oddity::None,
        }
    }

    /// A number of bytes around `median`, spread as the sizes of mail are: many small, few very large.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn size(&self, random: &mut ChaCha8Rng, median: f64, spread: f64) -> usize {
        // The sum of twelve uniform numbers is as good as normal here, and the same on every machine.
        let normal: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        (median * self.scale * (normal * spread).exp()).clamp(1.0, 160e6) as usize
    }

    fn push_text(&self, out: &mut Vec<u8>, random: &mut ChaCha8Rng, length: usize) {
        let filler = self.filler();
        let mut start = filler.lines[random.random_range(0..filler.lines.len())];
        let end = out.len() + length;
        while out.len() < end {
            let take = (end - out.len()).min(filler.text.len() - start);
            out.extend_from_slice(&filler.text[start..start + take]);
            start = 0;
        }
        // Cut in mid-line, perhaps between CR and LF.
        if out.last() == Some(&b'\r') {
            out.pop();
        }
        if !out.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }

    fn push_base64(&self, out: &mut Vec<u8>, random: &mut ChaCha8Rng, length: usize) {
        let base64 = &self.filler().base64;
        let mut line = random.random_range(0..base64.len() / BASE64_LINE);
        let mut left = length / BASE64_LINE + 1;
        while left > 0 {
            let take = left.min(base64.len() / BASE64_LINE - line);
            out.extend_from_slice(&base64[line * BASE64_LINE..(line + take) * BASE64_LINE]);
            left -= take;
            line = 0;
        }
    }

    fn build(&self, index: u32, head_only: bool) -> Vec<u8> {
        let mut random = self.random(index, 5);
        let oddity = Self::oddity(&mut random);
        let (from_name, from) = PEOPLE[random.random_range(0..PEOPLE.len())];
        let (to_name, to) = PEOPLE[random.random_range(0..PEOPLE.len())];
        let received = self.meta(index).received;
        let shape = random.random_range(0..100_u8);
        let boundary = format!("_000_{:016x}{index:08x}_", random.random::<u64>());
        let mut head = format!(
            "Received: from mail.example.net (192.0.2.{}) by mx.example.com with ESMTPS; {date}\r\n\
             From: {from_name} <{from}>\r\nTo: {to_name} <{to}>\r\nDate: {date}\r\n",
            index % 250,
            date = clock::format_mail(received - 3),
        );
        let mut subject = format!("[{index}]");
        for _ in 0..random.random_range(2..8) {
            subject.push(' ');
            subject.push_str(WORDS[random.random_range(0..WORDS.len())]);
        }
        push(&mut head, format_args!("Subject: {subject}\r\n"));
        if let Some(id) = self.message_id(index) {
            push(&mut head, format_args!("Message-ID: {id}\r\n"));
        }
        if random.random_ratio(1, 5) {
            head.push_str("List-Id: Rust users <rust-users.lists.example.org>\r\n");
        }
        head.push_str("MIME-Version: 1.0\r\n");
        let content_type = match (oddity, shape) {
            (Oddity::MeetingRequest, _) => "text/calendar; method=REQUEST; charset=utf-8".to_owned(),
            (_, 0..45) => "text/plain; charset=utf-8".to_owned(),
            (_, 45..94) => format!("multipart/alternative;\r\n\tboundary=\"{boundary}\""),
            _ => format!("multipart/mixed; boundary=\"{boundary}\""),
        };
        push(&mut head, format_args!("Content-Type: {content_type}\r\n"));
        if oddity == Oddity::HugeHeader {
            head.push_str("References:");
            for number in 0..600 {
                push(&mut head, format_args!("\r\n <{number:08x}.{index}@mail.example.com>"));
            }
            head.push_str("\r\n");
        }
        let mut out = head.into_bytes();
        if oddity == Oddity::RawEightBitHeader {
            out.extend_from_slice(b"X-Greeting: Gr\xfc\xdfe aus K\xf6ln\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if head_only || oddity == Oddity::EmptyBody {
            return out;
        }
        let length = self.size(&mut random, 5000.0, 1.1);
        out.reserve(length + 1024);
        match (oddity, shape) {
            (Oddity::MeetingRequest, _) => out.extend_from_slice(
                format!(
                    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:{boundary}\r\n\
                     SUMMARY:{subject}\r\nDTSTART:20260131T120000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
                )
                .as_bytes(),
            ),
            (_, 0..45) => self.push_text(&mut out, &mut random, length),
            (_, 45..94) => {
                let part = |kind: &str| format!("--{boundary}\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n");
                out.extend_from_slice(part("text/plain").as_bytes());
                self.push_text(&mut out, &mut random, length / 3);
                out.extend_from_slice(part("text/html").as_bytes());
                out.extend_from_slice(b"<html><body><p>\r\n");
                self.push_text(&mut out, &mut random, length - length / 3);
                out.extend_from_slice(format!("</p></body></html>\r\n--{boundary}--\r\n").as_bytes());
            }
            _ => {
                out.extend_from_slice(format!("--{boundary}\r\nContent-Type: text/plain\r\n\r\n").as_bytes());
                self.push_text(&mut out, &mut random, length);
                out.extend_from_slice(
                    format!(
                        "--{boundary}\r\nContent-Type: application/pdf; name=\"report-{index}.pdf\"\r\n\
                         Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n"
                    )
                    .as_bytes(),
                );
                let length = self.size(&mut random, 40_000.0, 1.2);
                self.push_base64(&mut out, &mut random, length);
                out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
            }
        }
        match oddity {
            Oddity::NulByte => out.extend_from_slice(b"before\0after\r\n"),
            Oddity::BareLineFeeds => out.extend_from_slice(b"one\ntwo\n\nthree\r\n"),
            Oddity::BareCarriageReturn => out.extend_from_slice(b"one\rtwo\r\r\nthree\r\n"),
            Oddity::NoFinalNewline => out.extend_from_slice(b"the end"),
            Oddity::LongLine => {
                out.extend(std::iter::repeat_n(b'x', 9000));
                out.extend_from_slice(b"\r\n");
            }
            Oddity::None
            | Oddity::RawEightBitHeader
            | Oddity::EmptyBody
            | Oddity::HugeHeader
            | Oddity::MeetingRequest => {}
        }
        out
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_gives_the_same_bytes() {
        let (one, two) = (Generator::new(7, 1.0), Generator::new(7, 1.0));
        for index in 0..200 {
            assert_eq!(one.mime(index), two.mime(index));
            assert!(one.mime(index).starts_with(&one.head(index)));
        }
        assert_ne!(one.mime(5), Generator::new(8, 1.0).mime(5));
    }

    #[test]
    fn mail_has_the_oddities_of_mail() {
        let generator = Generator::new(7, 1.0);
        let mails: Vec<Vec<u8>> = (0..3000).map(|index| generator.mime(index)).collect();
        let different: std::collections::HashSet<&Vec<u8>> = mails.iter().collect();
        assert!(different.len() < mails.len() && different.len() > 2950, "{}", different.len());
        let metas: Vec<Meta> = (0..3000).map(|index| generator.meta(index)).collect();
        assert!(metas.iter().any(|meta| meta.message_id.is_none()));
        let mean = mails.iter().map(Vec::len).sum::<usize>() / mails.len();
        assert!((5_000..40_000).contains(&mean), "{mean}");
        assert!(mails.iter().map(Vec::len).max() > Some(100_000));
        assert!(mails.iter().any(|mail| mail.contains(&0)));
        assert!(metas.windows(2).all(|pair| pair[0].received < pair[1].received));
    }
}
