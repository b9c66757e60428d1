//! What helps against the errors that we know.

use std::fmt;
use std::io::ErrorKind;

use trefoil_core::Error as CoreError;
use trefoil_train::Error as TrainError;
use uditsr::Error as ShopError;
use uni_instruct::Error as DistillError;
use unidiffuser::pipeline::GenerateError;

/// An error of the command line itself, with its remedy.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// An error with its remedy.
pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { message: message.into(), hint: hint.into() }.into()
}

/// The remedy, where one is known.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            return Some(hinted.hint.clone());
        }
        let core = cause.downcast_ref().and_then(of_core);
        let train = || cause.downcast_ref().and_then(of_train);
        let distillation = || cause.downcast_ref().and_then(of_distillation);
        let generation = || cause.downcast_ref().and_then(of_generation);
        let shop = || cause.downcast_ref().and_then(of_shop);
        core.or_else(train)
            .or_else(distillation)
            .or_else(generation)
            .or_else(shop)
            .map(String::from)
    };
    error.chain().find_map(of)
}

fn of_reading(source: &std::io::Error) -> Option<&'static str> {
    match source.kind() {
        ErrorKind::NotFound => {
            Some("check the spelling; a relative path starts at the current folder")
        }
        ErrorKind::PermissionDenied => Some("check the permissions of the file"),
        ErrorKind::IsADirectory => Some("give a file, not a folder"),
        _ => None,
    }
}

fn of_writing(source: &std::io::Error) -> Option<&'static str> {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("free some space, or choose a place on another disk")
        }
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists => Some("choose a folder that you may write to"),
        _ => None,
    }
}

fn of_core(error: &CoreError) -> Option<&'static str> {
    match error {
        CoreError::Read { source, .. } => of_reading(source),
        CoreError::Write { source, .. } => of_writing(source),
        CoreError::Image { .. } => Some("PNG and JPEG pictures can be read"),
        CoreError::TensorShape { .. }
        | CoreError::MissingTensors { .. }
        | CoreError::TensorMismatch { .. }
        | CoreError::UnexpectedTensors { .. } => Some(
            "the weights and the config.json beside them belong to different models; get the whole \
             model folder again, or look at it with `trefoil inspect`",
        ),
        CoreError::NonFinite { .. } => Some("lower `--guidance`, or take more `--steps`"),
        CoreError::Hub { reason, .. } if reason.contains("401") || reason.contains("403") => Some(
            "set HF_TOKEN to a token that may read this model, or log in by `hf auth login`; some models ask to accept \
             their licence on their page first",
        ),
        CoreError::Hub { reason, .. } if reason.contains("404") => {
            Some("check the name and the revision")
        }
        CoreError::Hub { .. } => {
            Some("run the command again: what arrived is kept; HF_ENDPOINT names another server")
        }
        _ => None,
    }
}

fn of_train(error: &TrainError) -> Option<&'static str> {
    match error {
        TrainError::Core(error) => of_core(error),
        TrainError::ConfigChanged { .. } => {
            Some("undo the change to continue this run, or start a new one with another `--run`")
        }
        TrainError::NotEmpty { .. } => {
            Some("choose another folder, or replace earlier results with `--overwrite` if offered")
        }
        TrainError::InUse { .. } => Some("wait for the other process, or choose another `--run`"),
        TrainError::Problems { .. } => {
            Some("repair the files, or leave them out by omitting `--strict`")
        }
        TrainError::NoSamples { .. } => {
            Some("`trefoil data check` lists what is wrong with each file")
        }
        TrainError::NoCheckpoint { .. } => Some("start again with another `--run`"),
        TrainError::Task(error) => error.downcast_ref().and_then(of_core),
        _ => None,
    }
}

fn of_distillation(error: &DistillError) -> Option<&'static str> {
    match error {
        DistillError::Core(error) => of_core(error),
        DistillError::Train(error) => of_train(error),
        _ => None,
    }
}

fn of_generation(error: &GenerateError) -> Option<&'static str> {
    match error {
        GenerateError::Model(error) => of_core(error),
        GenerateError::NonFinite { .. } => Some("lower `--guidance`, or take more `--steps`"),
        _ => None,
    }
}

fn of_shop(error: &ShopError) -> Option<&'static str> {
    match error {
        ShopError::Read { source, .. } => of_reading(source),
        ShopError::Write { source, .. } => of_writing(source),
        ShopError::BadRows { .. } => {
            Some("`--check` lists the bad rows; `--max-bad-rows` allows more of them")
        }
        ShopError::Config { field, .. } => match field.as_str() {
            "journal" => Some(
                "events of an older model go into the next training: `trefoil event export` with that model; \
                 name another file with `--journal`",
            ),
            "model" | "train" | "dataset" => Some(
                "undo the change to continue this run, or start a new one with another `--run`",
            ),
            "erase" => Some("`trefoil event list --user ID` shows the events of a user"),
            _ => None,
        },
        _ => None,
    }
}
