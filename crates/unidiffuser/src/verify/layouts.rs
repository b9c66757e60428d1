//! The authors' files beside the folder of diffusers: other names and shapes, the same numbers.

use trefoil_core::weights::WeightFile;

use super::{Check, Oracle, Result, Tolerance};
use crate::autoencoder::Autoencoder;
use crate::caption::CaptionDecoder;
use crate::folder::Component;
use crate::uvit::UVit;

/// Group `layouts`: `hf/` against `orig/`, in both file formats.
pub(super) fn compare(oracle: &Oracle, _: &str) -> Result<Vec<Check>> {
    let version = oracle.number("/args/version")?;
    let mut checks = Vec::new();
    for format in ["pth", "safetensors"] {
        checks.extend(part::<UVit>(oracle, &format!("uvit_v{version}.{format}"))?);
        checks.extend(part::<Autoencoder>(oracle, &format!("autoencoder_kl.{format}"))?);
        checks.extend(part::<CaptionDecoder>(oracle, &format!("caption_decoder.{format}"))?);
    }
    Ok(checks)
}

/// Every tensor of one network.
fn part<C: Component>(oracle: &Oracle, name: &str) -> Result<Vec<Check>> {
    let expected = C::open(&oracle.folder.join("hf"))?.weights;
    let found = C::canonical(WeightFile::open(&oracle.folder.join("orig").join(name))?)?;
    let mut checks =
        vec![Check::equal(format!("{name}: names"), &found.names()?, &expected.names()?)];
    for (tensor, _) in expected.tensors() {
        let what = format!("{name}: {tensor}");
        checks.push(match found.get(tensor) {
            Ok(data) => Check::tensors(what, &data, &expected.get(tensor)?, Tolerance::Identical),
            Err(_) => Check::missing(what, Tolerance::Identical),
        });
    }
    Ok(checks)
}
