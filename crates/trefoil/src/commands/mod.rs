//! The commands, one file each. A new one is a file and two lines here.

mod blend;
mod caption;
mod chain;
mod completions;
mod data;
mod distill;
mod evaluate;
mod event;
mod explain;
mod generate;
mod inspect;
mod joint;
mod models;
mod prepare;
mod recommend;
mod sample;
mod search;
mod serve;
mod similar;
mod state;
mod tour;
mod train;
mod vary;
mod verify;

use clap::Subcommand;

use crate::Answer;
use crate::output::Talk;

/// Makes the subcommands from the arguments of each, whose doc comment is the help text.
macro_rules! commands {
    ($($name:ident($args:ty)),+ $(,)?) => {
        /// What to do.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($name(Box<$args>),)+
        }

        impl Command {
            /// Does it.
            pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
                match self {
                    $(Self::$name(args) => args.run(talk),)+
                }
            }
        }
    };
}

impl Command {
    /// Whether it leaves the threads of the kernels alone, and waits on its own.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Serve(_))
    }
}

commands! {
    Generate(generate::GenerateArgs),
    Caption(caption::CaptionArgs),
    Joint(joint::JointArgs),
    Sample(sample::SampleArgs),
    Vary(vary::VaryArgs),
    Blend(blend::BlendArgs),
    Chain(chain::ChainArgs),
    Inspect(inspect::InspectArgs),
    Models(models::ModelsArgs),
    Evaluate(evaluate::EvaluateArgs),
    Tour(tour::TourArgs),
    Data(data::DataArgs),
    Train(train::TrainArgs),
    Distill(distill::DistillArgs),
    Verify(verify::VerifyArgs),
    Prepare(prepare::PrepareArgs),
    Search(search::SearchArgs),
    Recommend(recommend::RecommendArgs),
    Similar(similar::SimilarArgs),
    Explain(explain::ExplainArgs),
    Event(event::EventArgs),
    Serve(serve::ServeArgs),
    State(state::StateArgs),
    Completions(completions::CompletionsArgs),
}
