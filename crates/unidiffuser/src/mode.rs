//! Which distribution is sampled: one network, seven modes.
//!
//! The network takes a noise level for the picture and one for the text, and what it models follows
//! from the two (arXiv 2303.06555, section 3.2). With `n` the running level of the solver, 0 the clean
//! and `N` the fully noisy one:
//!
//! | [`Task`] | distribution | picture, text | marginal passes for guidance |
//! |---|---|---|---|
//! | text to image | `q(x given y)` | `n`, 0 | `n`, `N` |
//! | image to text | `q(y given x)` | 0, `n` | `N`, `n` |
//! | joint | `q(x, y)` | `n`, `n` | `N`, `n` for the text; `n`, `N` for the picture |
//! | image | `q(x)` | `n`, `N` | |
//! | text | `q(y)` | `N`, `n` | |
//!
//! A modality at level `N` is fresh standard normal noise at every evaluation. The two variations
//! chain two tasks, and hand the codes over without decoding them in between.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use self::Content::{Clean, Noise, Noisy};

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mode {
    /// A picture for a prompt.
    TextToImage,
    /// A caption for a picture.
    ImageToText,
    /// A picture and a caption that belong together.
    Joint,
    /// A picture of anything.
    Image,
    /// A caption of anything.
    Text,
    /// Another picture with the same meaning.
    ImageVariation,
    /// Another caption with the same meaning.
    TextVariation,
}

/// One run of the solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Samples `q(x given y)`.
    TextToImage,
    /// Samples `q(y given x)`.
    ImageToText,
    /// Samples `q(x, y)`.
    Joint,
    /// Samples `q(x)`.
    Image,
    /// Samples `q(y)`.
    Text,
}

/// What one network pass sees of a modality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// The state of the solver, at its level.
    Noisy,
    /// The condition, at level 0.
    Clean,
    /// Fresh noise, at the highest level: the modality is marginalised.
    Noise,
    /// The code of the empty text, at level 0.
    Empty,
}

/// What one network pass sees; it predicts the noise of what is [`Content::Noisy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pass {
    /// The picture: latent and CLIP embedding.
    pub image: Content,
    /// The text code.
    pub text: Content,
}

impl Task {
    /// The table above: the pass that is always made, and those that guidance compares it with.
    pub fn passes(self) -> (Pass, &'static [Pass]) {
        const IMAGE: Pass = Pass { image: Noisy, text: Noise };
        const TEXT: Pass = Pass { image: Noise, text: Noisy };
        match self {
            Self::TextToImage => (Pass { image: Noisy, text: Clean }, &[IMAGE]),
            Self::ImageToText => (Pass { image: Clean, text: Noisy }, &[TEXT]),
            Self::Joint => (Pass { image: Noisy, text: Noisy }, &[TEXT, IMAGE]),
            Self::Image => (IMAGE, &[]),
            Self::Text => (TEXT, &[]),
        }
    }

