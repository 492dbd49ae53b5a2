//! Figures in, tables with their ratios to limits of the same run out.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

use super::start::Started;

/// Everything that one run measured.
pub(super) struct Report {
    pub(super) size: u64,
    pub(super) floors: Value,
    pub(super) programming: Vec<Value>,
    pub(super) started: Started,
    pub(super) idle_seconds: u64,
}

/// Rows of cells; the first row names the columns.
type Rows = Vec<Vec<String>>;

impl Report {
    /// For a terminal.
    pub(super) fn text(&self) -> Result<String> {
        let mut out = String::new();
        for rows in self.tables()? {
            let widths: Vec<usize> = (0..rows[0].len())
                .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0))
                .collect();
            for row in rows {
                for (cell, width) in row.iter().zip(&widths) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "{cell:<width$}  ");
                }
                out.truncate(out.trim_end().len());
                out.push('\n');
            }
            out.push('\n');
        }
        Ok(out)
    }

    /// For docs/performance.md.
    pub(super) fn markdown(&self) -> Result<String> {
        let mut out = String::new();
        for rows in self.tables()? {
            for (index, row) in rows.iter().enumerate() {
                let _ = writeln!(out, "| {} |", row.join(" | "));
                if index == 0 {
                    let _ = writeln!(out, "|{}", "---|".repeat(row.len()));
                }
            }
            out.push('\n');
        }
        Ok(out)
    }

    fn tables(&self) -> Result<[Rows; 3]> {
        Ok([self.programming()?, self.limits()?, self.instance()])
    }

    fn programming(&self) -> Result<Rows> {
        let columns = ["cold_ms", "change_p50_us", "change_p99_us", "add_p50_us", "add_p99_us"];
        let mut rows = vec![row(["Services x endpoints"].into_iter().chain(columns))];
        for figures in &self.programming {
            let mut cells = vec![format!("{} x {}", figures["services"], figures["endpoints"])];
            for column in columns {
                cells.push(format!("{:.1}", number(figures, column)?));
            }
            rows.push(cells);
        }
        Ok(rows)
    }

    /// One change against what the kernel, and the disk, need at least.
    fn limits(&self) -> Result<Rows> {
        let mut rows = vec![row(["limit", "p50_us", "p99_us", "change p50 / limit p50, by Services"])];
        let names = [
            ("one nft slot replaced over raw netlink", "nft"),
            ("4 KiB appended and fdatasync'ed", "append"),
            ("4 KiB overwritten and fdatasync'ed", "overwrite"),
        ];
        for (name, key) in names {
            let (p50, p99) =
                (number(&self.floors, &format!("{key}_p50_us"))?, number(&self.floors, &format!("{key}_p99_us"))?);
            let mut ratios = Vec::new();
            for figures in &self.programming {
                let ratio = number(figures, "change_p50_us")? / p50;
                ratios.push(format!("{}: {ratio:.2}", figures["services"]));
            }
            rows.push(vec![name.to_owned(), format!("{p50:.1}"), format!("{p99:.1}"), ratios.join(", ")]);
        }
        Ok(rows)
    }

    fn instance(&self) -> Rows {
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        let ms = |duration: std::time::Duration| format!("{} ms", duration.as_millis());
        let mut rows = vec![row(["instance with one pod", "figure"])];
        rows.push(vec!["start to ready".to_owned(), ms(self.started.ready)]);
        rows.push(vec!["start to first answer through a cluster IP".to_owned(), ms(self.started.first_answer)]);
        let total = self.started.memory.iter().map(|share| share.kib).sum();
        rows.push(vec![format!("PSS of all processes after {} s", self.idle_seconds), mib(total)]);
        for share in &self.started.memory {
            rows.push(vec![format!("of it {}", share.name), mib(share.kib)]);
        }
        rows.push(vec!["binary".to_owned(), mib(self.size / 1024)]);
        rows
    }
}

fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

fn number(figures: &Value, key: &str) -> Result<f64> {
    figures[key].as_f64().with_context(|| format!("mainstay bench printed no number {key}: {figures}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::bench::memory::Share;

    #[test]
    fn ratios_are_those_of_the_run_and_a_missing_figure_is_an_error() {
        let figures = json!({
            "services": 10, "endpoints": 4, "cold_ms": 6.5, "change_p50_us": 600.0, "change_p99_us": 900.0,
            "add_p50_us": 1500.0, "add_p99_us": 9000.0,
        });
        let floor = |p50: f64, p99: f64| (json!(p50), json!(p99));
        let mut floors = json!({});
        for (name, (p50, p99)) in
            [("nft", floor(20.0, 40.0)), ("append", floor(4000.0, 8000.0)), ("overwrite", floor(200.0, 300.0))]
        {
            floors[format!("{name}_p50_us")] = p50;
            floors[format!("{name}_p99_us")] = p99;
        }
        let memory = vec![Share { name: "mainstay".into(), kib: 2048 }, Share { name: "echo".into(), kib: 1024 }];
        let started = Started { ready: Duration::from_millis(100), first_answer: Duration::from_millis(200), memory };
        let mut report = Report { size: 1 << 20, floors, programming: vec![figures], started, idle_seconds: 60 };
        let markdown = report.markdown().unwrap();
        for line in [
            "| 10 x 4 | 6.5 | 600.0 | 900.0 | 1500.0 | 9000.0 |",
            "| one nft slot replaced over raw netlink | 20.0 | 40.0 | 10: 30.00 |",
            "| 4 KiB overwritten and fdatasync'ed | 200.0 | 300.0 | 10: 3.00 |",
            "| PSS of all processes after 60 s | 3.0 MiB |",
            "| binary | 1.0 MiB |",
        ] {
            assert!(markdown.contains(line), "{line} in\n{markdown}");
        }
        assert!(report.text().unwrap().contains("first answer through a cluster IP  200 ms"));
        report.floors["nft_p50_us"] = Value::Null;
        assert!(report.text().is_err());
    }
}
