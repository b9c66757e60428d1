//! `trefoil tour`: every mode and a shop once, on one page that opens offline.

mod page;
mod shop;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use trefoil_core::{Picture, fs};
use trefoil_train::data::{DataOptions, Dataset};
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::{Generated, Request};

use self::page::{Figure, Page};
use crate::Answer;
use crate::args::{ModelArgs, SamplingArgs};
use crate::model::ModelId;
use crate::output::{self, Talk};
use crate::record::Record;
use crate::session::Session;

/// Folder of a model with pictures and captions to show it on.
const EXAMPLES: &str = "examples";
/// Shares of the second picture in the blend.
const WEIGHTS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Try every mode and a shop once and write a page with the results
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil tour
  trefoil tour -o tour/ --seed 3

Opens nothing and needs no network: look at index.html in the output folder with a browser.")]
pub(crate) struct TourArgs {
    /// Folder for the page and its pictures
    #[arg(short, long, default_value = "tour", value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// A picture of the model's examples and what it shows.
struct Example {
    picture: Picture,
    caption: String,
}

/// What the steps of the tour share.
struct Guide<'a> {
    session: &'a Session,
    sampling: &'a SamplingArgs,
    folder: &'a Path,
    model: ModelId,
}

impl TourArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let clock = Instant::now();
        let mut session = Session::open_for(&self.model, &self.sampling, talk)?;
        let compares = self.sampling.one_step.is_none() && session.has_one_step();
        if compares {
            session.load_one_step(None)?;
        }
        let mut sampling = self.sampling.clone();
        sampling.seed = Some(sampling.seed.unwrap_or(0));
        let examples = examples(&session)?;
        let pictures = self.output.join("pictures");
        fs::create_dir_all(&pictures)?;
        let guide = Guide {
            session: &session,
            sampling: &sampling,
            folder: &self.output,
            model: session.id()?,
        };
        let mut steps: Vec<(&str, Step<'_>)> = vec![
            ("Text to image", Guide::text_to_image),
            ("Image to text", Guide::image_to_text),
            ("Pairs of picture and text", Guide::joint),
            ("Pictures of anything", Guide::pictures),
            ("Texts about anything", Guide::texts),
            ("Variations of a picture", Guide::picture_variations),
            ("Variations of a text", Guide::text_variations),
            ("From one picture to another", Guide::blend),
        ];
        if compares {
            steps.insert(3, ("Many steps on the left, one on the right", Guide::one_step));
        }
        let total = steps.len() + 1;
        let mut page = Page::new(&guide.model.name, session.model.num_params(), sampling.seed);
        for (number, (title, step)) in (1..).zip(steps) {
            talk.note(format_args!("{number}/{total} {title}"));
            let Some((command, figures)) = step(&guide, &examples)? else {
                return Ok(Answer::Interrupted);
            };
            page.section(title, &command, figures);
        }
        talk.note(format_args!("{total}/{total} A shop: search and recommendations"));
        let Some(sections) = shop::tour(&self.output, &|| session.is_stopped())? else {
            return Ok(Answer::Interrupted);
        };
        page.chapter("A shop", shop::ABOUT);
        for shop::Section { title, command, figures } in sections {
            page.section(&title, &command, figures);
        }
        let html = page.finish(clock.elapsed());
        let index = self.output.join("index.html");
        fs::write_atomic(&index, |out| out.write_all(html.as_bytes()))?;
        talk.note(format_args!("done in {:.0} s; open this page:", clock.elapsed().as_secs_f64()));
        output::print(index.display())?;
        Ok(Answer::Yes)
    }
}

/// One stop: the command line that does the same, and what came out; nothing when interrupted.
type Step<'g> = fn(&Guide<'g>, &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>>;

