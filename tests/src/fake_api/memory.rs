//! What is remembered of keys and orders: compactly, and of a limited number.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use uuid::Uuid;

use super::Api;

/// An id that a caller chose: usually a UUID, in a third of the bytes of its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Uuid(Uuid),
    Text(Box<str>),
}

impl Id {
    pub(super) fn new(text: &str) -> Self {
        match Uuid::try_parse(text) {
            // The same UUID written in another way is another text.
            Ok(uuid) if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text => Self::Uuid(uuid),
            _ => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A value for each id at each API; the oldest is forgotten when there are too many.
#[derive(Debug)]
pub(super) struct Memory<V> {
    values: HashMap<(Api, Id), V>,
    oldest_first: VecDeque<(Api, Id)>,
    most: usize,
}

impl<V> Memory<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { values: HashMap::new(), oldest_first: VecDeque::new(), most }
    }

    pub(super) fn get(&self, api: Api, id: &str) -> Option<&V> {
        self.values.get(&(api, Id::new(id)))
    }

    pub(super) fn get_or_insert(&mut self, api: Api, id: &str, value: impl FnOnce() -> V) -> &mut V {
        let id = (api, Id::new(id));
        if !self.values.contains_key(&id) {
            if self.values.len() >= self.most
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.values.remove(&oldest);
            }
            self.oldest_first.push_back(id.clone());
        }
        self.values.entry(id).or_insert_with(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Api, &Id, &V)> {
        self.values.iter().map(|((api, id), value)| (*api, id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut memory = Memory::new(2);
        for id in ["a", "b", "a", "c"] {
            *memory.get_or_insert(Api::Inventory, id, || 0) += 1;
        }
        let counts = ["a", "b", "c"].map(|id| memory.get(Api::Inventory, id).copied());
        assert_eq!(counts, [None, Some(1), Some(1)]);
        assert_eq!(memory.get(Api::Fulfillment, "c"), None);
        assert_eq!(memory.iter().count(), 2);
    }

    #[test]
    fn an_id_is_shown_as_it_was_sent() {
        for text in ["01a20c26-dbc2-71dc-bcad-3582c68653c3", "01A20C26-DBC2-71DC-BCAD-3582C68653C3", "order 7", ""] {
            assert_eq!(Id::new(text).to_string(), text);
        }
    }
}
