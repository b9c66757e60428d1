//! A teacher of pictures as a [`Problem`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use trefoil_core::nn::Init;
use trefoil_core::weights::Precision;
use trefoil_core::{Error as CoreError, Picture, Seed, Stream, fs, png};
use trefoil_diffusion::{EdmPreconditioner, RowDenoiser as _};
use trefoil_train::data::{DataOptions, LabelledSet, OnProblem};
use trefoil_train::{RunFolder, sampler::Position};

use super::config::{PicturesConfig, Real};
use super::critic::Critic;
use super::drawn::Drawn;
use super::measure::{PictureFit, PictureMeasure};
use crate::distill::{FakeView, Pairs, Problem, Triptych};
use crate::edm::{Condition, SampleRequest, Teacher, UNet, denoise_flat, labels_of};
use crate::error::{Error, Result};
use crate::exact::Labels;
use crate::method::{Plan, StudentKind};
use crate::tensors;

/// Pictures of a grid.
const SHOWN: usize = 64;
/// Rows of a triptych.
const ROWS: usize = 8;

/// What turns noise into pictures.
#[derive(Module, Debug)]
pub struct PictureStudent {
    /// One pass of a network.
    pub network: Option<UNet>,
    /// The pictures themselves, `[N, D]`.
    pub points: Option<Param<Tensor<2>>>,
}

/// An EDM teacher with its data.
#[derive(Debug)]
pub struct PicturesProblem {
    config: PicturesConfig,
    kind: StudentKind,
    /// Of the changes of the fake network, where that is not trained itself.
    rank: Option<usize>,
    seed: Seed,
    device: Device,
    /// Without gradients in its weights.
    teacher: Teacher,
    /// The same network, ready to be trained.
    start: UNet,
    conditional: bool,
    data: LabelledSet,
    /// Places of the pictures of each class.
    by_class: Vec<Vec<usize>>,
    drawn: OnceLock<Drawn>,
    measure: OnceLock<PictureMeasure>,
}

impl PicturesProblem {
    /// Opens teacher and data.
    ///
    /// # Errors
    /// Those of reading; [`CoreError::Config`] when teacher, data and plan do not fit together.
    pub fn open(config: PicturesConfig, plan: &Plan, seed: Seed, device: &Device) -> Result<Self> {
        config.validate(plan)?;
        let device = device.clone().autodiff();
        let Teacher { network: start, config: about } = Teacher::open(&config.teacher, &device)?;
        if let Some(level) = about.one_step {
            let path = config.teacher.display();
            let reason = format!("{path} is a one-step student of level {level}, not a teacher");
            return Err(CoreError::config("problem.teacher", reason).into());
        }
        let classes = about.network.label_dim;
        let conditional = config.conditional.unwrap_or(classes > 0);
        if conditional && classes == 0 {
            let reason = "expected a teacher with labels, found none";
            return Err(CoreError::config("problem.conditional", reason).into());
        }
        let guided = plan.stages.iter().any(|stage| stage.objective.guidance.is_on());
        if guided && !conditional && plan.student == StudentKind::Network {
            let reason = "expected a teacher with labels, because guidance compares a class with \
                          all of them";
            return Err(CoreError::config("objective.guidance", reason).into());
        }
        let options = DataOptions {
            resolution: about.network.resolution as u32,
            background: config.background,
            on_problem: OnProblem::Skip,
            split: Some(config.split.clone()),
        };
        let data = LabelledSet::load(&config.data, &options)?;
        if conditional && data.classes.len() != classes {
            let found = data.classes.len();
            let reason =
                format!("expected pictures of the teacher's {classes} classes, found {found}");
            return Err(CoreError::config("problem.data", reason).into());
        }
        let mut by_class = vec![Vec::new(); if conditional { classes } else { 0 }];
        for (place, picture) in data.pictures.iter().enumerate() {
            if let Some(of) = picture.class.and_then(|class| by_class.get_mut(class)) {
                of.push(place);
            }
        }
        if let Some(class) = by_class.iter().position(Vec::is_empty) {
            let reason = format!("expected pictures of every class, found none of {class}");
            return Err(CoreError::config("problem.data", reason).into());
        }
        let teacher = Teacher { network: start.clone().no_grad(), config: about };
        let (drawn, measure) = (OnceLock::new(), OnceLock::new());
        let (kind, rank) = (plan.student, plan.rank());
        Ok(Self {
            config,
            kind,
            rank,
            seed,
            device,
            teacher,
            start,
            conditional,
            data,
            by_class,
            drawn,
            measure,
        })
    }

    /// Number of pictures of the data.
    pub fn pictures(&self) -> usize {
        self.data.pictures.len()
    }

    /// A student as something that draws pictures.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it is points.
    pub fn generator(&self, student: &PictureStudent) -> Result<Teacher> {
        let network = student.network.clone().ok_or_else(|| self.lacks("a network"))?;
        let mut config = self.teacher.config.clone();
        config.one_step = Some(self.config.start_level);
        Ok(Teacher { network, config })
    }

