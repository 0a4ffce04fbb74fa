//! Which dead letters are meant: flags named like the parameters of the API.

use clap::{Args, builder::PossibleValuesParser};
use common::outcome::Reason;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::instant;

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct Filter {
    /// The destination's name
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Why they were dead-lettered
    #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Option<String>,
    /// The status of the last answer
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=999))]
    status_code: Option<u16>,
    /// A part of the last error's text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Their order
    #[arg(long, value_name = "ID")]
    order_id: Option<String>,
    /// Failed at this time or later; 2h is two hours ago
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Failed before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// Those that were put aside, instead of the others
    #[arg(long)]
    archived: bool,
}

impl Filter {
    /// As parameters of a query.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.members().into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    /// As the member of a redrive.
    pub(crate) fn json(&self) -> Map<String, Value> {
        self.members().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    fn members(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string().into());
        let all = [
            ("destination", text(&self.destination)),
            ("reason", text(&self.reason)),
            ("status_code", self.status_code.map(Value::from)),
            ("error", text(&self.error)),
            ("order_id", text(&self.order_id)),
            ("from", time(self.from)),
            ("to", time(self.to)),
            ("archived", self.archived.then_some(Value::Bool(true))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_the_same_in_a_query_and_in_a_redrive() {
        let filter = Filter {
            destination: Some("north".into()),
            status_code: Some(422),
            from: Some("2026-11-24T06:00:00Z".parse().unwrap()),
            ..Filter::default()
        };
        assert!(!filter.is_empty() && Filter::default().is_empty());
        let wanted = [("destination", "north"), ("status_code", "422"), ("from", "2026-11-24T06:00:00Z")];
        assert_eq!(filter.query(), wanted.map(|(name, value)| (name, value.to_owned())));
        let wanted = json!({"destination": "north", "status_code": 422, "from": "2026-11-24T06:00:00Z"});
        assert_eq!(Value::from(filter.json()), wanted);
    }
}
