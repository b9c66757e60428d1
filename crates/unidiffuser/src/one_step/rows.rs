//! The joint network as a denoiser of rows that have tasks, conditions and noise levels of their own.

use burn::tensor::{Int, Tensor, TensorData};
use trefoil_core::{Error, Result};
use trefoil_diffusion::{Level, RowDenoiser, VpSchedule};

use crate::mode::{Content, Pass, Task};
use crate::uvit::{Levels, Modalities, UVit, UVitConfig};

/// Sizes of the three parts of a state, flattened and joined in the order `z`, `c`, `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Channels, height and width of a latent.
    pub latent: [usize; 3],
    /// Values of a CLIP embedding.
    pub clip: usize,
    /// Tokens and channels of a text code.
    pub text: [usize; 2],
}

impl Parts {
    /// Of a network.
    pub fn of(config: &UVitConfig) -> Self {
        Self {
            latent: [config.in_channels, config.sample_size, config.sample_size],
            clip: config.clip_img_dim,
            text: [config.num_text_tokens, config.text_dim],
        }
    }

    /// Values of a picture: latent and embedding.
    pub fn picture(self) -> usize {
        self.latent.iter().product::<usize>() + self.clip
    }

    /// Values of a text.
    pub fn words(self) -> usize {
        self.text.iter().product()
    }

    /// Values of a state, `D`.
    pub fn dims(self) -> usize {
        self.picture() + self.words()
    }

    /// # Shapes
    /// - returns: `[B, D]`
    pub fn join(self, of: Modalities) -> Tensor<2> {
        let parts =
            vec![of.z.flatten::<2>(1, 3), of.clip.flatten::<2>(1, 2), of.text.flatten::<2>(1, 2)];
        Tensor::cat(parts, 1)
    }

    /// # Shapes
    /// - `x`: `[B, D]`
    pub fn split(self, x: Tensor<2>) -> Modalities {
        let ([c, h, w], [l, t], b) = (self.latent, self.text, x.dims()[0]);
        Modalities {
            z: x.clone().narrow(1, 0, c * h * w).reshape([b, c, h, w]),
            clip: x.clone().narrow(1, c * h * w, self.clip).reshape([b, 1, self.clip]),
            text: x.narrow(1, self.picture(), l * t).reshape([b, l, t]),
        }
    }

    /// Numbers of each row for its picture and for its text, over the values of a state, `[B, D]`.
    fn spread(self, [picture, words]: [Vec<f32>; 2], like: &Tensor<2>) -> Tensor<2> {
        let column = |values: Vec<f32>, width: usize| {
            let rows = values.len();
            let data = TensorData::new(values, [rows, 1]);
            Tensor::<2>::from_data(data, &like.device()).repeat_dim(1, width)
        };
        Tensor::cat(vec![column(picture, self.picture()), column(words, self.words())], 1)
    }
}

/// What the rows of a batch are.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Which distribution each is a sample of.
    pub tasks: Vec<Task>,
    /// Clean codes of what a row is given, zeros elsewhere, `[B, D]`.
    pub given: Tensor<2>,
    /// Standard normal noise for what a pass marginalises, `[B, D]`.
    pub marginal: Tensor<2>,
}

/// A pass of the network for one row.
#[derive(Debug, Clone, Copy)]
struct View {
    row: usize,
    pass: Pass,
}

/// The joint network on flat states in EDM's scale, `x = x_0 + sigma n`.
///
/// Parts of a row that its task does not generate are returned as they are given, whatever is in `x`.
#[derive(Debug, Clone, Copy)]
pub struct JointDenoiser<'a> {
    /// The noise predictor.
    pub network: &'a UVit,
    /// Its noise levels.
    pub schedule: &'a VpSchedule,
    /// Sizes of a state.
    pub parts: Parts,
    /// Guidance in the common form, 1 for none.
    pub guidance: f64,
}

impl<'a> JointDenoiser<'a> {
    /// Without guidance.
    pub fn new(network: &'a UVit, schedule: &'a VpSchedule, parts: Parts) -> Self {
        Self { network, schedule, parts, guidance: 1.0 }
    }

    /// `D(x, sigma)`; gradients flow to `x` and to the network.
    ///
    /// # Shapes
    /// - `x`, returns: `[B, D]`
    pub fn denoise(&self, x: Tensor<2>, sigma: &[f64], rows: &Rows) -> Tensor<2> {
        self.denoise_seen(x, sigma, rows, &mut |_, _| {})
    }

