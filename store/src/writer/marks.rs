//! How far the outbox is published, until it is committed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{LaneMark, Position};

/// How far the outbox is published: to every destination, and to those that are further.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) up_to: Position,
    pub(super) lanes: Vec<LaneMark>,
}

/// The marks. The writer commits them with whatever comes next, so that a mark costs no wake-up.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    published: Marked,
    committed: Marked,
}

impl Marks {
    pub(super) fn published(&self, up_to: Position, lanes: Vec<LaneMark>) {
        let mut state = self.lock();
        let up_to = state.published.up_to.max(up_to);
        state.published = Marked { up_to, lanes };
    }

    /// What is published and not yet committed as such.
    pub(super) fn due(&self) -> Option<Marked> {
        let state = self.lock();
        (state.published != state.committed).then(|| state.published.clone())
    }

    pub(super) fn committed(&self, marked: Marked) {
        self.lock().committed = marked;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_due_until_it_is_committed() {
        let marks = Marks::default();
        assert_eq!(marks.due(), None);
        let ahead = vec![LaneMark { destination: "north".parse().unwrap(), up_to: 9 }];
        marks.published(5, ahead.clone());
        let due = marks.due().unwrap();
        assert_eq!(due, Marked { up_to: 5, lanes: ahead });
        marks.published(7, Vec::new());
        marks.committed(due);
        assert_eq!(marks.due().map(|due| due.up_to), Some(7), "more was published in the meantime");
        marks.committed(marks.due().unwrap());
        marks.published(6, Vec::new());
        assert_eq!(marks.due(), None, "a mark that comes late is none");
    }
}
