//! The dashboard, the alert rules and the list of metrics against what a process really shows.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lampyrid_tests::{Cluster, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
/// Labels that Prometheus gives to whatever it scrapes.
const OF_THE_SCRAPER: [&str; 2] = ["instance", "job"];

/// What a process shows: the type of each metric, and the values of each label of each series name.
#[derive(Default)]
struct Shown {
    types: BTreeMap<String, String>,
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Shown {
    fn parse(text: &str) -> Self {
        let mut shown = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').expect("a name and a type");
                shown.types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let name: String = line.chars().take_while(|c| is_of_a_name(*c)).collect();
                let labels = shown.series.entry(name.clone()).or_default();
                for (label, _, value) in matchers(&line[name.len()..]) {
                    labels.entry(label).or_default().insert(value);
                }
            }
        }
        shown
    }

    /// The names of the series of a metric.
    fn series_of(&self, metric: &str) -> Vec<String> {
        match self.types[metric].as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{metric}{end}")).into(),
            _ => vec![metric.to_owned()],
        }
    }

    fn labels_of(&self, metric: &str) -> BTreeSet<&str> {
        let first = &self.series[self.series_of(metric).last().expect("one at least")];
        first.keys().map(String::as_str).collect()
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Every name of a metric in the text, each with what follows it.
fn names(text: &str) -> Vec<(&str, &str)> {
    text.match_indices("lampyrid_")
        .filter(|(at, _)| !text[..*at].ends_with(is_of_a_name))
        .map(|(at, _)| {
            let rest = &text[at..];
            rest.split_at(rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len()))
        })
        .collect()
}

/// `{label="value",...}` at the beginning of the text: label, operator and value of each.
fn matchers(text: &str) -> Vec<(String, String, String)> {
    let Some(mut rest) = text.strip_prefix('{') else { return Vec::new() };
    let mut all = Vec::new();
    while !rest.starts_with('}') {
        let (left, tail) = rest.split_once('"').expect("a quoted value");
        let (value, tail) = tail.split_once('"').expect("its end");
        let label: String = left.chars().take_while(|c| is_of_a_name(*c)).collect();
        all.push((label.clone(), left[label.len()..].to_owned(), value.to_owned()));
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    all
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).map(|rest| rest.split(close).next().unwrap_or(rest)).collect()
}

/// What is wrong with a piece of text that holds expressions and what is said about their result.
fn faults(piece: &str, shown: &Shown) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known: BTreeSet<&str> = OF_THE_SCRAPER.into();
    for (name, rest) in names(piece) {
        let Some(labels) = shown.series.get(name) else {
            faults.push(format!("{name} is not shown"));
            continue;
        };
        known.extend(labels.keys().map(String::as_str));
        for (label, operator, value) in matchers(rest) {
            if OF_THE_SCRAPER.contains(&label.as_str()) {
                continue;
            }
            let values: BTreeSet<&str> = match operator.as_str() {
                "=~" | "!~" => value.split('|').collect(),
                _ => BTreeSet::from([value.as_str()]),
            };
            let there = labels.get(&label);
            for value in values {
                if !there.is_some_and(|there| there.contains(value)) {
                    faults.push(format!("{name} has no {label}=\"{value}\""));
                }
            }
        }
    }
    let mut named: Vec<&str> = Vec::new();
    for list in [" by (", " without (", " on ("].map(|open| between(piece, open, ")")).concat() {
        named.extend(list.split(',').map(str::trim));
    }
    // Legends of the dashboard, annotations of alerts.
    for inner in between(piece, "{{", "}}").into_iter().map(str::trim) {
        match inner.strip_prefix('$') {
            Some("value") => {}
            Some(rest) => named.push(rest.strip_prefix("labels.").unwrap_or(inner)),
            None => named.push(inner),
        }
    }
    for label in named {
        if !known.contains(label) {
            faults.push(format!("the label {label} is on none of the metrics in: {piece}"));
        }
    }
    faults
}