    /// The name used in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextToImage => "text-to-image",
            Self::ImageToText => "image-to-text",
            Self::Joint => "joint",
            Self::Image => "image",
            Self::Text => "text",
        }
    }

    /// Whether it generates a picture.
    pub fn makes_image(self) -> bool {
        self.passes().0.image == Noisy
    }

    /// Whether it generates a text.
    pub fn makes_text(self) -> bool {
        self.passes().0.text == Noisy
    }
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 7] = [
        Self::TextToImage,
        Self::ImageToText,
        Self::Joint,
        Self::Image,
        Self::Text,
        Self::ImageVariation,
        Self::TextVariation,
    ];

    /// The tasks that are chained; each is conditioned on what the one before has made.
    pub fn tasks(self) -> &'static [Task] {
        match self {
            Self::TextToImage => &[Task::TextToImage],
            Self::ImageToText => &[Task::ImageToText],
            Self::Joint => &[Task::Joint],
            Self::Image => &[Task::Image],
            Self::Text => &[Task::Text],
            Self::ImageVariation => &[Task::ImageToText, Task::TextToImage],
            Self::TextVariation => &[Task::TextToImage, Task::ImageToText],
        }
    }

    /// Whether a prompt is required.
    pub fn needs_prompt(self) -> bool {
        self.tasks()[0].passes().0.text == Clean
    }

    /// Whether a picture is required.
    pub fn needs_image(self) -> bool {
        self.tasks()[0].passes().0.image == Clean
    }

    /// Whether the result has a picture.
    pub fn makes_image(self) -> bool {
        self.tasks().last().is_some_and(|task| task.makes_image())
    }

    /// Whether the result has a text.
    pub fn makes_text(self) -> bool {
        self.tasks().last().is_some_and(|task| task.makes_text())
    }

    /// Whether the guidance scale has an effect.
    pub fn is_guided(self) -> bool {
        self.tasks().iter().any(|task| !task.passes().1.is_empty())
    }

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The name in the authors' program.
    pub fn short_name(self) -> &'static str {
        self.names()[1]
    }

    /// Our name, the authors', and that of diffusers where it has one of its own.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::TextToImage => &["text-to-image", "t2i", "text2img"],
            Self::ImageToText => &["image-to-text", "i2t", "img2text"],
            Self::Joint => &["joint", "joint"],
            Self::Image => &["image", "i", "img"],
            Self::Text => &["text", "t"],
            Self::ImageVariation => &["image-variation", "i2t2i"],
            Self::TextVariation => &["text-variation", "t2i2t"],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is none of a fixed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{found}`; expected one of: {expected}")]
pub struct UnknownName {
    /// What was to be named.
    pub what: &'static str,
    /// The name that was given.
    pub found: String,
    /// The accepted names.
    pub expected: &'static str,
}

impl FromStr for Mode {
    type Err = UnknownName;

    fn from_str(found: &str) -> Result<Self, UnknownName> {
        let name = found.trim().to_ascii_lowercase().replace('_', "-");
        let mode = Self::ALL.into_iter().find(|mode| mode.names().contains(&name.as_str()));
        mode.ok_or_else(|| UnknownName {
            what: "mode",
            found: found.to_string(),
            expected: "text-to-image (t2i), image-to-text (i2t), joint, image (i), text (t), \
                       image-variation (i2t2i), text-variation (t2i2t)",
        })
    }
}

impl TryFrom<String> for Mode {
    type Error = UnknownName;

    fn try_from(name: String) -> Result<Self, UnknownName> {
        name.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.name().to_string()
    }
}

/// What "without the prompt" means when a picture is guided towards a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unconditional {
    /// The marginal distribution: noise as text, at the highest level.
    #[default]
    TrueMarginal,
    /// The distribution given the empty text.
    EmptyText,
}

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TrueMarginal => "true-marginal",
            Self::EmptyText => "empty-text",
        })
    }
}

impl FromStr for Unconditional {
    type Err = UnknownName;

    /// The authors' names `true_uncond` and `empty_token` are accepted too.
    fn from_str(found: &str) -> Result<Self, UnknownName> {
        match found.trim().to_ascii_lowercase().replace('_', "-").as_str() {
            "true-marginal" | "true-uncond" => Ok(Self::TrueMarginal),
            "empty-text" | "empty-token" => Ok(Self::EmptyText),
            _ => Err(UnknownName {
                what: "unconditional pass",
                found: found.to_string(),
                expected: "true-marginal, empty-text",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood() {
        for mode in Mode::ALL {
            for name in mode.names() {
                assert_eq!(name.parse(), Ok(mode));
                assert_eq!(name.to_uppercase().replace('-', "_").parse(), Ok(mode));
            }
            let json = serde_json::to_string(&mode).unwrap();
            assert_eq!(json, format!("\"{mode}\""));
            assert_eq!(serde_json::from_str::<Mode>(&json).unwrap(), mode);
        }
        let error = "i2i".parse::<Mode>().unwrap_err().to_string();
        assert!(error.contains("`i2i`") && error.contains("image-variation (i2t2i)"), "{error}");
        for unconditional in [Unconditional::TrueMarginal, Unconditional::EmptyText] {
            assert_eq!(unconditional.to_string().parse(), Ok(unconditional));
        }
        assert_eq!("true_uncond".parse(), Ok(Unconditional::TrueMarginal));
        assert_eq!("empty_token".parse(), Ok(Unconditional::EmptyText));
        assert!("none".parse::<Unconditional>().is_err());
    }

    /// Needs a prompt, needs a picture, makes a picture, makes a text, is guided.
    #[test]
    fn modes_take_and_make_what_they_say() {
        let facts = |m: Mode| {
            [m.needs_prompt(), m.needs_image(), m.makes_image(), m.makes_text(), m.is_guided()]
        };
        assert_eq!(facts(Mode::TextToImage), [true, false, true, false, true]);
        assert_eq!(facts(Mode::ImageToText), [false, true, false, true, true]);
        assert_eq!(facts(Mode::Joint), [false, false, true, true, true]);
        assert_eq!(facts(Mode::Image), [false, false, true, false, false]);
        assert_eq!(facts(Mode::Text), [false, false, false, true, false]);
        assert_eq!(facts(Mode::ImageVariation), [false, true, true, false, true]);
        assert_eq!(facts(Mode::TextVariation), [true, false, false, true, true]);
    }

    #[test]
    fn every_generated_modality_of_a_guided_task_has_one_marginal_pass() {
        for task in Mode::ALL.into_iter().flat_map(Mode::tasks) {
            let (conditional, marginal) = task.passes();
            if marginal.is_empty() {
                continue;
            }
            for part in [|p: &Pass| p.image, |p: &Pass| p.text] {
                let expected = usize::from(part(&conditional) == Noisy);
                assert_eq!(marginal.iter().filter(|p| part(p) == Noisy).count(), expected);
            }
        }
    }
}
