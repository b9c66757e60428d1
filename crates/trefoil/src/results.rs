//! Writing what was generated.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use trefoil_core::Error as CoreError;
use unidiffuser::pipeline::{Generated, Request};

use crate::args::{PictureOutputArgs, TextOutputArgs};
use crate::hints::hinted;
use crate::model::ModelId;
use crate::output;
use crate::record::Record;
use crate::target::{self, Target};

/// Where the pictures of a command go, checked before the work begins.
pub(crate) struct Pictures {
    target: Target,
    prefix: &'static str,
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(flatten)]
    record: &'a Record,
}

impl Pictures {
    /// For `count` pictures; `prefix` begins the names in a folder.
    pub(crate) fn new(
        args: &PictureOutputArgs,
        prefix: &'static str,
        count: usize,
    ) -> anyhow::Result<Self> {
        let target = Target::new(&args.output, count)?;
        if args.json && target == Target::Stdout {
            let hint =
                "write the picture into a file, or read the settings inside with `trefoil inspect`";
            return Err(hinted("`--json` and `--output -` both want standard output", hint));
        }
        target.prepare()?;
        Ok(Self { target, prefix, json: args.json })
    }

    /// Writes a picture and prints its name, after it the text that came with it.
    pub(crate) fn write(&self, generated: &Generated, record: &Record) -> anyhow::Result<()> {
        let picture = generated.image.as_ref().context("the model returned no picture")?;
        let path = self.target.path(self.prefix, record.seed, record.index);
        target::write(path.as_deref(), &record.embed(picture)?)?;
        let Some(path) = path else { return Ok(()) };
        let file = path.display().to_string();
        if self.json {
            return output::print_json(&Line { file: Some(file), record });
        }
        match &generated.text {
            Some(text) => output::print(format_args!("{file}\t{}", one_line(text))),
            None => output::print(file),
        }
    }

    /// Writes all pictures of a request.
    pub(crate) fn write_all(
        &self,
        request: &Request,
        generated: &[Generated],
        model: &ModelId,
    ) -> anyhow::Result<()> {
        generated.iter().try_for_each(|g| self.write(g, &Record::new(request, g, model)))
    }
}

/// Writes the texts of records, one per line, after `label` where there is one.
pub(crate) fn write_texts(
    args: &TextOutputArgs,
    records: &[(Option<String>, Record)],
) -> anyhow::Result<()> {
    let mut lines = String::new();
    for (label, record) in records {
        let text = one_line(record.text.as_deref().unwrap_or_default());
        if args.json {
            lines.push_str(&serde_json::to_string(&Line { file: None, record })?);
        } else if let Some(label) = label {
            lines.extend([label, "\t", &text]);
        } else {
            lines.push_str(&text);
        }
        lines.push('\n');
    }
    let path = (args.output != Path::new("-")).then_some(&*args.output);
    target::write(path, lines.as_bytes())
}

/// A text whose line breaks and tabs, which separate results, are blanks.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// Makes sure, before the work begins, that texts can be written.
pub(crate) fn prepare_texts(args: &TextOutputArgs) -> anyhow::Result<()> {
    if args.output.is_dir() {
        let source = std::io::ErrorKind::IsADirectory.into();
        return Err(CoreError::Write { path: args.output.clone(), source }.into());
    }
    if args.output == Path::new("-") {
        return Ok(());
    }
    Target::File(args.output.clone()).prepare()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(one_line("a\ncat\t\r!"), "a cat  !");
    }
}
