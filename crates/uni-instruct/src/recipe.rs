//! A distillation as a file: method, problem, settings, and changes to the objective.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use trefoil_core::{Error as CoreError, fs, params};
use trefoil_train::{Outcome, ProgressMode, RunFolder, StopFlag};

use crate::distill::{DistillConfig, Distilled, Distiller, Problem};
use crate::divergence::Divergence;
use crate::error::Result;
use crate::joint::JointConfig;
use crate::method::{Choices, Method, Plan, Stage, StudentKind};
use crate::objective::FakeKind;
use crate::pictures::{PicturesConfig, PicturesProblem};
use crate::scenes::{ScenesConfig, ScenesProblem};
use crate::toy::{Fit, ToyConfig, ToyProblem, ToyStudent};

/// What is distilled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProblemConfig {
    /// A mixture of Gaussians with small networks.
    Mixture(ToyConfig),
    /// Pictures, with a teacher of EDM.
    Edm(PicturesConfig),
    /// Voxel scenes, with a teacher of their pictures. The student is the scenes, whatever the method.
    Scenes(ScenesConfig),
    /// Pictures and texts, with UniDiffuser as the teacher. That model is in a crate of its own, so the
    /// problem is made by the program that has both.
    Unidiffuser(JointConfig),
}

impl ProblemConfig {
    /// Whether it says where points start, which are optimised in place of a network.
    fn has_points(&self) -> bool {
        match self {
            Self::Mixture(config) => config.points.is_some(),
            Self::Edm(config) => config.points.is_some(),
            Self::Scenes(_) | Self::Unidiffuser(_) => false,
        }
    }
}

/// A recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the method; `trefoil distill methods` lists them.
    pub method: String,
    /// The divergence, where the method works with any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// SiD's alpha.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// What is distilled.
    pub problem: ProblemConfig,
    /// Settings of the run.
    #[serde(default)]
    pub train: DistillConfig,
    /// Changes to the objective of every stage of the method.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub objective: Table,
    /// The method written out; in place of what its name stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// How a distillation ended.
#[derive(Debug)]
pub struct Report {
    /// Finished or interrupted.
    pub outcome: Outcome,
    /// How well the student fits the teacher.
    pub fit: Fit,
    /// Seconds of training.
    pub seconds: f64,
}

/// Bytes that a run needs, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Parameters of the fake network.
    pub fake: usize,
    /// Parameters of the student.
    pub student: usize,
    /// Bytes of weights, gradients, moments and averages.
    pub state: usize,
    /// Bytes of what the largest backward pass keeps.
    pub activations: usize,
}