impl Guide<'_> {
    fn request(&self, mode: Mode) -> anyhow::Result<Request> {
        let sampling = SamplingArgs {
            guidance: self.sampling.guidance.filter(|_| mode.is_guided()),
            ..self.sampling.clone()
        };
        self.session.request(mode, &sampling)
    }

    /// Writes a picture with its settings inside; returns its place seen from the page.
    fn keep(
        &self,
        name: &str,
        picture: &Picture,
        record: Option<&Record>,
    ) -> anyhow::Result<String> {
        let place = format!("pictures/{name}.png");
        let bytes = match record {
            Some(record) => record.embed(picture)?,
            None => trefoil_core::png::encode(picture, &[])?,
        };
        fs::write_atomic(&self.folder.join(&place), |out| out.write_all(&bytes))?;
        Ok(place)
    }

    /// Figures of what a request gave, captioned with the text that came along or with `prompt`.
    fn figures(
        &self,
        name: &str,
        request: &Request,
        generated: &[Generated],
    ) -> anyhow::Result<Vec<Figure>> {
        generated
            .iter()
            .map(|result| {
                let record = Record::new(request, result, &self.model);
                let text = result.text.clone().or_else(|| request.prompt.clone());
                let picture = match &result.image {
                    Some(picture) => Some(self.keep(
                        &format!("{name}-{:02}", result.index),
                        picture,
                        Some(&record),
                    )?),
                    None => None,
                };
                Ok(Figure {
                    pictures: picture.into_iter().collect(),
                    text: text.unwrap_or_default(),
                })
            })
            .collect()
    }

    fn text_to_image(&self, examples: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let mut figures = Vec::new();
        for (i, example) in examples.iter().enumerate() {
            let mut request = self.request(Mode::TextToImage)?;
            request.prompt = Some(example.caption.clone());
            request.count = 2;
            let Some(generated) = self.session.generate(&request, (i, examples.len()))? else {
                return Ok(None);
            };
            let drawn = self.figures(&format!("text-to-image-{i:02}"), &request, &generated)?;
            let pictures = drawn.into_iter().flat_map(|figure| figure.pictures).collect();
            figures.push(Figure { pictures, text: example.caption.clone() });
        }
        let prompt = examples.first().map_or("", |example| &example.caption);
        Ok(Some((format!("trefoil generate \"{prompt}\" -n 2"), figures)))
    }

    fn image_to_text(&self, examples: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let mut figures = Vec::new();
        for (i, example) in examples.iter().enumerate() {
            let mut request = self.request(Mode::ImageToText)?;
            request.image = Some(example.picture.clone());
            let Some(generated) = self.session.generate(&request, (i, examples.len()))? else {
                return Ok(None);
            };
            let place = self.keep(&format!("example-{i:02}"), &example.picture, None)?;
            let text = generated.into_iter().find_map(|g| g.text).unwrap_or_default();
            figures.push(Figure { pictures: vec![place], text });
        }
        Ok(Some(("trefoil caption PICTURE.png".into(), figures)))
    }

    /// The solver and the one-step generator on the same captions and the same pictures.
    fn one_step(&self, examples: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let mut figures = Vec::new();
        let mut seconds = [0.0; 2];
        for (i, example) in examples.iter().enumerate() {
            let mut figure = Figure { pictures: Vec::new(), text: example.caption.clone() };
            for (one_step, seconds) in [false, true].into_iter().zip(&mut seconds) {
                let mut request = self.request(Mode::TextToImage)?;
                request.prompt = Some(example.caption.clone());
                request.one_step = one_step;
                let clock = Instant::now();
                let Some(generated) = self.session.generate(&request, (i, examples.len()))? else {
                    return Ok(None);
                };
                *seconds += clock.elapsed().as_secs_f64();
                let name = if one_step { "one-step" } else { "many-steps" };
                let drawn = self.figures(&format!("{name}-{i:02}"), &request, &generated)?;
                figure.pictures.extend(drawn.into_iter().flat_map(|figure| figure.pictures));
            }
            figures.push(figure);
        }
        for (i, example) in examples.iter().enumerate() {
            let mut request = self.request(Mode::ImageToText)?;
            request.image = Some(example.picture.clone());
            request.one_step = true;
            let Some(generated) = self.session.generate(&request, (i, examples.len()))? else {
                return Ok(None);
            };
            let place = self.keep(&format!("one-step-example-{i:02}"), &example.picture, None)?;
            let text = generated.into_iter().find_map(|g| g.text).unwrap_or_default();
            figures.push(Figure { pictures: vec![place], text: format!("in one step: {text}") });
        }
        let [many, one] = seconds.map(|all| all / examples.len().max(1) as f64);
        let text = format!("a picture takes {many:.2} s in many steps and {one:.2} s in one");
        figures.push(Figure { pictures: Vec::new(), text });
        let prompt = examples.first().map_or("", |example| &example.caption);
        Ok(Some((format!("trefoil generate \"{prompt}\" --one-step"), figures)))
    }

    /// A mode without a condition.
    fn free(
        &self,
        mode: Mode,
        count: usize,
        command: &str,
    ) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let mut request = self.request(mode)?;
        request.count = count;
        let Some(generated) = self.session.generate(&request, (0, 1))? else { return Ok(None) };
        let figures = self.figures(mode.name(), &request, &generated)?;
        Ok(Some((command.into(), figures)))
    }

    fn joint(&self, _: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        self.free(Mode::Joint, 8, "trefoil joint -n 8")
    }

    fn pictures(&self, _: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        self.free(Mode::Image, 8, "trefoil sample --image -n 8")
    }

    fn texts(&self, _: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        self.free(Mode::Text, 8, "trefoil sample --text -n 8")
    }

    fn picture_variations(
        &self,
        examples: &[Example],
    ) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let example = examples.first().context("the model has no examples")?;
        let mut request = self.request(Mode::ImageVariation)?;
        request.image = Some(example.picture.clone());
        request.count = 5;
        let Some(generated) = self.session.generate(&request, (0, 1))? else { return Ok(None) };
        let given = self.keep("variation-given", &example.picture, None)?;
        let mut figures = vec![Figure { pictures: vec![given], text: "given".into() }];
        figures.extend(self.figures("image-variation", &request, &generated)?);
        Ok(Some(("trefoil vary PICTURE.png -n 5".into(), figures)))
    }

    fn text_variations(
        &self,
        examples: &[Example],
    ) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let example = examples.first().context("the model has no examples")?;
        let mut request = self.request(Mode::TextVariation)?;
        request.prompt = Some(example.caption.clone());
        request.count = 4;
        let Some(generated) = self.session.generate(&request, (0, 1))? else { return Ok(None) };
        let mut figures =
            vec![Figure { pictures: Vec::new(), text: format!("given: {}", example.caption) }];
        figures.extend(self.figures("text-variation", &request, &generated)?);
        Ok(Some((format!("trefoil vary --text \"{}\" -n 4", example.caption), figures)))
    }

    fn blend(&self, examples: &[Example]) -> anyhow::Result<Option<(String, Vec<Figure>)>> {
        let [a, .., b] = examples else { anyhow::bail!("the model has fewer than two examples") };
        let mut request = self.request(Mode::ImageVariation)?;
        request.count = WEIGHTS.len();
        let pictures = [&a.picture, &b.picture];
        let Some(generated) = self.session.blend(pictures, &WEIGHTS, &request)? else {
            return Ok(None);
        };
        let mut figures = self.figures("blend", &request, &generated)?;
        for (figure, weight) in figures.iter_mut().zip(WEIGHTS) {
            figure.text = format!("{weight}");
        }
        Ok(Some(("trefoil blend A.png B.png --weights 0,0.25,0.5,0.75,1".into(), figures)))
    }
}

/// The examples that come with the model; a model without them cannot be shown around.
fn examples(session: &Session) -> anyhow::Result<Vec<Example>> {
    let folder = session.folder().join(EXAMPLES);
    let options =
        DataOptions { split: None, ..DataOptions::new(session.model.image_size() as u32) };
    let dataset = Dataset::load(std::slice::from_ref(&folder), &options)
        .with_context(|| format!("the tour needs captioned pictures in {}", folder.display()))?;
    let first = |captions: Vec<String>| captions.into_iter().next().unwrap_or_default();
    Ok(dataset
        .samples
        .into_iter()
        .map(|sample| Example { picture: sample.picture, caption: first(sample.captions) })
        .collect())
}
