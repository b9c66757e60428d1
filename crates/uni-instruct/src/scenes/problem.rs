//! A teacher of pictures of scenes as a [`Problem`] whose student is scenes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde_json::json;
use trefoil_core::nn::Init;
use trefoil_core::weights::Precision;
use trefoil_core::{Error as CoreError, Picture, Seed, Stream, fs, png};
use trefoil_diffusion::{EdmPreconditioner, EdmSolverConfig, RowDenoiser as _};
use trefoil_train::{RunFolder, sampler::Position};

use super::camera::{Camera, World};
use super::config::ScenesConfig;
use super::critic::{SceneCritic, describe};
use super::data::SceneSet;
use super::measure::{SceneFit, SceneMeasure};
use super::render::Renderer;
use super::solids::BRIGHTEST;
use crate::distill::{FakeView, Problem, Triptych};
use crate::edm::{SampleRequest, Teacher, UNet, labels_of};
use crate::error::{Error, Result};
use crate::exact::Labels;
use crate::method::Plan;

/// Density per unit of a parameter's softplus: a few steps of the optimiser make a voxel solid or empty.
const DENSITY: f64 = 10.0;
/// Scenes and directions of a turntable, and its elevation in degrees.
const TURNTABLE: (usize, usize, f64) = (4, 8, 20.0);
/// Rows of a triptych.
const ROWS: usize = 8;

/// Scenes that are shaped, before density and colour are made of them.
#[derive(Module, Debug)]
pub struct Particles {
    /// `[particles * grid^3, 4]`
    pub values: Param<Tensor<2>>,
}

/// Which scene a row shows, through which camera.
#[derive(Debug, Clone)]
pub struct Shots {
    /// Scene and camera of each row.
    pub shots: Vec<(usize, Camera)>,
    /// Class and coarse direction of each row, as the teacher is told.
    pub labels: Labels,
}

/// A teacher, the renderer, and the scenes of the data.
#[derive(Debug)]
pub struct ScenesProblem {
    config: ScenesConfig,
    /// Of the changes of the fake network, where that is not trained itself.
    rank: Option<usize>,
    seed: Seed,
    device: Device,
    /// Without gradients in its weights.
    teacher: Teacher,
    /// The same network, ready to be trained.
    start: UNet,
    set: SceneSet,
    renderer: Renderer,
    /// Scenes of the class in the data.
    known: Tensor<2>,
    measure: OnceLock<SceneMeasure>,
}

impl ScenesProblem {
    /// Opens teacher and data.
    ///
    /// # Errors
    /// Those of reading; [`CoreError::Config`] when teacher, data and plan do not fit together.
    pub fn open(config: ScenesConfig, plan: &Plan, seed: Seed, device: &Device) -> Result<Self> {
        config.validate(plan)?;
        let device = device.clone().autodiff();
        let set = SceneSet::open(&config.data)?;
        let Teacher { network: start, config: about } = Teacher::open(&config.teacher, &device)?;
        let bad = |reason: String| Err(CoreError::config("problem.teacher", reason).into());
        let path = config.teacher.display();
        if let Some(level) = about.one_step {
            return bad(format!("{path} is a one-step student of level {level}, not a teacher"));
        }
        let (side, found) = (set.world.side, about.network.resolution);
        if found != side {
            return bad(format!(
                "expected a teacher of {side}x{side} pixels, as the data, found {found}"
            ));
        }
        let labels = set.world.labels();
        if about.classes != labels {
            let (count, found) = (labels.len(), about.classes.len());
            return bad(format!(
                "expected a teacher with the {count} labels of the data, found {found}{}",
                if count == found { " others" } else { "" }
            ));
        }
        let known = set.fields(config.class, 0..set.scenes, &device);
        let teacher = Teacher { network: start.clone().no_grad(), config: about };
        let renderer = Renderer::new(set.world.clone());
        let (rank, measure) = (plan.rank(), OnceLock::new());
        Ok(Self { config, rank, seed, device, teacher, start, set, renderer, known, measure })
    }

    /// The data.
    pub fn set(&self) -> &SceneSet {
        &self.set
    }

    /// Density and colour of particles, as [`Renderer::render`] takes them.
    pub fn fields(&self, particles: &Particles) -> Tensor<2> {
        let values = particles.values.val();
        let density = activation::softplus(values.clone().narrow(1, 0, 1), 1.0) * DENSITY;
        let colour = activation::sigmoid(values.narrow(1, 1, 3)) * BRIGHTEST;
        Tensor::cat(vec![density, colour], 1)
    }

    /// How scenes compare with those of the data.
    ///
    /// # Shapes
    /// - `fields`: `[count * grid^3, 4]`
    pub fn fit(&self, fields: &Tensor<2>, count: usize) -> SceneFit {
        let (set, views) = (&self.set, self.config.views);
        let new = || SceneMeasure::new(set, self.config.class, views, &fields.device());
        self.measure.get_or_init(new).fit(fields, count)
    }

