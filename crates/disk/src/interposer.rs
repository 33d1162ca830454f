//! Who stands between this thread and the disk, in tests.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::Deed;

/// Stands between one thread and the disk.
pub trait Interposer {
    /// Called before something is done. An error is given out in its place, and nothing is done.
    fn before(&self, deed: Deed<'_>) -> io::Result<()>;
    /// Called after something was done.
    fn after(&self, deed: Deed<'_>);
}

thread_local! {
    static INTERPOSER: RefCell<Option<Rc<dyn Interposer>>> = const { RefCell::new(None) };
}

/// Puts somebody between this thread and the disk, or nobody.
pub fn interpose(interposer: Option<Rc<dyn Interposer>>) {
    INTERPOSER.with(|place| *place.borrow_mut() = interposer);
}

pub(crate) fn is_interposed() -> bool {
    INTERPOSER.with(|place| place.borrow().is_some())
}

pub(crate) fn step<T>(deed: Deed<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // Whoever is asked may use the disk itself.
    let Some(interposer) = INTERPOSER.with(|place| place.borrow().clone()) else { return act() };
    interposer.before(deed)?;
    let done = act()?;
    interposer.after(deed);
    Ok(done)
}
