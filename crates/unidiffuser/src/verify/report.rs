//! How far numbers are from what was recorded.

use burn::tensor::TensorData;
use serde::Serialize;

use super::RUN;

/// The comparison of what a run draws.
pub(super) const DRAWS: &str = "order of draws";

/// What a difference may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tolerance {
    /// Of the largest expected magnitude of the tensor.
    Relative(f64),
    /// In the unit of the numbers.
    Absolute(f64),
    /// None.
    Identical,
    /// Not judged: the last bit of the noise alone moves the numbers by this, relative.
    Chaotic(f64),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was compared.
    pub what: String,
    /// Largest absolute difference; infinite when numbers are missing or not finite.
    pub absolute: f64,
    /// The same over the largest expected magnitude.
    pub relative: f64,
    /// What is allowed.
    pub tolerance: Tolerance,
}

impl Check {
    /// Compares numbers; another count of them is an infinite difference.
    pub fn numbers(
        what: impl Into<String>,
        found: &[f64],
        expected: &[f64],
        tolerance: Tolerance,
    ) -> Self {
        let scale = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let mut worst: f64 = if found.len() == expected.len() { 0.0 } else { f64::INFINITY };
        for (a, b) in found.iter().zip(expected) {
            let difference = (a - b).abs();
            // A NaN is larger than everything.
            worst = if difference.is_nan() { f64::INFINITY } else { worst.max(difference) };
        }
        let relative = if worst == 0.0 { 0.0 } else { worst / scale.max(f64::MIN_POSITIVE) };
        Self { what: what.into(), absolute: worst, relative, tolerance }
    }

    /// Compares tensors; another shape is an infinite difference.
    pub fn tensors(
        what: impl Into<String>,
        found: &TensorData,
        expected: &TensorData,
        tolerance: Tolerance,
    ) -> Self {
        let values = |data: &TensorData| data.iter::<f64>().collect::<Vec<f64>>();
        if found.shape() != expected.shape() {
            return Self::missing(what, tolerance);
        }
        Self::numbers(what, &values(found), &values(expected), tolerance)
    }

    /// Compares things that are equal or not.
    pub fn equal<T: PartialEq + ?Sized>(what: impl Into<String>, found: &T, expected: &T) -> Self {
        let difference = if found == expected { 0.0 } else { f64::INFINITY };
        let tolerance = Tolerance::Identical;
        Self { what: what.into(), absolute: difference, relative: difference, tolerance }
    }

    /// What should have been compared and is not there.
    pub fn missing(what: impl Into<String>, tolerance: Tolerance) -> Self {
        let infinite = f64::INFINITY;
        Self { what: what.into(), absolute: infinite, relative: infinite, tolerance }
    }

    /// What comes out of a run whose end moves by `moved` with the last bit of its noise. When that is more than a tenth
    /// of [`RUN`], a difference says nothing: rounding differs in more places than one.
    pub(super) fn unless_chaotic(self, moved: f64) -> Self {
        let Tolerance::Relative(limit) = RUN else { return self };
        if self.passes() || moved <= limit / 10.0 {
            return self;
        }
        let what = format!("whole run: {}", self.what);
        Self { tolerance: Tolerance::Chaotic(moved), what, ..self }
    }

    /// What comes out of recorded evaluations.
    pub(super) fn of_evaluations(self) -> Self {
        Self { what: format!("{} of recorded evaluations", self.what), ..self }
    }

    /// Whether the difference is allowed.
    pub fn passes(&self) -> bool {
        match self.tolerance {
            Tolerance::Relative(limit) => self.relative <= limit,
            Tolerance::Absolute(limit) => self.absolute <= limit,
            Tolerance::Identical => self.absolute == 0.0,
            Tolerance::Chaotic(_) => true,
        }
    }

    /// How much of what is allowed was used; above one it fails.
    fn used(&self) -> f64 {
        match self.tolerance {
            Tolerance::Relative(limit) => self.relative / limit,
            Tolerance::Absolute(limit) => self.absolute / limit,
            Tolerance::Identical => self.absolute,
            Tolerance::Chaotic(_) => 0.0,
        }
    }
}