/// Each target of each panel, and the queries of the variables.
fn dashboard_pieces(value: &Value, pieces: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(expr) = fields.get("expr").and_then(Value::as_str) {
                let legend = fields["legendFormat"].as_str().expect("a legend");
                pieces.push(format!("{expr} {legend}"));
            } else if let Some(query) = fields.get("query").and_then(Value::as_str) {
                pieces.push(query.to_owned());
            }
            fields.values().for_each(|inner| dashboard_pieces(inner, pieces));
        }
        Value::Array(all) => all.iter().for_each(|inner| dashboard_pieces(inner, pieces)),
        _ => {}
    }
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::fs::read_to_string(root.join(path)).expect(path)
}

/// A cluster of two in which an entity was moved there and back.
fn shown() -> Shown {
    let cluster = Cluster::start(BINARY, 2);
    let bubbles = [0, 1].map(|at| cluster.admin(at).bubbles_of(&cluster.node(at).id()).remove(0));
    let body = json!({ "bubble": bubbles[0], "state": 1 });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();
    for (from, to) in [(0, 1), (1, 0)] {
        let moved = cluster.admin(from).migrate(&[&entity], &bubbles[to], 10_000);
        let moved = moved.expect("an answer");
        assert_eq!(moved.body["entities"][0]["outcome"], "committed", "{moved:?}");
    }
    let text = eventually("a scrape with all figures", || {
        let text = cluster.admin(0).text("/metrics")?;
        text.contains("lampyrid_migrations_committed_total 1").then_some(text)
    });
    Shown::parse(&text.0)
}

#[test]
fn dashboard_alerts_and_documentation_name_what_is_there() {
    let shown = shown();
    let mut wrong = Vec::new();

    let dashboard = read("docs/grafana/dashboard.json");
    let parsed: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut pieces = Vec::new();
    dashboard_pieces(&parsed, &mut pieces);
    assert!(pieces.len() > 30, "{pieces:?}");
    let named: usize = pieces.iter().map(|piece| names(piece).len()).sum();
    assert_eq!(named, names(&dashboard).len(), "all names are in targets and variables");
    wrong.extend(pieces.iter().flat_map(|piece| faults(piece, &shown)));

    let alerts = read("docs/prometheus/alerts.yaml");
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        wrong.extend(faults(rule, &shown));
        for field in ["expr: ", "for: ", "severity: ", "summary: "] {
            if !rule.contains(field) {
                wrong.push(format!("no {field}in {rule}"));
            }
        }
    }

    // Each metric is one row: name, type, labels, meaning.
    let page = read("docs/observability.md");
    let mut listed = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `lampyrid_")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels: BTreeSet<&str> =
            cells[2].split(',').map(|label| label.trim().trim_matches('`')).collect();
        let labels: BTreeSet<&str> = labels.into_iter().filter(|label| !label.is_empty()).collect();
        let twice = listed.insert(cells[0].trim_matches('`').to_owned(), (cells[1], labels));
        assert!(twice.is_none() && cells.len() == 4 && !cells[3].is_empty(), "{row}");
    }
    for (name, kind) in &shown.types {
        let (series, labels) = (shown.series_of(name), shown.labels_of(name));
        assert!(series.iter().all(|series| shown.series.contains_key(series)), "{name}");
        match listed.get(name) {
            None => wrong.push(format!("docs/observability.md lacks {name}")),
            Some(row) if *row == (kind.as_str(), labels.clone()) => {}
            Some(row) => wrong.push(format!("{name} is a {kind} with {labels:?}, not {row:?}")),
        }
    }
    for (name, _) in names(&page) {
        // Levels of logs are set by the names of crates.
        let is_target = page.contains(&format!("{name}=debug"));
        if !is_target && !shown.types.contains_key(name) && !shown.series.contains_key(name) {
            wrong.push(format!("docs/observability.md: {name} is not shown"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