    /// Pictures of scenes from random cameras, the same number of each.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn pictures(
        &self,
        fields: &Tensor<2>,
        scenes: usize,
        count: usize,
    ) -> Result<Vec<Picture>> {
        let mut stream = Seed(0).stream("measured-cameras", 0);
        let shots: Vec<(usize, Camera)> =
            (0..count).map(|i| (i % scenes.max(1), self.set.world.camera(&mut stream))).collect();
        to_pictures(self.renderer.render(fields, &shots).picture, self.set.world.side)
    }

    /// Pictures that the teacher draws of the class, its directions in turns.
    ///
    /// # Errors
    /// Those of the sampler.
    pub fn teacher_pictures(&self, seed: Seed, count: usize, steps: usize) -> Result<Vec<Picture>> {
        let directions = self.set.world.directions;
        let first = self.config.class as usize * directions;
        let mut request = SampleRequest::new(seed, count);
        request.classes = (0..count).map(|i| Some(first + i % directions)).collect();
        request.solver = EdmSolverConfig { steps, ..EdmSolverConfig::default() };
        let mut go_on = |_: usize, _: usize| ControlFlow::Continue(());
        self.teacher.sample(&request, &self.device, &mut go_on).map_err(Error::network)
    }

    /// The first scenes as a turning table shows them, a row for each, half as large again as the teacher's pictures.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn turntable(&self, fields: &Tensor<2>, count: usize) -> Result<Option<Picture>> {
        let (rows, columns, elevation) = TURNTABLE;
        let world = World { side: self.set.world.side * 3 / 2, ..self.set.world.clone() };
        let (side, cameras) = (world.side, world.turn(columns, elevation));
        let shots: Vec<(usize, Camera)> = (0..count.min(rows))
            .flat_map(|scene| cameras.iter().map(move |camera| (scene, *camera)))
            .collect();
        let picture = Renderer::new(world).render(fields, &shots).picture;
        Ok(Picture::grid(&to_pictures(picture, side)?, columns))
    }

    fn preconditioner(&self) -> EdmPreconditioner {
        EdmPreconditioner { sigma_data: self.sigma_data() }
    }

    fn shots<'a>(&self, shots: Option<&'a Shots>) -> Result<&'a Shots> {
        shots.ok_or_else(|| self.lacks("samples without a camera"))
    }
}

/// Rows of planes in `[-1, 1]` as pictures.
fn to_pictures(rows: Tensor<2>, side: usize) -> Result<Vec<Picture>> {
    let count = rows.dims()[0];
    Ok(Picture::from_tensor(rows.reshape([count, 3, side, side]))?)
}

impl Problem for ScenesProblem {
    type Fake = SceneCritic;
    type Student = Particles;
    type Condition = Shots;

    fn name(&self) -> String {
        format!("scenes of a {} by {}", self.config.class.name(), self.config.teacher.display())
    }

    fn dims(&self) -> usize {
        3 * self.set.world.side.pow(2)
    }

