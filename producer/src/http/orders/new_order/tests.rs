use serde_json::{Value, json};

use super::*;
use crate::http::edge::{
    faults::MAX_DEPTH,
    json::{self, Unread},
};

fn read(body: &[u8]) -> Result<NewOrder, Unread> {
    json::read::<OrderShape>(body)
}

fn faults(body: impl AsRef<[u8]>) -> Vec<(String, String)> {
    match read(body.as_ref()) {
        Err(Unread::Invalid(faults)) => {
            faults.listed.into_iter().map(|fault| (fault.pointer.unwrap_or_default(), fault.detail)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn malformed(body: impl AsRef<[u8]>) -> String {
    match read(body.as_ref()) {
        Err(Unread::Malformed(words)) => words,
        other => panic!("{other:?}"),
    }
}

fn with_qty(qty: &str) -> String {
    format!(r#"{{"customer_id":"c","items":[{{"product_id":"p","qty":{qty}}}]}}"#)
}

fn with_id(id: &str) -> String {
    json!({"customer_id": id, "items": [{"product_id": "p", "qty": 1}]}).to_string()
}

fn with_items(count: usize) -> String {
    json!({"customer_id": "c", "items": vec![json!({"product_id": "p", "qty": 1}); count]}).to_string()
}

#[track_caller]
fn check(body: impl AsRef<[u8]>, expected: &[(&str, &str)]) {
    let found = faults(body);
    let found: Vec<_> = found.iter().map(|(pointer, detail)| (pointer.as_str(), detail.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_valid_order_is_read_as_it_was_sent() {
    let body =
        "\t{\"items\" : [ {\"qty\":2,\"product_id\":\"\\u00e9 \\\"x\\\"\"} ],\r\n\"customer\\u005fid\":\"c-1\"} ";
    let order = read(body.as_bytes()).unwrap();
    assert_eq!(order.customer_id.as_str(), "c-1");
    assert_eq!(order.items.as_slice()[0].product_id.as_str(), "é \"x\"");
    assert_eq!(order.items.as_slice()[0].qty.get(), 2);
}

#[test]
fn a_quantity_is_a_whole_number_from_1_to_a_million() {
    for valid in ["1", "2", "1000000"] {
        assert!(read(with_qty(valid).as_bytes()).is_ok(), "{valid}");
    }
    let range = "must be between 1 and 1000000";
    let whole = "must be a whole number, without fraction or exponent";
    for (qty, detail) in [
        ("0", range),
        ("-0", range),
        ("-1", range),
        ("1000001", range),
        ("4294967296", range),
        ("18446744073709551615", range),
        ("99999999999999999999", range),
        ("-99999999999999999999", range),
        ("1e300", range),
        ("0.5", range),
        ("1.0", whole),
        ("1.5", whole),
        ("1e3", whole),
        ("\"1\"", "must be a whole number, is a string"),
        ("true", "must be a whole number, is a boolean"),
        ("null", "must be a whole number, is null"),
        ("[1]", "must be a whole number, is an array"),
        ("{\"a\":1}", "must be a whole number, is an object"),
    ] {
        check(with_qty(qty), &[("#/items/0/qty", detail)]);
    }
    for no_json in ["01", "+1", ".5", "1.", "0x1", "NaN", "1e400", "--1"] {
        malformed(with_qty(no_json));
    }
}

#[test]
fn an_id_has_1_to_128_characters_of_any_length_in_bytes() {
    for valid in ["c", " ", &"c".repeat(128), &"é".repeat(128), &"😀".repeat(128), "\u{feff}"] {
        assert!(read(with_id(valid).as_bytes()).is_ok(), "{valid}");
    }
    let pointer = "#/customer_id";
    check(with_id(""), &[(pointer, "must not be empty")]);
    check(with_id(&"c".repeat(129)), &[(pointer, "must have at most 128 characters, has 129")]);
    check(with_id(&"😀".repeat(129)), &[(pointer, "must have at most 128 characters, has 129")]);
    for control in ["a\0", "a\nb", "\u{7f}", "\u{85}", "\u{1b}[31m"] {
        check(with_id(control), &[(pointer, "must not contain control characters")]);
    }
}

#[test]
fn an_order_has_1_to_1000_items() {
    assert!(read(with_items(1).as_bytes()).is_ok());
    assert_eq!(read(with_items(1_000).as_bytes()).unwrap().items.as_slice().len(), 1_000);
    check(with_items(0), &[("#/items", "must have between 1 and 1000 items, has 0")]);
    check(with_items(1_001), &[("#/items", "must have between 1 and 1000 items, has 1001")]);
}

#[test]
fn every_fault_is_found_at_once() {
    let body = r#"{
        "items": [{"qty": 0}, 7, {"product_id": "", "qty": "x", "colour": "red"}, {"product_id": "p", "qty": 1}],
        "a/b~c d": {"secret": "s3cr3t"},
        "customer_id": null
    }"#;
    check(
        body,
        &[
            ("#/items/0/qty", "must be between 1 and 1000000"),
            ("#/items/0/product_id", "is required"),
            ("#/items/1", "must be an object, is a number"),
            ("#/items/2/product_id", "must not be empty"),
            ("#/items/2/qty", "must be a whole number, is a string"),
            ("#/items/2/colour", "is not a known field; known are product_id and qty"),
            ("#/a~1b~0c%20d", "is not a known field; known are customer_id and items"),
            ("#/customer_id", "must be a string, is null"),
        ],
    );
}

#[test]
fn a_body_of_another_type_is_refused_as_a_whole() {
    for (body, found) in [
        ("null", "null"),
        ("true", "a boolean"),
        ("1", "a number"),
        ("-1.5", "a number"),
        ("\"{}\"", "a string"),
        ("[]", "an array"),
        (r#"["c",[{"product_id":"p","qty":1}]]"#, "an array"),
    ] {
        check(body, &[("#", &format!("must be an object, is {found}"))]);
    }
    check("{}", &[("#/customer_id", "is required"), ("#/items", "is required")]);
    check(r#"{"customer_id":"c","items":[["p",1]]}"#, &[("#/items/0", "must be an object, is an array")]);
    check(r#"{"customer_id":"c","items":{"0":1}}"#, &[("#/items", "must be an array, is an object")]);
}

#[test]
fn a_field_given_twice_is_refused_however_it_is_escaped() {
    let item = r#"{"product_id":"p","qty":1}"#;
    check(
        format!(r#"{{"customer_id":"a","customer\u005fid":"b","items":[{item}]}}"#),
        &[("#/customer_id", "is given more than once")],
    );
    check(
        format!(r#"{{"customer_id":"a","items":[{item}],"items":[]}}"#),
        &[("#/items", "is given more than once"), ("#/items", "must have between 1 and 1000 items, has 0")],
    );
    check(
        r#"{"customer_id":"a","items":[{"product_id":"p","qty":1,"qty":1}]}"#,
        &[("#/items/0/qty", "is given more than once")],
    );
}

#[test]
fn faults_are_listed_up_to_20_and_counted_beyond() {
    let body = json!({"customer_id": "c", "items": vec![0; 1_000]}).to_string();
    match read(body.as_bytes()) {
        Err(Unread::Invalid(faults)) => assert_eq!((faults.listed.len(), faults.omitted), (20, 980)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn broken_json_is_named_with_line_and_column() {
    for (body, words) in [
        ("", "the body is empty"),
        (" \n", "the body is empty"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("{\n  \"customer_id\": ,\n}", "expected value at line 2 column 18"),
        ("{} {}", "trailing characters at line 1 column 4"),
        ("{\"items\":[1,]}", "trailing comma at line 1 column 13"),
        ("{'a':1}", "key must be a string at line 1 column 2"),
        ("{a:1}", "key must be a string at line 1 column 2"),
        ("nul", "EOF while parsing a value at line 1 column 3"),
        ("\u{feff}{}", "JSON must not begin with a byte order mark, at line 1 column 1"),
    ] {
        assert_eq!(malformed(body), words, "{body}");
    }
}

#[test]
fn text_that_is_not_unicode_is_not_json() {
    malformed(r#"{"customer_id":"\ud800","items":[]}"#);
    malformed(r#"{"customer_id":"\udc00\ud800","items":[]}"#);
    malformed(r#"{"\ud800":1}"#);
    malformed(b"{\"customer_id\":\"\xff\"}");
    malformed(b"{\"unknown\":\"\xc3\x28\"}");
    malformed(b"{\"unknown\":{\"\xc3\x28\":1}}");
    malformed(b"\xff\xfe{\x00}\x00");
    malformed("{\"customer_id\":\"a\0b\"}");
    malformed("{\"customer_id\":\"a\tb\"}");
    malformed("\0");
}

#[test]
fn nesting_has_a_limit_wherever_it_is() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    // The body is one level itself.
    let unknown = |depth: usize| format!(r#"{{"unknown":{}}}"#, nested(depth - 1));
    let objects = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    for body in [nested(MAX_DEPTH), unknown(MAX_DEPTH), objects(MAX_DEPTH)] {
        faults(body);
    }
    for depth in [MAX_DEPTH + 1, 127, 128, 129, 10_000, 100_000] {
        for body in [nested(depth), unknown(depth), objects(depth), "[".repeat(depth)] {
            assert!(matches!(read(body.as_bytes()), Err(Unread::TooDeep)), "{depth}");
        }
    }
}

#[test]
fn a_refusal_repeats_nothing_that_was_sent_except_names_of_fields() {
    let secret = "s3cr3t";
    for body in [
        json!({"customer_id": [secret], "items": secret, "other": secret}),
        json!({"customer_id": format!("{secret}\n"), "items": [{"product_id": {"x": secret}, "qty": secret}]}),
        json!(secret),
    ] {
        let found = format!("{:?}", faults(body.to_string()));
        assert!(!found.contains(secret), "{found}");
    }
    assert!(!malformed(format!("{{\"customer_id\":\"{secret}\" x")).contains(secret));
    let name = "n".repeat(100_000);
    assert!(faults(json!({ name: 1 }).to_string())[0].0.len() < 100);
}

/// What serde's derive reads into the types of the API, with the rules checked by hand: another way to
/// the same result.
fn second_reader(body: &[u8]) -> Option<api::NewOrder> {
    let tree: Value = serde_json::from_slice(body).ok()?;
    // The derive takes arrays for objects.
    let items_are_objects = tree.get("items")?.as_array()?.iter().all(Value::is_object);
    let order: api::NewOrder = serde_json::from_slice(body).ok().filter(|_| tree.is_object() && items_are_objects)?;
    let id = |id: &str| (1..=128).contains(&id.chars().count()) && !id.chars().any(char::is_control);
    let valid = id(&order.customer_id)
        && (1..=1_000).contains(&order.items.len())
        && order.items.iter().all(|item| id(&item.product_id) && (1..=1_000_000).contains(&item.qty));
    valid.then_some(order)
}

/// Whether a pointer leads to a value, or to a field that is missing in an object.
fn leads_somewhere(tree: &Value, pointer: &str) -> bool {
    let mut path: Vec<u8> = Vec::new();
    let mut rest = pointer.strip_prefix('#').unwrap().as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            path.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        } else {
            path.push(*first);
        }
    }
    let path = String::from_utf8(path).unwrap();
    let parent = path.rsplit_once('/').and_then(|(parent, _)| tree.pointer(parent));
    tree.pointer(&path).is_some() || parent.is_some_and(Value::is_object)
}

fn check_with_a_second_reader(body: &[u8]) {
    let shown = String::from_utf8_lossy(body);
    let other = second_reader(body);
    let is_json = serde_json::from_slice::<Value>(body).is_ok();
    match read(body) {
        Ok(order) => {
            let other = other.unwrap_or_else(|| panic!("taken, and should not be: {shown}"));
            assert_eq!(order.customer_id.as_str(), other.customer_id, "{shown}");
            let items = order.items.as_slice().iter().map(|item| (item.product_id.as_str(), item.qty.get()));
            assert!(items.eq(other.items.iter().map(|item| (item.product_id.as_str(), item.qty))), "{shown}");
        }
        Err(Unread::Malformed(_)) => assert!(!is_json, "said to be no JSON, and is: {shown}"),
        Err(Unread::TooDeep) => assert!(body.len() > MAX_DEPTH, "{shown}"),
        Err(Unread::Invalid(faults)) => {
            assert!(is_json && other.is_none(), "refused, and should not be: {shown}");
            assert!(!faults.listed.is_empty(), "{shown}");
            let tree: Value = serde_json::from_slice(body).unwrap();
            for fault in faults.listed {
                let pointer = fault.pointer.unwrap();
                assert!(leads_somewhere(&tree, &pointer), "{pointer} leads nowhere in {shown}");
            }
        }
    }
}

/// Reproducible numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    fn one_of<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    fn odd(&mut self) -> String {
        if self.below(12) == 0 {
            return format!("[{}]", self.order());
        }
        let odd = [
            "null",
            "true",
            "0",
            "-1",
            "1.5",
            "1e2",
            "1000001",
            "\"\"",
            "\"x\"",
            "\"\\u0000\"",
            "[]",
            "{}",
            "[[1]]",
            "{\"a\":{\"b\":[]}}",
            "99999999999999999999",
            "\"\\ud83d\\ude00\"",
        ];
        self.one_of(&odd).to_owned()
    }

    fn field(&mut self, name: &str, valid: &str) -> String {
        let name = if self.below(20) == 0 { self.one_of(&["x", "", "QTY", "qty ", "a/b", "~", "é"]) } else { name };
        let value = if self.below(10) == 0 { self.odd() } else { valid.to_owned() };
        format!("\"{name}\":{value}")
    }

    fn object(&mut self, mut fields: Vec<String>) -> String {
        match self.below(12) {
            0 => drop(fields.pop()),
            1 => fields.push(fields[0].clone()),
            2 => fields.reverse(),
            _ => {}
        }
        format!("{{{}}}", fields.join(self.one_of(&[",", " ,\n", ","])))
    }

    fn order(&mut self) -> String {
        let items = (0..self.below(4)).map(|_| {
            let id = self.one_of(&["\"p\"", "\"\\u0070\"", "\"é\"", "\" \""]);
            let qty = self.one_of(&["1", "2", "1000000", "7"]);
            let fields = vec![self.field("product_id", id), self.field("qty", qty)];
            self.object(fields)
        });
        let items = format!("[{}]", items.collect::<Vec<_>>().join(","));
        let fields = vec![self.field("customer_id", "\"c-1\""), self.field("items", &items)];
        self.object(fields)
    }

    fn mutilate(&mut self, body: &mut Vec<u8>) {
        for _ in 0..self.below(3) {
            if body.is_empty() {
                return;
            }
            let at = self.below(body.len());
            match self.below(4) {
                0 => drop(body.remove(at)),
                1 => body[at] = u8::try_from(self.below(256)).unwrap(),
                2 => body.insert(at, b"{}[]\",:\\0-e. "[self.below(13)]),
                _ => body.truncate(at),
            }
        }
    }
}

#[test]
fn every_body_is_judged_as_a_second_reader_judges_it() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..30_000 {
        let mut body = dice.order().into_bytes();
        if round % 2 == 0 {
            dice.mutilate(&mut body);
        }
        check_with_a_second_reader(&body);
        if read(&body).is_ok() { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 3_000 && refused > 3_000, "{taken} taken, {refused} refused: the test has lost its teeth");
}
