//! Line charts of how a time grows.

use std::path::Path;

use anyhow::Context as _;
use plotters::prelude::*;

use crate::compare::Comparison;

/// Width and height in pixels.
const SIZE: (u32, u32) = (640, 400);
/// Colours that people who do not tell red from green can tell apart.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plot {
    /// What it shows.
    pub(crate) title: String,
    /// Its name, in the folder of the page.
    pub(crate) file: String,
}

/// One line of a chart.
struct Series {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Plots each group of the cases of `bench` over the number that their names end with.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(
    folder: &Path,
    bench: &str,
    comparisons: &[Comparison],
) -> anyhow::Result<Vec<Plot>> {
    let mut groups: Vec<&str> = Vec::new();
    let cases = || comparisons.iter().filter(|one| one.bench == bench);
    for (group, _) in cases().filter_map(parts) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut plots = Vec::new();
    for group in groups {
        let mut lines = ["Trefoil", "PyTorch"].map(|name| Series { name, points: Vec::new() });
        for one in cases() {
            let Some((_, x)) = parts(one).filter(|(name, _)| *name == group) else { continue };
            for (line, y) in lines.iter_mut().zip(one.medians()) {
                if y.is_finite() {
                    line.points.push((x, y));
                }
            }
        }
        let plot = Plot {
            title: format!("Milliseconds over {group}"),
            file: format!("{bench}-{group}.svg"),
        };
        let path = folder.join(&plot.file);
        draw(&path, group, &lines).with_context(|| format!("cannot write {}", path.display()))?;
        plots.push(plot);
    }
    Ok(plots)
}

/// Group and number of a name like `tokens/64`.
fn parts(one: &Comparison) -> Option<(&str, f64)> {
    let (group, number) = one.case.id.split_once('/')?;
    Some((group, number.parse().ok()?))
}

/// A chart with logarithmic axes.
fn draw(path: &Path, x_label: &str, lines: &[Series]) -> anyhow::Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let range = |value: fn(&(f64, f64)) -> f64, margin: f64| {
        let lowest = points().map(value).fold(f64::INFINITY, f64::min);
        let highest = points().map(value).fold(0.0, f64::max);
        lowest / margin..highest * margin
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(range(|p| p.0, 1.1).log_scale(), range(|p| p.1, 1.5).log_scale())?;
    chart.configure_mesh().x_desc(x_label).y_desc("milliseconds").light_line_style(WHITE).draw()?;
    for (line, &colour) in lines.iter().zip(COLOURS.iter()) {
        if line.points.is_empty() {
            continue;
        }
        chart
            .draw_series(
                LineSeries::new(line.points.clone(), colour.stroke_width(2)).point_size(3),
            )?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::comparison;

    #[test]
    fn a_chart_has_a_line_for_each_library() {
        let mut cases: Vec<Comparison> = (0..3).map(|_| comparison(&[2.0, 3.0, 8.0])).collect();
        for (one, id) in cases.iter_mut().zip(["tokens/64", "tokens/128", "tokens/256"]) {
            (one.bench, one.case.id) = ("scaling", id.into());
        }
        let folder = std::env::temp_dir().join(format!("trefoil-plot-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let plots = write(&folder, "scaling", &cases).unwrap();
        assert_eq!(plots[0].file, "scaling-tokens.svg");
        let svg = std::fs::read_to_string(folder.join(&plots[0].file)).unwrap();
        assert!(svg.contains("Trefoil") && svg.contains("PyTorch") && svg.contains("polyline"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
