//! From one layout and precision to another, one tensor in memory at a time.

use std::path::Path;

use serde_json::json;
use trefoil_core::weights::{self, Precision, StoredTensor};
use trefoil_core::{Result, fs};

use super::{CLIP_TOKENIZER, Layout, ModelFiles, TEXT_TOKENIZER, save_image_processor, scheduler};
use crate::folder::{Component, Part, write_component, write_index};
use crate::keys;

impl ModelFiles {
    /// Writes the model into a folder in another layout or precision. Weights are written as safetensors, those
    /// of the authors' layout as files of PyTorch under the authors' names, with the numbers that do not follow from
    /// them in a `config.json`.
    ///
    /// # Errors
    /// Those of strict loading, [`trefoil_core::Error::Write`], and [`trefoil_core::Error::NonFinite`] when a weight
    /// does not survive the conversion.
    pub fn convert(&self, out: &Path, layout: Layout, precision: Precision) -> Result<()> {
        fs::create_dir_all(out)?;
        let [clip, text] = self.tokenizers()?;
        write(&self.text_encoder, out, precision)?;
        write(&self.image_encoder, out, precision)?;
        clip.save(&out.join(CLIP_TOKENIZER), self.uvit.config.num_text_tokens)?;
        text.save(&out.join(TEXT_TOKENIZER), self.caption_decoder.config.n_positions)?;
        match layout {
            Layout::Diffusers => {
                write(&self.uvit, out, precision)?;
                write(&self.autoencoder, out, precision)?;
                write(&self.caption_decoder, out, precision)?;
                scheduler::save(&self.schedule, out)?;
                save_image_processor(self.image_encoder.config.image_size, out)?;
                write_index(out)
            }
            Layout::Authors => self.write_authors(out, precision),
        }
    }

    fn write_authors(&self, out: &Path, precision: Precision) -> Result<()> {
        let save = |name: &str, tensors: Vec<(String, StoredTensor)>| {
            weights::save_torch(&out.join(name), &tensors, precision)
        };
        let levels = self.autoencoder.config.block_out_channels.len();
        let autoencoder = keys::autoencoder_to_original(self.autoencoder.stored()?, levels);
        save("autoencoder_kl.pth", autoencoder)?;
        let decoder = keys::caption_decoder_to_original(self.caption_decoder.stored()?);
        save("caption_decoder.pth", decoder)?;
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
        // Last: a folder without it is unfinished.
        let version = u8::from(self.uvit.config.use_data_type_embedding);
        save(&format!("uvit_v{version}.pth"), self.uvit.stored()?)
    }
}

/// One component in the layout of diffusers.
fn write<C: Component>(part: &Part<C>, out: &Path, precision: Precision) -> Result<()> {
    write_component::<C, _>(&part.config, &C::published(part.stored()?), out, precision)
}
