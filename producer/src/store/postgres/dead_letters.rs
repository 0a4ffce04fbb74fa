//! Dead letters in Postgres.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::PostgresDesk;
use crate::store::{
    Answer, DeadLetters, StoreFault,
    dead_letters::{Archiving, Collected, Collection, DeadLetter, Filter, Group, Opened},
};

fn later<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async { Err(StoreFault::Busy) })
}

impl DeadLetters for PostgresDesk {
    fn collect(&self, _: Vec<Arc<Collected>>, _: Timestamp) -> Answer<'_, Vec<Collection>> {
        later()
    }
    fn dead_letters(&self, _: Filter, _: Option<Uuid>, _: u32) -> Answer<'_, Vec<DeadLetter>> {
        later()
    }
    fn dead_letter_groups(&self, _: Filter, _: Option<Uuid>, _: u32) -> Answer<'_, Vec<Group>> {
        later()
    }
    fn dead_letter(&self, _: Uuid) -> Answer<'_, Option<Opened>> {
        later()
    }
    fn archive(&self, _: Uuid, _: Option<String>) -> Answer<'_, Archiving> {
        later()
    }
    fn unarchive(&self, _: Uuid) -> Answer<'_, Archiving> {
        later()
    }
}
