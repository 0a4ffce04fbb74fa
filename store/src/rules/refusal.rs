//! Which dead letters a redrive takes, and why it refuses the others.

use std::collections::BTreeMap;

use common::{
    origin::Origin,
    outcome::Reason,
    status::{DeadLetterState, Refusal},
    word::Word,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{RedriveRequest, Refused};

/// What decides about a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: Uuid,
    pub(crate) origin: Origin,
    pub(crate) state: DeadLetterState,
    pub(crate) reason: Word<Reason>,
    /// When its key was first used, or, if that is not known, when it failed.
    pub(crate) key_used_at: Timestamp,
    /// Whether a redrive that has not ended has it already.
    pub(crate) taken: bool,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Take,
    Refuse(Refusal),
    /// The body decides: refused if it is an event of a type that no worker knows, otherwise this.
    Read(Option<Refusal>),
}

impl Candidate {
    pub(crate) fn judge(&self, request: &RedriveRequest) -> Verdict {
        if self.taken {
            return Verdict::Refuse(Refusal::InAnotherRedrive);
        }
        if self.state != DeadLetterState::Dead {
            return Verdict::Refuse(Refusal::NotDead);
        }
        let Some(remembered_from) = request.origins.get(&self.origin) else {
            return Verdict::Refuse(Refusal::UnknownDestination);
        };
        let forgotten = remembered_from.is_some_and(|from| self.key_used_at < from);
        let refusal = (forgotten && !request.force && !request.new_key).then_some(Refusal::KeyExpired);
        match (self.reason.known(), refusal) {
            // A worker knows the type of every event that it reports.
            (None | Some(Reason::DeliveryLimit | Reason::Unreported), refusal) => Verdict::Read(refusal),
            (_, Some(refusal)) => Verdict::Refuse(refusal),
            (_, None) => Verdict::Take,
        }
    }
}

/// What a redrive sends, oldest first, and how many it refuses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) ids: Vec<Uuid>,
    refused: BTreeMap<Refusal, u64>,
}

impl Chosen {
    pub(crate) fn add(&mut self, id: Uuid, refusal: Option<Refusal>) {
        match refusal {
            Some(refusal) => self.refuse(refusal, 1),
            None => self.ids.push(id),
        }
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal, count: u64) {
        if count > 0 {
            *self.refused.entry(refusal).or_default() += count;
        }
    }

    /// How many are refused, by reason.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        self.refused.iter().map(|(&reason, &count)| Refused { reason, count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selection;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A dead letter of north, which remembers keys from second 100.
    fn candidate() -> Candidate {
        Candidate {
            id: Uuid::nil(),
            origin: "north".parse().unwrap(),
            state: DeadLetterState::Dead,
            reason: Reason::Rejected.into(),
            key_used_at: at(100),
            taken: false,
        }
    }

    fn request() -> RedriveRequest {
        let origins = [("north", Some(at(100))), ("south", None)];
        RedriveRequest {
            selection: Selection::Ids(Vec::new()),
            origins: origins.into_iter().map(|(name, from)| (name.parse().unwrap(), from)).collect(),
            force: false,
            new_key: false,
        }
    }

    #[test]
    fn a_dead_letter_is_taken_once_and_only_while_it_is_dead_and_has_a_queue() {
        assert_eq!(candidate().judge(&request()), Verdict::Take);
        let taken = Candidate { taken: true, state: DeadLetterState::Redriving, ..candidate() };
        assert_eq!(taken.judge(&request()), Verdict::Refuse(Refusal::InAnotherRedrive));
        for state in [DeadLetterState::Redriving, DeadLetterState::Redriven, DeadLetterState::Delivered] {
            let other = Candidate { state, ..candidate() };
            assert_eq!(other.judge(&request()), Verdict::Refuse(Refusal::NotDead), "{state:?}");
        }
        for origin in ["east", "outcomes"] {
            let other = Candidate { origin: origin.parse().unwrap(), ..candidate() };
            assert_eq!(other.judge(&request()), Verdict::Refuse(Refusal::UnknownDestination), "{origin}");
        }
    }

    #[test]
    fn a_key_that_may_be_forgotten_is_refused_unless_forced_or_new() {
        let old = Candidate { key_used_at: at(99), ..candidate() };
        assert_eq!(old.judge(&request()), Verdict::Refuse(Refusal::KeyExpired));
        assert_eq!(old.judge(&RedriveRequest { force: true, ..request() }), Verdict::Take);
        assert_eq!(old.judge(&RedriveRequest { new_key: true, ..request() }), Verdict::Take);
        let remembered = Candidate { origin: "south".parse().unwrap(), ..old };
        assert_eq!(remembered.judge(&request()), Verdict::Take);
    }

    #[test]
    fn the_body_decides_where_no_worker_has_reported() {
        for reason in Reason::ALL {
            let unreported = matches!(reason, Reason::DeliveryLimit | Reason::Unreported);
            let verdict = Candidate { reason: reason.into(), ..candidate() }.judge(&request());
            assert_eq!(verdict, if unreported { Verdict::Read(None) } else { Verdict::Take }, "{reason:?}");
        }
        let old = Candidate { reason: Reason::Unreported.into(), key_used_at: at(99), ..candidate() };
        assert_eq!(old.judge(&request()), Verdict::Read(Some(Refusal::KeyExpired)));
    }

    #[test]
    fn what_is_refused_is_counted_by_reason() {
        let mut chosen = Chosen::default();
        let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];
        chosen.add(ids[0], None);
        chosen.add(ids[1], Some(Refusal::NotDead));
        chosen.add(ids[1], Some(Refusal::NotDead));
        chosen.refuse(Refusal::NotFound, 0);
        assert_eq!(
            (&chosen.ids[..], chosen.refused()),
            (&ids[..1], vec![Refused { reason: Refusal::NotDead, count: 2 }])
        );
    }
}