    /// [`JointDenoiser::denoise`] with a look at the tokens (see [`UVit::forward_seen`]); with guidance there
    /// are more of them than rows, those of the rows first.
    pub fn denoise_seen(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        rows: &Rows,
        see: &mut dyn FnMut(&str, &Tensor<3>),
    ) -> Tensor<2> {
        let count = rows.tasks.len();
        let passes = rows.tasks.iter().map(|task| task.passes());
        let mut views: Vec<View> =
            passes.clone().enumerate().map(|(row, (pass, _))| View { row, pass }).collect();
        // Which pass each part is guided away from; itself where there is none.
        let mut away: [Vec<i64>; 2] = [(0..count as i64).collect(), (0..count as i64).collect()];
        if self.guidance != 1.0 {
            for (row, (own, marginals)) in passes.enumerate() {
                for &pass in marginals {
                    let pairs = [(own.image, pass.image), (own.text, pass.text)];
                    for (away, (own, other)) in away.iter_mut().zip(pairs) {
                        if own == Content::Noisy && other == Content::Noisy {
                            away[row] = views.len() as i64;
                        }
                    }
                    views.push(View { row, pass });
                }
            }
        }
        let levels: Vec<Level> =
            sigma.iter().map(|&s| self.schedule.level_of_edm_sigma(s)).collect();
        let noise = self.predict(&x, &levels, rows, &views, see); // [V, D]
        let mut own = noise.clone().narrow(0, 0, count);
        if views.len() > count {
            let picture = self.parts.picture();
            let widths = [(0, picture), (picture, self.parts.words())];
            let marginal = widths.into_iter().zip(away).map(|((start, width), away)| {
                let part = noise.clone().narrow(1, start, width);
                select(part, away)
            });
            let marginal = Tensor::cat(marginal.collect(), 1);
            own = marginal.clone() + (own - marginal) * self.guidance;
        }
        let noisy = |content: fn(&Pass) -> Content| -> Vec<bool> {
            views[..count].iter().map(|view| content(&view.pass) == Content::Noisy).collect()
        };
        let [image, text] = [noisy(|pass| pass.image), noisy(|pass| pass.text)];
        let column = |values: &dyn Fn(usize) -> f64| {
            let of = |mask: &[bool]| -> Vec<f32> {
                (0..count).map(|i| if mask[i] { values(i) as f32 } else { 0.0 }).collect()
            };
            self.parts.spread([of(&image), of(&text)], &x)
        };
        x.clone() * column(&|_| 1.0) - own * column(&|i| sigma[i]) + rows.given.clone()
    }

    /// The noise that the network finds in each view, `[V, D]`.
    fn predict(
        &self,
        x: &Tensor<2>,
        levels: &[Level],
        rows: &Rows,
        views: &[View],
        see: &mut dyn FnMut(&str, &Tensor<3>),
    ) -> Tensor<2> {
        let highest = self.schedule.discrete().num_train_timesteps() as f32;
        let told = |content: Content, row: usize| match content {
            Content::Noisy => levels[row].n as f32,
            Content::Clean | Content::Empty => 0.0,
            Content::Noise => highest,
        };
        let columns = |scale: &dyn Fn(Content, usize) -> f32| -> [Vec<f32>; 2] {
            let of = |content: fn(&Pass) -> Content| {
                views.iter().map(|view| scale(content(&view.pass), view.row)).collect()
            };
            [of(|pass| pass.image), of(|pass| pass.text)]
        };
        let only =
            |wanted: Content| columns(&|content, _| if content == wanted { 1.0 } else { 0.0 });
        let alpha = columns(&|content, row| match content {
            Content::Noisy => levels[row].alpha as f32,
            Content::Clean | Content::Empty | Content::Noise => 0.0,
        });
        let picked = |of: &Tensor<2>| {
            let more = views[levels.len()..].iter().map(|view| view.row as i64).collect::<Vec<_>>();
            if more.is_empty() {
                return of.clone();
            }
            Tensor::cat(vec![of.clone(), select(of.clone(), more)], 0)
        };
        let mut input = picked(x) * self.parts.spread(alpha, x)
            + picked(&rows.given) * self.parts.spread(only(Content::Clean), x);
        if views.iter().any(|v| [v.pass.image, v.pass.text].contains(&Content::Noise)) {
            let mask = self.parts.spread(only(Content::Noise), x);
            input = input + picked(&rows.marginal) * mask;
        }
        let [image, text] = columns(&told);
        let told = Levels { image, text, data_type: vec![1; views.len()] };
        self.parts.join(self.network.forward_seen(self.parts.split(input), &told, see))
    }
}

impl RowDenoiser for JointDenoiser<'_> {
    type Condition = Rows;
    type Error = Error;

    fn denoise_rows(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        condition: Option<&Rows>,
    ) -> Result<Tensor<2>> {
        let absent = || Error::config("condition", "expected the tasks of the rows, found nothing");
        Ok(self.denoise(x, sigma, condition.ok_or_else(absent)?))
    }
}

