//! Figures beside their ideals and goals.

use std::fmt;

use serde_json::{Value, json};

use crate::Result;

/// The unit of what is counted, and of ratios.
pub(crate) const COUNT: &str = "1";

/// Columns of the table's first part.
const WIDTH: usize = 79;

/// One thing that was measured. Less is better, always.
struct Figure {
    what: String,
    measured: f64,
    unit: &'static str,
    /// What nobody could do better, where that is known.
    ideal: Option<f64>,
    /// The most that is good enough; nothing where a figure is only told.
    goal: Option<f64>,
    met: Option<bool>,
}

impl Figure {
    fn times_ideal(&self) -> Option<f64> {
        self.ideal.filter(|ideal| *ideal > 0.0).map(|ideal| self.measured / ideal)
    }
}

/// All that was measured in one run.
pub(crate) struct Report {
    version: &'static str,
    processors: usize,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { version: env!("CARGO_PKG_VERSION"), processors, figures: Vec::new(), notes: Vec::new() }
    }

    /// Takes a figure that has a goal.
    pub(crate) fn goal(&mut self, what: impl Into<String>, measured: f64, unit: &'static str, ideal: f64, goal: f64) {
        self.add(Figure {
            what: what.into(),
            measured,
            unit,
            ideal: Some(ideal),
            goal: Some(goal),
            met: Some(measured <= goal),
        });
    }

    /// Takes a figure that has none.
    pub(crate) fn tell(&mut self, what: impl Into<String>, measured: f64, unit: &'static str, ideal: Option<f64>) {
        self.add(Figure { what: what.into(), measured, unit, ideal, goal: None, met: None });
    }

    fn add(&mut self, figure: Figure) {
        // Who waits for minutes wants to see something.
        eprintln!("{}", Line(&figure));
        self.figures.push(figure);
    }

    /// Takes a remark that the figures need.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// How many goals were missed.
    pub(crate) fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.met == Some(false)).count()
    }

    pub(crate) fn json(&self) -> Result<String> {
        let figure = |figure: &Figure| {
            let Figure { what, measured, unit, ideal, goal, met } = figure;
            json!({
                "what": what, "measured": measured, "unit": unit, "ideal": ideal, "times_ideal": figure.times_ideal(),
                "goal": goal, "met": met,
            })
        };
        let figures: Vec<Value> = self.figures.iter().map(figure).collect();
        let all =
            json!({ "version": self.version, "processors": self.processors, "figures": figures, "notes": self.notes });
        Ok(serde_json::to_string_pretty(&all)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cms {}, {} processors", self.version, self.processors)?;
        writeln!(f, "{:<WIDTH$} {:>9} {:>9} {:>9} {:>9}", "", "measured", "ideal", "x ideal", "goal")?;
        for figure in &self.figures {
            writeln!(f, "{}", Line(figure))?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

struct Line<'a>(&'a Figure);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { what, measured, unit, ideal, goal, met } = self.0;
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        let times = self.0.times_ideal().map_or_else(|| "-".to_owned(), |times| format!("{times:.2}"));
        let verdict = match met {
            Some(true) => "PASS",
            Some(false) => "MISS",
            None => "",
        };
        let what = if *unit == COUNT { what.clone() } else { format!("{what}, {unit}") };
        let (measured, ideal, goal) = (short(*measured), number(*ideal), number(*goal));
        write!(f, "{what:<WIDTH$} {measured:>9} {ideal:>9} {times:>9} {goal:>9} {verdict}")
    }
}

/// As many digits as anybody wants to read.
fn short(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1000.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
