//! The samples of `/metrics`.

use std::collections::BTreeMap;

/// The samples of one scrape of the Prometheus text format.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text; other lines than samples are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum of the samples of this name with these labels; 0 if there are none, as for a counter that has not counted
    /// yet.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is a sample of this name with these labels.
    #[must_use]
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// All names, once each.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let fits = move |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|given| given == value);
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(fits)
    }
}

/// `name{label="value",...} number`; label values here hold neither quotes nor commas.
fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect();
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_not_asked_for() {
        let text = "# TYPE calls counter\ncalls_total{api=\"a\",result=\"ok\"} 2\ncalls_total{api=\"b\",result=\"ok\"} 3\nup 1\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("calls_total", &[("result", "ok")]), 5.0);
        assert_eq!(metrics.sum("calls_total", &[("api", "b")]), 3.0);
        assert_eq!(metrics.sum("up", &[]), 1.0);
        assert!(!metrics.has("down", &[]));
    }
}
