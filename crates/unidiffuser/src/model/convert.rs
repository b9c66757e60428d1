//! From one layout and precision to another, one tensor in memory at a time.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::json;
use trefoil_core::weights::{self, Precision, StoredTensor};
use trefoil_core::{Error, Result, fs};

use super::{CLIP_TOKENIZER, Layout, ModelFiles, TEXT_TOKENIZER, save_image_processor, scheduler};
use crate::folder::{Component, Part, write_component, write_index};
use crate::keys;
use crate::one_step::{self, OneStepFiles};
use crate::tokenizer::Tokenizer;

/// Tensors of a network under its own names, still in their file.
type Tensors = Vec<(String, StoredTensor)>;

/// Everything that a conversion reads, opened and compared with the configurations.
struct Checked {
    uvit: Tensors,
    autoencoder: Tensors,
    text_encoder: Tensors,
    image_encoder: Tensors,
    caption_decoder: Tensors,
    /// Those of prompts and of captions.
    tokenizers: [Tokenizer; 2],
    one_step: Option<(OneStepFiles, Tensors)>,
}

impl ModelFiles {
    /// Writes the model into a folder in another layout or precision. Weights are written as safetensors, those
    /// of the authors' layout as files of PyTorch under the authors' names, with the numbers that do not follow from
    /// them in a `config.json`. A one-step generator of the model goes along; its folder is the same beside both layouts.
    ///
    /// Everything is checked before the first byte is written, and the folder appears when it is complete.
    ///
    /// # Errors
    /// Those of strict loading, [`Error::Write`], also where something is at `out` already, and [`Error::NonFinite`]
    /// when a weight does not survive the conversion.
    pub fn convert(&self, out: &Path, layout: Layout, precision: Precision) -> Result<()> {
        if !fs::is_free(out) {
            let source = ErrorKind::AlreadyExists.into();
            return Err(Error::Write { path: out.into(), source });
        }
        let checked = self.checked()?;
        fs::write_folder(out, |new| self.write(checked, new, layout, precision))
    }

    fn checked(&self) -> Result<Checked> {
        let tokenizers = self.tokenizers()?;
        let folder = self.folder.join(one_step::FOLDER);
        let one_step = if folder.is_dir() {
            let files = OneStepFiles::open(&folder, &self.uvit.config)?;
            let tensors = files.network.stored()?;
            Some((files, tensors))
        } else {
            None
        };
        Ok(Checked {
            uvit: self.uvit.stored()?,
            autoencoder: self.autoencoder.stored()?,
            text_encoder: self.text_encoder.stored()?,
            image_encoder: self.image_encoder.stored()?,
            caption_decoder: self.caption_decoder.stored()?,
            tokenizers,
            one_step,
        })
    }

    fn write(
        &self,
        checked: Checked,
        out: &Path,
        layout: Layout,
        precision: Precision,
    ) -> Result<()> {
        let Checked { uvit, autoencoder, caption_decoder, .. } = checked;
        let [clip, text] = checked.tokenizers;
        write(&self.text_encoder, checked.text_encoder, out, precision)?;
        write(&self.image_encoder, checked.image_encoder, out, precision)?;
        clip.save(&out.join(CLIP_TOKENIZER), self.uvit.config.num_text_tokens)?;
        text.save(&out.join(TEXT_TOKENIZER), self.caption_decoder.config.n_positions)?;
        if let Some((files, tensors)) = checked.one_step {
            files.write(tensors, &out.join(one_step::FOLDER), precision)?;
        }
        match layout {
            Layout::Diffusers => {
                write(&self.uvit, uvit, out, precision)?;
                write(&self.autoencoder, autoencoder, out, precision)?;
                write(&self.caption_decoder, caption_decoder, out, precision)?;
                scheduler::save(&self.schedule, out)?;
                save_image_processor(self.image_encoder.config.image_size, out)?;
                write_index(out)
            }
            Layout::Authors => {
                self.write_authors([uvit, autoencoder, caption_decoder], out, precision)
            }
        }
    }

    /// The networks that the authors have in files of their own: noise predictor, autoencoder, caption decoder.
    fn write_authors(
        &self,
        [uvit, autoencoder, caption_decoder]: [Tensors; 3],
        out: &Path,
        precision: Precision,
    ) -> Result<()> {
        let save = |name: &str, tensors: Tensors| {
            weights::save_torch(&out.join(name), &tensors, precision)
        };
        let levels = self.autoencoder.config.block_out_channels.len();
        save("autoencoder_kl.pth", keys::autoencoder_to_original(autoencoder, levels))?;
        save("caption_decoder.pth", keys::caption_decoder_to_original(caption_decoder))?;
        fs::write_json(
            &out.join("config.json"),
            &json!({
                "uvit": {"num_heads": self.uvit.config.num_heads},
                "autoencoder": {
                    "norm_num_groups": self.autoencoder.config.norm_num_groups,
                    "scaling_factor": self.autoencoder.config.scaling_factor,
                },
                "caption_decoder": {
                    "n_head": self.caption_decoder.config.n_head,
                    "activation_function": self.caption_decoder.config.activation_function,
                },
            }),
        )?;
        // The name says which version it is.
        let version = u8::from(self.uvit.config.use_data_type_embedding);
        save(&format!("uvit_v{version}.pth"), uvit)
    }
}

/// One component in the layout of diffusers.
fn write<C: Component>(
    part: &Part<C>,
    tensors: Tensors,
    out: &Path,
    precision: Precision,
) -> Result<()> {
    write_component::<C, _>(&part.config, &C::published(tensors), out, precision)
}
