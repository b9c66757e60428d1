use std::path::PathBuf;
use burn::tensor::Device;
use trefoil_train::{data::OnProblem, ProgressMode, StopFlag};
use unidiffuser::train::{Pairs, Recipe, Workshop};
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let recipe = Recipe::open(&PathBuf::from(&a[2])).unwrap();
    let (pairs, _) = Pairs::load(&[PathBuf::from(&a[3])], &recipe.data, OnProblem::Skip).unwrap();
    let device = Device::flex();
    let w = Workshop { recipe: &recipe, pairs: &pairs, folder: &PathBuf::from(&a[4]), device: &device, stop: StopFlag::default(), progress: ProgressMode::Lines };
    let out = if a[1] == "all" { w.run_all() } else { w.run(a[1].parse().unwrap()) };
    println!("{out:?}");
}