    /// Pictures of a student, the same noise every time.
    fn draw(&self, student: &PictureStudent, count: usize) -> Result<Vec<Picture>> {
        if let Some(points) = &student.points {
            let all = tensors::values(points.val());
            return self.to_pictures(&all[..all.len().min(count * self.dims())]);
        }
        let mut request = SampleRequest::new(Seed(0), count);
        if !self.conditional {
            request.classes = vec![None; count];
        }
        let mut go_on = |_: usize, _: usize| ControlFlow::Continue(());
        let generator = self.generator(student)?;
        generator.sample(&request, &self.device, &mut go_on).map_err(Error::network)
    }

    /// Values in `[-1, 1]` as pictures.
    fn to_pictures(&self, values: &[f64]) -> Result<Vec<Picture>> {
        let network = &self.teacher.config.network;
        let shape =
            [values.len() / self.dims(), network.channels, network.resolution, network.resolution];
        let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        let tensor = Tensor::from_data(TensorData::new(values, shape), &self.device);
        Ok(Picture::from_tensor(tensor)?)
    }

    /// How a student's pictures compare with the data.
    ///
    /// # Errors
    /// Those of drawing and of the metrics.
    pub fn fit(&self, student: &PictureStudent) -> Result<PictureFit> {
        let drawn = self.draw(student, self.config.measured)?;
        let measure = if let Some(measure) = self.measure.get() {
            measure
        } else {
            let pictures = self.data.pictures.iter().map(|picture| &picture.picture);
            let side = self.teacher.config.network.resolution;
            let made = PictureMeasure::new(pictures, side, self.config.components)?;
            self.measure.get_or_init(|| made)
        };
        measure.fit(&drawn)
    }

    fn drawn(&self) -> Result<&Drawn> {
        if let Some(drawn) = self.drawn.get() {
            return Ok(drawn);
        }
        let size = self.config.teacher_samples;
        let made = Drawn::new(&self.teacher, size, self.seed, &self.device)?;
        Ok(self.drawn.get_or_init(|| made))
    }

    fn preconditioner(&self) -> EdmPreconditioner {
        EdmPreconditioner { sigma_data: self.sigma_data() }
    }

    /// `[B, classes]`
    fn label(&self, labels: Option<&Labels>, rows: usize) -> Result<Option<Tensor<2>>> {
        let classes = self.teacher.config.network.label_dim;
        labels_of(labels, rows, classes, &self.device).map_err(Error::network)
    }

    fn rows(&self, values: Vec<f32>) -> Tensor<2> {
        let shape = [values.len() / self.dims(), self.dims()];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }
}

impl Problem for PicturesProblem {
    type Fake = Critic;
    type Student = PictureStudent;
    type Condition = Labels;

    fn name(&self) -> String {
        format!("pictures of {}", self.config.teacher.display())
    }

    fn dims(&self) -> usize {
        let network = &self.teacher.config.network;
        network.channels * network.resolution * network.resolution
    }