impl Recipe {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CoreError::Read`]; [`CoreError::Format`] with the file and what is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        Ok(Self::parse(&text).map_err(|e| CoreError::format(path, e.to_string()))?)
    }

    /// Reads TOML and completes the method.
    ///
    /// # Errors
    /// [`CoreError::Config`] with what is wrong, on one line.
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self =
            toml::from_str(text).map_err(|e| CoreError::config("recipe", one_line(text, &e)))?;
        recipe.resolve()
    }

    /// The recipe with its plan written out and checked.
    ///
    /// # Errors
    /// [`CoreError::Config`] naming the field that is wrong.
    pub fn resolve(mut self) -> Result<Self> {
        let mut plan = if let Some(plan) = self.plan.take() {
            plan
        } else {
            let choices = Choices { divergence: self.divergence, alpha: self.alpha };
            Method::find(&self.method)?.plan(choices)?
        };
        for Stage { objective, .. } in &mut plan.stages {
            let fail = |e: &dyn std::fmt::Display| {
                let reason = e.to_string().trim().replace('\n', "; ");
                CoreError::config("objective", reason)
            };
            let mut value = Table::try_from(&*objective).map_err(|e| fail(&e))?;
            merge(&mut value, &self.objective);
            *objective = value.try_into().map_err(|e: toml::de::Error| fail(&e.message()))?;
        }
        if matches!(self.problem, ProblemConfig::Scenes(_)) {
            plan.student = StudentKind::Points;
        }
        plan.validate()?;
        self.objective = Table::new();
        self.plan = Some(plan.clone());
        self.train.validate()?;
        if self.problem.has_points() && plan.student != StudentKind::Points {
            let reason = format!("expected none, because `{}` trains a network", self.method);
            return Err(CoreError::config("problem.points", reason).into());
        }
        match &self.problem {
            ProblemConfig::Mixture(_) => drop(self.mixture()?),
            ProblemConfig::Edm(config) => config.validate(&plan)?,
            ProblemConfig::Scenes(config) => config.validate(&plan)?,
            ProblemConfig::Unidiffuser(config) => config.validate(&plan)?,
        }
        Ok(self)
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// [`CoreError::Config`] when a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self).map_err(|e| CoreError::config("recipe", e.to_string()))?)
    }

    /// The plan of a resolved recipe.
    ///
    /// # Errors
    /// [`CoreError::Config`] when the recipe is not resolved.
    pub fn plan(&self) -> Result<&Plan> {
        let missing = || CoreError::config("plan", "the recipe is not resolved");
        Ok(self.plan.as_ref().ok_or_else(missing)?)
    }

    /// The mixture and its networks.
    ///
    /// # Errors
    /// Those of the mixture and of what does not fit it; [`CoreError::Config`] for another kind of problem.
    pub fn mixture(&self) -> Result<ToyProblem> {
        let plan = self.plan()?;
        let ProblemConfig::Mixture(config) = &self.problem else {
            return Err(CoreError::config("problem.kind", "expected `mixture`").into());
        };
        let rank = plan.rank().unwrap_or_default();
        let problem = ToyProblem::open(config.clone(), (plan.student, rank), self.train.seed)?;
        for Stage { objective, .. } in &plan.stages {
            let guided = objective.guidance.is_on() && !config.conditional;
            if guided && plan.student == StudentKind::Network {
                let reason = "expected `problem.conditional = true`, because guidance compares a \
                              class with all of them";
                return Err(CoreError::config("objective.guidance", reason).into());
            }
            let needs = [
                (objective.reward != 0.0, config.reward.is_some(), "reward"),
                (objective.fidelity != 0.0, config.observation.is_some(), "observation"),
                (
                    objective.fake.kind == FakeKind::Reference,
                    config.points.is_some_and(|points| points.from.is_some()),
                    "points.from",
                ),
            ];
            for (needed, there, field) in needs {
                if needed && !there {
                    let reason = format!("expected because of {}, found nothing", self.method);
                    return Err(CoreError::config(format!("problem.{field}"), reason).into());
                }
            }
        }
        Ok(problem)
    }

    /// Teacher and data of pictures.
    ///
    /// # Errors
    /// Those of [`PicturesProblem::open`]; [`CoreError::Config`] for another kind of problem.
    pub fn pictures(&self, device: &Device) -> Result<PicturesProblem> {
        let ProblemConfig::Edm(config) = &self.problem else {
            return Err(CoreError::config("problem.kind", "expected `edm`").into());
        };
        PicturesProblem::open(config.clone(), self.plan()?, self.train.seed, device)
    }

    /// Teacher, renderer and data of scenes.
    ///
    /// # Errors
    /// Those of [`ScenesProblem::open`]; [`CoreError::Config`] for another kind of problem.
    pub fn scenes(&self, device: &Device) -> Result<ScenesProblem> {
        let ProblemConfig::Scenes(config) = &self.problem else {
            return Err(CoreError::config("problem.kind", "expected `scenes`").into());
        };
        ScenesProblem::open(config.clone(), self.plan()?, self.train.seed, device)
    }

    /// What a run on a problem needs in memory.
    ///
    /// # Errors
    /// Those of the problem.
    pub fn memory<P: Problem>(&self, problem: &P) -> Result<Memory> {
        let fake = problem.fresh_fake()?;
        let student = count(&problem.student_from(&fake)?);
        let fake = count(&fake);
        // Weights, gradient, two moments, average.
        let state = 5 * 4 * (fake + student);
        // The student, the fake network twice (with and without data).
        let activations = 3 * 4 * problem.activations() * self.train.batch_size;
        Ok(Memory { fake, student, state, activations })
    }

    /// Runs the recipe on a problem in a folder, which it continues when it has a checkpoint. A finished
    /// student is in `model/`, with the recipe beside it.
    ///
    /// # Errors
    /// Those of [`Distiller::fit`].
    pub fn run<P: Problem>(
        &self,
        problem: &P,
        run: &RunFolder,
        stop: StopFlag,
        progress: ProgressMode,
    ) -> Result<Distilled<P::Fake, P::Student>> {
        let (config, plan) = (&self.train, self.plan()?);
        let distiller = Distiller { problem, plan, config, run, stop, progress };
        let result = distiller.fit(problem.fresh_fake()?)?;
        if result.outcome == Outcome::Finished {
            let folder = run.model_dir();
            problem.save(&result.student, &folder)?;
            let text = self.to_toml()?;
            fs::write_atomic(&folder.join("recipe.toml"), |out| out.write_all(text.as_bytes()))?;
        }
        Ok(result)
    }

    /// [`Recipe::run`] on the mixture of the recipe, with its measurement.
    ///
    /// # Errors
    /// Those of [`Recipe::run`].
    pub fn distill(
        &self,
        run: &RunFolder,
        stop: StopFlag,
        progress: ProgressMode,
    ) -> Result<(Report, ToyProblem, ToyStudent)> {
        let problem = self.mixture()?;
        let result = self.run(&problem, run, stop, progress)?;
        let fit = problem.fit(&result.student)?;
        if result.outcome == Outcome::Finished {
            fs::write_json(&run.model_dir().join("fit.json"), &fit)?;
        }
        let report = Report { outcome: result.outcome, fit, seconds: result.seconds };
        Ok((report, problem, result.student))
    }
}

fn count<M: burn::module::Module>(module: &M) -> usize {
    params::shapes(module).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Lays the values of `over` on `under`. Tables are joined key by key, except that a table with another
/// single key (another variant of an enumeration) replaces what was there.
fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                let variant = |table: &Table| table.len() == 1;
                let other = variant(below) && variant(above) && !below.keys().eq(above.keys());
                if other {
                    under.insert(key.clone(), value.clone());
                } else {
                    merge(below, above);
                }
            }
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What TOML says, with the line, on one line.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', "; ");
    match error.span() {
        Some(span) => {
            let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::{Estimator, Normaliser};

    fn wrong(text: &str, parts: &[&str]) {
        let error = Recipe::parse(text).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in {error}");
        }
    }

    #[test]
    fn changes_reach_the_objective_and_the_result_is_a_recipe() {
        let text = "method = \"sid\"\nalpha = 1.0\n[problem]\nkind = \"mixture\"\n\
                    [objective]\nnormaliser = { analytic = { deviation = 2.0 } }\n\
                    [objective.time.rho]\nfloor = 0.1\n";
        let recipe = Recipe::parse(text).unwrap();
        let objective = &recipe.plan.as_ref().unwrap().stages[0].objective;
        assert_eq!(objective.normaliser, Normaliser::Analytic { deviation: 2.0 });
        assert_eq!(objective.time.at_time(0.0), 0.1);
        let written = recipe.to_toml().unwrap();
        assert_eq!(Recipe::parse(&written).unwrap(), recipe, "{written}");
        let integral = format!("{text}estimator = \"integral\"");
        let integral = integral.replace("[objective]\n", "[objective]\nestimator = \"integral\"\n");
        let integral = integral.trim_end_matches("estimator = \"integral\"");
        let recipe = Recipe::parse(integral).unwrap();
        assert_eq!(recipe.plan.unwrap().stages[0].objective.estimator, Estimator::Integral);
    }

    #[test]
    fn bad_recipes_are_one_clear_line() {
        let mixture = "[problem]\nkind = \"mixture\"\n";
        wrong(&format!("method = \"sid\"\nlr = 1\n{mixture}"), &["line 2", "unknown field `lr`"]);
        wrong(&format!("method = \"sad\"\n{mixture}"), &["`method`", "found sad"]);
        wrong(&format!("method = \"sim\"\nalpha = 1.0\n{mixture}"), &["`alpha`", "sim has none"]);
        wrong(
            &format!("method = \"sid\"\n{mixture}[objective.fake]\nkind = \"conditional\"\n"),
            &["`objective.estimator`", "expected `integral`"],
        );
        wrong(
            &format!("method = \"sid\"\n{mixture}[objective]\ngamma = 1.0\n"),
            &["`objective`", "unknown field `gamma`"],
        );
        wrong(&format!("method = \"di-plus-plus\"\n{mixture}"), &["`problem.reward`"]);
        wrong(&format!("method = \"red-diff\"\n{mixture}"), &["`problem.observation`"]);
        wrong(&format!("method = \"dds\"\n{mixture}"), &["`problem.points.from`"]);
        wrong(&format!("method = \"sid-lsg\"\n{mixture}"), &["`objective.guidance`"]);
        let file = "mixture = { file = \"absent.json\" }\n";
        wrong(&format!("method = \"sid\"\n{mixture}{file}"), &["cannot read absent.json"]);
        wrong(
            &format!("method = \"sid\"\n{mixture}[train]\nbatch_size = 0"),
            &["`train.batch_size`"],
        );
        wrong("method = \"sid\"\n", &["missing field `problem`"]);
    }

    #[test]
    fn a_conditional_run_needs_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        std::fs::write(&path, r#"{"components": [{"weight": 1, "mean": [0], "deviation": 1}]}"#)
            .unwrap();
        let text = format!(
            "method = \"sid\"\n[problem]\nkind = \"mixture\"\nconditional = true\n\
             mixture = {{ file = \"{}\" }}\n",
            path.display()
        );
        wrong(&text, &["`problem.conditional`", "expected a teacher with labels"]);
    }
}
