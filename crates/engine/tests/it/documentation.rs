//! Reads the tables of the planner's documentation, so that what is promised there is what is tried.

use std::collections::BTreeMap;

/// The planner's source, with its documentation.
const SOURCE: &str = include_str!("../../src/plan.rs");

/// One table.
pub(crate) struct Table {
    /// The words of its first line, without the first of them.
    pub(crate) columns: Vec<String>,
    /// Its lines: the first word and the others.
    pub(crate) rows: Vec<(String, Vec<String>)>,
}

impl Table {
    /// The table under a heading of the documentation.
    pub(crate) fn under(heading: &str) -> Self {
        let mut lines = SOURCE
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(str::trim)
            .skip_while(|line| line.trim_start_matches('#').trim() != heading || !line.starts_with('#'))
            .skip(1)
            .take_while(|line| !line.starts_with('#'))
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .map(cells);
        let mut first = lines.next().unwrap_or_else(|| panic!("no table under `{heading}`"));
        let rule = lines.next().unwrap_or_default();
        assert!(rule.iter().all(|cell| cell == "---"), "the table under `{heading}` has no line below its first");
        let columns = first.split_off(1);
        let rows: Vec<(String, Vec<String>)> = lines
            .map(|mut line| {
                let others = line.split_off(1);
                assert_eq!(others.len(), columns.len(), "`{}` under `{heading}` has other columns", line[0]);
                (line.remove(0), others)
            })
            .collect();
        assert!(!rows.is_empty(), "the table under `{heading}` is empty");
        Self { columns, rows }
    }

    /// Every cell by row and column, each named once.
    pub(crate) fn by_name(&self) -> BTreeMap<(String, String), String> {
        let mut all = BTreeMap::new();
        for (row, cells) in &self.rows {
            for (column, cell) in self.columns.iter().zip(cells) {
                let before = all.insert((row.clone(), column.clone()), cell.clone());
                assert!(before.is_none(), "`{row}` × `{column}` is there twice");
            }
        }
        all
    }
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
}
