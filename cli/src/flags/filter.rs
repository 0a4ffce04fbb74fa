//! Which dead letters: flags named like the parameters of the API.

use api::{DeadLetterFilter, Reason, Word};
use clap::{Args, builder::PossibleValuesParser};
use jiff::Timestamp;

use super::time;

/// Which dead letters.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterArgs {
    /// The destination they failed at
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Why they were dead-lettered
    #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Option<String>,
    /// The status code of the last response
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=999))]
    status_code: Option<u16>,
    /// Part of the last error message
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// The order they belong to
    #[arg(long, value_name = "ID")]
    order_id: Option<String>,
    /// Failed at or after this time; 2h means two hours ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Failed before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Archived dead letters instead of the others
    #[arg(long)]
    archived: bool,
}

impl FilterArgs {
    /// As part of a request for a redrive.
    pub(crate) fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter {
            destination: self.destination.clone(),
            reason: self.reason.clone().map(Word::Other),
            status_code: self.status_code,
            error: self.error.clone(),
            order_id: self.order_id.clone(),
            from: self.from,
            to: self.to,
            archived: self.archived.then_some(true),
        }
    }

    /// As parameters of a query, named like the members of the filter.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let DeadLetterFilter { destination, reason, status_code, error, order_id, from, to, archived } = self.filter();
        let all = [
            ("destination", destination),
            ("reason", reason.map(|reason| reason.to_string())),
            ("status_code", status_code.map(|code| code.to_string())),
            ("error", error),
            ("order_id", order_id),
            ("from", from.map(|time| time.to_string())),
            ("to", to.map(|time| time.to_string())),
            ("archived", archived.map(|archived| archived.to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Whether no flag is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.filter() == DeadLetterFilter::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_the_same_in_a_query_and_in_a_redrive() {
        let filter = FilterArgs {
            destination: Some("north".into()),
            reason: Some("rejected".into()),
            status_code: Some(422),
            from: Some("2026-11-24T06:00:00Z".parse().unwrap()),
            ..FilterArgs::default()
        };
        assert!(!filter.is_empty() && FilterArgs::default().is_empty());
        let wanted = [
            ("destination", "north"),
            ("reason", "rejected"),
            ("status_code", "422"),
            ("from", "2026-11-24T06:00:00Z"),
        ];
        assert_eq!(filter.query(), wanted.map(|(name, value)| (name, value.to_owned())));
        let wanted = json!({"destination": "north", "reason": "rejected", "status_code": 422,
                            "from": "2026-11-24T06:00:00Z"});
        assert_eq!(serde_json::to_value(filter.filter()).unwrap(), wanted);
    }
}
