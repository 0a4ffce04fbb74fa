//! A wish for a redrive: a body read into what is meant, or everything that is wrong with it.

use std::fmt::Display;

use common::order::OrderId;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    dead_letter_filter::{self, EMPTY_SPAN, MAX_ERROR_CHARS, is_empty_span},
    faults::{Faults, Flaw, Place},
    json::{self, Unread},
    query::sound_text,
};
use store::{Filter, Selection};

/// Most ids of one redrive.
pub(super) const MAX_IDS: usize = 5_000;
/// Most dead letters a second.
pub(super) const MAX_RATE: f64 = 5_000.0;
/// Most that are sent and have not ended.
pub(super) const MAX_CONCURRENCY: u64 = 10_000;

/// A wish as it was sent.
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

const KNOWN: &str = "filter, ids, dry_run, rate, concurrency, stop_after_failed_share, force, body and new_key";
const KNOWN_FILTER: &str = "destination, reason, status_code, error, order_id, from, to and archived";

impl NewRedrive {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Unread> {
        let json = json::tree(body)?;
        let mut faults = Faults::default();
        match read(&json, &mut faults) {
            Some(wish) if faults.listed.is_empty() => Ok(wish),
            _ => Err(Unread::Invalid(faults)),
        }
    }

    /// What makes a repetition recognisable.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(format!("tandem redrive 1 {self:?}"));
        hash.finalize().into()
    }
}

fn read(json: &Value, faults: &mut Faults) -> Option<NewRedrive> {
    let at = Place::BODY;
    let Some(object) = json.as_object() else {
        faults.add(&at, &Flaw::Type { wanted: "an object", found: found(json) });
        return None;
    };
    let mut fields = Fields { object, at, faults, taken: Vec::new() };
    let filter = fields.get("filter", "an object", |value, at, faults| filter(value.as_object()?, &at, faults));
    let ids = fields.get("ids", "an array", |value, at, faults| ids(value.as_array()?, &at, faults));
    let dry_run = fields.get("dry_run", "a boolean", |value, _, _| value.as_bool().map(Some));
    let rate = fields.within("rate", 1.0, MAX_RATE);
    let concurrency = fields.get("concurrency", "a whole number", |value, at, faults| {
        let number = value.as_u64()?;
        let sound = (1..=MAX_CONCURRENCY).contains(&number);
        if !sound {
            faults.add(&at, &Flaw::Rule(format!("must be between 1 and {MAX_CONCURRENCY}")));
        }
        Some(u32::try_from(number).ok().filter(|_| sound))
    });
    let share = fields.within("stop_after_failed_share", 0.0, 1.0);
    let force = fields.get("force", "a boolean", |value, _, _| value.as_bool().map(Some));
    let new_key = fields.get("new_key", "a boolean", |value, _, _| value.as_bool().map(Some));
    let body = fields.get("body", "an object, or a string that holds one", |value, _, _| {
        (value.is_object() || value.is_string()).then(|| Some(value.clone()))
    });
    fields.finish(KNOWN);
    let new_key = new_key.unwrap_or_default();
    let one = matches!(&ids, Some(ids) if ids.len() == 1);
    if body.is_some() && !one {
        faults
            .add(&at.field("body"), &Flaw::Rule("is possible for exactly one dead letter: name it in ids".to_owned()));
    }
    if new_key && body.is_none() {
        faults.add(&at.field("new_key"), &Flaw::Rule("is possible only together with body".to_owned()));
    }
    let named = |name| object.contains_key(name);
    let selection = match (named("filter"), named("ids")) {
        (true, false) => filter.map(Selection::Filter),
        (false, true) => ids.map(Selection::Ids),
        _ => {
            let rule = "exactly one of filter and ids must be given; an empty filter matches every dead letter";
            faults.add(&at, &Flaw::Rule(rule.to_owned()));
            None
        }
    };
    Some(NewRedrive {
        selection: selection?,
        dry_run: dry_run.unwrap_or_default(),
        rate: rate.unwrap_or(50.0),
        concurrency: concurrency.unwrap_or(100),
        stop_after_failed_share: share.unwrap_or(0.5),
        force: force.unwrap_or_default(),
        body,
        new_key,
    })
}

/// The fields of an object, each taken once.
struct Fields<'j, 'p, 'f> {
    object: &'j Map<String, Value>,
    at: Place<'p>,
    faults: &'f mut Faults,
    taken: Vec<&'static str>,
}

