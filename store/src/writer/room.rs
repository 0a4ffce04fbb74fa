//! A bound on bytes: what is taken is given back when its holder is dropped, wherever that is.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A number of bytes for all. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Space {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// Some of them, until dropped. It goes with an order to the disk, which may take longer than the caller
/// waits.
#[derive(Debug)]
pub struct Room {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Space {
    /// Room for this many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Room for this many bytes, if there is any left. If nothing is taken, it is given however much it is.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Room> {
        let before = self.taken.fetch_add(bytes, Relaxed);
        let room = Room { taken: Arc::clone(&self.taken), bytes };
        (before == 0 || before + bytes <= self.most).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_the_bound_and_again_when_some_is_dropped() {
        let space = Space::new(10);
        let first = space.take(6).unwrap();
        assert!(space.take(5).is_none());
        let _second = space.clone().take(4).unwrap();
        assert!(space.take(1).is_none(), "what was refused takes up nothing, and all is taken");
        drop(first);
        assert!(space.take(6).is_some());
    }

    #[test]
    fn more_than_the_bound_is_taken_alone() {
        let space = Space::new(10);
        let large = space.take(11);
        assert!(large.is_some() && space.take(1).is_none());
        drop(large);
        assert!(space.take(1).is_some());
    }
}
