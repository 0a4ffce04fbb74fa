//! Which dead letters a redrive sends, and how.

use api::NewRedrive;
use clap::Args;

use crate::{
    exit::Failure,
    flags::{FilterArgs, file},
};

/// The heading in `--help` of the flags that say how to send.
pub(super) const SENDING: &str = "Sending";

/// Which dead letters to send, and how.
#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// Dead letters to send, by id
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// The same as a flag
    #[arg(long = "id", value_name = "ID")]
    more_ids: Vec<String>,
    /// Every dead letter that is not archived
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most this many dead letters per second
    #[arg(long, help_heading = SENDING, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// At most this many in progress at a time
    #[arg(long, help_heading = SENDING, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// Stop when more than this share of the last ones fails again
    #[arg(long, help_heading = SENDING, value_name = "0 to 1", value_parser = share)]
    stop_after_failed_share: Option<f64>,
    /// Send even if the destination may have forgotten the key
    #[arg(long, help_heading = SENDING)]
    force: bool,
    /// Send this body instead, from a file or standard input (-)
    #[arg(long, help_heading = SENDING, value_name = "FILE")]
    body: Option<String>,
    /// Use a new key, so that the destination takes it for a new order
    #[arg(long, help_heading = SENDING, requires = "body")]
    new_key: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number from 0 to 1, such as 0.5".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1".to_owned()) }
}

impl SelectionArgs {
    /// The request for a redrive.
    ///
    /// # Errors
    /// The selection is ambiguous, or the body cannot be read.
    pub(super) fn request(&self) -> Result<NewRedrive, Failure> {
        let ids: Vec<_> = self.ids.iter().chain(&self.more_ids).cloned().collect();
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        match (ids.is_empty(), self.filter.is_empty(), self.all) {
            (true, true, false) => {
                return usage("name dead letters by id, give a filter such as --destination, or --all");
            }
            (false, _, true) | (_, false, true) => return usage("--all excludes ids and filters"),
            (false, false, _) => return usage("give either ids or a filter"),
            _ => {}
        }
        if self.body.is_some() && ids.len() != 1 {
            return usage("--body requires exactly one id: it is the body of one dead letter");
        }
        Ok(NewRedrive {
            filter: ids.is_empty().then(|| self.filter.filter()),
            ids: Some(ids).filter(|ids| !ids.is_empty()),
            dry_run: None,
            rate: self.rate.map(Into::into),
            concurrency: self.concurrency,
            stop_after_failed_share: self.stop_after_failed_share,
            force: self.force.then_some(true),
            body: self.body.as_deref().map(file).transpose()?.map(Into::into),
            new_key: self.new_key.then_some(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selection: SelectionArgs,
    }

    fn request(line: &str) -> Result<NewRedrive, Failure> {
        Line::parse_from(line.split_whitespace()).selection.request()
    }

    fn body(line: &str) -> Value {
        serde_json::to_value(request(line).unwrap()).unwrap()
    }

    #[test]
    fn a_selection_becomes_the_request_of_the_contract() {
        let wanted = json!({"filter": {"destination": "north", "status_code": 422}, "rate": 50, "concurrency": 4,
                            "stop_after_failed_share": 0.5, "force": true});
        let line = "redrive --destination north --status-code 422 --rate 50 --concurrency 4 \
                    --stop-after-failed-share 0.5 --force";
        assert_eq!(body(line), wanted);
        assert_eq!(body("redrive 1 --id 2"), json!({"ids": ["1", "2"]}));
        assert_eq!(body("redrive --all"), json!({"filter": {}}));
        assert_eq!(body("redrive --archived"), json!({"filter": {"archived": true}}));
    }

    #[test]
    fn an_ambiguous_selection_is_a_usage_error() {
        for line in [
            "redrive",
            "redrive --rate 5",
            "redrive 1 --destination north",
            "redrive 1 --all",
            "redrive --destination north --all",
            "redrive 1 2 --body -",
            "redrive --all --body -",
            "redrive 1 --body /no/such/file",
        ] {
            assert!(matches!(request(line), Err(Failure::Usage(_))), "{line}");
        }
    }
}
