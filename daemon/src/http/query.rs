//! Converts the query of a URL to the fields of a request, so that the protocol's parser checks queries as well as JSON.

use serde_json::{Map, Value, json};
use tbtoken_proto as proto;

/// The fields of a filter that are no lists.
const FILTER_FIELDS: [&str; 2] = ["sort", "limit"];

/// Makes a `status` request from a query: `customers=none`, `customers=ID,ID`, `since=REV`, or the parts of a filter.
pub(super) fn status(query: &str) -> Result<proto::Envelope, proto::Refusal> {
    let (mut fields, mut filter) = (Map::new(), Map::new());
    for (name, value) in pairs(query) {
        match name.as_str() {
            "customers" if value == "none" => fields.insert(name, value.into()),
            "customers" | "status" | "state" => {
                let list: Vec<&str> = value.split(',').filter(|part| !part.is_empty()).collect();
                let fields = if name == "customers" { &mut fields } else { &mut filter };
                fields.insert(name, list.into())
            }
            // A text of digits stays as it was typed.
            "text" => filter.insert(name, value.into()),
            known if FILTER_FIELDS.contains(&known) => filter.insert(name, number_or_text(value)),
            _ => fields.insert(name, number_or_text(value)),
        };
    }
    if !filter.is_empty() {
        if fields.contains_key("customers") {
            let error = "the query has either customers or a filter, not both";
            return Err(proto::Refusal::new(proto::ErrorCode::BadRequest, error));
        }
        fields.insert("customers".to_owned(), json!({ "match": filter }));
    }
    request("status", fields)
}

/// Makes an `events` request from a query.
pub(super) fn events(query: &str) -> Result<proto::Envelope, proto::Refusal> {
    let fields = pairs(query).map(|(name, value)| (name, number_or_text(value)));
    request("events", fields.collect())
}

fn request(action: &str, mut fields: Map<String, Value>) -> Result<proto::Envelope, proto::Refusal> {
    fields.insert("action".to_owned(), action.into());
    proto::Envelope::from_fields(fields).map_err(|(_, refusal)| refusal)
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned()
}

fn number_or_text(value: String) -> Value {
    value.parse::<u64>().map_or(Value::String(value), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_digits_is_searched_as_it_was_typed() {
        for typed in ["007", "%2B5", "12"] {
            let expected = proto::Envelope::from_fields(
                json!({ "action": "status", "customers": { "match": { "text": typed.replace("%2B", "+") } } })
                    .as_object()
                    .unwrap()
                    .clone(),
            );
            assert_eq!(status(&format!("text={typed}")).unwrap(), expected.unwrap());
        }
    }
}
