//! Which lines are requests, and how the daemon refuses those that are not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use tbtoken_proto::{
    Answer, DEFAULT_EVENTS, Envelope, ErrorCode, Id, Refresh, Request, Revision, Rows, Seq, StatusQuery,
};

fn request(line: &str) -> Request {
    Envelope::parse(line).unwrap_or_else(|(_, refusal)| panic!("{line}: {refusal:?}")).request
}

/// Each bad line is refused with this code, and the text names what is wrong.
#[test]
fn bad_lines_are_refused_with_a_reason() {
    use ErrorCode::{BadRequest, UnknownAction};
    let cases = [
        ("", BadRequest, "not JSON"),
        ("   ", BadRequest, "not JSON"),
        ("status", BadRequest, "not JSON"),
        ("{", BadRequest, "not JSON"),
        (r#"{"action":"status"} {"action":"stop"}"#, BadRequest, "not JSON"),
        ("{\"action\":\"sta\0tus\"}", BadRequest, "not JSON"),
        ("{'action':'status'}", BadRequest, "not JSON"),
        ("null", BadRequest, "no object"),
        ("7", BadRequest, "no object"),
        (r#""status""#, BadRequest, "no object"),
        (r#"["status"]"#, BadRequest, "no object"),
        (
            "{}",
            BadRequest,
            "action is missing; use one of status, start, stop, refresh, events, version, metrics, reload",
        ),
        (r#"{"customers":"none"}"#, BadRequest, "action is missing"),
        (r#"{"Action":"status"}"#, BadRequest, "action is missing"),
        (r#"{"action":null}"#, BadRequest, "action must be a string"),
        (r#"{"action":7}"#, BadRequest, "action must be a string"),
        (r#"{"action":["status"]}"#, BadRequest, "action must be a string"),
        (r#"{"action":""}"#, UnknownAction, "unknown action \"\""),
        (r#"{"action":"refesh"}"#, UnknownAction, "unknown action \"refesh\"; use one of status,"),
        (r#"{"action":"Status"}"#, UnknownAction, "unknown action \"Status\""),
        (r#"{"action":"status\u001b[2J"}"#, UnknownAction, "unknown action \"status\\u{1b}[2J\""),
        (r#"{"action":"status","id":null}"#, BadRequest, "id must be a string or a number"),
        (r#"{"action":"status","id":true}"#, BadRequest, "id must be a string or a number"),
        (r#"{"action":"status","id":[1]}"#, BadRequest, "id must be a string or a number"),
        (r#"{"action":"status","id":{}}"#, BadRequest, "id must be a string or a number"),
        (r#"{"action":"status","x":1}"#, BadRequest, "status is not understood: unknown field `x`"),
        (r#"{"action":"status","custmers":"none"}"#, BadRequest, "unknown field `custmers`"),
        (r#"{"action":"start","x":1}"#, BadRequest, "start is not understood: unknown field `x`"),
        (r#"{"action":"stop","x":1}"#, BadRequest, "stop is not understood: unknown field `x`"),
        (
            r#"{"action":"refresh","hurry":true}"#,
            BadRequest,
            "refresh is not understood: unknown field `hurry`",
        ),
        (r#"{"action":"events","n":1}"#, BadRequest, "events is not understood: unknown field `n`"),
        (r#"{"action":"version","x":1}"#, BadRequest, "version is not understood: unknown field `x`"),
        (r#"{"action":"start","customers":["a"]}"#, BadRequest, "unknown field `customers`"),
        (
            r#"{"action":"status","customers":"all"}"#,
            BadRequest,
            "customers must be \"none\", {\"in_trouble\":N}, {\"match\":{…}} or a list",
        ),
        (
            r#"{"action":"status","customers":7}"#,
            BadRequest,
            "customers must be \"none\", {\"in_trouble\":N}, {\"match\":{…}} or a list",
        ),
        (r#"{"action":"status","customers":["a",7]}"#, BadRequest, "invalid type: integer `7`"),
        (r#"{"action":"status","since":-1}"#, BadRequest, "invalid value: integer `-1`"),
        (r#"{"action":"status","since":1.5}"#, BadRequest, "invalid type: floating point `1.5`"),
        (r#"{"action":"status","since":"1"}"#, BadRequest, "invalid type: string \"1\""),
        (r#"{"action":"status","customers":{}}"#, BadRequest, "expected map with a single key"),
        (r#"{"action":"status","customers":{"in_trouble":"2"}}"#, BadRequest, "invalid type: string \"2\""),
        (
            r#"{"action":"status","customers":{"in_trouble":2,"x":1}}"#,
            BadRequest,
            "expected map with a single key",
        ),
        (r#"{"action":"status","customers":{"x":1}}"#, BadRequest, "expected `in_trouble` or `match`"),
        (r#"{"action":"status","customers":{"match":{"txt":""}}}"#, BadRequest, "unknown field `txt`"),
        (
            r#"{"action":"status","customers":{"match":{"sort":"user"}}}"#,
            BadRequest,
            "unknown variant `user`",
        ),
        (
            r#"{"action":"status","customers":{"match":{"state":["x"]}}}"#,
            BadRequest,
            "unknown status or state",
        ),
        (
            r#"{"action":"status","customers":{"match":{"status":["x"]}}}"#,
            BadRequest,
            "unknown status or state",
        ),
        (r#"{"action":"status","customers":{"match":{"limit":1001}}}"#, BadRequest, "between 1 and 1000"),
        (r#"{"action":"status","customers":{"match":{}},"since":7}"#, BadRequest, "either match or since"),
        (
            r#"{"action":"status","customers":{"in_trouble":0}}"#,
            BadRequest,
            "in_trouble must be between 1 and 1000",
        ),
        (
            r#"{"action":"status","customers":{"in_trouble":1001}}"#,
            BadRequest,
            "in_trouble must be between 1 and 1000",
        ),
        (
            r#"{"action":"status","customers":{"in_trouble":1},"since":7}"#,
            BadRequest,
            "either in_trouble or since",
        ),
        (r#"{"action":"refresh","customers":"8F1C"}"#, BadRequest, "invalid type: string \"8F1C\""),
        (r#"{"action":"refresh","customers":[null]}"#, BadRequest, "invalid type: null"),
        (r#"{"action":"refresh","customers":[]}"#, BadRequest, "customers is empty"),
        (r#"{"action":"refresh","all":1}"#, BadRequest, "invalid type: integer `1`"),
        (r#"{"action":"refresh","wait":"no"}"#, BadRequest, "invalid type: string \"no\""),
        (r#"{"action":"refresh","customers":["a"],"all":true}"#, BadRequest, "either customers or all"),
        (r#"{"action":"refresh","force":true}"#, BadRequest, "force needs customers"),
        (r#"{"action":"refresh","all":true,"force":true}"#, BadRequest, "force needs customers"),
        (r#"{"action":"events","since":-1}"#, BadRequest, "invalid value: integer `-1`"),
        (r#"{"action":"events","limit":0}"#, BadRequest, "limit must be between 1 and 1000"),
        (r#"{"action":"events","limit":1001}"#, BadRequest, "limit must be between 1 and 1000"),
        (r#"{"action":"events","limit":-1}"#, BadRequest, "invalid value: integer `-1`"),
        (r#"{"action":"events","limit":null}"#, BadRequest, "invalid type: null"),
    ];
    for (line, code, piece) in cases {
        let (_, refusal) = Envelope::parse(line).expect_err(line);
        assert_eq!(refusal.code, code, "{line}: {refusal:?}");
        assert!(refusal.error.contains(piece), "{line}: {piece:?} is not in {:?}", refusal.error);
        assert!(!refusal.error.contains('\u{1b}'), "{line}: a control character in the error");
    }
}

#[test]
fn a_list_in_a_list_without_end_is_refused() {
    let line = format!("{{\"action\":{}", "[".repeat(60_000));
    let (_, refusal) = Envelope::parse(&line).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::BadRequest);
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(request(r#"{"action":"status"}"#), Request::Status(StatusQuery::default()));
    assert_eq!(request(r#"{"action":"status","customers":null}"#), Request::Status(StatusQuery::default()));
    assert_eq!(
        request(r#"{"action":"refresh"}"#),
        Request::Refresh(Refresh { customers: None, all: false, force: false, wait: true })
    );
    assert_eq!(request(r#"{"action":"events"}"#), Request::Events { since: None, limit: DEFAULT_EVENTS });
    assert_eq!(
        request(r#"{"action":"events","since":3,"limit":1}"#),
        Request::Events { since: Some(Seq(3)), limit: 1 }
    );
    assert_eq!(
        request(r#" {"since":9, "customers":["a"], "action":"status"} "#),
        Request::Status(StatusQuery {
            customers: Rows::Only(vec!["a".to_owned()]),
            since: Some(Revision(9))
        })
    );
    // `all: false` beside names is not a contradiction.
    assert_eq!(
        request(r#"{"action":"refresh","customers":["a"],"all":false}"#),
        Request::Refresh(Refresh { customers: Some(vec!["a".to_owned()]), ..Refresh::default() })
    );
}

/// A client that sends requests ahead needs the id most when one of them is refused.
#[test]
fn a_refusal_still_knows_the_id() {
    for (line, id) in [
        (r#"{"id":7,"action":"refesh"}"#, Some(Id::Number(7.into()))),
        (r#"{"action":"start","x":1,"id":"a"}"#, Some(Id::Text("a".to_owned()))),
        (r#"{"id":-2}"#, Some(Id::Number((-2).into()))),
        (r#"{"id":[],"action":"start"}"#, None),
        (r#"{"action":"refesh"}"#, None),
        (r#"{"id":7"#, None),
    ] {
        let (found, _) = Envelope::parse(line).expect_err(line);
        assert_eq!(found, id, "{line}");
    }
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    let steer = r#"{"success":true,"message":"the loop is stopped"}"#;
    for (line, request) in [
        (steer, Request::Version {}),
        (steer, Request::Stop {}),
        (r#"{"message":"no success"}"#, Request::Version {}),
        (r#"{"success":"true"}"#, Request::Version {}),
        (r#"{"success":false}"#, Request::Version {}),
        (r#"{"success":false,"error":"no code"}"#, Request::Version {}),
        ("HTTP/1.1 400 Bad Request", Request::Version {}),
        ("", Request::Version {}),
    ] {
        assert!(Answer::parse(line, &request).is_err(), "{line}");
    }
}

fn any_id() -> impl Strategy<Value = Option<Id>> {
    prop_oneof![
        Just(None),
        any::<i64>().prop_map(|n| Some(Id::Number(n.into()))),
        any::<u64>().prop_map(|n| Some(Id::Number(n.into()))),
        any::<String>().prop_map(|text| Some(Id::Text(text))),
    ]
}

fn names(at_least: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any::<String>(), at_least..5)
}

fn any_rows() -> impl Strategy<Value = Rows> {
    prop_oneof![
        Just(Rows::All),
        Just(Rows::None),
        (1..=1000_usize).prop_map(Rows::InTrouble),
        names(0).prop_map(Rows::Only)
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let customers_or_all = prop_oneof![
        Just((None, false)),
        Just((None, true)),
        names(1).prop_map(|names| (Some(names), false)),
    ];
    prop_oneof![
        (any_rows(), any::<Option<u64>>()).prop_map(|(customers, since)| {
            let since = since.filter(|_| !matches!(customers, Rows::InTrouble(_)));
            Request::Status(StatusQuery { customers, since: since.map(Revision) })
        }),
        Just(Request::Start {}),
        Just(Request::Stop {}),
        (customers_or_all, any::<bool>(), any::<bool>()).prop_map(|((customers, all), wait, force)| {
            Request::Refresh(Refresh { force: force && customers.is_some(), customers, all, wait })
        }),
        (any::<Option<u64>>(), 1..=1000_usize)
            .prop_map(|(since, limit)| Request::Events { since: since.map(Seq), limit }),
        Just(Request::Version {}),
    ]
}

/// JSON that is nearly a request: the right names with any values.
fn nearly_a_request() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "status|start|stop|refresh|events|version|none|.*".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    let name = "action|id|customers|since|limit|all|wait|[a-z]{1,3}";
    prop::collection::hash_map(name, value, 0..6)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(line in any::<String>()) {
        let _ = Envelope::parse(&line);
        let _ = Answer::parse(&line, &Request::Version {});
    }

    #[test]
    fn no_json_makes_the_parser_panic(value in nearly_a_request()) {
        let line = value.to_string();
        match Envelope::parse(&line) {
            Ok(envelope) => {
                let again = Envelope::parse(&serde_json::to_string(&envelope).unwrap());
                prop_assert_eq!(again, Ok(envelope));
            }
            Err((_, refusal)) => prop_assert!(!refusal.error.is_empty()),
        }
        let _ = Answer::parse(&line, &Request::Status(StatusQuery::default()));
    }

    #[test]
    fn requests_survive_the_wire(id in any_id(), request in any_request()) {
        let envelope = Envelope { id, request };
        let line = serde_json::to_string(&envelope).unwrap();
        prop_assert!(!line.contains('\n'), "one request is one line");
        prop_assert_eq!(Envelope::parse(&line), Ok(envelope));
    }
}
