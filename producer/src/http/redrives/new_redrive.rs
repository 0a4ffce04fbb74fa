//! A request for a redrive: a body read into what is meant, or everything that is wrong with it.

use common::{order::OrderId, origin::Origin, word::Word};
use serde::de::{MapAccess, SeqAccess};
use serde_json::Value;
use store::{Filter, Selection};
use uuid::Uuid;

use crate::{
    fingerprint::Fingerprint,
    http::{
        dead_letters::{self, EMPTY_SPAN, MAX_ERROR_CHARS, is_empty_span},
        edge::{
            body::Payload,
            faults::{Faults, Flaw, Pointer},
            json::{Anything, Flag, Read, Shape, Tree, WholeWithin, Within, fields},
            problem::{INVALID_REDRIVE, Problem},
            query::valid_text,
        },
    },
};

/// Most ids of one redrive.
const MAX_IDS: usize = 5_000;
/// Most dead letters per second.
const MAX_RATE: u32 = 5_000;
/// Most dead letters that are sent and have not ended.
const MAX_CONCURRENCY: u32 = 10_000;

/// A redrive as it was requested.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewRedrive {
    pub(super) selection: Selection,
    pub(super) dry_run: bool,
    pub(super) rate: f64,
    pub(super) concurrency: u32,
    pub(super) stop_after_failed_share: f64,
    pub(super) force: bool,
    pub(super) body: Option<Value>,
    pub(super) new_key: bool,
}

impl NewRedrive {
    /// What identifies a repetition. A field added later enters only where it is set.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = Fingerprint::new("tandem redrive 2");
        let time = |time: Option<jiff::Timestamp>| time.map(|time| time.as_nanosecond().to_string());
        match &self.selection {
            Selection::Filter(Filter { destination, reason, status_code, error, order_id, from, to, archived }) => {
                fingerprint.add("filter");
                fingerprint.add_field("destination", destination.as_ref().map(Origin::as_str));
                fingerprint.add_field("reason", reason.as_ref().map(Word::as_str));
                fingerprint.add_field("status_code", status_code.map(|code| code.to_string()).as_deref());
                fingerprint.add_field("error", error.as_deref());
                fingerprint.add_field("order_id", order_id.map(|id| id.to_string()).as_deref());
                fingerprint.add_field("from", time(*from).as_deref());
                fingerprint.add_field("to", time(*to).as_deref());
                fingerprint.add_field("archived", archived.then_some("true"));
            }
            Selection::Ids(ids) => {
                fingerprint.add("ids");
                ids.iter().for_each(|id| fingerprint.add(&id.to_string()));
            }
        }
        fingerprint.add_field("dry_run", self.dry_run.then_some("true"));
        fingerprint.add_field("rate", Some(&self.rate.to_string()));
        fingerprint.add_field("concurrency", Some(&self.concurrency.to_string()));
        fingerprint.add_field("stop_after_failed_share", Some(&self.stop_after_failed_share.to_string()));
        fingerprint.add_field("force", self.force.then_some("true"));
        fingerprint.add_field("body", self.body.as_ref().map(Value::to_string).as_deref());
        fingerprint.add_field("new_key", self.new_key.then_some("true"));
        fingerprint.finish()
    }
}

impl Payload for NewRedrive {
    fn invalid(faults: Faults) -> Problem {
        Problem::invalid(&INVALID_REDRIVE, "redrive", faults)
    }
}

impl Shape for NewRedrive {
    type Out = Self;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<NewRedrive>, A::Error> {
        fields!(object, at, faults, {
            filter: FilterShape,
            ids: IdsShape,
            dry_run: Flag,
            rate: Within<1, MAX_RATE>,
            concurrency: WholeWithin<1, MAX_CONCURRENCY>,
            stop_after_failed_share: Within<0, 1>,
            force: Flag,
            body: EventShape,
            new_key: Flag,
        });
        if filter.is_given() == ids.is_given() {
            let rule = "exactly one of filter and ids must be given; an empty filter matches every dead letter";
            faults.add(at, &Flaw::rule(rule));
        }
        let (filter, ids) = (filter.optional(), ids.optional());
        let (body, new_key) = (body.optional(), new_key.optional().unwrap_or_default());
        if body.is_some() && ids.as_ref().is_none_or(|ids| ids.len() != 1) {
            let rule = "is possible for exactly one dead letter: name it in ids";
            faults.add(&at.field("body"), &Flaw::rule(rule));
        }
        if new_key && body.is_none() {
            faults.add(&at.field("new_key"), &Flaw::rule("is possible only together with body"));
        }
        let selection = filter.map(Selection::Filter).or(ids.map(Selection::Ids));
        Ok(selection.map(|selection| NewRedrive {
            selection,
            dry_run: dry_run.optional().unwrap_or_default(),
            rate: rate.optional().unwrap_or(50.0),
            concurrency: concurrency.optional().unwrap_or(100),
            stop_after_failed_share: stop_after_failed_share.optional().unwrap_or(0.5),
            force: force.optional().unwrap_or_default(),
            body,
            new_key,
        }))
    }
}

