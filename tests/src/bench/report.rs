//! The report of the figures: tables for people, JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::asking::Latencies;

/// The figures of one run of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    scenario: String,
    store: String,
    /// The options of the run: the number of customers, servers and so on.
    setup: Map<String, Value>,
    figures: Vec<Figure>,
}

/// One number.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    key: String,
    #[serde(skip)]
    label: String,
    value: f64,
    unit: Unit,
    /// The least value that the work itself needs, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<f64>,
}

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "MB")]
    Megabytes,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "")]
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Microseconds => format!("{value:.0} µs"),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Percent => format!("{value:.2} %"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl Report {
    pub(super) fn new(scenario: &str, store: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            store: store.to_owned(),
            setup: Map::new(),
            figures: Vec::new(),
        }
    }

    /// Adds an option of the run.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.setup.insert(key.to_owned(), value.into());
    }

    /// Adds a number.
    pub(super) fn add(&mut self, key: &str, label: &str, unit: Unit, value: f64) {
        self.push(key, label, unit, value, None);
    }

    /// Adds a number of things.
    pub(super) fn count(&mut self, key: &str, label: &str, count: u64) {
        self.add(key, label, Unit::Count, count as f64);
    }

    /// Adds a time, and the least time of the work itself.
    pub(super) fn time(&mut self, key: &str, label: &str, time: Duration, bound: Option<Duration>) {
        let bound = bound.map(|bound| bound.as_secs_f64());
        self.push(key, label, Unit::Seconds, time.as_secs_f64(), bound);
    }

    /// Adds the times that 50 % and 99 % of the answers did not exceed.
    pub(super) fn latencies(&mut self, key: &str, label: &str, latencies: &Latencies) {
        for percent in [50, 99] {
            let milliseconds = latencies.at(percent).as_secs_f64() * 1000.0;
            self.add(
                &format!("{key}_p{percent}"),
                &format!("{label}, p{percent}"),
                Unit::Milliseconds,
                milliseconds,
            );
        }
    }

    fn push(&mut self, key: &str, label: &str, unit: Unit, value: f64, bound: Option<f64>) {
        // Nanoseconds and bytes are precise enough for JSON as well.
        let round = |value: f64| (value * 1e6).round() / 1e6;
        let (key, label) = (key.to_owned(), label.to_owned());
        self.figures.push(Figure { key, label, unit, value: round(value), bound: bound.map(round) });
    }

    fn title(&self) -> String {
        let mut title = format!("{} on {}", self.scenario, self.store);
        for (key, value) in &self.setup {
            write!(title, ", {} {value}", key.replace('_', " ")).unwrap();
        }
        title
    }

    fn find(&self, key: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.key == key)
    }
}

/// Prints them: JSON as one document, or tables. Reports of one scenario stand side by side.
pub(super) fn print(reports: &[Report], json: bool) {
    if json {
        println!("{}", json!({ "machine": machine(), "reports": reports }));
        return;
    }
    match reports {
        [] => {}
        [report] => print!("{}", alone(report)),
        [first, ..] => print!("{}", side_by_side(reports, &first.scenario)),
    }
}

/// Describes the machine, without which the numbers mean little.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "version": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

fn alone(report: &Report) -> String {
    let mut text = format!("{}\n", report.title());
    for figure in &report.figures {
        let value = figure.unit.show(figure.value);
        write!(text, "  {:<40} {value:>12}", figure.label).unwrap();
        if let Some(bound) = figure.bound {
            let times = figure.value / bound;
            write!(text, "   the work itself: {}, so {times:.2} times that", figure.unit.show(bound))
                .unwrap();
        }
        text.push('\n');
    }
    text
}

fn side_by_side(reports: &[Report], scenario: &str) -> String {
    let mut text = format!("{scenario}\n");
    let columns: Vec<String> = reports.iter().map(Report::title).collect();
    for (number, column) in columns.iter().enumerate() {
        writeln!(text, "  {}: {column}", number + 1).unwrap();
    }
    let mut line = |label: &str, cells: Vec<String>| {
        write!(text, "  {label:<40}").unwrap();
        for cell in cells {
            write!(text, " {cell:>14}").unwrap();
        }
        text.push('\n');
    };
    line("", (1..=reports.len()).map(|number| format!("({number})")).collect());
    for figure in &reports[0].figures {
        let values = |of: fn(&Figure) -> Option<f64>| {
            let cell = |report: &Report| {
                let value = report.find(&figure.key).and_then(of);
                value.map_or_else(|| "-".to_owned(), |value| figure.unit.show(value))
            };
            reports.iter().map(cell).collect()
        };
        line(&figure.label, values(|figure| Some(figure.value)));
        if figure.bound.is_some() {
            line("  the work itself", values(|figure| figure.bound));
        }
    }
    text
}
