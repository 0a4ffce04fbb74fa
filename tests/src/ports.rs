//! TCP ports that stay reserved between two binds, for what must come back on the same port.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    sync::Mutex,
};

use anyhow::{Result, bail};

use crate::lock::lock;

/// Below the ports that Linux gives to outgoing connections (from 32768), so that none of them takes a port whose owner is
/// down.
const RANGE: RangeInclusive<u16> = 15_000..=31_999;
const TRIES: usize = 1_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1, free when it was chosen, that no other [`Port`] of this process has.
///
/// Another process may still take it before it is bound: rarely, because the choice is random, but be ready for it.
#[derive(Debug)]
pub struct Port(u16);

impl Port {
    /// Chooses one.
    ///
    /// # Errors
    /// None is free.
    pub fn choose() -> Result<Self> {
        let mut guard = lock(&TAKEN);
        let taken = guard.get_or_insert_default();
        for _ in 0..TRIES {
            let port = random();
            if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                taken.insert(port);
                return Ok(Self(port));
            }
        }
        bail!("no TCP port between {} and {} is free", RANGE.start(), RANGE.end())
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(taken) = lock(&TAKEN).as_mut() {
            taken.remove(&self.0);
        }
    }
}

fn random() -> u16 {
    let width = u128::from(RANGE.end() - RANGE.start()) + 1;
    let offset = u16::try_from(uuid::Uuid::new_v4().as_u128() % width).unwrap_or_default();
    RANGE.start() + offset
}