    fn sigma_data(&self) -> f64 {
        self.teacher.config.sigma_data
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh_fake(&self) -> Result<Critic> {
        let mut init = Init::random(self.seed, &self.device);
        Ok(Critic::new(self.start.clone(), self.rank, &mut init))
    }

    fn trains(&self, name: &str) -> bool {
        Critic::trains(name, self.rank)
    }

    /// About ten maps of the width of its level for each block.
    fn activations(&self) -> usize {
        let network = &self.teacher.config.network;
        let blocks = 2 * network.num_blocks + 2;
        let level = |level: usize| network.width(level) * network.side(level).pow(2);
        10 * blocks * (0..network.channel_mult.len()).map(level).sum::<usize>()
    }

    fn teacher(&self, x: Tensor<2>, sigma: &[f64], labels: Option<&Labels>) -> Result<Tensor<2>> {
        self.teacher.denoise_rows(x, sigma, labels).map_err(Error::network)
    }

    fn fake(
        &self,
        fake: &Critic,
        x: Tensor<2>,
        sigma: &[f64],
        labels: Option<&Labels>,
    ) -> Result<FakeView> {
        let label = self.label(labels, sigma.len())?;
        Ok(fake.forward(x, sigma, label, self.preconditioner()))
    }

    fn generate(
        &self,
        student: &PictureStudent,
        noise: Tensor<2>,
        labels: Option<&Labels>,
    ) -> Result<Tensor<2>> {
        let [n, d] = noise.dims();
        if let Some(points) = &student.points {
            let points = points.val();
            let count = points.dims()[0];
            let copies = n.div_ceil(count);
            let all = points.unsqueeze_dim::<3>(0).repeat(&[copies, 1, 1]);
            return Ok(all.reshape([copies * count, d]).narrow(0, 0, n));
        }
        let network = student.network.as_ref().ok_or_else(|| self.lacks("a network"))?;
        let level = self.config.start_level;
        let condition = Condition { label: self.label(labels, n)?, augment: None };
        let (x, sigma) = (noise * level, vec![level; n]);
        Ok(denoise_flat(network, x, &sigma, condition, self.preconditioner()).0)
    }

    fn student_from(&self, fake: &Critic) -> Result<PictureStudent> {
        if self.kind == StudentKind::Points {
            let shape = [self.config.points.unwrap_or_default().count, self.dims()];
            let start = self.seed.stream("points", 0).normal_tensor(shape, &self.device);
            let points = Some(Param::from_tensor(start * self.sigma_data()));
            return Ok(PictureStudent { network: None, points });
        }
        Ok(PictureStudent { network: Some(fake.network.clone()), points: None })
    }

    fn conditions(&self, stream: &mut Stream, n: usize) -> Option<Labels> {
        let classes = self.by_class.len() as u64;
        self.conditional.then(|| (0..n).map(|_| stream.below(classes) as usize).collect())
    }

    fn real(&self, stream: &mut Stream, n: usize, labels: Option<&Labels>) -> Result<Tensor<2>> {
        if self.config.real == Real::Teacher {
            let drawn = self.drawn()?;
            let rows = drawn.rows(stream, n, labels.map(Vec::as_slice));
            return Ok(self.rows(drawn.gather(&drawn.samples, &rows)));
        }
        let mut values = Vec::with_capacity(n * self.dims());
        for row in 0..n {
            let class = labels.and_then(|labels| self.by_class.get(*labels.get(row)?));
            let place = match class {
                Some(of) => of[stream.below(of.len() as u64) as usize],
                None => stream.below(self.data.pictures.len() as u64) as usize,
            };
            values.extend(self.data.pictures[place].picture.to_planes([2.0; 3], [-1.0; 3]));
        }
        Ok(self.rows(values))
    }

    fn pairs(&self, stream: &mut Stream, n: usize) -> Result<Pairs<Labels>> {
        let drawn = self.drawn()?;
        let rows = drawn.rows(stream, n, None);
        let condition =
            self.conditional.then(|| rows.iter().map(|&row| drawn.labels[row]).collect());
        let [noise, samples] =
            [&drawn.noise, &drawn.samples].map(|from| self.rows(drawn.gather(from, &rows)));
        Ok(Pairs { noise, samples, condition })
    }

    fn on_sample(
        &self,
        student: &PictureStudent,
        run: &RunFolder,
        position: Position,
    ) -> Result<Vec<(String, f64)>> {
        let shown = self.draw(student, SHOWN)?;
        if let Some(grid) = Picture::grid(&shown, SHOWN.isqrt()) {
            run.log_picture(position.samples, "pictures", &grid)?;
        }
        if student.points.is_some() {
            return Ok(Vec::new());
        }
        let PictureFit { frechet, precision, recall } = self.fit(student)?;
        Ok(vec![
            ("frechet_pixels".into(), frechet),
            ("precision".into(), precision),
            ("recall".into(), recall),
        ])
    }

    fn on_views(&self, views: &Triptych, run: &RunFolder, samples: u64) -> Result<()> {
        let rows = views.student.len().min(ROWS * self.dims());
        let [student, teacher, fake] = [&views.student, &views.teacher, &views.fake]
            .map(|values| self.to_pictures(&values[..rows]));
        let cells: Vec<Picture> = student?
            .into_iter()
            .zip(teacher?)
            .zip(fake?)
            .flat_map(|((student, teacher), fake)| [student, teacher, fake])
            .collect();
        if let Some(grid) = Picture::grid(&cells, 3) {
            run.log_picture(samples, "student-teacher-fake", &grid)?;
        }
        Ok(())
    }

    fn save(&self, student: &PictureStudent, folder: &Path) -> Result<()> {
        if let Some(points) = &student.points {
            fs::create_dir_all(folder)?;
            let tensors = [("points".to_string(), points.val().into_data())];
            let path = folder.join("points.safetensors");
            trefoil_core::weights::save(&path, &tensors, Precision::F32, BTreeMap::new())?;
            let pictures = self.draw(student, points.dims()[0])?;
            if let Some(grid) = Picture::grid(&pictures, pictures.len().isqrt()) {
                let bytes = png::encode(&grid, &[])?;
                fs::write_atomic(&folder.join("points.png"), |out| out.write_all(&bytes))?;
            }
            return Ok(());
        }
        self.generator(student)?.save(folder, Precision::F32)?;
        Ok(())
    }

    fn fingerprint(&self) -> serde_json::Value {
        json!({
            "config": self.config,
            "network": self.teacher.config.network,
            "teacher": self.teacher.checksum(),
            "pictures": self.data.checksum(),
        })
    }
}
