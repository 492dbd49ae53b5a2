//! Figures in, tables with their ratios to limits of the same run out.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

/// Everything that one run measured.
pub(super) struct Report {
    pub(super) floors: Value,
    pub(super) programming: Vec<Value>,
    pub(super) connect: Vec<Value>,
    pub(super) footprint: Value,
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

    fn tables(&self) -> Result<[Rows; 4]> {
        Ok([self.programming()?, self.limits()?, self.connect()?, self.instance()?])
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

    /// Connections through a Service against direct ones of the same run.
    fn connect(&self) -> Result<Rows> {
        let keys = ["p50_us", "p99_us", "per_s", "rr_us"];
        let mut rows = vec![row(["Services, service / direct (ratio)"].into_iter().chain(keys))];
        for figures in &self.connect {
            let mut cells = vec![figures["services"].to_string()];
            for key in keys {
                let service = number(figures, &format!("service_{key}"))?;
                let direct = number(figures, &format!("direct_{key}"))?;
                cells.push(format!("{service:.1} / {direct:.1} ({:.2})", service / direct));
            }
            rows.push(cells);
        }
        Ok(rows)
    }

    fn instance(&self) -> Result<Rows> {
        let figures = &self.footprint;
        let mut rows = vec![row(["instance", "figure", "goal"])];
        for (name, key, unit, goal) in [
            ("start to ready", "ready_ms", "ms", "1000"),
            ("start to first answer through a cluster IP", "first_answer_ms", "ms", ""),
            ("PSS of all processes at rest, three pods", "pss_mib", "MiB", "25"),
            ("PSS of all processes at rest, 10,000 Services x 10", "pss_mib_10k", "MiB", "120"),
            ("processor at rest", "idle_cpu_percent", "%", "0.2"),
            ("binary", "binary_mib", "MiB", "25"),
        ] {
            rows.push(vec![name.to_owned(), format!("{} {unit}", number(figures, key)?), goal.to_owned()]);
        }
        for process in figures["processes"].as_array().into_iter().flatten() {
            let name = process["name"].as_str().unwrap_or_default();
            rows.push(vec![
                format!("of the three pods: {name}"),
                format!("{} MiB", number(process, "pss_mib")?),
                String::new(),
            ]);
        }
        Ok(rows)
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
    use serde_json::json;

    use super::*;

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
        let connect = json!({
            "services": 10, "direct_p50_us": 20.0, "service_p50_us": 25.0, "direct_p99_us": 30.0, "service_p99_us": 45.0,
            "direct_per_s": 20_000, "service_per_s": 18_000, "direct_rr_us": 20.0, "service_rr_us": 20.0,
        });
        let footprint = json!({
            "ready_ms": 100, "first_answer_ms": 200, "pss_mib": 3.0, "pss_mib_10k": 90.5, "idle_cpu_percent": 0.1,
            "binary_mib": 1.0, "processes": [{ "name": "mainstay", "pss_mib": 2.0 }],
        });
        let mut report = Report { floors, programming: vec![figures], connect: vec![connect], footprint };
        let markdown = report.markdown().unwrap();
        for line in [
            "| 10 x 4 | 6.5 | 600.0 | 900.0 | 1500.0 | 9000.0 |",
            "| one nft slot replaced over raw netlink | 20.0 | 40.0 | 10: 30.00 |",
            "| 4 KiB overwritten and fdatasync'ed | 200.0 | 300.0 | 10: 3.00 |",
            "| 10 | 25.0 / 20.0 (1.25) | 45.0 / 30.0 (1.50) | 18000.0 / 20000.0 (0.90) | 20.0 / 20.0 (1.00) |",
            "| PSS of all processes at rest, three pods | 3 MiB | 25 |",
            "| of the three pods: mainstay | 2 MiB |",
        ] {
            assert!(markdown.contains(line), "{line} in\n{markdown}");
        }
        assert!(report.text().unwrap().contains("first answer through a cluster IP          200 ms"));
        report.floors["nft_p50_us"] = Value::Null;
        assert!(report.text().is_err());
    }
}