/// Rows by number.
fn select(of: Tensor<2>, rows: Vec<i64>) -> Tensor<2> {
    let count = rows.len();
    let device = of.device();
    of.select(0, Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};
    use trefoil_core::Seed;
    use trefoil_core::nn::Init;
    use trefoil_diffusion::ScheduleConfig;

    use super::*;

    fn world(device: &Device) -> (UVit, VpSchedule, Parts) {
        let config = UVitConfig::tiny();
        let network = config.init(&mut Init::random(Seed(1), device)).unwrap();
        let schedule = VpSchedule::new(ScheduleConfig::default().init().unwrap());
        (network, schedule, Parts::of(&config))
    }

    /// Guided text to image is `x - sigma (eps_marginal + w (eps_given - eps_marginal))`, from two passes of the
    /// network that are written out here: the text clean at level 0, and noise at the highest level.
    #[test]
    fn guided_text_to_image_is_two_passes() {
        let device = Device::flex();
        let (network, schedule, parts) = world(&device);
        let (d, sigma, w) = (parts.dims(), 1.7, 2.5);
        let draw = |name| Seed(5).stream(name, 0).normal_tensor::<2>([1, d], &device);
        let (x, code, noise) = (draw("x"), parts.split(draw("code")), parts.split(draw("noise")));
        let Level { n, alpha, .. } = schedule.level_of_edm_sigma(sigma);
        let state = parts.split(x.clone() * alpha);
        let pass = |text: &Tensor<3>, level: f64| {
            let (z, clip) = (state.z.clone(), state.clip.clone());
            let levels =
                Levels { image: vec![n as f32], text: vec![level as f32], data_type: vec![1] };
            parts.join(network.forward(Modalities { z, clip, text: text.clone() }, &levels))
        };
        let (given, marginal) = (pass(&code.text, 0.0), pass(&noise.text, 1000.0));
        let expected = x.clone() - (marginal.clone() + (given - marginal) * w) * sigma;
        let empty =
            Modalities { z: code.z.zeros_like(), clip: code.clip.zeros_like(), text: code.text };
        let rows = Rows {
            tasks: vec![Task::TextToImage],
            given: parts.join(empty),
            marginal: parts.join(noise),
        };
        let guided =
            JointDenoiser { guidance: w, ..JointDenoiser::new(&network, &schedule, parts) };
        let found = guided.denoise(x, &[sigma], &rows).narrow(1, 0, parts.picture());
        let expected = expected.narrow(1, 0, parts.picture()).into_data();
        found.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
    }

    /// Rows of several tasks, guided, in one batch: each is what it is alone, and what a task does not
    /// generate stays as it is given.
    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let device = Device::flex();
        let (network, schedule, parts) = world(&device);
        let d = parts.dims();
        let guided =
            JointDenoiser { guidance: 2.5, ..JointDenoiser::new(&network, &schedule, parts) };
        let tasks = [Task::TextToImage, Task::Joint, Task::ImageToText, Task::Image, Task::Text];
        let draw = |name, index| Seed(3).stream(name, index).normal_tensor::<2>([1, d], &device);
        let given = |i: usize| {
            let (pass, _) = tasks[i].passes();
            let one = |content| vec![if content == Content::Clean { 1.0 } else { 0.0 }];
            let mask = [one(pass.image), one(pass.text)];
            let code = draw("given", i as u64);
            code.clone() * parts.spread(mask, &code)
        };
        let sigma = [0.3, 2.0, 9.0, 1.0, 0.1];
        let all = |of: &dyn Fn(usize) -> Tensor<2>| Tensor::cat((0..5).map(of).collect(), 0);
        let rows = Rows {
            tasks: tasks.to_vec(),
            given: all(&given),
            marginal: all(&|i| draw("marginal", i as u64)),
        };
        let together = guided.denoise(all(&|i| draw("x", i as u64)), &sigma, &rows);
        for i in 0..5 {
            let rows = Rows {
                tasks: vec![tasks[i]],
                given: given(i),
                marginal: draw("marginal", i as u64),
            };
            let alone = guided.denoise(draw("x", i as u64), &sigma[i..=i], &rows);
            let found = together.clone().narrow(0, i, 1);
            let tolerance = Tolerance::absolute(2e-5);
            found.clone().into_data().assert_approx_eq::<f32>(&alone.into_data(), tolerance);
            let (pass, _) = tasks[i].passes();
            let (start, width) = match (pass.image, pass.text) {
                (Content::Noisy, Content::Noisy) => continue,
                (Content::Noisy, _) => (parts.picture(), parts.words()),
                _ => (0, parts.picture()),
            };
            let kept = found.narrow(1, start, width).into_data();
            kept.assert_eq(&given(i).narrow(1, start, width).into_data(), true);
        }
    }
}
