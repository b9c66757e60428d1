//! A set of scenes as an image folder: pictures with class, direction and camera.
//!
//! The scenes themselves are not stored. They follow from the settings in `scenes.json`, so that who has the folder
//! has them exactly.

use std::fmt::Write as _;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trefoil_core::{Error as CoreError, Picture, Seed, fs, png};
use trefoil_train::Error as TrainError;

use super::camera::{Camera, World};
use super::render::Renderer;
use super::solids::{Thing, voxels};
use crate::error::Result;

/// Name of the file with the settings.
const SETTINGS: &str = "scenes.json";

/// Scenes and their pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneSet {
    /// Seed of scenes and cameras.
    pub seed: Seed,
    /// Scenes of each class.
    pub scenes: usize,
    /// Pictures of each scene.
    pub pictures: usize,
    /// Sizes.
    pub world: World,
}

impl Default for SceneSet {
    fn default() -> Self {
        Self { seed: Seed(0), scenes: 48, pictures: 24, world: World::default() }
    }
}

impl SceneSet {
    /// Reads the settings of a folder.
    ///
    /// # Errors
    /// [`CoreError::Read`]; [`CoreError::Format`] with the file and what is wrong.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(SETTINGS);
        let set: Self = fs::read_json(&path)?;
        set.validate().map_err(|e| CoreError::format(&path, e.to_string()))?;
        Ok(set)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`CoreError::Config`] naming the field.
    pub fn validate(&self) -> trefoil_core::Result<()> {
        for (field, value) in [("scenes", self.scenes), ("pictures", self.pictures)] {
            if value == 0 {
                return Err(CoreError::config(field, "expected at least 1, found 0"));
            }
        }
        self.world.validate()
    }

    /// Scenes of a class by their numbers; those of the set are below [`SceneSet::scenes`], and others are new.
    ///
    /// # Shapes
    /// - returns: `[numbers.len() * grid^3, 4]`
    pub fn fields(
        &self,
        thing: Thing,
        numbers: std::ops::Range<usize>,
        device: &Device,
    ) -> Tensor<2> {
        let mut values = Vec::with_capacity(numbers.len() * self.world.voxels() * 4);
        let name = format!("scene-{}", thing.name());
        for number in numbers {
            let parts = thing.draw(&mut self.seed.stream(&name, number as u64));
            values.extend(voxels(&parts, self.world.grid));
        }
        let shape = [values.len() / 4, 4];
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn cameras(&self, thing: Thing, number: usize) -> Vec<Camera> {
        let mut stream = self.seed.stream(&format!("camera-{}", thing.name()), number as u64);
        (0..self.pictures).map(|_| self.world.camera(&mut stream)).collect()
    }
}

/// Writes the pictures of a set: a folder for each label, `metadata.jsonl` with label, text, scene and camera of each
/// picture, and the settings. Returns how many.
///
/// # Errors
/// [`TrainError::NotEmpty`] when the folder has something in it; [`CoreError::Write`]; those of the settings.
pub fn write(set: &SceneSet, out: &Path, device: &Device) -> Result<usize> {
    set.validate()?;
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(TrainError::NotEmpty { path: out.into() }.into());
    }
    let fail = |source| CoreError::Write { path: out.into(), source };
    fs::write_folder(out, |new| {
        let renderer = Renderer::new(set.world.clone());
        let (side, labels) = (set.world.side, set.world.labels());
        let (mut lines, mut count) = (String::new(), 0);
        for label in &labels {
            fs::create_dir_all(&new.join(label))?;
        }
        for thing in Thing::ALL {
            for number in 0..set.scenes {
                let field = set.fields(thing, number..number + 1, device);
                let cameras = set.cameras(thing, number);
                let shots: Vec<(usize, Camera)> =
                    cameras.iter().map(|camera| (0, *camera)).collect();
                let picture = renderer.render(&field, &shots).picture;
                let pictures = Picture::from_tensor(picture.reshape([shots.len(), 3, side, side]))?;
                for (place, (picture, camera)) in pictures.iter().zip(cameras).enumerate() {
                    let label = &labels[set.world.label(thing, camera)];
                    let file = format!("{label}/{number:04}-{place:03}.png");
                    std::fs::write(new.join(&file), png::encode(picture, &[])?).map_err(fail)?;
                    let row = serde_json::json!({
                        "file_name": file,
                        "label": label,
                        "text": format!("a {}", thing.name()),
                        "scene": number,
                        "azimuth": camera.azimuth.to_degrees(),
                        "elevation": camera.elevation.to_degrees(),
                    });
                    let _ = writeln!(lines, "{row}");
                    count += 1;
                }
            }
        }
        fs::write_atomic(&new.join("metadata.jsonl"), |file| file.write_all(lines.as_bytes()))?;
        fs::write_json(&new.join(SETTINGS), set)?;
        Ok(count)
    })
}
