//! Times for people to read: `cargo test --release -p cms-maildir -- --ignored --nocapture measure`.

use std::fs;
use std::time::{Duration, Instant};

use cms_engine::UnixSeconds;

use crate::{Fixture, base, flags};

#[test]
#[ignore = "measures, doesn't test"]
fn measure_a_maildir_of_100_000_messages() {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    let cur = fixture.maildir.path().join("cur");
    for number in 0..100_000 {
        let letters = if number % 3 == 0 { "S" } else { "RS" };
        fs::File::create(cur.join(format!("17{number:08}.R0123456789abcdef.host:2,{letters}"))).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..5 {
        let start = Instant::now();
        let scan = fixture.maildir.scan().unwrap();
        println!("scan: {:?} for {} messages, still: {}", start.elapsed(), scan.entries.len(), scan.still);
    }
    let start = Instant::now();
    for number in 0..10_000 {
        let name = base(&format!("18{number:08}.R0123456789abcdef.host"));
        fixture.maildir.deliver(&source, &name, flags("S"), "", UnixSeconds(1_700_000_000)).unwrap();
    }
    println!("deliver: {:?} for 10,000 messages", start.elapsed());
}