    fn sigma_data(&self) -> f64 {
        self.teacher.config.sigma_data
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh_fake(&self) -> Result<SceneCritic> {
        let mut init = Init::random(self.seed, &self.device);
        Ok(SceneCritic::new(self.start.clone(), self.rank, &mut init))
    }

    fn trains(&self, name: &str) -> bool {
        SceneCritic::trains(name, self.rank)
    }

    /// The network as for pictures, and eight corners with four values each for every point of a ray, twice.
    fn activations(&self) -> usize {
        let network = &self.teacher.config.network;
        let blocks = 2 * network.num_blocks + 2;
        let level = |level: usize| network.width(level) * network.side(level).pow(2);
        let points = self.set.world.side.pow(2) * self.set.world.samples;
        10 * blocks * (0..network.channel_mult.len()).map(level).sum::<usize>() + 64 * points
    }

    fn teacher(&self, x: Tensor<2>, sigma: &[f64], shots: Option<&Shots>) -> Result<Tensor<2>> {
        let labels = shots.map(|shots| &shots.labels);
        self.teacher.denoise_rows(x, sigma, labels).map_err(Error::network)
    }

    fn fake(
        &self,
        fake: &SceneCritic,
        x: Tensor<2>,
        sigma: &[f64],
        shots: Option<&Shots>,
    ) -> Result<FakeView> {
        let Shots { shots, labels } = self.shots(shots)?;
        let classes = self.teacher.config.network.label_dim;
        let label = labels_of(Some(labels), sigma.len(), classes, &self.device);
        let cameras: Vec<Camera> = shots.iter().map(|(_, camera)| *camera).collect();
        let cameras = describe(&self.set.world, &cameras, &self.device);
        let condition = (label.map_err(Error::network)?, cameras);
        Ok(fake.forward(x, sigma, condition, self.preconditioner()))
    }

    /// Renders; there is nothing for noise to decide.
    fn generate(
        &self,
        particles: &Particles,
        _noise: Tensor<2>,
        shots: Option<&Shots>,
    ) -> Result<Tensor<2>> {
        let shots = &self.shots(shots)?.shots;
        Ok(self.renderer.render(&self.fields(particles), shots).picture)
    }

    /// Clouds that thin out from the middle, each of a tint of its own.
    fn student_from(&self, _fake: &SceneCritic) -> Result<Particles> {
        let (grid, voxels) = (self.set.world.grid, self.set.world.voxels());
        let at = |i: usize| (2 * i + 1) as f64 / grid as f64 - 1.0;
        let mut values = Vec::with_capacity(4 * voxels * self.config.particles);
        for particle in 0..self.config.particles {
            let mut stream = self.seed.stream("particle", particle as u64);
            let tint = stream.normals(3);
            let rough = stream.normals(4 * voxels);
            for (voxel, rough) in rough.chunks_exact(4).enumerate() {
                let radius = [voxel % grid, voxel / grid % grid, voxel / grid / grid]
                    .map(|i| at(i).powi(2))
                    .iter()
                    .sum::<f64>()
                    .sqrt();
                values.push((1.5 - 6.0 * radius) as f32 + 0.3 * rough[0]);
                values.extend(tint.iter().zip(&rough[1..]).map(|(t, r)| 0.5 * t + 0.3 * r));
            }
        }
        let data = TensorData::new(values, [voxels * self.config.particles, 4]);
        Ok(Particles { values: Param::from_tensor(Tensor::from_data(data, &self.device)) })
    }

    /// Scenes in turns, from a random one on, and random cameras.
    fn conditions(&self, stream: &mut Stream, n: usize) -> Option<Shots> {
        let count = self.config.particles;
        let first = stream.below(count as u64) as usize;
        let shots: Vec<(usize, Camera)> =
            (0..n).map(|i| ((first + i) % count, self.set.world.camera(stream))).collect();
        let label =
            |(_, camera): &(usize, Camera)| self.set.world.label(self.config.class, *camera);
        let labels = shots.iter().map(label).collect();
        Some(Shots { shots, labels })
    }

    /// Scenes of the data through the same cameras.
    fn real(&self, stream: &mut Stream, n: usize, shots: Option<&Shots>) -> Result<Tensor<2>> {
        let mut scene = || stream.below(self.set.scenes as u64) as usize;
        let shots = self.shots(shots)?.shots.iter().take(n);
        let shots: Vec<(usize, Camera)> = shots.map(|(_, camera)| (scene(), *camera)).collect();
        Ok(self.renderer.render(&self.known, &shots).picture)
    }

    fn on_sample(
        &self,
        particles: &Particles,
        run: &RunFolder,
        position: Position,
    ) -> Result<Vec<(String, f64)>> {
        let (fields, count) = (self.fields(particles), self.config.particles);
        if let Some(picture) = self.turntable(&fields, count)? {
            run.log_picture(position.samples, "turntable", &picture)?;
        }
        let SceneFit { psnr, iou, diversity } = self.fit(&fields, count);
        Ok(vec![("psnr".into(), psnr), ("iou".into(), iou), ("diversity".into(), diversity)])
    }

    fn on_views(&self, views: &Triptych, run: &RunFolder, samples: u64) -> Result<()> {
        let (d, side) = (self.dims(), self.set.world.side);
        let pictures = |values: &[f64]| -> Result<Vec<Picture>> {
            let rows = (values.len() / d).min(ROWS);
            let values: Vec<f32> = values[..rows * d].iter().map(|v| *v as f32).collect();
            let rows = Tensor::from_data(TensorData::new(values, [rows, d]), &self.device);
            to_pictures(rows, side)
        };
        let columns = [&views.student, &views.teacher, &views.fake].map(|values| pictures(values));
        let [student, teacher, fake] = columns;
        let (student, teacher, fake) = (student?, teacher?, fake?);
        let rows = student.into_iter().zip(teacher).zip(fake);
        let cells: Vec<Picture> = rows.flat_map(|((a, b), c)| [a, b, c]).collect();
        if let Some(grid) = Picture::grid(&cells, 3) {
            run.log_picture(samples, "student-teacher-fake", &grid)?;
        }
        Ok(())
    }

    /// `scenes.safetensors` with `density` and `colour`, and the turntable.
    fn save(&self, particles: &Particles, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let (count, grid) = (self.config.particles, self.set.world.grid);
        let fields = self.fields(particles);
        let density = fields.clone().narrow(1, 0, 1).reshape([count, grid, grid, grid]);
        let colour: Tensor<5> =
            fields.clone().narrow(1, 1, 3).reshape([count, grid, grid, grid, 3]);
        let tensors =
            [("density".to_string(), density.into_data()), ("colour".into(), colour.into_data())];
        let path = folder.join("scenes.safetensors");
        trefoil_core::weights::save(&path, &tensors, Precision::F32, BTreeMap::new())?;
        if let Some(picture) = self.turntable(&fields, count)? {
            let bytes = png::encode(&picture, &[])?;
            fs::write_atomic(&folder.join("turntable.png"), |out| out.write_all(&bytes))?;
        }
        Ok(())
    }

    fn fingerprint(&self) -> serde_json::Value {
        json!({
            "config": self.config,
            "network": self.teacher.config.network,
            "teacher": self.teacher.checksum(),
            "set": self.set,
        })
    }
}
