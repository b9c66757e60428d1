//! Everything that can be said about the weights of a model without running it.

use std::path::Path;

use trefoil_core::weights::{StoredTensor, WeightFile};
use trefoil_core::{Error, Result};
use unidiffuser::caption::CaptionDecoder;
use unidiffuser::folder::Component as _;
use unidiffuser::keys;
use unidiffuser::model::ModelFiles;

use super::info;
use crate::Answer;
use crate::output::{self, Talk};

/// Prints a line for each network of a model, and on standard error all that is wrong.
pub(super) fn verify(model: &Path, talk: Talk) -> anyhow::Result<Answer> {
    let files = ModelFiles::open(model)?;
    files.tokenizers()?;
    let mut misfit = None;
    let mut answer = Answer::Yes;
    for (name, tensors) in info::stored_of_each(&files) {
        match tensors {
            Ok(tensors) => {
                let wrong = if name == CaptionDecoder::FOLDER { head(&files)? } else { None };
                let wrong: Vec<String> = numbers(&tensors).into_iter().chain(wrong).collect();
                if !print(name, &tensors, &wrong, talk)? {
                    answer = Answer::No;
                }
            }
            Err(error) => {
                for line in details(&error) {
                    talk.note(format_args!("{name}: {line}"));
                }
                misfit = misfit.or(Some(error));
            }
        }
    }
    misfit.map_or(Ok(answer), |error| Err(error.into()))
}

/// Whether nothing is wrong.
fn print(
    name: &str,
    tensors: &[(String, StoredTensor)],
    wrong: &[String],
    talk: Talk,
) -> anyhow::Result<bool> {
    let count = tensors.len();
    if wrong.is_empty() {
        output::print(format_args!(
            "{name:<16}{count:>5} tensors, names, shapes and numbers as they must be"
        ))?;
    } else {
        output::print(format_args!("{name:<16}{count:>5} tensors, {} wrong", wrong.len()))?;
        for line in wrong {
            talk.note(format_args!("{name}: {line}"));
        }
    }
    Ok(wrong.is_empty())
}

/// What is wrong with the numbers of tensors.
fn numbers(tensors: &[(String, StoredTensor)]) -> Vec<String> {
    let check = |(_, tensor): &(String, StoredTensor)| {
        let name = tensor.origins().join("`, `");
        match tensor.read() {
            None => Some(format!("`{name}`: expected floats, found {:?}", tensor.element())),
            Some(data) if data.iter::<f32>().all(f32::is_finite) => None,
            Some(_) => Some(format!("`{name}`: not finite")),
        }
    };
    tensors.iter().filter_map(check).collect()
}

/// What is wrong with the output head of the caption decoder, which is not held: the token table serves.
fn head(files: &ModelFiles) -> Result<Option<String>> {
    let file = WeightFile::open(files.caption_decoder.weights.path())?;
    let wrong = "the output head differs from the token table, to which it should be tied";
    Ok(keys::has_untied_head(&file).then(|| wrong.to_string()))
}

/// Every tensor that does not fit, where a message has the first of them.
fn details(error: &Error) -> Vec<String> {
    let Error::TensorMismatch { missing, unexpected, misshapen, .. } = error else {
        return vec![error.to_string()];
    };
    let missing = missing.iter().map(|t| format!("missing `{}`: expected {:?}", t.name, t.shape));
    let unexpected =
        unexpected.iter().map(|t| format!("unexpected `{}`: found {:?}", t.name, t.shape));
    let misshapen = misshapen
        .iter()
        .map(|t| format!("misshapen `{}`: expected {:?}, found {:?}", t.name, t.expected, t.found));
    missing.chain(unexpected).chain(misshapen).collect()
}
