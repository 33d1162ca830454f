//! Stories of what becomes of a message in the cloud before it is known that it was uploaded.

use super::*;

/// Uploads a file, which is answered by nothing, and does something to its message once the next attempt has found it and looks
/// whether it says the same.
async fn change_when_found(machine: &mut Machine, change: impl FnOnce(&Machine, &str)) {
    machine.start(false);
    // The next poll comes soon after the look for what was made.
    wait(machine, 105).await;
    machine.cloud.inject(Fault::once("import", Action::ResetAfter));
    machine.cloud.inject(Fault::always("value", Action::Delay { milliseconds: 20_000 }));
    let looks = |machine: &Machine| machine.cloud.counters().requests.get("list").copied().unwrap_or(0);
    let before = looks(machine);
    let file = machine.pairs[0].maildir.join("cur/1.new:2,S");
    fs::write(file, "Message-ID: <x@example.org>\nSubject: x\n\nx\n").unwrap();
    while looks(machine) < before + 2 {
        machine.live(Instant::now() + Duration::from_millis(1)).await;
    }
    machine.live(Instant::now() + Duration::from_millis(500)).await;
    let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
    change(machine, &id);
    wait(machine, 300).await;
}

#[test]
fn flags_that_the_cloud_told_before_an_upload_was_known_to_be_made_come_here() {
    tell_in(WITH_IMPORT, |machine| {
        Box::pin(async {
            let replied = FlagChange { replied: Some(true), ..FlagChange::default() };
            change_when_found(machine, |machine, id| machine.cloud.set_flags("", id, replied).unwrap()).await;
            assert!(only_file(machine).to_string_lossy().ends_with("RS"));
        })
    });
}

#[test]
fn a_message_that_went_before_its_upload_was_known_to_be_made_goes_here_too() {
    tell_in(WITH_IMPORT, |machine| {
        Box::pin(async {
            let trash = |machine: &Machine, id: &str| machine.cloud.delete_message("", id, Deletion::Trash).unwrap();
            change_when_found(machine, trash).await;
            assert_eq!(files(machine), Vec::<PathBuf>::new());
        })
    });
}
