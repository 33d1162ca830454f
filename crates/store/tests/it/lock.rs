use cms_store::{Lock, StoreError};
use tempfile::TempDir;

#[test]
fn f37_a_second_process_learns_who_holds_the_lock() {
    let directory = TempDir::new().unwrap();
    let state_dir = directory.path().join("state");
    let lock = Lock::acquire(&state_dir).unwrap();
    let error = Lock::acquire(&state_dir).unwrap_err();
    let StoreError::Locked { path, holder } = error else { panic!("{error}") };
    assert_eq!(path, state_dir);
    assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
    drop(lock);
    Lock::acquire(&state_dir).unwrap();
}

#[test]
fn a_lock_file_that_a_killed_process_left_holds_nobody_up() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("lock"), "4294967295 elsewhere and more text than ours\n").unwrap();
    let _lock = Lock::acquire(directory.path()).unwrap();
    let text = std::fs::read_to_string(directory.path().join("lock")).unwrap();
    assert!(text.starts_with(&format!("{} ", std::process::id())) && text.lines().count() == 1, "{text}");
}
