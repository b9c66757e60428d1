use std::path::Path;
use trefoil_train::data::*;
#[test]
fn real() {
    let t = std::time::Instant::now();
    let options = OpenMojiOptions { existing: Existing::Replace, ..OpenMojiOptions::default() };
    let s = convert_openmoji(
        Path::new("/work/shared/data/openmoji-72.tar.gz"),
        Path::new("/tmp/train_real/openmoji"),
        &options,
    )
    .unwrap();
    println!(
        "{} {} {} identical {:?} {:?}",
        s.train,
        s.held_out,
        s.problems,
        s.identical.len(),
        t.elapsed()
    );
    for g in &s.identical {
        println!("{g:?}");
    }
    let t = std::time::Instant::now();
    let d = Dataset::load(&["/tmp/train_real/openmoji".into()], &DataOptions::new(32)).unwrap();
    println!("{} {} {:?}", d.samples.len(), d.problems, t.elapsed());
    let run =
        trefoil_train::RunFolder::open_or_create(Path::new("/tmp/train_real/run"), "").unwrap();
    for i in 1..5u64 {
        run.log_scalars(i * 64, &[("loss/total", 1.0 / i as f64)]).unwrap();
    }
    run.log_picture(128, "samples", &d.samples[5].picture).unwrap();
}
