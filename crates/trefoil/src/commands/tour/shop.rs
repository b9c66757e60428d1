//! The shop of the tour: a recommender is trained on the spot, asked, told of a click, and asked again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use trefoil_core::{Picture, fs, png};
use uditsr::data::{Prepare, SplitRule};
use uditsr::recommender::{Access, Answer, Bundle, Event, RequestOptions};
use uditsr::train::{Recipe, Trainer};
use uditsr::{Recommender, RecommenderOptions};

use super::page::Figure;
use crate::model;

/// The catalogue, its pictures and the log.
const SHOP: &str = "examples/openmoji-shop";
const ITEMS: &str = "items.jsonl";
/// Drawings in the order of the catalogue.
const SHEET: &str = "pictures.png";
const SIDE: usize = 32;
/// Passes over the log: less than a training of one's own, to be done in seconds.
const EPOCHS: usize = 20;
/// The visitor, whom nobody knows, and what is clicked and looked for.
const VISITOR: &str = "visitor";
const CLICKED: &str = "1F3B8";
const QUERY: &str = "gold";
/// Items of each answer.
const SHOWN: usize = 7;

/// What the page says about it.
pub(super) const ABOUT: &str = "\
    UDITSR answers searches and recommends with the same two intents: what somebody likes, and what is wanted now. \
    This one was trained while the page was made, on 846 OpenMoji drawings and a simulated log: nobody really \
    clicked. Each made-up user likes three kinds of things. The visitor is nobody that the log knows.";

/// A section of the page: title, what it says, command, figures.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) command: String,
    pub(super) figures: Vec<Figure>,
}

/// A trained shop.
struct Shop<'a> {
    recommender: Recommender,
    /// Ids in the order of the sheet.
    ids: Vec<String>,
    sheet: Picture,
    /// Folder of the page.
    folder: &'a Path,
    model: PathBuf,
}

/// Trains, asks, clicks and asks again; nothing when interrupted.
pub(super) fn tour(
    folder: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Vec<Section>>> {
    let Some(mut shop) = Shop::train(folder, is_stopped)? else { return Ok(None) };
    let model = shop.model.display().to_string();
    let ask = |what: &str| format!("trefoil {what} --user {VISITOR} -k {SHOWN} --model {model}");
    let click = format!("trefoil event add --user {VISITOR} --item {CLICKED} --model {model}");
    let mut sections = Vec::new();
    for is_after in [false, true] {
        let when = if is_after { "after the click" } else { "before any click" };
        if is_after {
            shop.click()?;
            let figures = vec![shop.figure(CLICKED)?];
            sections.push(Section { title: "A click".into(), command: click.clone(), figures });
        }
        let plain = RequestOptions::default();
        let answer = shop.recommender.recommend(Some(VISITOR), SHOWN, &plain)?;
        let title = format!("Recommendation, {when}: ordered by {}", answer.order);
        let figures = shop.figures(&answer)?;
        sections.push(Section { title, command: ask("recommend"), figures });
        let answer = shop.recommender.search(Some(VISITOR), QUERY, SHOWN, &plain)?;
        let title = format!("Search for “{QUERY}”, {when}");
        let figures = shop.figures(&answer)?;
        sections.push(Section { title, command: ask(&format!("search {QUERY}")), figures });
    }
    Ok(Some(sections))
}

impl<'a> Shop<'a> {
    fn train(folder: &'a Path, is_stopped: &dyn Fn() -> bool) -> anyhow::Result<Option<Self>> {
        let source = model::shipped(SHOP).with_context(|| format!("no folder {SHOP}"))?;
        let mut prepare = Prepare::new([source.join("events.csv")]);
        prepare.catalogue = Some(source.join(ITEMS));
        // Nothing is held out: nobody measures this one.
        prepare.options.split = Some(SplitRule::Pairs { valid: 0.0, test: 0.0 });
        let prepared = prepare.prepare()?;
        let mut recipe = Recipe::default();
        recipe.model.dim = 32;
        recipe.train.epochs = EPOCHS;
        let mut trainer = Trainer::new(&recipe.model, &recipe.train, &prepared.dataset)?;
        trainer.run(None, &mut |_| {
            if is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_stopped() {
            return Ok(None);
        }
        let model = folder.join("shop");
        Bundle::save(&model, &trainer.scorer()?, &prepared)?;
        let journal = folder.join("shop.journal");
        // A journal of an earlier tour belongs to that tour's model.
        if journal.is_file() {
            std::fs::remove_file(&journal)
                .with_context(|| format!("cannot replace {}", journal.display()))?;
        }
        let options = RecommenderOptions {
            journal: Some(journal),
            access: Access::Append,
            ..RecommenderOptions::default()
        };
        let recommender = Recommender::open(&model, options)?;
        let ids = fs::read_to_string(&source.join(ITEMS))?
            .lines()
            .map(|line| {
                let item: serde_json::Value = serde_json::from_str(line)?;
                Ok(item["item"].as_str().unwrap_or_default().to_owned())
            })
            .collect::<anyhow::Result<Vec<String>>>()?;
        let sheet = Picture::open(&source.join(SHEET))?;
        Ok(Some(Self { recommender, ids, sheet, folder, model }))
    }

    fn click(&mut self) -> anyhow::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
        let (user, item) = (VISITOR.to_owned(), CLICKED.to_owned());
        self.recommender.record(Event { user, item, time, ..Event::default() })?;
        Ok(())
    }

    fn figures(&self, answer: &Answer) -> anyhow::Result<Vec<Figure>> {
        answer.hits.iter().map(|hit| self.figure(&hit.item)).collect()
    }

    /// The drawing of an item and its title.
    fn figure(&self, item: &str) -> anyhow::Result<Figure> {
        let place =
            self.ids.iter().position(|id| id == item).context("an item without a drawing")?;
        let width = self.sheet.width() as usize;
        let (x, y) = (place % (width / SIDE) * SIDE, place / (width / SIDE) * SIDE);
        let rows = self.sheet.pixels().chunks_exact(3 * width).skip(y).take(SIDE);
        let pixels = rows.flat_map(|row| &row[3 * x..3 * (x + SIDE)]).copied().collect();
        let drawing = Picture::new(SIDE as u32, SIDE as u32, pixels)?;
        let picture = format!("pictures/shop-{item}.png");
        let bytes = png::encode(&drawing, &[])?;
        fs::write_atomic(&self.folder.join(&picture), |out| out.write_all(&bytes))?;
        let text = self.recommender.item(item).map_or("", |item| &item.title);
        Ok(Figure { pictures: vec![picture], text: text.to_owned() })
    }
}