/// All comparisons of one group of an oracle's folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The comparisons.
    pub checks: Vec<Check>,
}

impl Group {
    /// Whether there are comparisons of numbers or things that could be judged, and all of them pass.
    pub fn passes(&self) -> bool {
        let judged = self.checks.iter().filter(|c| !matches!(c.tolerance, Tolerance::Chaotic(_)));
        // What is drawn is no result.
        judged.clone().any(|c| c.what != DRAWS) && judged.clone().all(Check::passes)
    }

    /// The comparison that used most of its tolerance.
    pub fn worst(&self) -> Option<&Check> {
        self.checks.iter().max_by(|a, b| a.used().total_cmp(&b.used()))
    }

    /// Largest absolute and relative difference of the comparisons with a tolerance; of the others when there is
    /// none.
    pub fn largest(&self) -> [f64; 2] {
        let judged = self.checks.iter().filter(|c| !matches!(c.tolerance, Tolerance::Chaotic(_)));
        let some = judged.clone().any(|c| c.tolerance != Tolerance::Identical);
        let counted = judged.filter(|c| !some || c.tolerance != Tolerance::Identical);
        counted.fold([0.0, 0.0], |[a, r], c| [f64::max(a, c.absolute), f64::max(r, c.relative)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_the_largest_ones() {
        let check = Check::numbers("x", &[1.0, -4.1], &[1.05, -4.0], Tolerance::Relative(0.026));
        assert!((check.absolute - 0.1).abs() < 1e-12 && (check.relative - 0.025).abs() < 1e-12);
        assert!(check.passes());
        let tight = Check { tolerance: Tolerance::Relative(0.024), ..check.clone() };
        assert!(!tight.passes());
        assert!(Check { tolerance: Tolerance::Absolute(0.11), ..check.clone() }.passes());
        assert!(!Check { tolerance: Tolerance::Identical, ..check.clone() }.passes());
        let group = Group { name: "g".into(), checks: vec![check, tight] };
        assert!(!group.passes());
        assert_eq!(group.worst().unwrap().tolerance, Tolerance::Relative(0.024));
    }

    #[test]
    fn a_chaotic_run_is_shown_and_not_judged() {
        let far = Check::numbers("x", &[1.1], &[1.0], RUN);
        assert!(!far.clone().unless_chaotic(1e-4).passes());
        let close = Check::numbers("x", &[1.0005], &[1.0], RUN);
        assert_eq!(close.clone().unless_chaotic(1.0), close);
        let shown = far.clone().unless_chaotic(1.1e-4);
        assert_eq!(
            (shown.what.as_str(), shown.tolerance),
            ("whole run: x", Tolerance::Chaotic(1.1e-4))
        );
        let draws = Check::equal(DRAWS, &1, &1);
        let group = |checks: &[&Check]| {
            let checks = checks.iter().map(|&check| check.clone()).collect();
            Group { name: "g".into(), checks }
        };
        // Something must have been judged.
        assert!(shown.passes() && !group(&[&shown, &draws]).passes());
        let near = Check::numbers("x", &[1.0], &[1.0], RUN).of_evaluations();
        let judged = group(&[&shown, &draws, &near]);
        assert!(judged.passes() && judged.largest() == [0.0, 0.0]);
        assert!(!group(&[&shown, &draws, &far]).passes());
    }

    #[test]
    fn what_is_not_a_number_or_not_there_fails() {
        let tolerance = Tolerance::Relative(1e9);
        assert!(!Check::numbers("x", &[f64::NAN, 0.0], &[1.0, 0.0], tolerance).passes());
        assert!(!Check::numbers("x", &[1.0], &[1.0, 2.0], tolerance).passes());
        assert!(!Check::missing("x", tolerance).passes());
        assert!(!Group { name: "empty".into(), checks: Vec::new() }.passes());
        let [a, b] = [vec![0.0f32; 6], vec![0.0f32; 6]];
        let (a, b) = (TensorData::new(a, [2, 3]), TensorData::new(b, [3, 2]));
        assert!(!Check::tensors("x", &a, &b, tolerance).passes());
        assert!(Check::equal("x", "a", "a").passes() && !Check::equal("x", "a", "b").passes());
    }
}
