//! Figures with their budgets, as a table and as JSON.

use serde_json::{Value, json};

use crate::http::Sample;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// No promise is made.
    None,
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// One figure.
#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    budget: Budget,
}

impl Figure {
    const fn is_met(&self) -> Option<bool> {
        match self.budget {
            Budget::None => None,
            Budget::AtLeast(bound) => Some(self.value >= bound),
            Budget::AtMost(bound) => Some(self.value <= bound),
        }
    }

    /// Ratios hold on every machine and gate; absolute figures only tell about this one.
    fn is_gate(&self) -> bool {
        self.unit == RATIO
    }

    fn line(&self) -> String {
        format!("{:<52} {:>15}  {}", self.name, self.amount(), self.verdict()).trim_end().to_owned()
    }

    fn amount(&self) -> String {
        let number = match self.value {
            value if value >= 100.0 => format!("{value:.0}"),
            value if value >= 10.0 => format!("{value:.1}"),
            value if value >= 0.1 => format!("{value:.2}"),
            value => format!("{value:.4}"),
        };
        format!("{number} {:<2}", self.unit)
    }

    fn verdict(&self) -> String {
        let budget = match self.budget {
            Budget::None => return String::new(),
            Budget::AtLeast(bound) => format!("at least {bound}"),
            Budget::AtMost(bound) => format!("at most {bound}"),
        };
        match (self.is_met(), self.is_gate()) {
            (Some(false), true) => format!("{budget}: NOT MET, a gate"),
            (Some(false), false) => format!("{budget}: not met"),
            _ => format!("{budget}: met"),
        }
    }
}

/// Unit of what is compared within one run.
pub const RATIO: &str = "x";

/// Every figure of a run.
#[derive(Debug)]
pub struct Figures {
    all: Vec<Figure>,
    judged: bool,
}

impl Figures {
    /// None yet. Those of a debug build are not judged.
    pub const fn new(judged: bool) -> Self {
        Self { all: Vec::new(), judged }
    }

    /// Notes a figure; returns the line that shows it.
    pub fn record(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        budget: Budget,
    ) -> String {
        let budget = if self.judged { budget } else { Budget::None };
        let figure = Figure { name: name.into(), value, unit, budget };
        let line = figure.line();
        self.all.push(figure);
        line
    }

    /// Notes rate, median and 99th percentile of a sample; returns the line that shows them.
    pub fn sample(&mut self, name: &str, sample: &Sample, budgets: (Budget, Budget)) -> String {
        self.record(format!("{name}: rate"), sample.rate(), "/s", budgets.0);
        self.record(format!("{name}: p50"), sample.within_ms((50, 100)), "ms", Budget::None);
        self.record(format!("{name}: p99"), sample.within_ms((99, 100)), "ms", budgets.1);
        let [.., rate, p50, p99] = self.all.as_slice() else { return String::new() };
        let verdicts = [rate.verdict(), p99.verdict()].join("  ");
        let amounts = [rate, p50, p99].map(Figure::amount);
        let line = format!(
            "{name:<52} {:>15}  p50 {:>8}  p99 {:>8}  {verdicts}",
            amounts[0], amounts[1], amounts[2]
        );
        line.trim_end().to_owned()
    }

    /// Names of the ratios outside their budget.
    pub fn missed(&self) -> Vec<String> {
        let missed =
            self.all.iter().filter(|figure| figure.is_gate() && figure.is_met() == Some(false));
        missed.map(|figure| figure.name.clone()).collect()
    }

    /// All of them.
    pub fn json(&self) -> Value {
        let figures = self.all.iter().map(|figure| {
            json!({
                "name": figure.name, "value": figure.value, "unit": figure.unit,
                "gate": figure.is_gate() && figure.is_met().is_some(), "met": figure.is_met(),
            })
        });
        Value::Array(figures.collect())
    }
}
