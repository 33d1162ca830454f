//! Stories in which something happens at one deed of the program, by hand rather than by chance.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cms_disk::{Deed, Interposer};

use super::{Happening, Machine, let_go};
use crate::simulation::disk::files_below;
use crate::simulation::scratch;
use crate::simulation::trace::Trace;

/// An indexer that gives a file another name just before the program first looks at it.
struct Indexer {
    from: PathBuf,
    to: PathBuf,
}

impl Interposer for Indexer {
    fn before(&self, deed: Deed<'_>) -> io::Result<()> {
        if matches!(deed, Deed::Read(path) if path == self.from) {
            drop(fs::rename(&self.from, &self.to));
        }
        Ok(())
    }

    fn after(&self, _: Deed<'_>) {}
}

#[test]
fn a_file_that_is_renamed_during_the_first_listing_after_a_lost_state_is_not_delivered_again() {
    let directory = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut machine = Machine::new(1, directory.path(), Trace::new(false), None).unwrap();
        machine.people.borrow_mut().arrive();
        machine.settle().await.unwrap();
        machine.happen(Happening::LoseState).await;
        let delivered =
            |place: &Path| files_below(&place.join("new")).into_iter().chain(files_below(&place.join("cur")));
        let files: Vec<PathBuf> = machine.pairs.iter().flat_map(|pair| delivered(&pair.maildir)).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        let cur = file.parent().unwrap().with_file_name("cur");
        // Nothing but its content tells what it is.
        let (from, to) = (cur.join("1.first:2,"), cur.join("1.second:2,"));
        fs::rename(file, &from).unwrap();
        cms_disk::interpose(Some(Rc::new(Indexer { from, to })));
        machine.settle().await.unwrap();
        let left = files_below(&cur);
        assert!(left.len() == 1 && left[0].to_string_lossy().contains("1.second"), "{left:?}");
        drop(machine);
        let_go().await;
    });
}
