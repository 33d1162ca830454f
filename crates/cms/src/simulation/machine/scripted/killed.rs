//! Kills between what the cloud does and its answer, and what the user does before the next start.

use super::*;

/// Does something here that goes to the cloud, and kills the program when the cloud has done it and hasn't said so.
async fn kill_unanswered(machine: &mut Machine, act: impl FnOnce(&Machine), is_done: impl Fn(&Machine) -> bool) {
    machine.weather.lock().unwrap().slowest_ms = 20_000;
    act(machine);
    while !is_done(machine) {
        machine.live(Instant::now() + Duration::from_millis(1)).await;
    }
    machine.kill().await;
    machine.weather.lock().unwrap().slowest_ms = 40;
}

fn arrive(machine: &Machine) {
    machine.cloud.add_message("", NewMessage::mime("Inbox", "Subject: x\r\n\r\nx\r\n")).unwrap();
}

fn folder(machine: &Machine) -> String {
    machine.cloud.state("").unwrap().messages().next().unwrap().folder.clone()
}

#[test]
fn flags_that_were_taken_back_after_a_kill_do_not_come_back() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine);
            machine.start(false);
            wait(machine, 60).await;
            let inbox = machine.pairs[0].maildir.clone();
            refile(machine, "S", &inbox);
            wait(machine, 60).await;
            kill_unanswered(machine, |machine| refile(machine, "", &inbox), |machine| !is_read(machine)).await;
            refile(machine, "S", &inbox);
            wait(machine, 300).await;
            assert!(is_read(machine) && only_file(machine).to_string_lossy().ends_with('S'));
        })
    });
}

#[test]
fn a_message_that_was_filed_back_after_a_kill_stays_there() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine);
            machine.start(false);
            wait(machine, 60).await;
            let (inbox, other) = (machine.pairs[0].clone(), machine.pairs[1].clone());
            let is_moved = |machine: &Machine| folder(machine) == other.folder;
            kill_unanswered(machine, |machine| refile(machine, "S", &other.maildir), is_moved).await;
            refile(machine, "S", &inbox.maildir);
            wait(machine, 300).await;
            assert_eq!(folder(machine), inbox.folder);
            assert!(only_file(machine).starts_with(&inbox.maildir));
        })
    });
}

#[test]
fn flags_that_a_killed_run_has_brought_here_are_nobody_s_wish_though_the_file_was_moved_since() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine);
            machine.start(false);
            wait(machine, 60).await;
            let mut is_renamed = false;
            before_each(move |deed| match deed {
                Deed::Rename(..) => {
                    is_renamed = true;
                    Ok(())
                }
                Deed::CommitDurably(_) | Deed::Commit(_) if is_renamed => refused(),
                _ => Ok(()),
            });
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            let read = |is_read| FlagChange { is_read: Some(is_read), ..FlagChange::default() };
            machine.cloud.set_flags("", &id, read(true)).unwrap();
            wait(machine, 60).await;
            machine.kill().await;
            cms_disk::interpose(None);
            let other = machine.pairs[1].clone();
            refile(machine, "S", &other.maildir);
            machine.cloud.set_flags("", &id, read(false)).unwrap();
            wait(machine, 300).await;
            assert_eq!(folder(machine), other.folder);
            assert!(!is_read(machine) && !only_file(machine).to_string_lossy().ends_with('S'));
        })
    });
}

/// Moves the message here, where the cloud never hears of it, kills the program, and moves it back.
async fn kill_unheard_move(machine: &mut Machine) {
    let (inbox, other) = (machine.pairs[0].clone(), machine.pairs[1].clone());
    machine.cloud.inject(Fault::always("move", Action::ResetBefore));
    refile(machine, "S", &other.maildir);
    wait(machine, 2).await;
    machine.kill().await;
    machine.start_at = None;
    machine.cloud.clear_faults();
    assert_eq!(folder(machine), inbox.folder);
    refile(machine, "S", &inbox.maildir);
}

/// Somebody else moves the message to the other folder.
fn move_there(machine: &Machine) {
    let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
    machine.cloud.move_message("", &id, machine.pairs[1].folder).unwrap();
}

/// Where somebody else has moved it, it stays.
async fn stays_there(machine: &mut Machine) {
    let other = machine.pairs[1].clone();
    wait(machine, 300).await;
    assert_eq!(folder(machine), other.folder);
    assert!(only_file(machine).starts_with(&other.maildir));
}

#[test]
fn a_message_that_somebody_else_has_moved_long_after_a_kill_is_not_taken_from_there() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine);
            machine.start(false);
            wait(machine, 60).await;
            kill_unheard_move(machine).await;
            wait(machine, 1200).await;
            move_there(machine);
            machine.start(false);
            stays_there(machine).await;
        })
    });
}

#[test]
fn a_message_that_somebody_else_has_moved_after_rounds_that_would_have_told_of_our_move_is_not_taken_from_there() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine);
            machine.start(false);
            wait(machine, 60).await;
            kill_unheard_move(machine).await;
            machine.start(false);
            wait(machine, 240).await;
            move_there(machine);
            stays_there(machine).await;
        })
    });
}

#[test]
fn what_is_told_to_be_gone_while_it_is_being_deleted_does_not_come_back_after_a_kill() {
    tell(|machine| {
        Box::pin(async {
            arrive(machine);
            machine.start(false);
            // The next poll is near.
            wait(machine, 115).await;
            let asked = |machine: &Machine| machine.cloud.counters().requests.get("message").copied().unwrap_or(0);
            let before = asked(machine);
            let id = machine.cloud.state("").unwrap().messages().next().unwrap().id.clone();
            machine.cloud.inject(Fault::once("move", Action::Hang));
            machine.cloud.delete_message("", &id, Deletion::Purge).unwrap();
            fs::remove_file(only_file(machine)).unwrap();
            while asked(machine) == before {
                machine.live(Instant::now() + Duration::from_millis(1)).await;
            }
            // The answer is on its way.
            machine.live(Instant::now() + Duration::from_millis(500)).await;
            machine.kill().await;
            machine.start(false);
            wait(machine, 300).await;
            assert_eq!(files(machine), Vec::<PathBuf>::new());
        })
    });
}