impl Fields<'_, '_, '_> {
    /// A field, as `read` reads it: none where it has another type; what is wrong within is noted there.
    fn get<T>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&Value, Place<'_>, &mut Faults) -> Option<Option<T>>,
    ) -> Option<T> {
        self.taken.push(name);
        let value = self.object.get(name)?;
        let at = self.at.field(name);
        match read(value, at, self.faults) {
            Some(read) => read,
            None => {
                self.faults.add(&at, &Flaw::Type { wanted, found: found(value) });
                None
            }
        }
    }

    fn within(&mut self, name: &'static str, least: f64, most: f64) -> Option<f64> {
        self.get(name, "a number", |value, at, faults| {
            let number = value.as_f64()?;
            let sound = (least..=most).contains(&number);
            if !sound {
                faults.add(&at, &Flaw::Rule(format!("must be between {least} and {most}")));
            }
            Some(Some(number).filter(|_| sound))
        })
    }

    /// A text that `parse` takes.
    fn text<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.get(name, "a string", |value, at, faults| {
            let parsed = parse(value.as_str()?);
            Some(parsed.map_err(|rule| faults.add(&at, &Flaw::Rule(rule))).ok())
        })
    }

    fn finish(self, known: &'static str) {
        for name in self.object.keys().filter(|name| !self.taken.contains(&name.as_str())) {
            let shown = super::faults::shorten(name);
            self.faults.add(&self.at.field(&shown), &Flaw::Unknown { known });
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields want it: whatever is wrong is noted")]
fn filter(object: &Map<String, Value>, at: &Place<'_>, faults: &mut Faults) -> Option<Option<Filter>> {
    let mut fields = Fields { object, at: *at, faults, taken: Vec::new() };
    let destination = fields.text("destination", dead_letter_filter::destination);
    let reason = fields.text("reason", dead_letter_filter::reason);
    let status_code = fields.get("status_code", "a whole number", |value, at, faults| {
        let code = u16::try_from(value.as_u64()?).ok().filter(|code| (100..=999).contains(code));
        if code.is_none() {
            faults.add(&at, &Flaw::Rule("must be between 100 and 999".to_owned()));
        }
        Some(code)
    });
    let error = fields.text("error", |text| sound_text(text, MAX_ERROR_CHARS));
    let order_id = fields.text("order_id", |text| id(text).map(OrderId));
    let mut time =
        |name| fields.text(name, |text| parsed(text, "must be a time such as 2026-01-02T03:04:05Z (RFC 3339)"));
    let (from, to) = (time("from"), time("to"));
    let archived = fields.get("archived", "a boolean", |value, _, _| value.as_bool().map(Some)).unwrap_or_default();
    fields.finish(KNOWN_FILTER);
    let filter = Filter { destination, reason, status_code, error, order_id, from, to, archived };
    if is_empty_span(&filter) {
        faults.add(&at.field("to"), &Flaw::Rule(EMPTY_SPAN.to_owned()));
    }
    Some(Some(filter))
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields want it: whatever is wrong is noted")]
fn ids(values: &[Value], at: &Place<'_>, faults: &mut Faults) -> Option<Option<Vec<Uuid>>> {
    if values.is_empty() || values.len() > MAX_IDS {
        faults.add(at, &Flaw::Rule(format!("must have between 1 and {MAX_IDS} ids, has {}", values.len())));
        return Some(None);
    }
    let mut ids = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let place = at.item(index);
        match value.as_str() {
            Some(text) => match id(text) {
                Ok(id) => ids.push(id),
                Err(rule) => faults.add(&place, &Flaw::Rule(rule)),
            },
            None => faults.add(&place, &Flaw::Type { wanted: "a string", found: found(value) }),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Some(Some(ids))
}

fn id(text: &str) -> Result<Uuid, String> {
    parsed(text, "must be an id, a UUID")
}

fn parsed<T: std::str::FromStr<Err: Display>>(text: &str, rule: &str) -> Result<T, String> {
    text.parse().map_err(|_| rule.to_owned())
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(body: Value) -> Vec<String> {
        match NewRedrive::read(body.to_string().as_bytes()) {
            Err(Unread::Invalid(faults)) => {
                faults.listed.iter().map(|fault| fault.pointer.clone().unwrap_or_default()).collect()
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_wish_has_the_defaults_of_the_contract() {
        let Ok(wish) = NewRedrive::read(br#"{"filter":{}}"#) else { panic!("refused") };
        assert_eq!(wish.selection, Selection::Filter(Filter::default()));
        assert_eq!((wish.rate, wish.concurrency, wish.stop_after_failed_share), (50.0, 100, 0.5));
        assert!(!wish.dry_run && !wish.force && !wish.new_key && wish.body.is_none());
    }

    #[test]
    fn whatever_is_wrong_is_named_with_its_place() {
        let id = Uuid::from_u128(7);
        for (body, places) in [
            (json!([]), vec!["#"]),
            (json!({}), vec!["#"]),
            (json!({"filter": {}, "ids": [id]}), vec!["#"]),
            (json!({"ids": []}), vec!["#/ids"]),
            (json!({"ids": ["x", 7]}), vec!["#/ids/0", "#/ids/1"]),
            (
                json!({"filter": {"reason": "bad", "status_code": 7, "other": 1}}),
                vec!["#/filter/reason", "#/filter/status_code", "#/filter/other"],
            ),
            (
                json!({"filter": {}, "rate": 0, "concurrency": 0, "stop_after_failed_share": 2}),
                vec!["#/rate", "#/concurrency", "#/stop_after_failed_share"],
            ),
            (json!({"filter": {}, "body": {}}), vec!["#/body"]),
            (json!({"ids": [id], "new_key": true}), vec!["#/new_key"]),
            (json!({"ids": [id], "body": 7, "dry": true}), vec!["#/body", "#/dry"]),
            (json!({"filter": {"from": "now"}, "force": "yes"}), vec!["#/filter/from", "#/force"]),
            (json!({"filter": {"error": "a\u{0}"}}), vec!["#/filter/error"]),
            (json!({"filter": {"from": "2026-01-02T03:04:05Z", "to": "2026-01-02T03:04:05Z"}}), vec!["#/filter/to"]),
        ] {
            assert_eq!(faults(body.clone()), places, "{body}");
        }
    }

    #[test]
    fn a_body_is_read_no_deeper_than_any_other() {
        let nested = |depth: usize| format!(r#"{{"ids":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(matches!(NewRedrive::read(nested(63).as_bytes()), Err(Unread::Invalid(_))));
        for depth in [64, 1_000, 100_000] {
            assert!(matches!(NewRedrive::read(nested(depth).as_bytes()), Err(Unread::TooDeep)), "{depth}");
        }
        for broken in ["", "{", "{} {}"] {
            assert!(matches!(NewRedrive::read(broken.as_bytes()), Err(Unread::Malformed(_))), "{broken}");
        }
    }
}