struct FilterShape;

impl Shape for FilterShape {
    type Out = Filter;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Filter>, A::Error> {
        fields!(object, at, faults, {
            destination: Destination,
            reason: Reason,
            status_code: WholeWithin<100, 999>,
            error: ErrorPart,
            order_id: Id,
            from: Time,
            to: Time,
            archived: Flag,
        });
        let filter = Filter {
            destination: destination.optional(),
            reason: reason.optional().map(Into::into),
            status_code: status_code.optional().and_then(|code| u16::try_from(code).ok()),
            error: error.optional(),
            order_id: order_id.optional().map(OrderId),
            from: from.optional(),
            to: to.optional(),
            archived: archived.optional().unwrap_or_default(),
        };
        if is_empty_span(&filter) {
            faults.add(&at.field("to"), &Flaw::rule(EMPTY_SPAN));
        }
        Ok(Some(filter))
    }
}

/// A text and how it is read.
macro_rules! text {
    ($shape:ident: $out:ty = $parse:expr) => {
        struct $shape;

        impl Shape for $shape {
            type Out = $out;
            const WANTED: &'static str = "a string";

            fn text(text: &str) -> Result<$out, Flaw> {
                let parse: fn(&str) -> Result<$out, String> = $parse;
                parse(text).map_err(Flaw::rule)
            }
        }
    };
}

text!(Destination: Origin = dead_letters::destination);
text!(Reason: common::outcome::Reason = dead_letters::reason);
text!(ErrorPart: String = |text| valid_text(text, MAX_ERROR_CHARS));
text!(Id: Uuid = |text| text.parse().map_err(|_| "must be an id, a UUID".to_owned()));
text!(Time: jiff::Timestamp = |text| {
    text.parse().map_err(|_| "must be a time such as 2026-01-02T03:04:05Z (RFC 3339)".to_owned())
});

/// Ids in ascending order, each once.
struct IdsShape;

impl Shape for IdsShape {
    type Out = Vec<Uuid>;
    const WANTED: &'static str = "an array";

    fn array<'de, A: SeqAccess<'de>>(
        mut array: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Vec<Uuid>>, A::Error> {
        let (mut ids, mut count) = (Vec::new(), 0);
        while count < MAX_IDS
            && let Some(id) = array.next_element_seed(Read::<Id>::new(at.item(count), faults))?
        {
            ids.extend(id);
            count += 1;
        }
        if count == MAX_IDS {
            while array.next_element_seed(Read::<Anything>::new(at.item(count), faults))?.is_some() {
                count += 1;
            }
        }
        if !(1..=MAX_IDS).contains(&count) {
            faults.add(at, &Flaw::rule(format!("must have between 1 and {MAX_IDS} ids, has {count}")));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }
}

/// An event in place of a dead letter's own.
struct EventShape;

impl Shape for EventShape {
    type Out = Value;
    const WANTED: &'static str = "an object, or a string that holds one";

    fn text(text: &str) -> Result<Value, Flaw> {
        Tree::text(text)
    }

    fn object<'de, A: MapAccess<'de>>(
        object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Value>, A::Error> {
        Tree::object(object, at, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::json::{self, Unread};

    fn read(body: &[u8]) -> Result<NewRedrive, Unread> {
        json::read::<NewRedrive>(body)
    }

    fn faults(body: &str) -> Vec<String> {
        match read(body.as_bytes()) {
            Err(Unread::Invalid(faults)) => {
                faults.listed.iter().map(|fault| fault.pointer.clone().unwrap_or_default()).collect()
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_redrive_has_the_defaults_of_the_contract() {
        let Ok(redrive) = read(br#"{"filter":{}}"#) else { panic!("refused") };
        assert_eq!(redrive.selection, Selection::Filter(Filter::default()));
        assert_eq!((redrive.rate, redrive.concurrency, redrive.stop_after_failed_share), (50.0, 100, 0.5));
        assert!(!redrive.dry_run && !redrive.force && !redrive.new_key && redrive.body.is_none());
    }

    #[test]
    fn every_fault_is_named_with_its_pointer() {
        const ID: &str = "00000000-0000-0000-0000-000000000007";
        for (body, pointers) in [
            ("[]", vec!["#"]),
            ("{}", vec!["#"]),
            (r#"{"filter":{},"ids":["ID"]}"#, vec!["#"]),
            (r#"{"ids":[]}"#, vec!["#/ids"]),
            (r#"{"ids":["x",7]}"#, vec!["#/ids/0", "#/ids/1"]),
            (
                r#"{"filter":{"reason":"bad","status_code":7,"other":1}}"#,
                vec!["#/filter/reason", "#/filter/status_code", "#/filter/other"],
            ),
            (
                r#"{"filter":{},"rate":0,"concurrency":0,"stop_after_failed_share":2}"#,
                vec!["#/rate", "#/concurrency", "#/stop_after_failed_share"],
            ),
            (r#"{"filter":{},"body":{}}"#, vec!["#/body"]),
            (r#"{"ids":["ID"],"new_key":true}"#, vec!["#/new_key"]),
            (r#"{"ids":["ID"],"body":7,"dry":true}"#, vec!["#/body", "#/dry"]),
            (r#"{"ids":["ID"],"body":{"a":1,"a":2}}"#, vec!["#/body/a"]),
            (r#"{"filter":{"from":"now"},"force":"yes"}"#, vec!["#/filter/from", "#/force"]),
            (r#"{"filter":{"error":"a\u0000"}}"#, vec!["#/filter/error"]),
            (r#"{"filter":{"from":"2026-01-02T03:04:05Z","to":"2026-01-02T03:04:05Z"}}"#, vec!["#/filter/to"]),
        ] {
            assert_eq!(faults(&body.replace("ID", ID)), pointers, "{body}");
        }
    }

    #[test]
    fn a_redrive_has_1_to_5000_ids_each_once() {
        let with_ids = |count: usize| {
            let ids: Vec<_> = (0..count).map(|number| format!("\"{}\"", Uuid::from_u128(number as u128 / 2))).collect();
            format!(r#"{{"ids":[{}]}}"#, ids.join(","))
        };
        let Ok(redrive) = read(with_ids(5_000).as_bytes()) else { panic!("refused") };
        assert!(matches!(redrive.selection, Selection::Ids(ids) if ids.len() == 2_500));
        assert_eq!(faults(&with_ids(5_001)), ["#/ids"]);
    }

    #[test]
    fn a_body_is_read_no_deeper_than_any_other() {
        let nested = |depth: usize| format!(r#"{{"ids":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(matches!(read(nested(63).as_bytes()), Err(Unread::Invalid(_))));
        for depth in [64, 1_000, 100_000] {
            assert!(matches!(read(nested(depth).as_bytes()), Err(Unread::TooDeep)), "{depth}");
        }
        for broken in ["", "{", "{} {}"] {
            assert!(matches!(read(broken.as_bytes()), Err(Unread::Malformed(_))), "{broken}");
        }
    }

    fn fingerprint(body: &str) -> String {
        let Ok(redrive) = read(body.as_bytes()) else { panic!("{body} was refused") };
        redrive.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_fingerprint_is_of_the_redrive_and_not_of_its_spelling() {
        let one = fingerprint(r#"{"filter":{"destination":"inventory","error":"x"},"rate":50,"dry_run":false}"#);
        assert_eq!(one, fingerprint(r#" {"filter":{"error":"\u0078","destination":"inventory"},"rate":5e1}"#));
        let id = "019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40";
        let mut all = vec![one];
        for other in [
            r#"{"filter":{"destination":"inventory"}}"#,
            r#"{"filter":{"destination":"inventory","error":"x","archived":true}}"#,
            r#"{"filter":{"destination":"inventory","error":"x"},"rate":51}"#,
            r#"{"filter":{"destination":"inventory","error":"x"},"dry_run":true}"#,
            r#"{"filter":{"destination":"inventory","error":"x"},"force":true}"#,
            &format!(r#"{{"ids":["{id}"]}}"#),
            &format!(r#"{{"ids":["{id}"],"body":{{}}}}"#),
            &format!(r#"{{"ids":["{id}"],"body":"{{}}"}}"#),
            &format!(r#"{{"ids":["{id}"],"body":{{}},"new_key":true}}"#),
        ] {
            let other = fingerprint(other);
            assert!(!all.contains(&other));
            all.push(other);
        }
    }

    #[test]
    fn a_fingerprint_never_changes_because_it_outlives_the_version_that_computed_it() {
        let id = "019b7cb2-4d5e-7a31-9f6e-2c8d5b1a7e40";
        let filter = r#"{"filter":{"destination":"inventory","reason":"rejected","status_code":422,"error":"x",
            "order_id":"ID","from":"2026-01-02T03:04:05Z","to":"2026-01-02T03:04:06.5Z","archived":true},"rate":0.5e2,
            "stop_after_failed_share":0.25,"concurrency":7,"force":true,"dry_run":true}"#;
        let edited = r#"{"ids":["ID"],"body":{"b":[1,null],"a":"é"},"new_key":true}"#;
        assert_eq!(
            fingerprint(&filter.replace("ID", id)),
            "a095267b7c89be2186506c32a7b78a7a2f3d2c0a2951ed21d15dcee78f03f05b"
        );
        assert_eq!(
            fingerprint(&edited.replace("ID", id)),
            "77f6d12e4d37be8216bc2514df5913cd433787c943fc10ba997c86a5cecca002"
        );
    }
}
